"""Versions in the order in which they were written: where somebody who reads all of them stands.

Owns: the place, and how it moves. Must never know why they are read, nor what travels. Nothing
stays open between two steps, and versions do not change, so what is written meanwhile plays no
part; the place is a row id, which means the same on every replica.
"""

from dkv.kv.store import Store
from dkv.kv.version import row_id, row_of_packed
from dkv.limits import SUB_MAX


class Rows:
    """From behind row id `after` (0: the first) to the end of `revision`."""

    def __init__(self, store: Store, revision: int, after: int = 0) -> None:
        self._store = store
        self._through = row_id(revision, SUB_MAX - 1)
        self.after = after

    def take(self) -> list[bytes]:
        """The next packed versions, some 256 KiB of them; empty behind the last."""
        found = self._store.span(self.after, self._through)
        if found:
            self.after = row_of_packed(found[-1])
        return found
