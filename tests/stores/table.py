"""state.db in memory."""

from collections.abc import Iterable
from itertools import islice

from dkv.errors import Ending, Fault
from dkv.kv.store import Meta
from dkv.kv.version import Version, pack_version, unpack_version, version_check
from dkv.limits import INT_MAX
from tests.stores.disk import STATE, Change, Shelf, SimDisk
from tests.stores.port import Port
from tests.stores.rot import Place

_META = Place(STATE, "meta")
_SLICE = 500  # versions of a scan


class MemoryTable(Port):
    part = STATE

    def __init__(self, disk: SimDisk, number: int, shelf: Shelf | None = None) -> None:
        super().__init__(disk)
        self.shelf = shelf or disk.state
        self.read_pages()
        if self.shelf.meta is None:
            self.shelf.meta = Meta(number)
        if _META in disk.rotten:
            raise self._damaged("its meta row")

    # -- meta and sessions -----------------------------------------------------------------------
    def meta(self) -> Meta:
        assert self.shelf.meta is not None
        return self.shelf.meta

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        self.read_pages()
        for number in self.shelf.sessions:
            if Place(STATE, "session", number) in self.disk.rotten:
                raise self._damaged(f"session {number}")
        return sorted(self.shelf.sessions.items())

    # -- versions --------------------------------------------------------------------------------
    def add(self, row: int, packed: bytes, new: bytes | None) -> None:
        self.disk.step("table.add", lambda: self._add(row, packed, new))

    def _add(self, row: int, packed: bytes, new: bytes | None) -> None:
        assert row not in self.shelf.versions, row
        self.shelf.versions[row] = (unpack_version(packed), version_check(packed))
        self.disk.ever[row] = self.shelf.versions[row][0]
        self._changed("version", row, None)
        if new is not None and new not in self.shelf.keys:
            self.shelf.keys.add(new)
            self._changed("key", row, new)

    def version(self, row: int) -> Version:
        self._packed(row)
        return self.shelf.versions[row][0]

    def _packed(self, row: int) -> bytes:
        self.read_pages()
        found = self.shelf.versions.get(row)
        packed = pack_version(found[0]) if found else b""
        if found is None or version_check(packed) != found[1]:
            raise self._damaged(f"version {row}")
        return packed

    def keys(self, start: bytes, end: bytes, count: int) -> list[bytes]:
        self.read_pages()
        found = self.shelf.keys.irange(start, end or None, inclusive=(True, False))
        return list(islice(found, count))

    # -- commits ---------------------------------------------------------------------------------
    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        def do() -> None:
            shelf = self.shelf
            for number, packed in changed:
                self._session(number, packed)
            for number in ended:
                self._session(number, None)
            self._changed("meta", 0, shelf.meta)
            shelf.meta = meta
            self.disk.rotten.discard(_META)
            self.disk.committed(STATE, shelf.undo)
            shelf.undo.clear()

        self.disk.step("table.commit", do)

    def _changed(self, what: str, number: int, before: object) -> None:
        self.shelf.undo.append(Change(what, number, before, self.shelf))

    def _session(self, number: int, packed: bytes | None) -> None:
        sessions = self.shelf.sessions
        self._changed("session", number, sessions.get(number))
        self.disk.rotten.discard(Place(STATE, "session", number))
        if packed is None:
            sessions.pop(number, None)
        else:
            sessions[number] = packed

    def mark_diverged(self, meta: Meta) -> None:
        self.disk.forget(self.shelf)
        self.shelf.meta = meta

    # -- the scan after a restart ----------------------------------------------------------------
    def scan(self, after: int, size: int = 0, through: int = INT_MAX) -> list[bytes]:
        self.read_pages()
        rows = sorted(row for row in self.shelf.versions if after < row <= through)[:_SLICE]
        return [self._packed(row) for row in rows]

    # -- what is deleted -------------------------------------------------------------------------
    def drop(self, rows: list[int]) -> tuple[int, int]:
        """No two versions stand together here."""
        row = rows[0]
        if row not in self.shelf.versions:
            return 1, 0
        check = version_check(self._packed(row))
        self.disk.step("table.drop", lambda: self._take(row))
        return 1, check

    def _take(self, row: int) -> None:
        self._changed("version", row, self.shelf.versions.pop(row))

    def forget(self, keys: list[bytes]) -> None:
        def do() -> None:
            for key in keys:
                if key in self.shelf.keys:
                    self.shelf.keys.remove(key)
                    self._changed("no key", 0, key)

        self.disk.step("table.forget", do)

    def tidy(self, *, idle: bool) -> bool:
        return False

    def sizes(self) -> dict[str, int]:
        live = sum(len(v.key) + len(v.value or b"") for v, _check in self.shelf.versions.values())
        return {"state_bytes": live, "live_bytes": live, "free_bytes": 0}

    def close(self) -> None:
        self.disk.forget(self.shelf)

    def _damaged(self, what: str) -> Fault:
        words = f"{what} is damaged; this disk must not be trusted any more"
        return Fault(Ending.STORAGE_FAULT, words)


class MemoryStores:
    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._number = 0

    def table(self, disk: int) -> MemoryTable:
        self._number = disk
        return MemoryTable(self._disk, disk)

    def staged(self) -> MemoryTable | None:
        shelf = self._disk.staged
        return MemoryTable(self._disk, self._number, shelf) if shelf else None

    def stage(self, _number: int) -> MemoryTable:
        self._disk.staged = Shelf()
        return MemoryTable(self._disk, self._number, self._disk.staged)

    def adopt(self) -> None:
        self._disk.adopt()

    def discard(self) -> None:
        self._disk.staged = None

    def has_room(self, _size: int) -> bool:
        return self._disk.space_level == 0
