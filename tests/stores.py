"""Disks in memory, for the simulated world: they forget what was not committed.

Each port keeps a durable state and an undo list of what has happened since; a crash undoes it. A
`Fuse` may blow at any single step of any of them, before the step or after it, which is how "a
crash at every point between" is tried.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sortedcontainers import SortedList

from actors.keeping import Hard, Testimony
from dkv.entries import Entry, Kind
from dkv.errors import Ending, Fault
from dkv.kv.store import Meta
from dkv.kv.version import Version, index_check, row_check, row_id
from dkv.limits import SUB_MAX


class Crash(BaseException):
    """The machine lost its power, here."""


class DiskError(Exception):
    """What sqlite3.Error is to the real stores."""


class Fuse:
    """Counts the steps of a disk; blows at one of them if told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.blow_at: int | None = None
        self.after = False
        self.fail_next = ""  # a step that raises, as a statement does

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        number = len(self.steps)
        self.steps.append(name)
        if self.fail_next == name:
            raise DiskError(f"disk I/O error at {name}")
        if self.blow_at == number and not self.after:
            raise Crash(name)
        done = do()
        if self.blow_at == number:
            raise Crash(name)
        return done


class SimDisk:
    """One data directory: what survives, and the ports on it."""

    def __init__(self) -> None:
        self.fuse = Fuse()
        self.undo: list[Callable[[], None]] = []  # of the journal
        self.undo_table: list[Callable[[], None]] = []
        self.hard: Hard | None = None
        self.entries: dict[int, Entry] = {}
        self.slots: list[tuple[int, Testimony] | None] = [None, None]
        self.meta: Meta | None = None
        self.sessions: dict[int, bytes] = {}
        self.versions: dict[int, tuple[Version, int]] = {}
        self.by_key: dict[bytes, list[int]] = {}
        self.keys: SortedList[bytes] = SortedList()
        self.space_level = 0

    # -- what a crash would leave ----------------------------------------------------------------
    def holds(self, index: int, check: bytes) -> bool:
        """Whether the log on the disk has this entry (or has forgotten it, as everyone has it)."""
        if self.undo or self.hard is None:
            return False
        entry = self.entries.get(index)
        return entry.check == check if entry else index <= self.hard.base.index

    @property
    def term(self) -> int:
        return self.hard.term if self.hard and not self.undo else 0

    def promises(self) -> dict[str, tuple[int, int]]:
        """(term, vote) in the log and in the witness."""
        hard = self.hard
        seen = [slot for slot in self.slots if slot is not None]
        witness = max(seen)[1] if seen else None
        return {
            "log": (hard.term, hard.vote) if hard and not self.undo else (0, 0),
            "witness": (witness.hard_term, witness.vote) if witness else (0, 0),
        }

    def copy(self) -> "SimDisk":
        """A backup of the volume, taken while no node runs on it."""
        assert not self.undo, "the node must be down"
        assert not self.undo_table, "the node must be down"
        twin = SimDisk()
        twin.hard, twin.meta, twin.slots = self.hard, self.meta, [*self.slots]
        twin.entries, twin.sessions = {**self.entries}, {**self.sessions}
        twin.versions = {**self.versions}
        twin.by_key = {key: [*rows] for key, rows in self.by_key.items()}
        twin.keys = SortedList(self.keys)
        return twin

    def lose_unsynced(self) -> None:
        for step in reversed(self.undo):
            step()
        for step in reversed(self.undo_table):
            step()
        self.undo.clear()
        self.undo_table.clear()
        self.fuse = Fuse()


class _Port:
    errors = DiskError

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk

    def fault(self, error: Exception) -> Fault:
        return Fault(Ending.DISK_UNWRITABLE, str(error))

    def tidy(self, *, idle: bool) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryJournal(_Port):
    def hard(self) -> Hard | None:
        return self.disk.hard

    def create(self, hard: Hard, entries: Iterable[Entry]) -> None:
        self.keep(hard)
        self.replace(0, entries)
        self.commit()

    def rows(self, first: int, last: int) -> Iterator[Entry]:
        entries = self.disk.entries
        last = min(last, max(entries, default=0))
        return iter([entries[i] for i in range(first, last + 1) if i in entries])

    def configurations(self, through: int) -> list[Entry]:
        found = [e for i, e in sorted(self.disk.entries.items()) if i <= through]
        return [e for e in found if e.kind in (Kind.FORMED, Kind.OPENED)]

    def replace(self, cut_from: int, entries: Iterable[Entry]) -> None:
        def do() -> None:
            if cut_from:
                self._drop([i for i in self.disk.entries if i >= cut_from])
            for entry in entries:
                assert entry.index not in self.disk.entries
                self.disk.entries[entry.index] = entry
                self.disk.undo.append(lambda i=entry.index: self.disk.entries.pop(i))

        self.disk.fuse.step("journal.replace", do)

    def cut(self, through: int) -> None:
        gone = [i for i in self.disk.entries if i <= through]
        self.disk.fuse.step("journal.cut", lambda: self._drop(gone))

    def _drop(self, indexes: list[int]) -> None:
        for index in indexes:
            entry = self.disk.entries.pop(index)
            self.disk.undo.append(lambda e=entry: self.disk.entries.__setitem__(e.index, e))

    def keep(self, hard: Hard) -> None:
        def do() -> None:
            before = self.disk.hard
            self.disk.hard = hard
            self.disk.undo.append(lambda: setattr(self.disk, "hard", before))

        self.disk.fuse.step("journal.keep", do)

    def commit(self) -> None:
        if self.disk.undo:
            self.disk.fuse.step("journal.commit", self.disk.undo.clear)

    def sizes(self) -> dict[str, int]:
        return {"log_bytes": sum(len(e.payload) for e in self.disk.entries.values())}


