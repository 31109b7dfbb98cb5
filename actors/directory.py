"""A node's data directory: made, locked, and its files opened.

Owns: the folder, the lock that keeps a second process out, the names of the files. Must never know
what is in them.

    lock  witness  log.db  state.db  reserve  notebook.db
"""

import fcntl
import os
from pathlib import Path

from actors.database import sync_folder
from actors.journal import SqliteJournal
from actors.margin import DiskMargin
from actors.table import SqliteTable
from actors.witness import FileWitness
from dkv.errors import Ending, Fault


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
        return DiskMargin(self.folder, lambda: sum(s.unsettled_bytes for s in self._stores))

    def table(self, disk: int) -> SqliteTable:
        table = SqliteTable(self.folder / "state.db", disk)
        self._stores.append(table)
        return table

    def close(self) -> None:
        os.close(self._lock)
