"""Damaged rows as SQLite hands them out: another type in a column, a schema it cannot even name.

Each was found by flipping bits of real files, and ended a node as if it had a bug.
"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from actors.journal import SqliteJournal
from actors.keeping import Hard
from actors.scan import Scan
from actors.table import SqliteTable
from dkv.entries import Entry, Kind, follow, genesis, is_sound
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.kv.store import Meta
from dkv.kv.version import Version, pack_version, row_id, version_check
from dkv.limits import ClusterLimits

FIRST = genesis(Founding(b"", "dkv", ("n1",)), ClusterLimits())


def make_log(folder: Path) -> Path:
    journal = SqliteJournal(folder / "log.db")
    journal.create(Hard(1, "n1", 7, False, FIRST.payload, FIRST.check), (FIRST,))
    entry, entries = FIRST, []
    for index in range(2, 60):
        entry = follow(entry.check, (index, 1, Kind.COMMANDS, index, index, b"x" * index))
        entries.append(entry)
    journal.replace(0, entries)
    journal.close()
    return folder / "log.db"


def make_state(folder: Path) -> Path:
    table = SqliteTable(folder / "state.db", 7)
    for n in range(1, 80):
        before = row_id(n - 9, 0) if n > 9 else 0
        key, value = b"k%d" % (n % 9), b"v" * n if n % 5 else None
        version = Version(n, 0, key, value, n, 1, 0, "a", n, n, before)
        table.add(row_id(n, 0), pack_version(version), None if before else key)
    held = sum(map(version_check, table.scan(-1)))
    table.commit(Meta(7, applied=59, revision=79, held=held), [(1, b"session")], [])
    table.close()
    return folder / "state.db"


def read_log(path: Path) -> bool:
    """As a start does; whether the chain holds."""
    journal = SqliteJournal(path)
    try:
        journal.hard()
        before: Entry | None = None
        for entry in journal.rows(1, 1_000):
            if before is not None and not is_sound(entry, before.check):
                return False
            before = entry
        return True
    finally:
        journal._db.close(orderly=False)


def read_state(path: Path) -> bool:
    table = SqliteTable(path, 7)
    try:
        list(table.sessions())
        for number in range(70, 80):
            table.version(row_id(number, 0))
        scan = Scan(table, {})
        while not scan.step():
            pass
        return True
    finally:
        table._db.close(orderly=False)


def change(path: Path, statement: str, value: Any) -> None:
    database = sqlite3.connect(path)
    database.execute(statement, (value,))
    database.commit()
    database.close()


@pytest.mark.parametrize("value", [None, "text", b"bytes", 0.5])
@pytest.mark.parametrize("column", ["term", "kind", "tick", "wall", "payload", "chk"])
def test_a_column_of_an_entry_that_has_another_type(
    tmp_path: Path, column: str, value: object
) -> None:
    path = make_log(tmp_path)
    entry = next(SqliteJournal(path).rows(7, 7))
    field = {"chk": "check"}.get(column, column)
    assert not is_sound(entry._replace(**{field: value}), entry.check)


@pytest.mark.parametrize("value", ["text", b"bytes", 0.5])
@pytest.mark.parametrize("column", ["body", "chk"])
def test_a_column_of_a_chunk_that_has_another_type(
    tmp_path: Path, column: str, value: object
) -> None:
    path = make_state(tmp_path)
    change(path, f"UPDATE chunks SET {column} = ? WHERE id = (SELECT max(id) FROM chunks)", value)
    with pytest.raises(Fault) as caught:
        read_state(path)
    assert caught.value.ending is Ending.STORAGE_FAULT


@pytest.mark.parametrize("value", ["k3", 3, 0.5])
def test_a_key_in_the_table_of_keys_that_has_another_type(tmp_path: Path, value: object) -> None:
    path = make_state(tmp_path)
    change(path, "UPDATE keys SET key = ? WHERE key = x'6b33'", value)
    with pytest.raises(Fault) as caught:
        read_state(path)
    assert caught.value.ending is Ending.STORAGE_FAULT


@pytest.mark.parametrize(
    ("make", "read", "statement"),
    [
        (make_log, read_log, "UPDATE hard SET state = ?"),
        (make_state, read_state, "UPDATE meta SET state = ?"),
        (make_state, read_state, "UPDATE sessions SET state = ?"),
    ],
)
def test_a_promise_a_meta_row_a_session_that_has_another_type(
    tmp_path: Path, make: Callable[[Path], Path], read: Callable[[Path], bool], statement: str
) -> None:
    path = make(tmp_path)
    change(path, statement, "text")
    with pytest.raises(Fault) as caught:
        read(path)
    assert caught.value.ending is Ending.STORAGE_FAULT


@pytest.mark.parametrize(
    ("make", "read"), [(make_log, read_log), (make_state, read_state)], ids=["log", "state"]
)
def test_flipped_bits_are_an_error_with_a_name_or_harm_nothing(
    tmp_path: Path, make: Callable[[Path], Path], read: Callable[[Path], bool]
) -> None:
    rng = Random(1)
    original = make(tmp_path).read_bytes()
    endings = set()
    for number in range(400):
        content = bytearray(original)
        for _ in range(rng.choice((1, 1, 3, 8))):
            page = rng.randrange(len(content) // 4096) * 4096
            place = page + rng.choice((rng.randrange(200), 4095 - rng.randrange(2_500)))
            content[place] ^= 1 << rng.randrange(8)
        folder = tmp_path / f"{number}"
        folder.mkdir()
        path = folder / "damaged.db"
        path.write_bytes(content)
        try:
            endings.add(read(path))
        except (Fault, sqlite3.Error) as error:
            endings.add(type(error))
        shutil.rmtree(folder)
    assert {True, Fault} <= endings
