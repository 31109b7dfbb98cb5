"""CPU and disk flushes while a run goes on, sampled, so that its warm-up can be left out.

Owns: the sampling thread and what is told from its samples. Must never know what is measured.
A load generator that is a process of its own says only when it ended and how long it measured; the
samples within that time are its steady part.
"""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tests.bench import machine

_PERIOD_S = 0.1


class Sample(NamedTuple):
    now_s: float
    servers_s: float
    all_s: float
    flushes: int | None


class Spent(NamedTuple):
    """Per second of the measured part; CPU in cores."""

    servers: float
    client: float
    others: float
    flushes: float | None


class Meter:
    """A context: samples while it is open. `pids`: the servers' processes."""

    def __init__(self, pids: Sequence[int], folder: Path) -> None:
        self._pids, self._folder = list(pids), folder
        self._samples: list[Sample] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Meter":
        self._began_s, self._own_s = time.perf_counter(), _own_s()
        self._samples.append(self._look())
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        self._thread.join()
        self._samples.append(self._look())
        self._own = (_own_s() - self._own_s) / (time.perf_counter() - self._began_s)

    def spent(self, ended_s: float, seconds: float) -> Spent:
        """In the `seconds` before `ended_s`. The client's share is of the whole run: what an ended
        process used is known only as a sum."""
        first, last = span(self._samples, ended_s - seconds, ended_s)
        took_s = last.now_s - first.now_s
        servers = (last.servers_s - first.servers_s) / took_s
        everything = (last.all_s - first.all_s) / took_s
        counted = first.flushes is not None and last.flushes is not None
        flushes = (last.flushes - first.flushes) / took_s if counted else None  # type: ignore[operator]
        others = max(everything - servers - self._own, 0.0)
        return Spent(round(servers, 3), round(self._own, 3), round(others, 3), flushes)

    def _sample(self) -> None:
        while not self._enough.wait(_PERIOD_S):
            self._samples.append(self._look())

    def _look(self) -> Sample:
        servers_s = sum(map(machine.cpu_s, self._pids))
        flushes = machine.flushes(self._folder)
        return Sample(time.perf_counter(), servers_s, machine.busy_s(), flushes)


def span(samples: list[Sample], from_s: float, to_s: float) -> tuple[Sample, Sample]:
    """The first and last sample within that time; the nearest ones outside if it is too short."""
    inside = [s for s in samples if from_s <= s.now_s <= to_s]
    if len(inside) >= 2:
        return inside[0], inside[-1]
    before = [s for s in samples[:-1] if s.now_s < from_s]
    first = before[-1] if before else samples[0]
    after = [s for s in samples if s.now_s > max(to_s, first.now_s)]
    return first, after[0] if after else samples[-1]


def _own_s() -> float:
    """Of this process and of those of its children that have ended and been waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
