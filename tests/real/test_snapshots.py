"""Real nodes: a follower whose log was cut away at the leader is sent the state."""

import time
from pathlib import Path

from dkv.client import Client
from tests.real.cluster import Cluster

KEYS = 400
VALUE = b"v" * 50_000


def counters(cluster: Cluster, name: str) -> dict[str, int]:
    with cluster.client(name) as kv:
        found: dict[str, int] = kv.status()["consensus"]["counters"]
    return found


def fill(kv: Client, number: int) -> None:
    for key in range(KEYS):
        kv.put(b"%d" % key, b"%d" % number + VALUE)


def wait_for(folder: Path, size: int) -> None:
    """Until so much of a snapshot has been received."""
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        if sum(file.stat().st_size for file in folder.glob("state.*.db*")) > size:
            return
        time.sleep(0.002)
    raise AssertionError("no snapshot is being received")


def test_a_follower_behind_the_log_catches_up_though_it_is_killed_meanwhile(tmp_path: Path) -> None:
    with Cluster(tmp_path, options=["--log-keep-entries=32"]) as cluster:
        cluster.start()
        cluster.wait_serving()
        leader = cluster.leader()
        behind = next(name for name in cluster.names if name != leader)
        with cluster.client(leader) as kv:
            kv.put(b"before", b"")
            assert cluster.stop(behind) == {behind: 0}
            fill(kv, 1)
            time.sleep(1.5)  # state.db commits, then the log is cut
            kv.put(b"last", b"")
        cluster.start(behind)
        wait_for(cluster.data_dir(behind), 6_000_000)
        cluster.kill(behind)
        cluster.start(behind)
        cluster.wait_serving(behind)
        assert counters(cluster, behind)["snapshots_installed"] == 1
        size = KEYS * len(VALUE)
        assert counters(cluster, leader)["snapshot_chunk_bytes"] < 1.5 * size
        states = [*cluster.data_dir(behind).glob("state*.db")]
        assert [s.name for s in states] != ["state.db"]
        assert len(states) == 1
        check(cluster, behind)
        cluster.kill(behind)
        cluster.start(behind)
        check(cluster, behind)


def check(cluster: Cluster, name: str) -> None:
    with cluster.client(name) as kv:
        assert kv.count() == KEYS + 2
        for key in (b"0", b"%d" % (KEYS - 1)):
            item = kv.get(key)
            assert item is not None
            assert item.value == b"1" + VALUE
        kv.put(b"last", b"again")
