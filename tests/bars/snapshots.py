"""A follower that lost its disk gets a large store back, while it or its leader is killed.

    python -m tests.bars.snapshots [--mib 1024] [--kills 4] [--seed 1]

Small puts go on all the time, 16 outstanding. Printed: their p99 before and meanwhile, the bytes
of chunks that were sent over those of the store, and the memory of each node. The sender is killed
once every other time, the receiver the others, when a random share has been received.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from array import array
from contextlib import suppress
from pathlib import Path
from random import Random

from dkv.client import AsyncClient
from dkv.errors import DkvError, RequestError
from tests.bars.sizes import memory
from tests.bench.work import percentile
from tests.real.churn import Operator
from tests.real.cluster import Cluster

_VALUE = bytes(4096 - 16)
_SMALL = bytes(256)
_OUTSTANDING = 16
_LOOK_S = 0.2


class Load:
    """A closed loop of small puts; waits are noted in whichever list is current."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.waits_ms = array("d")
        self.errors = 0
        self._running = True

    async def run(self) -> None:
        async with self._cluster.async_client(timeout=10.0) as client:
            await asyncio.gather(*[self._one(client, slot) for slot in range(_OUTSTANDING)])

    async def _one(self, client: AsyncClient, slot: int) -> None:
        turn = 0
        while self._running:
            turn += 1
            began = time.perf_counter()
            try:
                await client.put(b"small/%d/%d" % (slot, turn % 100), _SMALL)
                self.waits_ms.append((time.perf_counter() - began) * 1000)
            except RequestError:
                self.errors += 1

    def stop(self) -> None:
        self._running = False

    def told(self) -> str:
        """Of what was noted since it was asked last."""
        waits, self.waits_ms = sorted(self.waits_ms), array("d")
        p50, p99 = (percentile(waits, share) if waits else 0.0 for share in (0.5, 0.99))
        return f"{len(waits):,} puts, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {self.errors} errors"


class Watch(threading.Thread):
    """What each life of each node has sent, and the most memory that a node has had."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._sent: dict[tuple[str, int], int] = {}
        self.most_mib: dict[str, float] = {}
        self.running = True

    def run(self) -> None:
        while self.running:
            self.look()
            time.sleep(_LOOK_S)

    def look(self) -> None:
        for name in list(self._cluster.processes):
            with suppress(DkvError, OSError), self._cluster.client(name, timeout=1.0) as kv:
                facts = kv.status()
                sent = facts["consensus"]["counters"].get("snapshot_chunk_bytes", 0)
                self._sent[name, facts["node"]["boot"]] = sent
        with suppress(OSError, KeyError):
            for name, mib in memory(self._cluster).items():
                self.most_mib[name] = max(self.most_mib.get(name, 0.0), mib)

    @property
    def sent(self) -> int:
        return sum(self._sent.values())


async def fill(cluster: Cluster, mib: int) -> None:
    async with cluster.async_client(cluster.leader(), timeout=30.0) as client:
        count = mib * 2**20 // len(_VALUE)
        for start in range(0, count, 128):
            numbers = range(start, min(start + 128, count))
            await asyncio.gather(*[client.put(b"large/%08d" % n, _VALUE) for n in numbers])


def received(cluster: Cluster, name: str) -> int:
    """Of a snapshot: what began empty is another file than the one that a node is born with."""
    with suppress(OSError):
        return sum(file.stat().st_size for file in cluster.data_dir(name).glob("state.*.db*"))
    return 0


def harm(cluster: Cluster, wiped: str, mib: int, kills: int, seed: int, watch: Watch) -> None:
    """At random shares of what is to be received, in order."""
    dice = Random(seed)
    shares = sorted(dice.uniform(0.05, 0.9) for _ in range(kills))
    for number, share in enumerate(shares):
        while received(cluster, wiped) < share * mib * 2**20:
            time.sleep(0.01)
        watch.look()
        victim = cluster.leader() if number % 2 else wiped
        cluster.kill(victim)
        cluster.start(victim)
        who = "receiver" if victim == wiped else "sender"
        print(f"  at {share:.0%} the {who} was killed ({victim})", flush=True)


async def measure(cluster: Cluster, mib: int, kills: int, seed: int) -> None:
    operator, load, watch = Operator(cluster), Load(cluster), Watch(cluster)
    operator.patience_s = 1_200.0
    began = time.monotonic()
    await fill(cluster, mib)
    print(f"{mib} MiB in {time.monotonic() - began:.0f} s; MiB of memory {memory(cluster)}")
    puts = asyncio.create_task(load.run())
    await asyncio.sleep(3)
    load.told()
    await asyncio.sleep(20)
    print(f"before:    {load.told()}", flush=True)
    wiped = next(name for name in cluster.names if name != operator.leader())
    watch.start()
    enemy = threading.Thread(target=harm, args=(cluster, wiped, mib, kills, seed, watch))
    enemy.start()
    began = time.monotonic()
    await asyncio.to_thread(operator.replace, wiped)
    await asyncio.to_thread(enemy.join)
    took = time.monotonic() - began
    print(f"meanwhile: {load.told()}; {wiped} votes again after {took:.0f} s")
    await asyncio.sleep(10)
    print(f"after:     {load.told()}")
    watch.running = False
    await asyncio.to_thread(watch.join)
    load.stop()
    await puts
    with cluster.client() as kv:
        live = kv.status()["machine"]["live_bytes"]
    print(f"sent {watch.sent / 2**20:.0f} MiB, {watch.sent / live:.2f} times the store")
    print(f"most memory, MiB: {watch.most_mib}; now {memory(cluster)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.snapshots", description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    options = ["--log-keep-entries=1000", "--log-keep-mib=8"]
    with (
        tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder,
        Cluster(Path(folder), options=options) as cluster,
    ):
        cluster.patience_s = 120.0
        cluster.start()
        cluster.wait_serving()
        asyncio.run(measure(cluster, asked.mib, asked.kills, asked.seed))


if __name__ == "__main__":
    main()
