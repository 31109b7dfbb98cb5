"""The one way an SQLite file is opened, and the traps that it avoids (each of them measured).

Owns: the pragmas, read back; checkpoints; what an error means. Must never know a table.

* One connection a file: two of them can corrupt a WAL file (SQLite before 3.51.3).
* WAL with synchronous=FULL: with NORMAL a power cut loses what was acknowledged.
* locking_mode=EXCLUSIVE: no -shm file, no other opener.
* A checkpoint inside the open transaction, or with a cursor open, silently does nothing or raises:
  it runs between COMMIT and BEGIN.
* `incremental_vacuum(n)` by `execute` frees one page; by `executescript` n, but that commits what
  is open.
"""

import os
import sqlite3
from pathlib import Path

from dkv.errors import Ending, Fault

PAGE_BYTES = 4096
_WAL_HEADER_BYTES = 32

_PRAGMAS: tuple[tuple[str, str, object], ...] = (
    ("locking_mode", "EXCLUSIVE", "exclusive"),  # first: no file of shared memory is made
    ("page_size", "4096", 4096),
    ("auto_vacuum", "INCREMENTAL", 2),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("cell_size_check", "ON", 1),
    ("mmap_size", "0", 0),
    ("wal_autocheckpoint", "0", 0),
    ("temp_store", "MEMORY", 2),
)


class Database:
    """A connection with its pragmas asserted. Used by one thread at a time."""

    def __init__(self, path: Path, cache_kib: int) -> None:
        self.path = path
        try:
            _settle(path)
            _look_at_header(path)
            self._open(cache_kib)
        except (sqlite3.Error, OSError) as error:
            raise fault_of(path, error) from error
        except UnicodeDecodeError as error:  # sqlite3 fails to tell what it found in the schema
            words = f"{path}: its schema is damaged. Keep this data directory for inspection"
            raise Fault(Ending.STORAGE_FAULT, words) from error
        sync_folder(path.parent)

    def _open(self, cache_kib: int) -> None:
        self.connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.execute = self.connection.execute
        for name, value, _expected in _PRAGMAS:
            self.execute(f"PRAGMA {name}={value}")
        for name, _value, expected in _PRAGMAS:
            row = self.execute(f"PRAGMA {name}").fetchone()
            found = row[0] if row else 0  # mmap_size says nothing where it is compiled out
            if found != expected:
                self.connection.close()
                raise Fault(Ending.STORAGE_FAULT, f"{self.path}: PRAGMA {name} is {found!r}")
        if _header(self.path)[18:20] != b"\2\2":  # a sync that failed here was not reported
            self.connection.close()
            raise Fault(Ending.DISK_UNWRITABLE, f"{self.path}: it could not be put into WAL mode")
        self.execute(f"PRAGMA cache_size=-{cache_kib}")

    def checkpoint(self) -> None:
        """Copy the WAL into the file. Only between transactions."""
        assert not self.connection.in_transaction, "a checkpoint would do nothing"
        busy, _log, _done = self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        assert not busy, "somebody else has this file open"

    def wal_pages(self) -> int:
        """What the WAL holds, at most: after a start nobody knows how much of it was copied."""
        wal = self.path.with_name(self.path.name + "-wal")
        return wal.stat().st_size // PAGE_BYTES if wal.exists() else 0

    def vacuum(self, pages: int) -> None:
        """Give up to `pages` free pages back to the file system. Only between transactions."""
        assert not self.connection.in_transaction, "executescript would commit what is open"
        self.connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def pages(self) -> int:
        return int(self.execute("PRAGMA page_count").fetchone()[0])

    def free_pages(self) -> int:
        return int(self.execute("PRAGMA freelist_count").fetchone()[0])

    def bytes_on_disk(self) -> int:
        """The file and its WAL."""
        wal = self.path.with_name(self.path.name + "-wal")
        return sum(p.stat().st_size for p in (self.path, wal) if p.exists())

    def close(self, *, orderly: bool = True) -> None:
        """An orderly close leaves no WAL, and no free pages, behind."""
        if orderly:
            if self.free_pages():
                self.vacuum(self.free_pages())
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)


def _look_at_header(path: Path) -> None:
    """Before SQLite opens it. Where there is a WAL, SQLite needs no header in the file: it would be
    taken for a file that could not be put into WAL mode, and be made whole from the WAL at close,
    so that nothing is left to inspect."""
    wal = path.with_name(path.name + "-wal")
    has_wal = wal.exists() and wal.stat().st_size > _WAL_HEADER_BYTES
    unfinished = () if has_wal else (b"", b"\0\0", b"\1\1")  # a creation, perhaps cut short
    if path.exists() and _header(path)[18:20] not in (b"\2\2", *unfinished):
        raise Fault(
            Ending.STORAGE_FAULT,
            f"{path}: its header is damaged. Keep this data directory for inspection",
        )


def _settle(path: Path) -> None:
    """Make durable what is there. A process that was killed in the middle of a commit has written
    what this one will see as committed, and acknowledge, though no sync has taken place."""
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists():
            handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fault_of(path: Path, error: sqlite3.Error | OSError) -> Fault:
    """Any SQLite error inside a keeper ends the node: the transaction is gone, and an fsync that
    failed once must not be tried again (the kernel has dropped the pages)."""
    text = str(error)
    if "full" in text:
        words = f"{path}: the disk is full ({text}). Free space, then start the node again"
        return Fault(Ending.DISK_UNWRITABLE, words)
    if "readonly" in text or "I/O error" in text or "unable to open" in text:
        words = f"{path}: the disk cannot be written ({text}). Look at its file system and logs"
        return Fault(Ending.DISK_UNWRITABLE, words)
    return Fault(Ending.STORAGE_FAULT, f"{path}: {text}. Keep this data directory for inspection")
