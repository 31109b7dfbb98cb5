"""The end of the log, in memory: what consensus needs to know of entries without asking the log.

Owns: the last entries (all that may still be truncated, and more as bytes allow), the position of
the last one, the base behind which the log has been cut, and the term of every index in between
as runs. Must never know whether an entry is saved, committed or applied.
"""

from bisect import bisect_right
from collections.abc import Iterable

from dkv.entries import Entry, Position, entry_bytes, position_of


class Tail:
    """A window onto the log from `base` (excluded) to `last` (included)."""

    def __init__(self, base: Position, runs: Iterable[tuple[int, int]], entries: Iterable[Entry]):
        """`runs` are (first index, term) in order; `entries` the last ones, contiguous."""
        self.base = base
        self.last = base
        self.bytes = 0
        self._entries: dict[int, Entry] = {}
        self._run_starts: list[int] = []
        self._run_terms: list[int] = []
        for start, term in runs:
            self._run_starts.append(start)
            self._run_terms.append(term)
        for entry in entries:
            self._hold(entry)
        self.first = min(self._entries, default=base.index + 1)  # the oldest one in memory

    def _hold(self, entry: Entry) -> None:
        self._entries[entry.index] = entry
        self.bytes += entry_bytes(entry)
        self.last = position_of(entry)

    def append(self, entry: Entry) -> None:
        """Add the entry that follows `last`."""
        assert entry.index == self.last.index + 1, (entry.index, self.last)
        assert entry.term >= self.last.term, (entry.term, self.last)
        if not self._run_terms or self._run_terms[-1] != entry.term:
            self._run_starts.append(entry.index)
            self._run_terms.append(entry.term)
        self._hold(entry)

    def truncate(self, index: int) -> None:
        """Drop `index` and everything behind it. What precedes it must be in memory."""
        assert self.base.index < index <= self.last.index, (index, self.base, self.last)
        before = Position(index - 1, self.term_at(index - 1), self.check_at(index - 1) or b"")
        assert before.check, f"the entry before {index} is not in memory"
        for gone in range(index, self.last.index + 1):
            self.bytes -= entry_bytes(self._entries.pop(gone))
        while self._run_starts and self._run_starts[-1] >= index:
            self._run_starts.pop()
            self._run_terms.pop()
        self.last = before

    def rebase(self, base: Position) -> None:
        """The log has been cut: `base` is now the last entry that it does not hold."""
        self.base = base
        keep = bisect_right(self._run_starts, base.index + 1) - 1
        if keep > 0:
            del self._run_starts[:keep]
            del self._run_terms[:keep]

    def shed(self, bytes_max: int, before: int) -> None:
        """Forget the oldest entries in memory, none at or beyond `before`, down to `bytes_max`."""
        while self.bytes > bytes_max and self.first < min(before, self.last.index):
            self.bytes -= entry_bytes(self._entries.pop(self.first))
            self.first += 1

    # -- questions -------------------------------------------------------------------------------
    def get(self, index: int) -> Entry | None:
        return self._entries.get(index)

    def term_at(self, index: int) -> int:
        """The term of an index from `base` to `last`."""
        assert self.base.index <= index <= self.last.index, (index, self.base, self.last)
        if index == self.base.index:
            return self.base.term
        return self._run_terms[bisect_right(self._run_starts, index) - 1]

    def check_at(self, index: int) -> bytes | None:
        """The check at an index, or None where the entry is not in memory."""
        if index == self.base.index:
            return self.base.check
        if index == self.last.index:
            return self.last.check
        entry = self._entries.get(index)
        return entry.check if entry else None

    def find(self, index: int, term: int) -> int:
        """The largest index <= `index` whose term is <= `term` (at least the base's)."""
        index = min(index, self.last.index)
        while index > self.base.index and self.term_at(index) > term:
            index = self._run_starts[bisect_right(self._run_starts, index) - 1] - 1
        return max(index, self.base.index)

    def slice(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries in memory from `first` to `last`, at least one, up to `bytes_max`."""
        found: list[Entry] = []
        size = 0
        for index in range(first, min(last, self.last.index) + 1):
            entry = self._entries.get(index)
            if entry is None:
                break
            size += entry_bytes(entry)
            if found and size > bytes_max:
                break
            found.append(entry)
        return tuple(found)
