"""The scan after a restart: are the rows all there, and as they were written?

Owns: one pass over the table and one over its index, a slice a turn. Must never know why they are
read. Every row has a check; but a damaged page of SQLite can also hide rows, so their sums, kept in
meta at each commit, must come out again before this replica reads or applies anything.
"""

from dkv.errors import Ending, Fault
from dkv.kv.store import SUM_MASK, Store
from dkv.kv.version import index_check, row_id
from dkv.limits import SUB_MAX

_SLICE_ROWS = 500


class Scan:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._meta = store.meta()
        self._through = row_id(self._meta.revision, SUB_MAX - 1)
        self._row = -1
        self._index_row: tuple[bytes, int] | None = None
        self._held = self._rows_indexed = self._index = 0

    def step(self) -> bool:
        """One slice; True when everything has been found as it should be. Raises `Fault`."""
        if self._index_row is None:
            self._step_rows()
        else:
            return self._step_index(self._index_row)
        return False

    def _step_rows(self) -> None:
        rows = self._store.scan(self._row, self._through, _SLICE_ROWS)
        for row, check, indexed in rows:
            if row <= self._row:
                raise _damaged("its rows are out of order")
            self._held += check
            self._rows_indexed += indexed
            self._row = row
        if len(rows) < _SLICE_ROWS:
            self._expect(self._held, self._meta.held, "rows")
            self._index_row = (b"", -1)

    def _step_index(self, after: tuple[bytes, int]) -> bool:
        rows = self._store.scan_index(after, _SLICE_ROWS)
        for key, row in rows:
            if not (isinstance(key, bytes) and isinstance(row, int)) or (key, row) <= after:
                raise _damaged("its index is out of order")
            self._index += index_check(key, row)
            self._index_row = after = (key, row)
        if len(rows) == _SLICE_ROWS:
            return False
        self._expect(self._index, self._meta.indexed, "index rows")
        self._expect(self._rows_indexed, self._meta.indexed, "keys of rows")
        return True

    @staticmethod
    def _expect(found: int, held: int, what: str) -> None:
        if found & SUM_MASK != held:
            raise _damaged(
                f"the sum of its {what} is not the one it was committed with, so some are missing "
                "or changed"
            )


def _damaged(words: str) -> Fault:
    return Fault(
        Ending.STORAGE_FAULT,
        f"state.db is damaged: {words}. Keep the data directory for inspection",
    )
