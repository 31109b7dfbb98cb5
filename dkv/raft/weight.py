"""How heavy the log is, from which entry on: what is kept of it for a slow member is bounded.

Owns: a sum for each stretch of the log, about a mebibyte long. Must never know what is cut, or why.
It is rough: of a stretch that was truncated, or cut in two, the whole counts.
"""

from collections import deque
from collections.abc import Iterable

from dkv.limits import MIB

Stretch = tuple[int, int]  # last index, bytes

_STRETCH_BYTES = 1 * MIB


class Weight:
    def __init__(self, stretches: Iterable[Stretch] = ()) -> None:
        self.stretches = deque(stretches)
        self.bytes = sum(size for _last, size in self.stretches)

    def add(self, index: int, size: int) -> None:
        self.bytes += size
        if self.stretches and self.stretches[-1][1] < _STRETCH_BYTES:
            size += self.stretches.pop()[1]
        self.stretches.append((index, size))

    def cut(self, through: int) -> None:
        while self.stretches and self.stretches[0][0] <= through:
            self.bytes -= self.stretches.popleft()[1]

    def excess(self, bytes_max: int) -> int:
        """The index through which the log would have to be cut, for it to hold no more than
        `bytes_max`; 0 where it holds less."""
        bytes_, last = self.bytes, 0
        for index, size in self.stretches:
            if bytes_ <= bytes_max:
                break
            bytes_, last = bytes_ - size, index
        return last
