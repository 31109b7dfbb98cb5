"""Nothing is claimed that a power cut could take back: acknowledgements, candidacies, votes.

Every world watches this (see `tests.invariants`); here are the moments at which it is hardest.
"""

from typing import Any

import pytest

from dkv.address import Local
from dkv.limits import MS, SECOND
from dkv.messages import Append, Appended, PreVote, RequestVote, Voted, Write
from dkv.raft.candidate import Candidate
from tests.world import World


def spoken(world: World) -> list[tuple[str, str, Any]]:
    """Everything that nodes will say to each other from now on: sender, receiver, letter."""
    heard: list[tuple[str, str, Any]] = []

    def listen(sender: str, receiver: str, letter: Any) -> bool:
        heard.append((sender, receiver, letter))
        return True

    world.peer_filter = listen
    return heard


def test_an_empty_append_during_a_sync_is_acknowledged_only_after_the_next_one() -> None:
    world = World(seed=1)
    leader = world.serve()
    slow, other = (n for n in world.names if n != leader)
    world.put(leader, b"before", b"")
    world.run(SECOND)
    world.pause(other)
    world.nodes[slow].sync_us = (400 * MS, 400 * MS)
    heard = spoken(world)
    first, second = world.ask(leader, "put", key=b"a", value=b""), b""
    world.run(20 * MS)  # a is being synced; b finds the log busy
    second = world.ask(leader, "put", key=b"b", value=b"")
    index = world.nodes[leader].raft.tail.last.index + 1

    def asked_again() -> bool:
        empty = [x for _a, b, x in heard if b == slow and isinstance(x, Append) and not x.rows]
        return any(x.prev_index == index for x in empty)

    def acknowledged() -> bool:
        said = [x.index for a, _b, x in heard if a == slow and isinstance(x, Appended)]
        return index in said

    world.run_until(asked_again)
    world.run(20 * MS)
    assert world.nodes[slow].raft.tail.last.index == index
    assert index not in world.nodes[slow].disk.entries
    assert not acknowledged()
    assert {first, second}.isdisjoint(world.replies)
    world.run_until(acknowledged)
    assert index in world.nodes[slow].disk.entries
    assert world.reply(first).ok
    assert world.reply(second).ok


def test_a_candidacy_is_not_heard_of_before_it_is_on_the_disk() -> None:
    world = World(seed=2)
    writes: list[tuple[str, Write]] = []

    def stuck(name: str, actor: Local, letter: Any) -> bool:
        if actor is Local.LOG and isinstance(letter, Write):
            writes.append((name, letter))
            return False
        return True

    world.letter_filter = stuck
    heard = spoken(world)
    world.start()
    world.run(5 * SECOND)
    kinds = {type(letter) for _a, _b, letter in heard}
    assert PreVote in kinds
    assert not kinds & {RequestVote, Voted}
    assert any(isinstance(n.raft.role, Candidate) for n in world.nodes.values())
    assert world.leader() is None
    world.letter_filter = lambda *_: True
    for name, write in writes:
        world.deliver(name, Local.LOG, write)
    world.run_until(world.is_serving)


def test_a_candidates_own_vote_counts_only_from_its_disk() -> None:
    world = World(seed=3, names=("n1",))
    writes: list[Write] = []

    def stuck(_name: str, _actor: Local, letter: Any) -> bool:
        if isinstance(letter, Write):
            writes.append(letter)
        return not isinstance(letter, Write)

    world.letter_filter = stuck
    world.start()
    world.run(5 * SECOND)
    assert writes
    assert isinstance(world.nodes["n1"].raft.role, Candidate)
    assert world.nodes["n1"].disk.term == 0
    world.letter_filter = lambda *_: True
    for write in writes:
        world.deliver("n1", Local.LOG, write)
    world.run_until(world.is_serving)
    assert world.nodes["n1"].disk.term == world.nodes["n1"].raft.term


def rivals() -> tuple[World, str, str]:
    """Two of five campaign in the same term, and nobody has heard them yet. Whether it comes to
    that depends on every draw, so seeds are tried in turn."""
    for seed in range(1, 50):
        world = World(seed, names=("n1", "n2", "n3", "n4", "n5"))
        world.crash(world.serve())
        world.peer_filter = lambda _a, _b, x: not isinstance(x, RequestVote)
        for _ in range(200):
            world.run(10 * MS)
            found = [*dict.fromkeys(sender for sender, _to, _frame in world.held)]
            if len(found) == 2:
                first, second = found
                if world.nodes[first].raft.term == world.nodes[second].raft.term:
                    return world, first, second
                break
    raise AssertionError("no two candidates of one term in any of these seeds")


@pytest.mark.parametrize("meanwhile", ["nothing happens", "the voters lose their power"])
def test_a_vote_is_given_once_a_term_to_whoever_asked_first(meanwhile: str) -> None:
    """Two of five campaign in the same term, and two others are asked by both."""
    world, first, second = rivals()
    voters = [n for n in world.running() if n not in (first, second)]
    asked = {name: [f for f in world.held if f[0] == name] for name in (first, second)}
    world.held[:] = asked[first]
    world.release()
    if meanwhile != "nothing happens":
        world.run(5 * MS)
        for name in voters:
            world.restart(name)
    world.held[:] = asked[second]
    world.release()
    world.run(20 * MS)
    assert world.leader() == first
    disk = world.nodes[first].disk
    assert {world.nodes[n].disk.promises()["log"] for n in voters} == {disk.promises()["log"]}


def test_a_lone_nodes_acknowledged_write_survives_a_power_cut() -> None:
    world = World(seed=4, names=("n1",))
    world.serve()
    assert world.put("n1", b"k", b"v").ok
    world.restart("n1")
    world.run_until(world.is_serving)
    assert world.get("n1", b"k").result["value"] == b"v"
