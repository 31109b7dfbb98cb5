"""100,000 keys of 256 bytes: time of a restart, size of the directory, memory; then 64 large puts.

python -m tests.bars.sizes [--keys 100000]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.real.cluster import Cluster

_VALUE = bytes(range(256))


async def fill(cluster: Cluster, keys: int) -> None:
    async with cluster.async_client(cluster.leader()) as client:
        slots = asyncio.Semaphore(256)

        async def one(number: int) -> None:
            async with slots:
                await client.put(b"key-%08d" % number, _VALUE)

        for start in range(0, keys, 5_000):
            await asyncio.gather(*[one(n) for n in range(start, min(start + 5_000, keys))])


async def large(cluster: Cluster) -> tuple[int, int]:
    """64 puts of 1 MiB at once: (done, of)."""
    async with cluster.async_client(cluster.leader(), timeout=60.0) as client:
        value = bytes(1024 * 1024)
        puts = [client.put(b"large-%d" % i, value) for i in range(64)]
        done = await asyncio.gather(*puts, return_exceptions=True)
        return sum(not isinstance(d, BaseException) for d in done), len(done)


def memory(cluster: Cluster) -> dict[str, float]:
    """MiB of resident memory of each node."""
    found = {}
    for name, process in cluster.processes.items():
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        found[name] = round(pages * 4096 / 2**20, 1)
    return found


def restart(cluster: Cluster, name: str) -> float:
    began = time.monotonic()
    cluster.start(name)
    cluster.wait_serving(name)
    return time.monotonic() - began


def facts(cluster: Cluster) -> tuple[str, int]:
    with cluster.client() as kv:
        known = kv.members()
    return known["leader"], known["term"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=100_000)
    given = parser.parse_args()
    live = given.keys * (len(_VALUE) + len(b"key-00000000"))
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder, Cluster(Path(folder)) as cluster:
        cluster.start()
        cluster.wait_serving()
        began = time.monotonic()
        asyncio.run(fill(cluster, given.keys))
        print(f"{given.keys:,} keys in {time.monotonic() - began:.1f} s; MiB {memory(cluster)}")
        for name in cluster.names:
            cluster.kill(name)
            print(f"{name} serves {restart(cluster, name):.2f} s after its start (killed)")
        for name in cluster.names:
            cluster.stop(name)
            used = sum(p.stat().st_size for p in (cluster.folder / name).iterdir())
            held = (cluster.folder / name / "reserve").stat().st_size
            took = restart(cluster, name)
            print(
                f"{name} stopped in order: {used / live:.2f} times the live data "
                f"({(used - held) / live:.2f} without the reserve file of {held / 2**20:.0f} "
                f"MiB); serves {took:.2f} s after its start"
            )
        print(f"MiB {memory(cluster)}")
        before = facts(cluster)
        began = time.monotonic()
        done, of = asyncio.run(large(cluster))
        print(f"64 puts of 1 MiB: {done} of {of} in {time.monotonic() - began:.1f} s")
        print(f"leader and term before {before}, after {facts(cluster)}; MiB {memory(cluster)}")


if __name__ == "__main__":
    main()
