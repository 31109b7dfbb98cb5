"""Puts a second and the wait of one, through the leader, with Curve and fsync.

    python -m tests.bars.puts [--outstanding 1 64 256] [--seconds 4] [--rounds 3] [--insecure]
                           [--alone]

One client process, 256-byte values, 10,000 keys. `--alone`: one command a message; else what is
started together shares one. Prints each round and the median. Must never decide whether that is
good.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from dkv.client import AsyncClient
from tests.real.cluster import Cluster

_VALUE = b"v" * 256
_KEYS = [b"key-%05d" % i for i in range(10_000)]


async def load(client: AsyncClient, outstanding: int, seconds: float) -> tuple[float, list[float]]:
    """(puts a second, their waits in ms)."""
    waits: list[float] = []
    end = time.perf_counter() + seconds
    number = 0

    async def one() -> None:
        nonlocal number
        while (began := time.perf_counter()) < end:
            number += 1
            await client.put(_KEYS[number * 7919 % len(_KEYS)], _VALUE)
            waits.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(outstanding)])
    return len(waits) / (time.perf_counter() - began), sorted(waits)


def cpu(cluster: Cluster) -> dict[tuple[str, str], float]:
    """CPU seconds of each thread of each node, and of this client."""
    spent: dict[tuple[str, str], float] = {}
    pids = {"client": os.getpid()} | {n: p.pid for n, p in cluster.processes.items()}
    for name, pid in pids.items():
        for task in Path(f"/proc/{pid}/task").iterdir():
            comm = (task / "comm").read_text().strip()
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            spent[name, comm] = spent.get((name, comm), 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return spent


def print_cpu(
    leader: str,
    before: dict[tuple[str, str], float],
    after: dict[tuple[str, str], float],
    done: int,
) -> None:
    """Microseconds of CPU a put, thread by thread."""
    for node in sorted({node for node, _ in after}):
        parts = {
            t: (s - before.get((n, t), 0)) * 1e6 / done for (n, t), s in after.items() if n == node
        }
        words = "  ".join(f"{t} {us:.0f}" for t, us in parts.items() if us >= 1)
        role = " (leader)" if node == leader else ""
        print(f"       {node}{role}: {sum(parts.values()):.0f} us a put: {words}")


async def measure(
    cluster: Cluster, levels: list[int], seconds: float, rounds: int, pipeline: bool
) -> None:
    leader = cluster.leader()
    async with cluster.async_client(leader, pipeline=pipeline) as client:
        await load(client, 64, 1.0)
        for outstanding in levels:
            rates, halves, tails = [], [], []
            before, done = cpu(cluster), 0
            for _ in range(rounds):
                rate, waits = await load(client, outstanding, seconds)
                done += len(waits)
                rates.append(rate)
                halves.append(waits[len(waits) // 2])
                tails.append(waits[len(waits) * 99 // 100])
                print(
                    f"  {outstanding:>5} {rate:>9,.0f}/s  p50 {halves[-1]:.2f}  p99 {tails[-1]:.2f}"
                )
            print(
                f"{outstanding:>5} outstanding: {statistics.median(rates):,.0f} puts/s, "
                f"p50 {statistics.median(halves):.2f} ms, p99 {statistics.median(tails):.2f} ms"
            )
            print_cpu(leader, before, cpu(cluster), done)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--outstanding", type=int, nargs="+", default=[1, 64, 256])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--alone", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder,
        Cluster(Path(folder), secure=not given.insecure) as cluster,
    ):
        cluster.start()
        cluster.wait_serving()
        asyncio.run(
            measure(cluster, given.outstanding, given.seconds, given.rounds, not given.alone)
        )
        cluster.stop()


if __name__ == "__main__":
    main()
