"""state.db in memory."""

from collections.abc import Iterable
from itertools import islice

from dkv.errors import Ending, Fault
from dkv.kv.store import Meta
from dkv.kv.version import Version, pack_version, unpack_version, version_check
from tests.stores.disk import STATE, Change, SimDisk
from tests.stores.port import Port
from tests.stores.rot import Place

_META = Place(STATE, "meta")
_SLICE = 500  # versions of a scan


class MemoryTable(Port):
    part = STATE

    def __init__(self, disk: SimDisk, number: int) -> None:
        super().__init__(disk)
        self.read_pages()
        if disk.meta is None:
            disk.meta = Meta(number)
        if _META in disk.rotten:
            raise self._damaged("its meta row")

    # -- meta and sessions -----------------------------------------------------------------------
    def meta(self) -> Meta:
        assert self.disk.meta is not None
        return self.disk.meta

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        self.read_pages()
        for number in self.disk.sessions:
            if Place(STATE, "session", number) in self.disk.rotten:
                raise self._damaged(f"session {number}")
        return sorted(self.disk.sessions.items())

    # -- versions --------------------------------------------------------------------------------
    def add(self, row: int, packed: bytes, new: bytes | None) -> None:
        self.disk.step("table.add", lambda: self._add(row, packed, new))

    def _add(self, row: int, packed: bytes, new: bytes | None) -> None:
        assert row not in self.disk.versions, row
        self.disk.versions[row] = (unpack_version(packed), version_check(packed))
        self.disk.ever[row] = self.disk.versions[row][0]
        self.disk.undo_table.append(Change("version", row, None))
        if new is not None and new not in self.disk.keys:
            self.disk.keys.add(new)
            self.disk.undo_table.append(Change("key", row, new))

    def version(self, row: int) -> Version:
        self._packed(row)
        return self.disk.versions[row][0]

    def _packed(self, row: int) -> bytes:
        self.read_pages()
        found = self.disk.versions.get(row)
        packed = pack_version(found[0]) if found else b""
        if found is None or version_check(packed) != found[1]:
            raise self._damaged(f"version {row}")
        return packed

    def keys(self, start: bytes, end: bytes, count: int) -> list[bytes]:
        self.read_pages()
        found = self.disk.keys.irange(start, end or None, inclusive=(True, False))
        return list(islice(found, count))

    # -- commits ---------------------------------------------------------------------------------
    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        def do() -> None:
            disk = self.disk
            for number, packed in changed:
                self._session(number, packed)
            for number in ended:
                self._session(number, None)
            disk.undo_table.append(Change("meta", 0, disk.meta))
            disk.meta = meta
            disk.rotten.discard(_META)
            disk.committed(STATE, disk.undo_table)
            disk.undo_table.clear()

        self.disk.step("table.commit", do)

    def _session(self, number: int, packed: bytes | None) -> None:
        sessions = self.disk.sessions
        self.disk.undo_table.append(Change("session", number, sessions.get(number)))
        self.disk.rotten.discard(Place(STATE, "session", number))
        if packed is None:
            sessions.pop(number, None)
        else:
            sessions[number] = packed

    def mark_diverged(self, meta: Meta) -> None:
        self.disk.forget_table()
        self.disk.meta = meta

    # -- the scan after a restart ----------------------------------------------------------------
    def scan(self, after: int, size: int = 0) -> list[bytes]:
        self.read_pages()
        rows = sorted(row for row in self.disk.versions if row > after)[:_SLICE]
        return [self._packed(row) for row in rows]

    # -- what is deleted -------------------------------------------------------------------------
    def drop(self, rows: list[int]) -> tuple[int, int]:
        """No two versions stand together here."""
        row = rows[0]
        if row not in self.disk.versions:
            return 1, 0
        check = version_check(self._packed(row))
        self.disk.step("table.drop", lambda: self._take(row))
        return 1, check

    def _take(self, row: int) -> None:
        self.disk.undo_table.append(Change("version", row, self.disk.versions.pop(row)))

    def forget(self, keys: list[bytes]) -> None:
        def do() -> None:
            for key in keys:
                if key in self.disk.keys:
                    self.disk.keys.remove(key)
                    self.disk.undo_table.append(Change("no key", 0, key))

        self.disk.step("table.forget", do)

    def tidy(self, *, idle: bool) -> bool:
        return False

    def sizes(self) -> dict[str, int]:
        live = sum(len(v.key) + len(v.value or b"") for v, _check in self.disk.versions.values())
        return {"state_bytes": live, "live_bytes": live, "free_bytes": 0}

    def close(self) -> None:
        self.disk.forget_table()

    def _damaged(self, what: str) -> Fault:
        words = f"{what} is damaged; this disk must not be trusted any more"
        return Fault(Ending.STORAGE_FAULT, words)
