"""log.db: the entries, and the promises of a disk, in SQLite.

Owns: the SQL of entries and hard state. One row a batch of commands; one transaction a turn of the
log. Must never know a letter, nor decide what is damaged: it hands rows out as found, and whoever
reads verifies the chain.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgpack

from actors.database import PAGE_BYTES, Database, fault_of
from actors.keeping import Hard
from dkv.counters import Histogram
from dkv.entries import CONFIGURING, Entry, Position, chain
from dkv.errors import Ending, Fault
from dkv.limits import LOG_CHECKPOINT_PAGES

FORMAT = 1
_CACHE_KIB = 8 * 1024
_IDLE_PAGES = 1_000  # dirty WAL pages that are worth a checkpoint in an idle moment
_VACUUM_PAGES = 512  # given back at a time

_SCHEMA = """
CREATE TABLE entries (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL,
    tick INTEGER NOT NULL, wall INTEGER NOT NULL, payload BLOB NOT NULL, chk BLOB NOT NULL
);
CREATE TABLE hard (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL, chk BLOB NOT NULL);
"""


_INSERT = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
_ROWS = "SELECT idx, term, kind, tick, wall, payload, chk FROM entries WHERE"


class SqliteJournal:
    errors = sqlite3.Error

    def __init__(self, path: Path) -> None:
        self._db = Database(path, _CACHE_KIB)
        self._added: list[Entry] = []  # not given to SQLite yet
        self._dirty_pages = self._db.wal_pages()
        self.syncs = Histogram()
        self._last_sync_us = self._synced_ns = 0  # how long it took; when it had

    # -- creation --------------------------------------------------------------------------------
    def hard(self) -> Hard | None:
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not tables:
            return None
        row = self._db.execute("SELECT state, chk FROM hard").fetchone()
        if row is None or not isinstance(row[0], bytes) or _hard_check(row[0]) != row[1]:
            raise Fault(
                Ending.STORAGE_FAULT,
                f"{self._db.path}: the hard state (term and vote) is damaged or missing; this disk "
                "must not vote. Keep the directory for inspection",
            )
        return _unpack_hard(row[0])

    def create(self, hard: Hard, entries: Iterable[Entry]) -> None:
        self._begin()
        for statement in _SCHEMA.split(";\n"):
            self._db.execute(statement)
        self.keep(hard)
        self.replace(0, entries)
        self.commit()

    # -- rows ------------------------------------------------------------------------------------
    def rows(self, first: int, last: int) -> Iterator[Entry]:
        self._give_added()
        cursor = self._db.execute(f"{_ROWS} idx BETWEEN ? AND ? ORDER BY idx", (first, last))
        try:
            for row in cursor:
                yield Entry(*row)
        finally:
            cursor.close()

    def _give_added(self) -> None:
        """Whoever reads sees what was added before."""
        if self._added:
            self._begin()

    def configurations(self, through: int) -> list[Entry]:
        self._give_added()
        rows = self._db.execute(
            f"{_ROWS} idx <= ? AND kind IN (?, ?, ?) ORDER BY idx", (through, *CONFIGURING)
        )
        return [Entry(*row) for row in rows.fetchall()]

    def replace(self, cut_from: int, entries: Iterable[Entry]) -> None:
        if cut_from:
            self._begin()
            self._db.execute("DELETE FROM entries WHERE idx >= ?", (cut_from,))
        for entry in entries:
            self._added.append(entry)
            self._dirty_pages += 2 + len(entry.payload) // PAGE_BYTES

    def cut(self, through: int) -> None:
        self._begin()
        self._db.execute("DELETE FROM entries WHERE idx <= ?", (through,))
        self._dirty_pages += 16

    def keep(self, hard: Hard) -> None:
        self._begin()
        packed = hard.packed()
        self._db.execute(
            "INSERT OR REPLACE INTO hard VALUES (1, ?, ?)", (packed, _hard_check(packed))
        )

    # -- transactions ----------------------------------------------------------------------------
    def _begin(self) -> None:
        """A transaction is open, and has everything that came before."""
        if not self._db.connection.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        for entry in self._added:
            self._db.execute(_INSERT, entry)
        self._added.clear()

    def commit(self) -> int:
        """One entry alone, the most frequent turn, is one statement and its own transaction: each
        statement gives the interpreter's lock away and waits for it again."""
        if not self._added and not self._db.connection.in_transaction:
            return 0
        began_ns = time.monotonic_ns()
        if len(self._added) == 1 and not self._db.connection.in_transaction:
            self._db.execute(_INSERT, self._added.pop())
        else:
            self._begin()
            self._db.execute("COMMIT")
        self._synced_ns = time.monotonic_ns()
        self._last_sync_us = (self._synced_ns - began_ns) // 1_000
        self.syncs.add(self._last_sync_us)
        self._dirty_pages += 2
        return self._last_sync_us

    def tidy(self, *, idle: bool) -> None:
        if self._dirty_pages > (_IDLE_PAGES if idle else LOG_CHECKPOINT_PAGES):
            self._db.checkpoint()
            self._dirty_pages = 0
        if idle and self._db.free_pages() > _VACUUM_PAGES:
            self._db.vacuum(_VACUUM_PAGES)

    @property
    def unsettled_bytes(self) -> int:
        """By how much the file may grow when its WAL is copied into it."""
        return self._dirty_pages * PAGE_BYTES

    def fault(self, error: Exception) -> Fault:
        assert isinstance(error, sqlite3.Error)
        return fault_of(self._db.path, error)

    def sizes(self) -> dict[str, int]:
        ago_ns = time.monotonic_ns() - self._synced_ns if self._synced_ns else 0
        return {
            "log_bytes": self._db.bytes_on_disk(),
            "syncs": self.syncs.total,
            "sync_us": self.syncs.sum_us,
            "last_sync_us": self._last_sync_us,
            "last_sync_ago_ms": ago_ns // 1_000_000,
        }

    def close(self) -> None:
        self.commit()
        self._db.close()


def _hard_check(packed: bytes) -> bytes:
    return chain(b"hard", 0, 0, 0, 0, 0, packed)


def _unpack_hard(packed: bytes) -> Hard:
    hard = Hard(*msgpack.unpackb(packed, use_list=False))
    if hard.format != FORMAT:
        raise Fault(
            Ending.NEWER_NEEDED,
            f"this data directory has format {hard.format}, this version of dkv reads {FORMAT}",
        )
    return hard._replace(base=Position(*hard.base))
