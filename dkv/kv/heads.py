"""Where each key's newest version stands, of the keys that were written of late.

Owns: a bounded memory in front of the store. A put needs to know only revision, creation and count
of what it replaces; reading the row for it, value and all, would cost as much as the put itself.
Must never know what a command means.
"""

from typing import NamedTuple

from dkv.kv.store import Store
from dkv.limits import HEADS_BYTES_MAX, HEADS_MAX


class Head(NamedTuple):
    """All zero: the key does not exist (never did, or was deleted)."""

    revision: int = 0
    created: int = 0
    version: int = 0


ABSENT = Head()


class Heads:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[bytes, Head] = {}
        self._bytes = 0

    def of(self, key: bytes) -> Head:
        head = self._known.get(key)
        if head is None:
            found = self._store.latest(key)
            if found is None or found.value is None:
                head = ABSENT
            else:
                head = Head(found.revision, found.created, found.version)
            self.moved(key, head)
        return head

    def moved(self, key: bytes, head: Head) -> None:
        """A version was written. When the memory is full it is begun anew."""
        if key not in self._known:
            self._bytes += len(key)
            if len(self._known) >= HEADS_MAX or self._bytes > HEADS_BYTES_MAX:
                self._known.clear()
                self._bytes = len(key)
        self._known[key] = head
