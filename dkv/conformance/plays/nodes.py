"""Plays about several nodes: dead, silent, leading, not named.

Owns: rules C40 to C44. Must never know how a stage works.
"""

from dkv.conformance.node import Reply, Seen
from dkv.conformance.scene import SILENCE, done, expect, play, refuse
from dkv.conformance.stage import HOST, Stage, free_port

_WRITES = 8


@play("C40", size=2)
def a_dead_endpoint_first(stage: Stage) -> None:
    stage.endpoints = [f"{HOST}:{free_port()}", *stage.endpoints]
    for number in range(3):
        done(stage, stage.tell("put", key=b"k", value=b"%d" % number), "a put")
    done(stage, stage.tell("get", key=b"k"), "a get")


def _whoever_is_first(stage: Stage, op: str) -> list[str]:
    """The node that first gets such a request is silent for ever; its name, when that is known."""
    silent: list[str] = []

    def react(seen: Seen) -> list[Reply] | None:
        if seen.op == op and not silent:
            silent.append(seen.node)
        return SILENCE if seen.node in silent else None

    stage.react = react
    return silent


@play("C41", size=2)
def a_node_that_is_silent(stage: Stage) -> None:
    done(stage, stage.tell("get", key=b"k"), "a get")
    silent = _whoever_is_first(stage, "get")
    done(stage, stage.tell("get", key=b"k", timeout_ms=6_000), "a get of a silent node")
    expect(silent, "no get arrived")


@play("C42", size=2)
def a_node_that_hangs_up(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    gone: list[str] = []

    def react(seen: Seen) -> list[Reply] | None:
        if seen.op != "put" or gone:
            return None
        gone.append(seen.node)
        stage.shut(seen.node)
        return SILENCE

    stage.react = react
    done(stage, stage.tell("put", key=b"k", value=b"2", timeout_ms=6_000), "a put")
    expect(gone, "no put arrived")


@play("C43", size=3)
def writes_go_to_the_leader(stage: Stage) -> None:
    stage.leader = "n2"

    def react(seen: Seen) -> list[Reply] | None:
        if seen.op == "put" and seen.node != stage.leader and seen.node == "n2":
            return refuse("not_leader", leader=stage.leader)
        return None

    stage.react = react
    done(stage, stage.tell("put", key=b"k", value=b"first"), "a put")
    stage.run(lambda: False, 0.3)
    for leader in ("n2", "n3"):
        stage.leader = leader
        before = len(stage.asked("put"))
        for number in range(_WRITES):
            done(stage, stage.tell("put", key=b"k", value=b"%d" % number), "a put")
        there = [seen.node for seen in stage.asked("put")[before:]]
        share = there.count(leader) / len(there)
        expect(share > 0.6, f"{leader} leads, and writes went to {', '.join(there)}")


@play("C44", size=3)
def nodes_that_nobody_named(stage: Stage) -> None:
    """One endpoint is given; `members` names two more, and then the first is gone."""
    stage.endpoints = stage.endpoints[:1]
    stage.leader = "n2"
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.run(lambda: any(s.node != "n1" for s in stage.seen), 1.0)
    stage.shut("n1")
    done(stage, stage.tell("put", key=b"k", value=b"2", timeout_ms=4_000), "a put")