class MemoryWitness(_Port):
    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk)
        self._sequence = 0

    def read(self) -> Testimony | None:
        found = [s for s in self.disk.slots if s is not None]
        if not found:
            return None
        self._sequence, testimony = max(found)
        return testimony

    def write(self, testimony: Testimony) -> None:
        self._sequence += 1
        slot = self._sequence % 2

        def do() -> None:
            self.disk.slots[slot] = (self._sequence, testimony)

        try:
            self.disk.fuse.step("witness.write", do)
        except Crash:
            if self.disk.slots[slot] != (self._sequence, testimony):
                self.disk.slots[slot] = None  # torn: the slot that was being written is no slot
            raise


class MemoryMargin:
    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def level(self) -> int:
        return self._disk.space_level


class MemoryTable(_Port):
    def __init__(self, disk: SimDisk, number: int) -> None:
        super().__init__(disk)
        if disk.meta is None:
            disk.meta = Meta(number)

    def meta(self) -> Meta:
        assert self.disk.meta is not None
        return self.disk.meta

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        return sorted(self.disk.sessions.items())

    def latest(self, key: bytes) -> Version | None:
        rows = self.disk.by_key.get(key)
        return self.version(rows[-1]) if rows else None

    def version(self, row: int) -> Version:
        found = self.disk.versions.get(row)
        if found is None or row_check(found[0]) != found[1]:
            raise Fault(Ending.STORAGE_FAULT, f"version {row} is damaged")
        return found[0]

    def add(self, version: Version) -> int:
        self.disk.fuse.step("table.add", lambda: self._add(version))
        return row_check(version)

    def _add(self, version: Version) -> None:
        row = row_id(version.revision, version.sub)
        assert row not in self.disk.versions, row
        self.disk.versions[row] = (version, row_check(version))
        if version.key not in self.disk.by_key:
            self.disk.keys.add(version.key)
        rows = self.disk.by_key.setdefault(version.key, [])
        rows.append(row)

        def undo() -> None:
            self.disk.versions.pop(row)
            rows.remove(row)
            if not rows:
                del self.disk.by_key[version.key]
                self.disk.keys.remove(version.key)

        self.disk.undo_table.append(undo)

    def keys(self, start: bytes, end: bytes, revision: int, count: int) -> list[tuple[bytes, int]]:
        through = row_id(revision, SUB_MAX - 1)
        found: list[tuple[bytes, int]] = []
        for key in self.disk.keys.irange(start, end or None, inclusive=(True, False)):
            rows = [row for row in self.disk.by_key[key] if row <= through]
            if rows:
                found.append((key, rows[-1]))
            if len(found) == count:
                break
        return found

    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        def do() -> None:
            self.disk.sessions.update(changed)
            for number in ended:
                self.disk.sessions.pop(number, None)
            self.disk.meta = meta
            self.disk.undo_table.clear()

        self.disk.fuse.step("table.commit", do)

    def mark_diverged(self, meta: Meta) -> None:
        for step in reversed(self.disk.undo_table):
            step()
        self.disk.undo_table.clear()
        self.disk.meta = meta

    def scan(self, after: int, through: int, count: int) -> list[tuple[int, int, int]]:
        rows = sorted(r for r in self.disk.versions if after < r <= through)[:count]
        found = []
        for row in rows:
            version = self.version(row)
            found.append((row, row_check(version), index_check(version.key, row)))
        return found

    def scan_index(self, after: tuple[bytes, int], count: int) -> list[tuple[bytes, int]]:
        rows = [(k, r) for k in self.disk.keys for r in self.disk.by_key[k] if (k, r) > after]
        return rows[:count]

    def sizes(self) -> dict[str, int]:
        return {"state_bytes": len(self.disk.versions)}
