"""state.db: the versions of every key, in SQLite.

Owns: how versions stand together in chunks, the SQL of these, of keys, sessions and meta; the lazy
transaction. Must never know what a command means. The Raft log is its write-ahead log: one
transaction stays open across many batches and commits about once a second, always together with
the applied index. Reads see everything: what waits to be written is in memory.

    chunks    consecutive versions, packed, about a page of them a row; what is superseded
              leaves it when history is compacted
    keys      every key once: the order for range reads. A put to a known key does not touch it

Which version of a key is the newest, the state remembers (`dkv/kv/heads.py`).
"""

import sqlite3
import time
from bisect import bisect_right
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from actors.database import PAGE_BYTES, Database, fault_of
from dkv.counters import Histogram
from dkv.errors import Ending, Fault
from dkv.kv.sessions import session_check
from dkv.kv.store import Meta
from dkv.kv.version import (
    Version,
    read_rows,
    row_of_packed,
    row_prefix,
    unpack_version,
    version_check,
)
from dkv.limits import (
    INT_MAX,
    KIB,
    SCAN_SLICE_BYTES,
    STATE_CHECKPOINT_PAGES,
    STATE_CHECKPOINT_PAGES_IDLE,
)

FORMAT = 3
_READS = (2, 3)  # before 3 nothing was compacted
_CACHE_KIB = 64 * 1024
_FREE_SHARE = 4  # free pages are kept for what comes, up to one in so many
_VACUUM_PAGES = 256  # given back in one idle moment
_CHUNK_BYTES = 4_000  # a row of so many fits a page; a larger version goes alone
_BIN_BYTES = 3  # what msgpack puts before a packed version in a chunk
_NEW_KEYS_MAX = 256  # and as many KiB: written in order, which costs less

_SCHEMA = """
CREATE TABLE chunks (id INTEGER PRIMARY KEY, body BLOB NOT NULL, chk INTEGER NOT NULL);
CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sessions (id INTEGER PRIMARY KEY, state BLOB NOT NULL, chk INTEGER NOT NULL);
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL, chk INTEGER NOT NULL)
"""

_CHUNK = "SELECT id, body, chk FROM chunks WHERE id <= ? ORDER BY id DESC LIMIT 1"
_CHUNKS = "SELECT id, body, chk FROM chunks WHERE id >= ? ORDER BY id"
_CHUNK_ID = "SELECT id FROM chunks WHERE id <= ? ORDER BY id DESC LIMIT 1"
_KEYS = "SELECT key FROM keys WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
_KEYS_TO_THE_END = "SELECT key FROM keys WHERE key >= ? ORDER BY key LIMIT ?"


def chunk_check(first: int, body: bytes) -> int:
    """The CRC-32 of a chunk: of the row id that it begins with, and of its content."""
    return crc32(body, crc32(b"%d:" % first))


def _within(content: list[bytes], after: int, through: int) -> list[bytes]:
    """Of a chunk what lies behind row `after` and not behind `through`; mostly that is all."""
    if row_of_packed(content[0]) > after and row_of_packed(content[-1]) <= through:
        return content
    return [packed for packed in content if after < row_of_packed(packed) <= through]


