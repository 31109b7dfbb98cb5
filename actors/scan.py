"""The scan after a restart: are the versions all there, and as they were written?

Owns: one pass over the versions, which fills the heads, and one over the table of keys, a slice a
turn. Must never know why they are read. Every chunk has a check; but a damaged page of SQLite can
also hide rows, or be the page of an older moment. So before this replica reads or applies anything,
the sum of all versions, kept in meta at each commit, must come out again; each version must name
the one before it of its key, where compaction has left that; and the table of keys must hold, in
order, the keys of the versions and no others (told by their number and sum).
"""

from itertools import islice
from operator import lt

from dkv.errors import Ending, Fault
from dkv.kv.heads import Heads, Unfollowed, follow, key_check
from dkv.kv.store import SUM_MASK, Store
from dkv.kv.version import floor_of, read_rows, version_check

_SLICE_KEYS = 2_000


class Scan:
    def __init__(self, store: Store, heads: Heads) -> None:
        self._store = store
        self._heads = heads
        self._row = -1
        self._floor = floor_of(store.meta().compacted)
        self._held = 0
        self._next_key: bytes | None = None  # None: the versions come first
        self._new = 0  # sum of the keys of versions
        self._keys = self._listed = 0  # how many the table of keys has, and the sum of them

    def step(self) -> bool:
        """One slice; True when everything has been found as it should be. Raises `Fault`."""
        if self._next_key is not None:
            return self._step_keys(self._next_key)
        self._step_versions()
        return False

    def _step_versions(self) -> None:
        slice_ = self._store.scan(self._row)
        self._held += sum(map(version_check, slice_))
        try:
            self._row, new = follow(self._heads, read_rows(slice_), self._row, self._floor)
        except Unfollowed as unfollowed:
            raise _damaged(str(unfollowed)) from unfollowed
        self._new += new
        if slice_:
            return
        if self._held & SUM_MASK != self._store.meta().held:
            raise _damaged(
                "the sum of its versions is not the one it was committed with, so some are "
                "missing or changed"
            )
        self._next_key = b""

    def _step_keys(self, start: bytes) -> bool:
        keys = self._store.keys(start, b"", _SLICE_KEYS)
        ordered = all(map(lt, keys, islice(keys, 1, None)))
        if keys and (keys[0] < start or not ordered):
            raise _damaged("its table of keys is out of order")
        self._keys += len(keys)
        self._listed += sum(map(key_check, keys))
        if len(keys) == _SLICE_KEYS:
            self._next_key = keys[-1] + b"\0"
            return False
        if (self._keys, self._listed) != (len(self._heads), self._new):
            raise _damaged("its table of keys does not hold the keys of its versions")
        return True


def _damaged(words: str) -> Fault:
    return Fault(
        Ending.STORAGE_FAULT,
        f"state.db is damaged: {words}. Keep the data directory for inspection",
    )
