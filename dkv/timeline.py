"""When a growing index was reached, for whoever watches a log: received, saved, committed, applied.

Owns: the last steps (index, time) of one such index: one a turn in which it moved, however many
entries that were, so that it costs next to nothing beside them. Must never know what was reached.
"""

from bisect import bisect_left

_STEPS_MAX = 4_096


class Timeline:
    """`at`: where it stands at the beginning. When it came there is not known."""

    __slots__ = ("_indexes", "_times", "last")

    def __init__(self, at: int) -> None:
        self.begin(at)

    def begin(self, at: int) -> None:
        """Anew: nothing up to `at` is known."""
        self.last = at
        self._indexes, self._times = [at], [0]

    def reach(self, index: int, now_us: int) -> None:
        """It is at `index`; nothing happens where it was already."""
        if index <= self.last:
            return
        self.last = index
        self._indexes.append(index)
        self._times.append(now_us)
        if len(self._indexes) >= 2 * _STEPS_MAX:
            del self._indexes[:_STEPS_MAX], self._times[:_STEPS_MAX]

    def back_to(self, index: int) -> None:
        """What followed `index` is no more; what follows it from now on is new."""
        if index >= self.last:
            return
        if index <= self._indexes[0]:
            self.begin(index)
            return
        step = bisect_left(self._indexes, index)
        del self._indexes[step + 1 :], self._times[step + 1 :]
        self._indexes[step] = self.last = index

    def when(self, index: int) -> int:
        """The microsecond at which `index` was reached; 0: not yet, or not known."""
        step = bisect_left(self._indexes, index)
        return self._times[step] if 0 < step < len(self._indexes) else 0
