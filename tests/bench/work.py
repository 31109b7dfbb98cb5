"""What is asked of a store, and what one measured run says of it.

Owns: the list of works, the keys and the value that all stores get, how waits become percentiles.
Must never know a store.
"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

KEYS = 10_000
VALUE = b"dkv bench value " * 16
VALUE_BYTES = len(VALUE)
PER_MESSAGE = 32  # commands a message in a pipelined work


class Work(NamedTuple):
    """`outstanding` requests are under way at any moment; each answer is followed by the next."""

    operation: str  # "put" or "get"
    outstanding: int
    level: str = "linearizable"  # of a get
    pipelined: bool = False  # PER_MESSAGE commands a message

    @property
    def name(self) -> str:
        level = "" if self.level == "linearizable" else f" {self.level}"
        return f"{'pipelined ' if self.pipelined else ''}{self.operation}@{self.outstanding}{level}"


WORKS = (
    *(Work("put", n) for n in (1, 64, 256)),
    *(Work("get", n) for n in (1, 64, 256)),
    Work("get", 64, "serializable"),
    Work("put", 256, pipelined=True),
    Work("get", 256, pipelined=True),
)


class Measured(NamedTuple):
    """One run. Waits in milliseconds; `ended_s` is when the measured part ended, by
    `time.perf_counter`."""

    client: str
    operations: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    ended_s: float

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds

    def record(self) -> dict[str, Any]:
        facts = {k: v for k, v in self._asdict().items() if k != "ended_s"}
        facts |= {k: round(v, 4) for k, v in facts.items() if isinstance(v, float)}
        return facts | {"per_second": round(self.per_second, 1)}


def measured(
    client: str, waits_s: Iterable[float], seconds: float, errors: int, ended_s: float
) -> Measured:
    """From the waits of all answered operations. ValueError: none was answered."""
    waits_ms = sorted(w * 1000 for w in waits_s)
    if not waits_ms:
        raise ValueError(f"{client}: nothing was answered in {seconds:.1f} s ({errors} errors)")
    p50, p90, p99 = (percentile(waits_ms, share) for share in (0.5, 0.9, 0.99))
    return Measured(client, len(waits_ms), seconds, p50, p90, p99, waits_ms[-1], errors, ended_s)


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that `share` of all (0 to 1) do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def key(number: int) -> bytes:
    """16 bytes."""
    return b"bench/%010d" % number


def scattered(turn: int) -> int:
    """The key of the turn: all of them, in no order a cache would like."""
    return turn * 7919 % KEYS
