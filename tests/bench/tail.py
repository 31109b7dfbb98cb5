"""`make bench-tail`: how long dkv may stall under a steady load, and small puts beside large ones.

    python -m tests.bench.tail [--seconds 300] [--beside-seconds 30]

Owns: two loads. Steady: 64 puts outstanding; the longest gap between any two acknowledgements, and
the longest wait. Beside: 16 small puts outstanding, alone and while a value of 1 MiB is put every
100 ms. The client's own pauses are told too: what it did not see itself is not the store's. Must
never know other stores.
"""

import argparse
import asyncio
import gc
import sys
import time
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dkv.client import AsyncClient
from dkv.errors import DkvError, RequestError
from tests.bench import figures, machine, orderly
from tests.bench.dkv import Dkv, Load
from tests.bench.machine import Unfit
from tests.bench.processes import NotStarted
from tests.bench.sockets import Broken
from tests.bench.work import KEYS, VALUE, Work, key, percentile, scattered

_CONNECTIONS = 8
_STEADY, _SMALL = 64, 16
_LARGE = bytes(2**20)
_LARGE_EVERY_S = 0.1
_LARGE_KEYS = 16
_BEAT_S = 0.01
_COLUMNS = (
    *("per_second", "p50_ms", "p99_ms", "p999_ms", "max_ms"),
    *("longest_gap_ms", "client_pause_ms", "errors"),
)
Record = dict[str, Any]


class Watch:
    """When acknowledgements came, how long each was waited for, and the client's own pauses."""

    def __init__(self, began_s: float) -> None:
        self.began_s = self._last_s = began_s
        self.waits_ms, self.at_s = array("d"), array("d")
        self.gap_ms = self.gap_at_s = self.pause_ms = 0.0
        self.errors = 0

    def acknowledged(self, asked_s: float, now_s: float) -> None:
        gap_ms = (now_s - self._last_s) * 1000
        if gap_ms > self.gap_ms:
            self.gap_ms, self.gap_at_s = gap_ms, self._last_s - self.began_s
        self._last_s = now_s
        self.waits_ms.append((now_s - asked_s) * 1000)
        self.at_s.append(now_s - self.began_s)

    def paused(self, late_s: float) -> None:
        self.pause_ms = max(self.pause_ms, late_s * 1000)

    def ended(self, now_s: float) -> None:
        """The time since the last acknowledgement is a gap too."""
        gap_ms = (now_s - self._last_s) * 1000
        if gap_ms > self.gap_ms:
            self.gap_ms, self.gap_at_s = gap_ms, self._last_s - self.began_s

    def record(self, seconds: float) -> Record:
        """Broken: nothing was acknowledged."""
        if not self.waits_ms:
            raise Broken(f"nothing was acknowledged in {seconds:.0f} s, {self.errors} errors")
        ordered = sorted(self.waits_ms)
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
        return {
            "per_second": round(len(ordered) / seconds, 1),
            **{name: round(percentile(ordered, share), 3) for name, share in shares.items()},
            "longest_gap_ms": round(self.gap_ms, 3),
            "longest_gap_at_s": round(self.gap_at_s, 1),
            "client_pause_ms": round(self.pause_ms, 3),
            "errors": self.errors,
        }

    def by_second(self) -> list[tuple[int, float]]:
        """(acknowledged, longest wait in ms) of each second."""
        found: dict[int, tuple[int, float]] = {}
        for at_s, wait_ms in zip(self.at_s, self.waits_ms, strict=True):
            count, longest = found.get(int(at_s), (0, 0.0))
            found[int(at_s)] = (count + 1, max(longest, wait_ms))
        return [found.get(s, (0, 0.0)) for s in range(max(found, default=-1) + 1)]


async def small_puts(
    clients: list[AsyncClient], outstanding: int, watch: Watch, to_s: float
) -> None:
    """A closed loop until then."""
    turn = 0

    async def one(client: AsyncClient) -> None:
        nonlocal turn
        while (asked_s := time.perf_counter()) < to_s:
            turn += 1
            try:
                await client.put(key(scattered(turn)), VALUE)
            except RequestError:
                watch.errors += 1
                continue
            watch.acknowledged(asked_s, time.perf_counter())

    await asyncio.gather(*[one(clients[i % len(clients)]) for i in range(outstanding)])


