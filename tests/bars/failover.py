"""How long a retrying client waits when the leader is killed under load, and what is lost.

    python -m tests.bars.failover [--trials 10]

One client counts by compare-and-put with a deadline of 30 s, 16 others put; the leader gets
kill -9. Prints each trial's gap: from the kill to the counting client's next success.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from dkv.client import AsyncClient, ConditionFailed, Rejected, Uncertain
from tests.real.cluster import Cluster


class Books:
    def __init__(self) -> None:
        self.running = True
        self.acknowledged = self.unknown = 0
        self.last_s = 0.0
        self.written: dict[bytes, int] = {}


async def count(client: AsyncClient, books: Books) -> None:
    while books.running:
        item = await client.get(b"counter")
        value, at = (int(item.value or b"0"), item.key_revision) if item else (0, 0)
        try:
            await client.put(b"counter", str(value + 1), expected=at)
            books.acknowledged += 1
            books.last_s = time.monotonic()
        except ConditionFailed:
            pass
        except (Rejected, Uncertain) as error:
            books.unknown += isinstance(error, Uncertain)


async def write(client: AsyncClient, books: Books, number: int) -> None:
    step = 0
    while books.running:
        step += 1
        key = b"w%d" % number
        await client.put(key, b"%d" % step)
        books.written[key] = step


async def trial(cluster: Cluster, client: AsyncClient, books: Books) -> float:
    """Seconds from the kill of the leader to the next success."""
    before = books.acknowledged
    while books.acknowledged < before + 100:
        await asyncio.sleep(0.01)
    leader = await asyncio.to_thread(cluster.leader)
    cluster.kill(leader)
    killed = time.monotonic()
    while books.last_s <= killed:
        await asyncio.sleep(0.002)
    gap = books.last_s - killed
    cluster.start(leader)
    await asyncio.to_thread(cluster.wait_serving, leader)
    return gap


async def measure(cluster: Cluster, trials: int) -> None:
    books = Books()
    async with cluster.async_client(timeout=30.0) as client, cluster.async_client() as other:
        users = [asyncio.create_task(count(client, books))]
        users += [asyncio.create_task(write(other, books, i)) for i in range(16)]
        gaps = []
        for _ in range(trials):
            gaps.append(await trial(cluster, client, books))
            print(f"  next success after {gaps[-1]:.2f} s")
        books.running = False
        await asyncio.gather(*users)
        item = await client.get(b"counter")
        value = int(item.value or b"0") if item else 0
        lost = 0
        for key, step in books.written.items():
            found = await client.get(key)
            lost += found is None or int(found.value or b"-1") < step
    quick = sum(gap <= 1.5 for gap in gaps)
    print(f"within 1.5 s: {quick} of {trials}; slowest {max(gaps):.2f} s")
    print(f"counter {value}, acknowledged {books.acknowledged}, unknown {books.unknown}")
    print(f"acknowledged writes lost: {lost} of {len(books.written)} keys")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder, Cluster(Path(folder)) as cluster:
        cluster.start()
        cluster.wait_serving()
        asyncio.run(measure(cluster, given.trials))


if __name__ == "__main__":
    main()
