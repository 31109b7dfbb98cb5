"""`dkvctl tail` and `dkvctl top` on a cluster that runs, and loses its leader meanwhile."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli.endings import Exit
from tests.real.churn import Operator
from tests.real.cluster import PATIENCE_S, Cluster
from tests.real.test_checks import Ctl


def lines_until(tail: subprocess.Popen[str], holds: Callable[[Any], bool]) -> list[Any]:
    """What it prints, through the first line for which that holds."""
    assert tail.stdout is not None
    found = []
    give_up = threading.Timer(4 * PATIENCE_S, tail.kill)
    give_up.start()
    for line in tail.stdout:
        found.append(json.loads(line))
        if holds(found[-1]):
            give_up.cancel()
            return found
    raise AssertionError(f"it ended: {tail.communicate()}, after {found[-3:]}")


def is_put(key: str) -> Callable[[Any], bool]:
    return lambda line: bool(line.get("op") == "put" and line["key"] == key)


def _keys(lines: list[Any]) -> list[str]:
    return [line["key"] for line in lines if line.get("op") == "put"]


def test_every_command_is_told_once_and_in_order_though_the_leader_dies(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl = Ctl(cluster, tmp_path)
    with ctl.start("tail", "-o", "jsonl", "--prefix=k") as tail:
        (first,) = lines_until(tail, lambda line: bool(line.get("event") == "leader"))
        leader = cluster.leader()
        assert first["leader"] == leader
        with cluster.client() as kv:
            for number in range(20):
                kv.put(b"k%d" % number, b"v")
            found = lines_until(tail, is_put("k19"))
            with ctl.start("tail", "-o", "jsonl", "--prefix=k", "--from=1") as again:
                from_the_first = lines_until(again, is_put("k19"))
                again.send_signal(signal.SIGINT)
            assert _keys(from_the_first) == [f"k{n}" for n in range(20)]
            cluster.kill(leader)
            for number in range(20, 40):
                kv.put(b"k%d" % number, b"v")
            found += lines_until(tail, is_put("k39"))
            if not any(line.get("event") == "away" for line in found):
                found += lines_until(tail, lambda line: bool(line.get("event") == "away"))
        tail.send_signal(signal.SIGINT)
        _out, err = tail.communicate(timeout=20)
    assert (tail.returncode, err) == (Exit.INTERRUPTED, "Error: interrupted\n")
    puts = [line for line in found if line.get("op") == "put"]
    assert _keys(found) == [f"k{n}" for n in range(40)]
    assert [line["revision"] for line in puts] == list(range(1, 41))
    assert {(line["author"], line["size"], line["code"]) for line in puts} == {("admin", 1, "ok")}
    assert all(line["took_us"] > 0 for line in puts)
    events = {
        (line["event"], line.get("node", line.get("leader"))) for line in found if "event" in line
    }
    assert ("away", leader) in events
    assert any(what == "leader" and who != leader for what, who in events)


def test_top_says_how_far_every_node_is_and_what_its_actors_do(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl = Ctl(cluster, tmp_path)
    code, said = ctl.run("tail", "--node=n9")
    assert code == Exit.NOT_FOUND
    assert "is named n9: n1, n2, n3 are" in said
    cluster.kill(next(name for name in cluster.names if name != cluster.leader()))
    with ctl.start("bench", "put", "--seconds=30", "--warmup=0.1") as load:
        give_up = time.monotonic() + PATIENCE_S
        while True:  # the load has to begin first
            code, said = ctl.run("top", "--once", "--interval=0.5", "-o", "json")
            assert code == Exit.DONE, said
            nodes = json.loads(said)["nodes"]
            present = [node for node in nodes if "away" not in node]
            if max(node["commands_per_s"] for node in present) > 0:
                break
            assert time.monotonic() < give_up, said
        code, words = ctl.run("top", "--once", "--interval=0.5")
        load.terminate()
        load.communicate()
    assert code == Exit.DONE, words
    assert len(present) == len(nodes) - 1 == 2
    assert {node["role"] for node in present} == {"leader", "follower"}
    for node in present:
        assert node["lag"] < 1_000
        assert set(node["actors"]) == {"gateway", "consensus", "log", "machine"}
        assert all(0 <= actor["busy"] < 1.5 for actor in node["actors"].values())
    assert max(node["write_p99_us"] or 0 for node in present) > 0
    assert " leads, term " in words
    assert " is away: " in words
    for head in ("role", "cmd/s", "p99", "sync", "busy", "letters"):
        assert head in words


def test_who_joins_while_they_run_is_asked_too_and_who_was_removed_no_more(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl, operator = Ctl(cluster, tmp_path), Operator(cluster)

    def names(frame: Any) -> set[str]:
        return {node["node"] for node in frame["nodes"] if "away" not in node}

    with ctl.start("tail", "-o", "jsonl") as tail, ctl.start("top", "-o", "jsonl") as top:
        lines_until(top, lambda frame: names(frame) == {"n1", "n2", "n3"})
        assert operator.grow() == "n4"
        lines_until(top, lambda frame: "n4" in names(frame))
        lines_until(tail, lambda line: line.get("event") == "joined" and line["node"] == "n4")
        cluster.kill("n4")
        lines_until(tail, lambda line: line.get("event") == "away" and line["node"] == "n4")
        cluster.start("n4")
        lines_until(tail, lambda line: line.get("event") == "back" and line["node"] == "n4")
        operator.remove("n4")
        lines_until(tail, lambda line: line.get("event") == "left" and line["node"] == "n4")
        lines_until(top, lambda frame: "n4" not in str(frame))
        for program in (tail, top):
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=20)