class SqliteTable:
    errors = sqlite3.Error

    def __init__(self, path: Path, disk: int) -> None:
        self._db = Database(path, _CACHE_KIB)
        self.commits = Histogram()
        self._dirty_pages = self._db.wal_pages()
        if not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._create(disk)
        self._meta = self._read_meta()
        self._forget()
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

    def _forget(self) -> None:
        """What has been added and not been written, and the chunk read last."""
        self._waiting: dict[int, bytes] = {}  # packed versions by row: the next chunk
        self._waiting_bytes = 0
        self._new_keys: list[bytes] = []
        self._new_bytes = 0
        self._read: tuple[int, int, list[bytes]] = (0, -1, [])  # first row, last row, content

    # -- meta and sessions -----------------------------------------------------------------------
    def meta(self) -> Meta:
        return self._meta

    def _read_meta(self) -> Meta:
        row = self._db.execute("SELECT state, chk FROM meta").fetchone()
        if row is None or not isinstance(row[0], bytes) or crc32(row[0]) != row[1]:
            raise self._damaged("its meta row")
        state_format, *fields = msgpack.unpackb(row[0], use_list=False)
        if state_format == 1:
            raise Fault(
                Ending.NEWER_NEEDED,
                f"{self._db.path} has format 1, and this version of dkv reads {FORMAT}. Start the "
                "cluster with the version that made it, read its keys out (dkvctl list and get), "
                "and put them into a new cluster",
            )
        if state_format not in _READS:
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
    def add(self, row: int, packed: bytes, new: bytes | None) -> None:
        size = len(packed) + _BIN_BYTES
        if self._waiting_bytes + size > _CHUNK_BYTES and self._waiting:
            self._write_chunk()
        self._waiting[row] = packed
        self._waiting_bytes += size
        if new is not None:
            self._new_keys.append(new)
            self._new_bytes += len(new)
            self._dirty_pages += 1 + len(new) // PAGE_BYTES
            if len(self._new_keys) >= _NEW_KEYS_MAX or self._new_bytes >= _NEW_KEYS_MAX * KIB:
                self._write_keys()

    def _write_chunk(self) -> None:
        if self._waiting:
            first = next(iter(self._waiting))
            body = msgpack.packb(list(self._waiting.values()))
            row = (first, body, chunk_check(first, body))
            self._db.execute("INSERT INTO chunks VALUES (?, ?, ?)", row)
            self._dirty_pages += 1 + len(body) // PAGE_BYTES
            self._waiting.clear()
            self._waiting_bytes = 0

    def _write_keys(self) -> None:
        if self._new_keys:
            self._new_keys.sort()
            rows = ((key,) for key in self._new_keys)
            self._db.connection.executemany("INSERT INTO keys VALUES (?)", rows)
            self._new_keys.clear()
            self._new_bytes = 0

    def version(self, row: int) -> Version:
        packed = self._waiting.get(row)
        return unpack_version(self._find(row) if packed is None else packed)

    def _find(self, row: int) -> bytes:
        first, last, content = self._read
        if not first <= row <= last:
            content = self._read_chunk(row)
        prefix = row_prefix(row)
        for packed in content:
            if packed.startswith(prefix):
                return packed
        raise self._damaged(f"version {row}: it is missing, so its chunk")

    def _read_chunk(self, row: int) -> list[bytes]:
        """The chunk in which a version must be. It is remembered: neighbours are often read next,
        and content whose check was compared does not change."""
        found = self._db.execute(_CHUNK, (row,)).fetchone()
        content = [] if found is None else self._verified(found)
        if content:
            self._read = (found[0], row_of_packed(content[-1]), content)
        return content

    def _verified(self, chunk: tuple[Any, ...]) -> list[bytes]:
        """A chunk's packed versions. SQLite returns damaged rows as good, and its columns have no
        types: in a damaged row a number may be a text, or nothing."""
        first, body, check = chunk
        if type(first) is not int or type(body) is not bytes or chunk_check(first, body) != check:
            raise self._damaged(f"the chunk at version {first}")
        return msgpack.unpackb(body)  # type: ignore[no-any-return]

    def keys(self, start: bytes, end: bytes, count: int) -> list[bytes]:
        self._write_keys()
        if end:
            rows = self._db.execute(_KEYS, (start, end, count)).fetchall()
        else:
            rows = self._db.execute(_KEYS_TO_THE_END, (start, count)).fetchall()
        for (key,) in rows:
            if type(key) is not bytes:
                raise self._damaged(f"the key {key!r:.40} in its table of keys")
        return [key for (key,) in rows]

    # -- commits ---------------------------------------------------------------------------------
    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        self._write_chunk()
        self._write_keys()
        for number, state in changed:
            row = (number, state, session_check(number, state))
            self._db.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)", row)
        self._db.connection.executemany("DELETE FROM sessions WHERE id = ?", ((i,) for i in ended))
        self._keep(meta)
        began_ns = time.monotonic_ns()
        self._db.execute("COMMIT")
        self.commits.add((time.monotonic_ns() - began_ns) // 1_000)
        self._dirty_pages += 2
        self._begin()

    def mark_diverged(self, meta: Meta) -> None:
        self._db.execute("ROLLBACK")
        self._forget()
        self._begin()
        self._keep(meta)
        self._db.execute("COMMIT")

    def tidy(self, *, idle: bool) -> bool:
        assert not self._waiting, "something was added since the last commit"
        if self._dirty_pages > (STATE_CHECKPOINT_PAGES_IDLE if idle else STATE_CHECKPOINT_PAGES):
            self._db.execute("COMMIT")
            self._db.checkpoint()
            self._begin()
            self._dirty_pages = 0
        if idle and self._db.free_pages() > self._db.pages() // _FREE_SHARE + _VACUUM_PAGES:
            self._db.execute("COMMIT")
            self._db.vacuum(_VACUUM_PAGES)
            self._dirty_pages += 2 * _VACUUM_PAGES
            self._begin()
            return True
        return False

    # -- the scan after a restart ----------------------------------------------------------------
    def scan(self, after: int, size: int = SCAN_SLICE_BYTES, through: int = INT_MAX) -> list[bytes]:
        """What waits to be written is read from memory: writing it now would end its chunk early,
        each time that somebody asks."""
        found: list[bytes] = []
        begin = self._db.execute(_CHUNK_ID, (after,)).fetchone()
        with closing(self._db.execute(_CHUNKS, begin or (after,))) as cursor:
            for chunk in cursor:
                found += _within(self._verified(chunk), after, through)
                size -= len(chunk[1])
                if chunk[0] > through or (found and size <= 0):
                    return found
        return found + [p for row, p in self._waiting.items() if after < row <= through]

    # -- what is deleted -------------------------------------------------------------------------
    def drop(self, rows: list[int]) -> tuple[int, int]:
        """Of one chunk, which is written again with what is left of it, under its id: where a
        chunk begins is where a search for its versions ends, whether the first is left or not."""
        if self._waiting and rows[-1] >= next(iter(self._waiting)):
            self._write_chunk()
        self._read = (0, -1, [])
        found = self._db.execute(_CHUNK, (rows[0],)).fetchone()
        content = [] if found is None else self._verified(found)
        held = [row for row, *_fields in read_rows(content)]
        count = max(bisect_right(rows, held[-1]) if held else 0, 1)
        doomed = set(rows[:count])
        left = [packed for row, packed in zip(held, content, strict=True) if row not in doomed]
        if len(left) < len(content):
            self._replace_chunk(found[0], left)
        gone = (packed for row, packed in zip(held, content, strict=True) if row in doomed)
        return count, sum(map(version_check, gone))

    def _replace_chunk(self, first: int, content: list[bytes]) -> None:
        self._dirty_pages += 2
        if not content:
            self._db.execute("DELETE FROM chunks WHERE id = ?", (first,))
            return
        body = msgpack.packb(content)
        row = (body, chunk_check(first, body), first)
        self._db.execute("UPDATE chunks SET body = ?, chk = ? WHERE id = ?", row)
        self._dirty_pages += len(body) // PAGE_BYTES

    def forget(self, keys: list[bytes]) -> None:
        self._write_keys()
        self._db.connection.executemany("DELETE FROM keys WHERE key = ?", ((k,) for k in keys))
        self._dirty_pages += len(keys)

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
        free = self._db.free_pages()
        live = (self._db.pages() - free) * PAGE_BYTES
        return {
            "state_bytes": self._db.bytes_on_disk(),
            "live_bytes": live,
            "free_bytes": free * PAGE_BYTES,
        }

    @property
    def path(self) -> Path:
        return self._db.path

    def close(self, *, orderly: bool = True) -> None:
        """What was not committed is dropped: the log has it."""
        if self._db.connection.in_transaction:
            self._db.execute("ROLLBACK")
        self._db.close(orderly=orderly)
