"""SQLite as both stores open it: the pragmas, the one connection, what an error means."""

import sqlite3
from pathlib import Path

import pytest

from actors.database import Database, fault_of
from actors.journal import SqliteJournal
from actors.keeping import Hard
from actors.table import SqliteTable
from dkv.errors import Ending, Fault

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL
    "locking_mode": "exclusive",
    "auto_vacuum": 2,  # INCREMENTAL
    "page_size": 4096,
    "cell_size_check": 1,
    "wal_autocheckpoint": 0,
}


@pytest.mark.parametrize("again", [False, True], ids=["new", "reopened"])
@pytest.mark.parametrize("store", ["log.db", "state.db"])
def test_the_pragmas_hold_in_both_files_and_after_reopening(
    tmp_path: Path, store: str, again: bool
) -> None:
    for _ in range(1 + again):
        kept: SqliteJournal | SqliteTable
        if store == "log.db":
            kept = SqliteJournal(tmp_path / store)
            if kept.hard() is None:
                kept.create(Hard(1, "n1", 7, False, b"", b""), ())
        else:
            kept = SqliteTable(tmp_path / store, 7)
        read = {name: kept._db.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS}
        kept.close()
        assert read == PRAGMAS


def test_a_file_that_cannot_have_the_pragmas_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA auto_vacuum=NONE")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(Fault, match="auto_vacuum"):
        Database(path, 1_024)


def test_nobody_else_opens_a_file_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    first = Database(path, 1_024)
    first.execute("CREATE TABLE t (x)")
    second = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        second.execute("SELECT * FROM t")
    second.close()
    assert not (tmp_path / "log.db-shm").exists()
    first.close()


def test_an_orderly_close_leaves_one_file(tmp_path: Path) -> None:
    database = Database(tmp_path / "log.db", 1_024)
    database.execute("CREATE TABLE t (x)")
    database.close()
    assert [p.name for p in tmp_path.iterdir()] == ["log.db"]


def test_a_checkpoint_inside_a_transaction_is_a_bug_and_not_a_silence(tmp_path: Path) -> None:
    database = Database(tmp_path / "log.db", 1_024)
    database.execute("CREATE TABLE t (x)")
    database.execute("BEGIN IMMEDIATE")
    for act in (database.checkpoint, lambda: database.vacuum(1)):
        with pytest.raises(AssertionError):
            act()
    database.execute("ROLLBACK")
    database.close()


def test_a_checkpoint_copies_the_wal_and_a_vacuum_gives_pages_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "log.db", 1_024)
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (zeroblob(400000))")
    database.execute("DELETE FROM t")
    assert database.free_pages() > 50
    database.vacuum(20)
    left = database.free_pages()
    database.checkpoint()
    assert 0 < left <= 80
    assert database.path.stat().st_size > 4_096
    database.close()


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        ("database or disk is full", Ending.DISK_UNWRITABLE),
        ("attempt to write a readonly database", Ending.DISK_UNWRITABLE),
        ("disk I/O error", Ending.DISK_UNWRITABLE),
        ("database disk image is malformed", Ending.STORAGE_FAULT),
        ("file is not a database", Ending.STORAGE_FAULT),
    ],
)
def test_every_sqlite_error_ends_the_node_with_its_reason(text: str, ending: Ending) -> None:
    fault = fault_of(Path("/data/log.db"), sqlite3.OperationalError(text))
    assert fault.ending is ending
    assert text in str(fault)


def test_a_file_that_is_no_database_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"not a database at all" * 1_000)
    with pytest.raises(Fault) as caught:
        Database(tmp_path / "log.db", 1_024)
    assert caught.value.ending is Ending.STORAGE_FAULT


def test_a_schema_that_is_no_text_any_more_is_a_fault(tmp_path: Path) -> None:
    """sqlite3 fails to decode its own complaint, with an error that is none of its own."""
    path = tmp_path / "log.db"
    database = Database(path, 1_024)
    database.execute("CREATE TABLE entries (x)")
    database.close()
    raw = path.read_bytes().replace(b"tableentries", b"tableentri\xc1s")
    path.write_bytes(raw.replace(b"(x)", b"((("))
    with pytest.raises(Fault, match="schema is damaged") as caught:
        Database(path, 1_024)
    assert caught.value.ending is Ending.STORAGE_FAULT


@pytest.mark.parametrize("version", [b"\0\0", b"\1\1", b"\0\2", b"\2\3"])
def test_a_damaged_header_is_a_storage_fault_and_nothing_is_changed(
    tmp_path: Path, version: bytes
) -> None:
    """Found by real chaos: read as a disk that cannot be written, and repaired on the way out."""
    path = tmp_path / "log.db"
    database = Database(path, 1_024)
    database.execute("CREATE TABLE t (x)")
    database.checkpoint()
    database.execute("INSERT INTO t VALUES (1)")
    wal = path.with_name("log.db-wal").read_bytes()
    database.close(orderly=False)
    content = bytearray(path.read_bytes())
    content[18:20] = version
    path.write_bytes(content)
    path.with_name("log.db-wal").write_bytes(wal)
    with pytest.raises(Fault, match="header") as caught:
        Database(path, 1_024)
    assert caught.value.ending is Ending.STORAGE_FAULT
    assert path.read_bytes() == content
