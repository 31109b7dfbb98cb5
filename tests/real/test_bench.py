"""`dkvctl bench` on a cluster that runs: its numbers add up, with or without faults."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from cli.endings import Exit
from tests.real.cluster import PATIENCE_S, Cluster
from tests.real.test_checks import Ctl


def figures(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out[out.index("{") : out.rindex("}") + 1])
    return found


def measure(ctl: Ctl, *words: str) -> dict[str, Any]:
    code, said = ctl.run("bench", *words, "-o", "json")
    assert code == Exit.DONE, said
    return figures(said)


def growth(found: dict[str, Any]) -> int:
    return int(found["revision"]["after"] - found["revision"]["before"])


def test_each_put_is_a_revision_and_nothing_is_left_behind(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl = Ctl(cluster, tmp_path)
    for more in ((), ("--pipeline=8", "--clients=2", "--route=spread"), ("--no-session",)):
        found = measure(ctl, "put", "--seconds=0.5", "--warmup=0.2", *more)
        assert found["errors"] == {}
        assert found["puts"]["count"] == found["operations"] > 20
        assert growth(found) == found["all"]["puts"] >= found["puts"]["count"]
        assert found["nodes"].keys() == set(cluster.names)
        roles = [node["role"] for node in found["nodes"].values()]
        assert roles.count("leader") == 1
        for node in found["nodes"].values():
            us = node["us"]
            assert us["process"] == pytest.approx(sum(us.values()) - us["process"], abs=0.1)
            assert min(us.values()) > 0
            assert node["commands_per_entry"] >= 1
            assert node["syncs_per_entry"] > 0
            assert node["us_per_sync"] > 0
    with cluster.client() as kv:
        assert kv.count(b"bench/") == 0
        assert kv.status()["machine"]["sessions"] <= 1  # those of the load were closed


def test_gets_find_what_was_put_first(cluster: Cluster, tmp_path: Path) -> None:
    ctl = Ctl(cluster, tmp_path)
    options = ("--seconds=0.5", "--keys=300", "--keep")
    found = measure(ctl, "get", "--value-size=1000", "--read-level=serializable", *options)
    assert found["errors"] == {}
    assert found["gets"]["count"] > 20
    assert growth(found) == found["puts"]["count"] == 0
    mixed = measure(ctl, "mixed", "--gets=80", "--pipeline=4", "--outstanding=16", *options)
    assert mixed["errors"] == {}
    assert mixed["gets"]["count"] > mixed["puts"]["count"] > 0
    assert growth(mixed) == mixed["all"]["puts"]
    with cluster.client() as kv:
        assert kv.count(b"bench/") == 2 * 301  # kept, as it was told; one is its first question


def test_a_leader_killed_meanwhile_is_counted_and_followed(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl = Ctl(cluster, tmp_path)
    leader = cluster.leader()
    process = ctl.start("bench", "put", "--seconds=60", "--warmup=0", "-o", "json")
    with process, cluster.client(*[n for n in cluster.names if n != leader]) as kv:
        wait_for(lambda: kv.count(b"bench/") > 50)
        cluster.kill(leader)
        wait_for(lambda: kv.members()["leader"] not in ("", leader))
        before = kv.count(b"bench/")
        wait_for(lambda: kv.count(b"bench/") > before + 50)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == Exit.INTERRUPTED, err
    found = figures(out)
    assert found["interrupted"]
    assert found["errors"]["lost"] > 0
    assert found["nodes"][leader] is None
    assert found["all"]["puts"] <= growth(found) <= found["all"]["puts"] + found["unknown_puts"]


def wait_for(holds: Any) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_it_ends_as_other_commands_do(cluster: Cluster, tmp_path: Path) -> None:
    reader = Ctl(cluster, tmp_path)
    certs = cluster.folder / "certs"
    as_reader = (f"--cert={certs}/reader.cert", f"--key={certs}/reader.key")
    code, said = reader.run("bench", "put", *as_reader)
    assert code == Exit.DENIED, said
    assert "role reader" in said
    code, said = reader.run("bench", "get", f"--key={certs}/writer.key")
    assert code == Exit.USAGE, said
    code, said = reader.run("bench", "put", "--value-size=2000000", "--outstanding=1")
    assert code == Exit.USAGE, said
    assert "this cluster takes 1048576" in said
    follower = next(name for name in cluster.names if name != cluster.leader())
    alone = ("--pin", f"--endpoint={cluster.endpoints(follower)[0]}")
    code, said = reader.run("bench", "put", *alone)
    assert code == Exit.UNAVAILABLE, said
    assert "name it with --endpoint, or use --route spread" in said
    for name in cluster.names:
        cluster.kill(name)
    code, said = reader.run("bench", "mixed", "--timeout=1")
    assert code == Exit.UNAVAILABLE, said
    assert "nothing answers there" in said
