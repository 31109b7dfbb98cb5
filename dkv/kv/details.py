"""What gets have answered lately, packed: a key that is read often is read from its file once.

Owns: the packed results, by key, each with the row that it is of. Must never know a head: whoever
asks says at which row the key is now, so that nothing has to be forgotten when a key changes.
Versions never change, hence what is of the same row is right. When it is full it is begun anew.
"""

from dkv.limits import DETAIL_BYTES_MAX, DETAILS_BYTES_MAX

_OVERHEAD_BYTES = 200


class Details:
    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._bytes = 0

    def of(self, key: bytes, row: int) -> bytes | None:
        """The packed result of a get of this key, if it was made from version `row`."""
        found = self._known.get(key)
        return found[1] if found is not None and found[0] == row else None

    def keep(self, key: bytes, row: int, packed: bytes) -> None:
        if len(packed) > DETAIL_BYTES_MAX:
            return
        before = self._known.get(key)
        self._bytes += len(packed) - len(before[1]) if before else len(packed) + _OVERHEAD_BYTES
        if self._bytes > DETAILS_BYTES_MAX:
            self._known.clear()
            self._bytes = len(packed) + _OVERHEAD_BYTES
        self._known[key] = (row, packed)
