"""Real nodes, killed, paused, wiped and restarted: nothing acknowledged is lost."""

import asyncio
import shutil
import subprocess
import sys

from dkv.client import AsyncClient, ConditionFailed, Rejected, Uncertain
from dkv.errors import Ending
from tests.real.cluster import Cluster


class Counter:
    """A counter incremented by compare-and-put, and what its user knows of it."""

    def __init__(self) -> None:
        self.acknowledged = self.unknown = 0
        self.running = True

    async def run(self, client: AsyncClient, key: bytes) -> None:
        while self.running:
            item = await client.get(key)
            value, at = (int(item.value or b"0"), item.key_revision) if item else (0, 0)
            try:
                await client.put(key, str(value + 1), expected=at)
                self.acknowledged += 1
            except ConditionFailed:
                pass
            except Rejected:
                await asyncio.sleep(0)
            except Uncertain:
                self.unknown += 1

    async def reach(self, goal: int) -> None:
        """Wait for so many more acknowledgements."""
        goal += self.acknowledged
        async with asyncio.timeout(30):
            while self.acknowledged < goal:
                await asyncio.sleep(0.01)


async def count_under(cluster: Cluster, kills: int) -> tuple[Counter, int]:
    """Kill the leader again and again while two users increment; (their books, the counter)."""
    books = Counter()
    async with cluster.async_client(timeout=30.0) as one, cluster.async_client(timeout=30.0) as two:
        users = [asyncio.create_task(books.run(client, b"count")) for client in (one, two)]
        for _ in range(kills):
            await books.reach(50)
            leader = await asyncio.to_thread(cluster.leader)
            cluster.kill(leader)
            await books.reach(50)
            cluster.start(leader)
        await books.reach(50)
        books.running = False
        await asyncio.gather(*users)
        item = await one.get(b"count")
        assert item is not None
        return books, int(item.value or b"0")


def test_a_counter_under_kills_of_the_leader_is_exact(cluster: Cluster) -> None:
    books, value = asyncio.run(count_under(cluster, kills=3))
    assert books.acknowledged <= value <= books.acknowledged + books.unknown
    assert books.unknown == 0, "a deadline of 30 s outlasts an election"


def test_nothing_acknowledged_is_lost_when_all_are_killed(cluster: Cluster) -> None:
    async def write() -> dict[bytes, bytes]:
        acknowledged: dict[bytes, bytes] = {}

        async def one(client: AsyncClient, number: int) -> None:
            for step in range(1_000):
                key, value = b"%d" % number, b"%d" % step
                try:
                    await client.put(key, value)
                except (Rejected, Uncertain):
                    return
                acknowledged[key] = value

        async with cluster.async_client(timeout=2.0) as client:
            tasks = [asyncio.create_task(one(client, i)) for i in range(32)]
            while sum(int(v) for v in acknowledged.values()) < 500:
                await asyncio.sleep(0.01)
            for name in cluster.names:
                cluster.kill(name)
            await asyncio.gather(*tasks)
        return acknowledged

    acknowledged = asyncio.run(write())
    cluster.start()
    with cluster.client() as kv:
        for key, value in acknowledged.items():
            item = kv.get(key)
            assert item is not None
            assert int(item.value or b"-1") >= int(value)


def test_a_leader_that_was_paused_never_reads_the_past(cluster: Cluster) -> None:
    old = cluster.leader()
    others = [name for name in cluster.names if name != old]
    with cluster.client(old, timeout=20.0) as stale, cluster.client(*others) as fresh:
        stale.put("k", "old")
        cluster.pause(old)
        fresh.put("k", "new")
        cluster.resume(old)
        item = stale.get("k")
    assert item is not None
    assert item.value == b"new"


def test_a_node_that_was_away_catches_up(cluster: Cluster) -> None:
    away = next(name for name in cluster.names if name != cluster.leader())
    assert cluster.stop(away) == {away: 0}
    with cluster.client() as kv:
        for i in range(50):
            kv.put(f"k{i}", "v")
    cluster.start(away)
    cluster.wait_serving(away)
    with cluster.client(away) as kv:
        assert kv.count(b"k") == 50


def test_a_wiped_disk_stays_out_and_says_what_to_do(cluster: Cluster) -> None:
    with cluster.client() as kv:
        kv.put("k", "v")
    wiped = next(name for name in cluster.names if name != cluster.leader())
    cluster.kill(wiped)
    shutil.rmtree(cluster.folder / wiped)
    cluster.start(wiped)
    assert cluster.wait(wiped) == Ending.DISK_REPLACED
    last = cluster.lines(wiped).strip().splitlines()[-1]
    assert wiped in last
    others = [name for name in cluster.names if name != wiped]
    with cluster.client(*others) as kv:
        kv.put("k", "w")
        item = kv.get("k")
        assert item is not None
        assert item.value == b"w"


def inspect(folder: object, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.server", "inspect", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_inspect_tells_a_sound_directory_from_a_damaged_one(cluster: Cluster) -> None:
    with cluster.client() as kv:
        kv.put("k", "v" * 5_000)
    folder = cluster.folder / "n1"
    assert inspect(folder).returncode == Ending.LOCKED
    cluster.stop()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sound = inspect(folder)
    assert sound.returncode == 0, sound.stdout
    assert "a node would start on it" in sound.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    log = bytearray(before["log.db"])
    place = log.index(b"v" * 1_000)
    log[place] ^= 1
    (folder / "log.db").write_bytes(log)
    damaged = inspect(folder)
    assert damaged.returncode == Ending.STORAGE_FAULT
    assert "damaged" in damaged.stdout
