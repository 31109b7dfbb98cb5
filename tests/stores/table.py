"""state.db in memory."""

from collections.abc import Iterable

from dkv.errors import Ending, Fault
from dkv.kv.store import Meta
from dkv.kv.version import Version, index_check, row_check, row_id
from dkv.limits import SUB_MAX
from tests.stores.disk import STATE, Change, SimDisk
from tests.stores.port import Port
from tests.stores.rot import Place

_META = Place(STATE, "meta")


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
    def latest(self, key: bytes) -> Version | None:
        self.read_pages()
        rows = self.disk.by_key.get(key)
        if not rows:
            return None
        version = self.version(rows[-1])
        if version.key != key:
            raise self._damaged(f"the index of key {key[:40]!r}")
        return version

    def version(self, row: int) -> Version:
        self.read_pages()
        found = self.disk.versions.get(row)
        if found is None or row_check(found[0]) != found[1]:
            raise self._damaged(f"version {row}")
        return found[0]

    def add(self, version: Version) -> int:
        self.disk.step("table.add", lambda: self._add(version))
        return row_check(version)

    def _add(self, version: Version) -> None:
        row = row_id(version.revision, version.sub)
        assert row not in self.disk.versions, row
        self.disk.versions[row] = (version, row_check(version))
        if version.key not in self.disk.by_key:
            self.disk.keys.add(version.key)
        self.disk.by_key.setdefault(version.key, []).append(row)
        self.disk.undo_table.append(Change("version", row, version.key))

    def keys(self, start: bytes, end: bytes, revision: int, count: int) -> list[tuple[bytes, int]]:
        self.read_pages()
        through = row_id(revision, SUB_MAX - 1)
        found: list[tuple[bytes, int]] = []
        for key in self.disk.keys.irange(start, end or None, inclusive=(True, False)):
            rows = [row for row in self.disk.by_key[key] if row <= through]
            if rows:
                found.append((key, rows[-1]))
            if len(found) == count:
                break
        return found

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
    def scan(self, after: int, through: int, count: int) -> list[tuple[int, int, int]]:
        rows = sorted(r for r in self.disk.versions if after < r <= through)[:count]
        found = []
        for row in rows:
            version = self.version(row)
            found.append((row, row_check(version), index_check(version.key, row)))
        return found

    def scan_index(self, after: tuple[bytes, int], count: int) -> list[tuple[bytes, int]]:
        self.read_pages()
        found: list[tuple[bytes, int]] = []
        for key in self.disk.keys.irange(after[0]):
            found += [(key, row) for row in self.disk.by_key[key] if (key, row) > after]
            if len(found) >= count:
                break
        return found[:count]

    def sizes(self) -> dict[str, int]:
        return {"state_bytes": len(self.disk.versions)}

    def close(self) -> None:
        self.disk.forget_table()

    def _damaged(self, what: str) -> Fault:
        words = f"{what} is damaged; this disk must not be trusted any more"
        return Fault(Ending.STORAGE_FAULT, words)
