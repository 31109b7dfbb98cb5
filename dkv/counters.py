"""Counts of what happened, by reason: one object per actor, read by `status` and by metrics.

Owns: the numbers. An actor adds to its own; its shell adds mailbox depth and time spent. Must never
know who reads them. No locks: one thread writes, and a reader may see a count a moment late.
"""

from collections import defaultdict
from collections.abc import Sequence


class Histogram:
    """How often something took how long, in buckets that double: the number of bits of a duration
    in microseconds is its bucket, so that adding costs no search. `counts[n]`: 2**(n-1) us to less
    than 2**n us; 0: less than one."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts = [0] * 64
        self.sum_us = 0

    def add(self, took_us: int) -> None:
        self.counts[took_us.bit_length()] += 1
        self.sum_us += took_us

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def filled(self) -> list[int]:
        """The counts as far as there are any."""
        counts = self.counts.copy()
        while counts and not counts[-1]:
            counts.pop()
        return counts


def percentile_us(counts: Sequence[int], share: float) -> float | None:
    """Below which this share of what a `Histogram` counted lies, as if what is in one bucket were
    spread over it evenly."""
    rank, below = share * sum(counts), 0
    for bits, count in enumerate(counts):
        if count and below + count >= rank:
            low, high = 1 << bits >> 1, 1 << bits
            return low + (high - low) * (rank - below) / count
        below += count
    return None


class Counters:
    """`waits`: how long the oldest letter of each turn can have waited."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self.waits = Histogram()
        self._turns = self._letters = self._busy_us = self._depth = 0
        self._depth_max = self._turn_us_max = self._oldest_us_max = 0

    def turn(self, letters: int, took_us: int, oldest_us: int) -> None:
        """An actor's turn: how many letters it had, how long it took, and how long a letter of it
        can have waited. (Numbers of their own: this is counted more often than all the rest.)"""
        self._turns += 1
        self._letters += letters
        self._busy_us += took_us
        self._depth = letters
        if letters > self._depth_max:
            self._depth_max = letters
        if took_us > self._turn_us_max:
            self._turn_us_max = took_us
        if oldest_us > self._oldest_us_max:
            self._oldest_us_max = oldest_us
        if letters:
            self.waits.add(oldest_us)

    def add(self, name: str, amount: int = 1) -> None:
        """Names end in their unit where it is not "times": `_bytes`, `_us`."""
        self._counts[name] += amount

    def top(self, name: str, value: int) -> None:
        """The largest so far."""
        if value > self._counts[name]:
            self._counts[name] = value

    def get(self, name: str) -> int:
        return self._counts.get(name, 0)

    def facts(self) -> dict[str, int]:
        """A copy, sorted by name."""
        return dict(sorted({**self._counts.copy(), **self._of_turns()}.items()))

    def _of_turns(self) -> dict[str, int]:
        if not self._turns:
            return {}
        return {
            "turns": self._turns,
            "letters": self._letters,
            "busy_us": self._busy_us,
            "depth": self._depth,
            "depth_max": self._depth_max,
            "turn_us_max": self._turn_us_max,
            "oldest_us_max": self._oldest_us_max,
        }
