"""How long a retrying client waits while members come and go, and what is lost.

    python -m tests.bars.members [--changes 50] [--seed 1]

First 3 -> 5 -> 3 nodes, the leader among those who go, then a restart of one node after the other,
then so many random changes. One client counts by compare-and-put with a deadline of 30 s: each
line's gap is its longest time without a success.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from dkv.client import AsyncClient, ConditionFailed, Rejected, Uncertain
from tests.real.churn import Operator
from tests.real.cluster import Cluster


class Books:
    def __init__(self) -> None:
        self.running = True
        self.acknowledged = self.unknown = 0
        self.gap_s = 0.0

    async def count(self, client: AsyncClient) -> None:
        last = time.monotonic()
        while self.running:
            item = await client.get(b"counter")
            value, at = (int(item.value or b"0"), item.key_revision) if item else (0, 0)
            try:
                await client.put(b"counter", str(value + 1), expected=at)
                self.acknowledged += 1
                now = time.monotonic()
                self.gap_s, last = max(self.gap_s, now - last), now
            except ConditionFailed:
                pass
            except (Rejected, Uncertain) as error:
                self.unknown += isinstance(error, Uncertain)


def rolling(operator: Operator) -> None:
    cluster = operator.cluster
    for name in list(operator.survey()):
        cluster.stop(name)
        cluster.start(name)
        cluster.wait_serving(name)


def grow_and_shrink(operator: Operator) -> None:
    operator.grow()
    operator.grow()
    operator.remove(operator.leader())
    operator.remove(next(n for n in operator.survey() if n != operator.leader()))


def change(operator: Operator, dice: Random) -> str:
    """One more, chosen so that three to five members are left."""
    names = sorted(operator.survey())
    leader = operator.leader()
    victim = leader if dice.random() < 0.4 else dice.choice(names)
    kinds = ["grow"] if len(names) < 4 else ["remove", "remove", "replace", "transfer"]
    kinds += ["grow"] if len(names) < 5 else []
    kind = dice.choice(kinds)
    if kind == "grow":
        return f"grow {operator.grow()}"
    if kind == "transfer":
        operator.transfer()
        return "transfer"
    getattr(operator, kind)(victim)
    return f"{kind} {victim}{' (the leader)' if victim == leader else ''}"


async def timed(books: Books, what: str, work: Callable[[], object]) -> None:
    books.gap_s = 0.0
    said = await asyncio.to_thread(work)
    await asyncio.sleep(0.2)
    print(f"  {said or what}: longest gap {books.gap_s:.2f} s", flush=True)


async def measure(cluster: Cluster, changes: int, seed: int) -> None:
    books, operator, dice = Books(), Operator(cluster), Random(seed)
    async with cluster.async_client(timeout=30.0) as client:
        user = asyncio.create_task(books.count(client))
        await timed(books, "3 -> 5 -> 3", lambda: grow_and_shrink(operator))
        await timed(books, "rolling restart", lambda: rolling(operator))
        for _ in range(changes):
            await timed(books, "", lambda: change(operator, dice))
        books.running = False
        await user
        item = await client.get(b"counter")
    value = int(item.value or b"0") if item else 0
    holds = books.acknowledged <= value <= books.acknowledged + books.unknown
    print(
        f"{operator.made} changes; acknowledged {books.acknowledged}, unknown {books.unknown}, "
        f"counter {value}: {'nothing lost' if holds else 'LOST'}"
    )
    assert holds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.members", description=__doc__)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder) / "c") as cluster:
        cluster.start()
        cluster.wait_serving()
        asyncio.run(measure(cluster, asked.changes, asked.seed))


if __name__ == "__main__":
    main()
