"""Counts of what happened, by reason: one object per actor, read by `status`.

Owns: the numbers. An actor adds to its own; its shell adds mailbox depth and time spent. Must never
know who reads them. No locks: one thread writes, and a reader may see a count a moment late.
"""

from collections import defaultdict


class Counters:
    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, amount: int = 1) -> None:
        """Names end in their unit where it is not "times": `_bytes`, `_us`."""
        self._counts[name] += amount

    def set(self, name: str, value: int) -> None:
        self._counts[name] = value

    def top(self, name: str, value: int) -> None:
        """The largest so far."""
        if value > self._counts[name]:
            self._counts[name] = value

    def get(self, name: str) -> int:
        return self._counts.get(name, 0)

    def facts(self) -> dict[str, int]:
        """A copy, sorted by name."""
        return dict(sorted(self._counts.copy().items()))
