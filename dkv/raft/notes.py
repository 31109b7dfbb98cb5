"""Replicas compared: the sums of their states at an index, as members reported them to the leader.

Owns: the last few indexes' notes. Must never know what a sum is made of. What a majority of all
voters gave is written into the log; a replica that differs stops, so that a wrong state is found
before it is trusted, and by the one that has it.
"""

from collections import Counter

from dkv.raft.quorum import majority

_INDEXES_MAX = 8


class Notes:
    def __init__(self) -> None:
        self._notes: dict[int, dict[str, int]] = {}
        self._settled: set[int] = set()

    def take(self, index: int, name: str, written: int) -> None:
        self._notes.setdefault(index, {})[name] = written
        while len(self._notes) > _INDEXES_MAX:
            oldest = min(self._notes)
            del self._notes[oldest]
            self._settled.discard(oldest)

    def agreed(self, index: int, size: int) -> int | None:
        """The sum that a majority of `size` members gave; said once an index."""
        if index in self._settled or index not in self._notes:
            return None
        value, count = Counter(self._notes[index].values()).most_common(1)[0]
        if count < majority(size):
            return None
        self._settled.add(index)
        return value

    def is_split(self, index: int, size: int) -> bool:
        """Everyone has spoken and no majority agrees."""
        notes = self._notes.get(index, {})
        return index not in self._settled and len(notes) == size
