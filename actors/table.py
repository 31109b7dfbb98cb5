"""state.db: the versions of every key, in SQLite.

Owns: the SQL of versions, their index, sessions and meta; the lazy transaction. Must never know
what a command means. The Raft log is its write-ahead log: one transaction stays open across many
batches and commits about once a second, always together with the applied index; reads on the same
connection see everything.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from actors.database import PAGE_BYTES, Database, fault_of
from dkv.errors import Ending, Fault
from dkv.kv.sessions import session_check
from dkv.kv.store import Meta
from dkv.kv.version import Version, index_check, is_sound, row_check, row_id
from dkv.limits import CHECKPOINT_PAGES, CHECKPOINT_PAGES_HARD, SUB_MAX

FORMAT = 1
_CACHE_KIB = 64 * 1024

_SCHEMA = """
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB, created INTEGER NOT NULL,
    version INTEGER NOT NULL, lease INTEGER NOT NULL, author TEXT NOT NULL,
    tick INTEGER NOT NULL, wall INTEGER NOT NULL, chk INTEGER NOT NULL
);
CREATE INDEX by_key ON versions (key);
CREATE TABLE sessions (id INTEGER PRIMARY KEY, state BLOB NOT NULL, chk INTEGER NOT NULL);
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL, chk INTEGER NOT NULL)
"""

_COLUMNS = "id, key, value, created, version, lease, author, tick, wall, chk"
_VERSION = f"SELECT {_COLUMNS} FROM versions WHERE id = ?"
_LATEST = "SELECT id FROM versions INDEXED BY by_key WHERE key = ? ORDER BY id DESC LIMIT 1"
_KEYS = (
    "SELECT key, max(id) FROM versions INDEXED BY by_key WHERE key >= ? AND key < ? AND id <= ?"
    " GROUP BY key ORDER BY key LIMIT ?"
)
_KEYS_TO_THE_END = (
    "SELECT key, max(id) FROM versions INDEXED BY by_key WHERE key >= ? AND id <= ?"
    " GROUP BY key ORDER BY key LIMIT ?"
)


class SqliteTable:
    errors = sqlite3.Error

    def __init__(self, path: Path, disk: int) -> None:
        self._db = Database(path, _CACHE_KIB)
        self._dirty_pages = self._db.wal_pages()
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._create(disk)
        self._meta = self._read_meta()
        self._begin()

    def _create(self, disk: int) -> None:
        self._begin()
        for statement in _SCHEMA.split(";\n"):
            self._db.execute(statement)
        self._keep(Meta(disk))
        self._db.execute("COMMIT")

    def _begin(self) -> None:
        if not self._db.connection.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")

    # -- meta and sessions -----------------------------------------------------------------------
    def meta(self) -> Meta:
        return self._meta

    def _read_meta(self) -> Meta:
        row = self._db.execute("SELECT state, chk FROM meta").fetchone()
        if row is None or not isinstance(row[0], bytes) or crc32(row[0]) != row[1]:
            raise self._damaged("its meta row")
        state_format, *fields = msgpack.unpackb(row[0], use_list=False)
        if state_format != FORMAT:
            raise Fault(
                Ending.NEWER_NEEDED,
                f"{self._db.path} has format {state_format}, this version of dkv reads {FORMAT}",
            )
        return Meta(*fields)

    def _keep(self, meta: Meta) -> None:
        packed = msgpack.packb((FORMAT, *meta))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (1, ?, ?)", (packed, crc32(packed)))
        self._meta = meta

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        found = self._db.execute("SELECT id, state, chk FROM sessions ORDER BY id").fetchall()
        for number, state, check in found:
            sound = isinstance(number, int) and isinstance(state, bytes)
            if not sound or session_check(number, state) != check:
                raise self._damaged(f"session {number}")
        return [(number, state) for number, state, _check in found]

    # -- versions --------------------------------------------------------------------------------
    def latest(self, key: bytes) -> Version | None:
        row = self._db.execute(_LATEST, (key,)).fetchone()
        if row is None:
            return None
        version = self.version(row[0])
        if version.key != key:
            raise self._damaged(f"the index of key {key[:40]!r}")
        return version

    def version(self, row: int) -> Version:
        found = self._db.execute(_VERSION, (row,)).fetchone()
        if found is None:
            raise self._damaged(f"version {row}: it is missing")
        return self._verified(found)

    def _verified(self, row: tuple[Any, ...]) -> Version:
        number, key, value, created, version, lease, author, tick, wall, check = row
        if not isinstance(number, int):  # the schema is damaged
            raise self._damaged(f"version {number}")
        revision, sub = divmod(number, SUB_MAX)
        found = Version(revision, sub, key, value, created, version, lease, author, tick, wall)
        if not is_sound(found, check):
            raise self._damaged(f"version {number}")
        return found

    def add(self, version: Version) -> int:
        number, check = row_id(version.revision, version.sub), row_check(version)
        _revision, _sub, *columns = version
        self._db.execute(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number, *columns, check),
        )
        self._dirty_pages += 1 + len(version.value or b"") // PAGE_BYTES
        return check

    def keys(self, start: bytes, end: bytes, revision: int, count: int) -> list[tuple[bytes, int]]:
        through = row_id(revision, SUB_MAX - 1)
        if end:
            return self._places(self._db.execute(_KEYS, (start, end, through, count)).fetchall())
        found = self._db.execute(_KEYS_TO_THE_END, (start, through, count)).fetchall()
        return self._places(found)

    def _places(self, rows: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """Rows of the index, of the types that they must have."""
        for key, row in rows:
            if not isinstance(key, bytes) or not isinstance(row, int):
                raise self._damaged(f"the index at {row!r}")
        return rows

    # -- commits ---------------------------------------------------------------------------------
    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        for number, state in changed:
            row = (number, state, session_check(number, state))
            self._db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", row)
        self._db.connection.executemany("DELETE FROM sessions WHERE id = ?", ((i,) for i in ended))
        self._keep(meta)
        self._db.execute("COMMIT")
        self._dirty_pages += 2
        self._begin()

    def mark_diverged(self, meta: Meta) -> None:
        self._db.execute("ROLLBACK")
        self._begin()
        self._keep(meta)
        self._db.execute("COMMIT")

    def tidy(self, *, idle: bool) -> None:
        if self._dirty_pages > (CHECKPOINT_PAGES if idle else CHECKPOINT_PAGES_HARD):
            self._db.execute("COMMIT")
            self._db.checkpoint()
            self._begin()
            self._dirty_pages = 0

    # -- the scan after a restart ----------------------------------------------------------------
    def scan(self, after: int, through: int, count: int) -> list[tuple[int, int, int]]:
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM versions WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (after, through, count),
        ).fetchall()
        found = []
        for row in rows:
            version = self._verified(row)
            found.append((row[0], row[9], index_check(version.key, row[0])))
        return found

    def scan_index(self, after: tuple[bytes, int], count: int) -> list[tuple[bytes, int]]:
        found = self._db.execute(
            "SELECT key, id FROM versions INDEXED BY by_key WHERE (key, id) > (?, ?)"
            " ORDER BY key, id LIMIT ?",
            (*after, count),
        ).fetchall()
        return self._places(found)

    # -- the file --------------------------------------------------------------------------------
    def _damaged(self, what: str) -> Fault:
        return Fault(
            Ending.STORAGE_FAULT,
            f"{self._db.path}: {what} is damaged; this disk must not be trusted any more. "
            "Keep its data directory for inspection",
        )

    @property
    def unsettled_bytes(self) -> int:
        """By how much WAL and file may grow: what is not committed yet goes into both."""
        return 2 * self._dirty_pages * PAGE_BYTES

    def fault(self, error: Exception) -> Fault:
        assert isinstance(error, sqlite3.Error)
        return fault_of(self._db.path, error)

    def sizes(self) -> dict[str, int]:
        return {"state_bytes": self._db.bytes_on_disk()}

    def close(self) -> None:
        """What was not committed is dropped: the log has it."""
        if self._db.connection.in_transaction:
            self._db.execute("ROLLBACK")
        self._db.close()
