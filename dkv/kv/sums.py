"""The sum of a replica's state at each of the last entries: replicas are compared at one.

Owns: how many are remembered. Must never know what a sum is made of. Not kept on disk: a node that
has just started knows the entries since, and the last before.
"""

from collections import deque

from dkv.limits import SUMS_MAX


class Sums:
    def __init__(self, index: int, written: int) -> None:
        self._first = index
        self._sums = deque((written,), maxlen=SUMS_MAX)

    def take(self, index: int, written: int) -> None:
        """Of the entry that follows."""
        assert index == self._first + len(self._sums)
        if len(self._sums) == SUMS_MAX:
            self._first += 1
        self._sums.append(written)

    def at(self, index: int) -> int | None:
        """None: it is not remembered, or has not come yet."""
        place = index - self._first
        return self._sums[place] if 0 <= place < len(self._sums) else None