async def large_puts(client: AsyncClient, watch: Watch, to_s: float) -> None:
    """One every 100 ms, whether or not the one before has been answered."""
    under_way: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        asked_s = time.perf_counter()
        try:
            await client.put(b"large/%d" % (number % _LARGE_KEYS), _LARGE)
        except RequestError:
            watch.errors += 1
            return
        watch.acknowledged(asked_s, time.perf_counter())

    number, due_s = 0, time.perf_counter()
    while due_s < to_s:
        task = asyncio.create_task(one(number))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        number += 1
        due_s += _LARGE_EVERY_S
        await asyncio.sleep(max(due_s - time.perf_counter(), 0))
    await asyncio.gather(*under_way)


async def beat(watch: Watch, to_s: float) -> None:
    """How late a timer of this process is: pauses that are the client's, or the machine's."""
    while (now_s := time.perf_counter()) < to_s:
        await asyncio.sleep(_BEAT_S)
        watch.paused(time.perf_counter() - now_s - _BEAT_S)


async def play(nodes: Dkv, outstanding: int, seconds: float, large: bool) -> tuple[Watch, Watch]:
    """Watches of the small puts and of the large ones."""
    async with nodes.clients_of(_CONNECTIONS + 1) as (aside, *clients):
        gc.collect()
        gc.freeze()  # so that a collection passes over little
        began_s = time.perf_counter()
        to_s = began_s + seconds
        small, big = Watch(began_s), Watch(began_s)
        loads = [small_puts(clients, outstanding, small, to_s), beat(small, to_s)]
        if large:
            loads.append(large_puts(aside, big, to_s))
        await asyncio.gather(*loads)
        small.ended(time.perf_counter())
        gc.unfreeze()
    return small, big


def measure(nodes: Dkv, seconds: float, beside_s: float) -> dict[str, Any]:
    steady, _ = asyncio.run(play(nodes, _STEADY, seconds, large=False))
    told: dict[str, Any] = {
        "steady": steady.record(seconds),
        "steady_by_second": steady.by_second(),
    }
    alone, _ = asyncio.run(play(nodes, _SMALL, beside_s, large=False))
    small, large = asyncio.run(play(nodes, _SMALL, beside_s, large=True))
    return told | {
        "small_alone": alone.record(beside_s),
        "small_beside": small.record(beside_s),
        "large": large.record(beside_s),
    }


def printed(told: dict[str, Any]) -> str:
    loads = ("steady", "small_alone", "small_beside", "large")
    rows = [["load", *_COLUMNS]]
    rows += [[load, *(f"{told[load][name]:,.2f}" for name in _COLUMNS)] for load in loads]
    steady, alone, beside = told["steady"], told["small_alone"], told["small_beside"]
    return (
        f"{figures.columns(rows)}\n"
        f"longest stall {steady['longest_gap_ms']:.0f} ms, {steady['longest_gap_at_s']:.0f} s from "
        f"the start; longest wait {steady['max_ms']:.0f} ms\n"
        f"p99 of small puts: {alone['p99_ms']:.1f} ms alone, {beside['p99_ms']:.1f} ms beside large"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tail")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--beside-seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=machine.ROOT / "build" / "bench-tail.json")
    given = parser.parse_args()
    if given.seconds < 1 or given.beside_seconds < 1:
        parser.error("--seconds and --beside-seconds are at least 1")
    try:
        with ExitStack() as stack:
            folder = orderly.scratch(stack)
            told: dict[str, Any] = {
                "kind": "tail",
                "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": machine.commit(),
                "machine": machine.facts(folder),
                "settings": {"seconds": given.seconds, "beside_seconds": given.beside_seconds},
            }
            nodes = Dkv(folder / "dkv")
            stack.callback(nodes.close)
            nodes.boot()
            nodes.fill(Load(Work("put", _STEADY), keys=KEYS))
            told |= measure(nodes, given.seconds, given.beside_seconds)
    except (Unfit, NotStarted, Broken, DkvError) as error:
        sys.exit(f"not measured: {error}")
    machine.save(given.out, told)
    print(printed(told))


if __name__ == "__main__":
    orderly.run(main)
