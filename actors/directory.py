"""A node's data directory: made, locked, and its files opened.

Owns: the folder, the lock that keeps a second process out, the names of the files. Must never know
what is in them.

    lock  witness  log.db  state.db  reserve  notebook.db
    state.N.db    a snapshot that is being received; once it is installed, the state
"""

import fcntl
import os
from pathlib import Path

from actors.database import sync_folder
from actors.journal import SqliteJournal
from actors.margin import DiskMargin, has_room
from actors.table import SqliteTable
from actors.witness import FileWitness
from dkv.errors import Ending, Fault


def open_state(folder: Path, disk: int) -> tuple[SqliteTable, list[SqliteTable]]:
    """The state's own, and other ones: an older state, or a snapshot that is not installed."""
    tables = [SqliteTable(path, disk) for path in sorted(folder.glob("state.*.db"))]
    if (folder / "state.db").exists() or not any(table.meta().installed for table in tables):
        tables.append(SqliteTable(folder / "state.db", disk))
    whole = [t for t in tables if t.meta().installed or t.path.name == "state.db"]
    state = max(whole, key=lambda table: table.meta().applied)
    return state, [table for table in tables if table is not state]


class DataDirectory:
    """Locked for as long as this process lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stores: list[SqliteJournal | SqliteTable] = []
        try:
            self._make()
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock_it()
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise Fault(
                Ending.DISK_UNWRITABLE,
                f"{folder} cannot be written: {error.strerror}. Check --data-dir, its owner and "
                "its file system",
            ) from error

    def _make(self) -> None:
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700, parents=True)
            sync_folder(self.folder.parent)

    def _lock_it(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            raise Fault(
                Ending.LOCKED,
                f"{self.folder} is in use by another process{f' ({holder})' if holder else ''}: "
                "one node, one data directory",
            ) from error

    @property
    def is_new(self) -> bool:
        return not (self.folder / "log.db").exists()

    def journal(self) -> SqliteJournal:
        journal = SqliteJournal(self.folder / "log.db")
        self._stores.append(journal)
        return journal

    def witness(self) -> FileWitness:
        return FileWitness(self.folder / "witness")

    def margin(self) -> DiskMargin:
        return DiskMargin(self.folder, self._unsettled)

    def _unsettled(self) -> int:
        return sum(store.unsettled_bytes for store in self._stores)

    def has_room(self, size: int) -> bool:
        return has_room(self.folder, size + self._unsettled())

    # -- the state, and what is received of another's ----------------------------------------------
    def table(self, disk: int) -> SqliteTable:
        """Of those that are whole, the newest. (None is renamed: its WAL would stay behind.)"""
        self._disk = disk
        self._state, others = open_state(self.folder, disk)
        unfinished = [t for t in others if not t.meta().applied and t.path.name != "state.db"]
        self._staged = unfinished.pop() if unfinished else None
        self._stores += [t for t in (self._state, self._staged) if t is not None]
        for table in others:
            if table is not self._staged:
                self._delete(table)
        return self._state

    @property
    def state(self) -> SqliteTable:
        """The one in use; after a snapshot was installed, another."""
        return self._state

    def staged(self) -> SqliteTable | None:
        return self._staged

    def stage(self, number: int) -> SqliteTable:
        self.discard()
        self._staged = SqliteTable(self.folder / f"state.{number}.db", self._disk)
        self._stores.append(self._staged)
        return self._staged

    def adopt(self) -> None:
        assert self._staged is not None, "nothing was installed"
        old, self._state, self._staged = self._state, self._staged, None
        self._delete(old)

    def discard(self) -> None:
        if self._staged is not None:
            self._delete(self._staged)
            self._staged = None

    def _delete(self, table: SqliteTable) -> None:
        table.close(orderly=False)
        if table in self._stores:
            self._stores.remove(table)
        for path in (table.path.with_name(f"{table.path.name}-wal"), table.path):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def close(self) -> None:
        os.close(self._lock)
