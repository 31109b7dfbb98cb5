"""One contract for both tables: SQLite's in a node, memory's in the simulator."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.scan import Scan
from actors.table import SqliteTable
from dkv.errors import Ending, Fault
from dkv.kv.store import Meta, Store
from dkv.kv.version import Version, index_check, row_check, row_id
from tests.stores import MemoryTable, SimDisk

Open = Callable[[], Store]
DISK = 7


def version(revision: int, key: bytes, value: bytes | None = b"v", sub: int = 0) -> Version:
    return Version(revision, sub, key, value, revision, 1, 0, "anna", 5, 6)


VERSIONS = (
    version(1, b"a"),
    version(2, b"b"),
    version(3, b"a", b"again"),
    version(4, b"c", sub=0),
    version(4, b"d", sub=1),
    version(5, b"b", None),
    version(6, b"\xff\xff", b""),
)


@pytest.fixture(params=["memory", "sqlite"])
def crash(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the table anew, as a power cut would leave it."""
    disk = SimDisk()
    opened: list[SqliteTable] = []

    def memory() -> Store:
        disk.lose_unsynced()
        return MemoryTable(disk, DISK)

    def sqlite() -> Store:
        for table in opened:
            table._db.connection.close()  # without a COMMIT, as a killed process
        opened[:] = [SqliteTable(tmp_path / "state.db", DISK)]
        return opened[0]

    yield memory if request.param == "memory" else sqlite
    for table in opened:
        table._db.connection.close()


@pytest.fixture
def table(crash: Open) -> Store:
    """Holding VERSIONS, not committed."""
    found = crash()
    for each in VERSIONS:
        found.add(each)
    return found


META = Meta(DISK, applied=9, term=2, check=b"12345678", revision=6, written=2**64 - 1, sessions=3)


def test_a_new_table_is_of_its_disk_and_empty(crash: Open) -> None:
    table = crash()
    assert table.meta() == Meta(DISK)
    assert list(table.sessions()) == []
    assert table.latest(b"a") is None
    assert table.keys(b"", b"", 99, 99) == []


def test_what_was_added_is_read_before_it_is_committed(table: Store) -> None:
    assert table.latest(b"a") == VERSIONS[2]
    assert table.latest(b"b") == VERSIONS[5]  # a tombstone is a version
    assert table.latest(b"\xff\xff") == VERSIONS[6]
    assert table.latest(b"nobody") is None
    assert table.version(row_id(4, 1)) == VERSIONS[4]


@pytest.mark.parametrize(
    ("start", "end", "revision", "count", "expected"),
    [
        (
            b"",
            b"",
            9,
            9,
            [(b"a", 3, 0), (b"b", 5, 0), (b"c", 4, 0), (b"d", 4, 1), (b"\xff\xff", 6, 0)],
        ),
        (b"", b"", 2, 9, [(b"a", 1, 0), (b"b", 2, 0)]),
        (b"", b"", 9, 2, [(b"a", 3, 0), (b"b", 5, 0)]),
        (b"b", b"d", 9, 9, [(b"b", 5, 0), (b"c", 4, 0)]),
        (b"a\0", b"c", 4, 9, [(b"b", 2, 0)]),
        (b"d", b"", 4, 9, [(b"d", 4, 1)]),
        (b"", b"a", 9, 9, []),
        (b"", b"", 0, 9, []),
    ],
)
def test_keys_of_a_range_as_of_a_revision(
    table: Store,
    start: bytes,
    end: bytes,
    revision: int,
    count: int,
    expected: list[tuple[bytes, int, int]],
) -> None:
    rows = [(key, row_id(revision, sub)) for key, revision, sub in expected]
    assert table.keys(start, end, revision, count) == rows


def test_what_was_committed_survives_together_with_its_meta(table: Store, crash: Open) -> None:
    table.commit(META, [(1, b"one"), (2, b"two")], [])
    table.add(version(7, b"a", b"lost"))
    again = crash()
    assert again.meta() == META
    assert again.latest(b"a") == VERSIONS[2]
    assert list(again.sessions()) == [(1, b"one"), (2, b"two")]


def test_what_was_not_committed_is_gone_and_may_be_added_again(table: Store, crash: Open) -> None:
    again = crash()
    assert again.meta() == Meta(DISK)
    assert again.keys(b"", b"", 99, 99) == []
    for each in VERSIONS:
        again.add(each)
    assert again.latest(b"a") == VERSIONS[2]


def test_sessions_change_and_end_with_a_commit(table: Store, crash: Open) -> None:
    table.commit(META, [(1, b"one"), (2, b"two")], [])
    table.commit(META, [(2, b"second"), (3, b"three")], [1, 99])
    assert list(crash().sessions()) == [(2, b"second"), (3, b"three")]


def test_a_diverged_replica_keeps_that_and_drops_what_was_not_committed(
    table: Store, crash: Open
) -> None:
    table.commit(META, [], [])
    table.add(version(7, b"a", b"wrong"))
    table.mark_diverged(META._replace(diverged=True))
    again = crash()
    assert again.meta() == META._replace(diverged=True)
    assert again.latest(b"a") == VERSIONS[2]


def test_a_scan_gives_every_row_once_with_its_checks(table: Store) -> None:
    expected = []
    for each in VERSIONS:
        row = row_id(each.revision, each.sub)
        expected.append((row, row_check(each), index_check(each.key, row)))
    assert table.scan(0, row_id(99, 0), 99) == expected
    assert table.scan(0, row_id(99, 0), 3) == expected[:3]
    assert table.scan(expected[2][0], expected[4][0], 99) == expected[3:5]


def test_a_scan_of_the_index_gives_its_rows_in_order(table: Store) -> None:
    expected = sorted((v.key, row_id(v.revision, v.sub)) for v in VERSIONS)
    assert table.scan_index((b"", 0), 99) == expected
    assert table.scan_index(expected[1], 2) == expected[2:4]


def test_a_version_that_is_missing_is_a_storage_fault(table: Store) -> None:
    with pytest.raises(Fault) as caught:
        table.version(row_id(50, 0))
    assert caught.value.ending is Ending.STORAGE_FAULT


def test_tidying_changes_nothing_that_is_read(table: Store, crash: Open) -> None:
    table.commit(META, [], [])
    table.tidy(idle=True)
    table.tidy(idle=False)
    table.add(version(7, b"e"))
    assert table.latest(b"e") == version(7, b"e")
    assert crash().latest(b"e") is None


def test_closing_drops_what_was_not_committed(table: Store, crash: Open) -> None:
    table.commit(META, [], [])
    table.add(version(7, b"e"))
    table.close()
    assert crash().latest(b"e") is None


# -- damage (SQLite's own) -----------------------------------------------------------------------
def damaged(path: Path, statement: str) -> SqliteTable:
    """A table whose content a flipped bit has changed: the index is hidden from the statement."""
    table = SqliteTable(path / "state.db", DISK)
    for each in VERSIONS:
        table.add(each)
    table.commit(META, [(1, b"one")], [])
    table.close()
    index = _alter(path, "SELECT * FROM sqlite_master WHERE name = 'by_key'")
    _alter(path, "DELETE FROM sqlite_master WHERE name = 'by_key'")
    _alter(path, statement)
    _alter(path, "INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index[0])
    return SqliteTable(path / "state.db", DISK)


def _alter(path: Path, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    connection = sqlite3.connect(path / "state.db")
    connection.execute("PRAGMA writable_schema = ON")
    found = connection.execute(statement, values).fetchall()
    connection.commit()
    connection.close()
    return found


@pytest.mark.parametrize(
    "change",
    [
        "value = x'00'",
        "value = NULL",
        "key = x'62'",
        "created = 9",
        "version = 9",
        "lease = 1",
        "author = 'bert'",
        "tick = 9",
        "wall = 9",
        "chk = chk + 1",
        "key = 'a'",  # other types: a flipped bit in the head of a row
        "value = 'again'",
        "created = 'x'",
        "tick = 0.5",
        "author = x'616e6e61'",
        "chk = 'x'",
    ],
)
def test_a_damaged_version_is_found_by_whoever_reads_it(tmp_path: Path, change: str) -> None:
    row = row_id(3, 0)
    table = damaged(tmp_path, f"UPDATE versions SET {change} WHERE id = {row}")
    for read in (
        lambda: table.latest(b"a"),
        lambda: table.version(row),
        lambda: table.scan(0, row, 99),
    ):
        with pytest.raises(Fault, match="is damaged"):
            read()
    assert table.latest(b"c") == VERSIONS[3]
    table.close()


def test_an_index_that_leads_to_another_keys_version_is_damage(tmp_path: Path) -> None:
    row = row_id(3, 0)
    check = row_check(version(3, b"aa", b"again"))
    table = damaged(tmp_path, f"UPDATE versions SET key = x'6161', chk = {check} WHERE id = {row}")
    with pytest.raises(Fault, match="index of key"):
        table.latest(b"a")
    table.close()


@pytest.mark.parametrize(
    "change", ["state = x'6f6f6f'", "state = 'one'", "chk = chk + 1", "id = 2"]
)
def test_a_damaged_session_is_a_storage_fault(tmp_path: Path, change: str) -> None:
    table = damaged(tmp_path, f"UPDATE sessions SET {change}")
    with pytest.raises(Fault, match="session"):
        table.sessions()
    table.close()


@pytest.mark.parametrize(
    "statement",
    ["UPDATE meta SET chk = chk + 1", "UPDATE meta SET state = 7", "DELETE FROM meta"],
)
def test_a_damaged_meta_row_is_a_storage_fault(tmp_path: Path, statement: str) -> None:
    with pytest.raises(Fault, match="meta"):
        damaged(tmp_path, statement)


def test_a_scan_that_does_not_move_forward_ends_with_a_storage_fault() -> None:
    """A damaged tree may lead in a circle; the scan must neither follow it nor ever end well."""
    disk = SimDisk()
    table = MemoryTable(disk, DISK)
    for each in VERSIONS:
        table.add(each)
    check = sum(map(row_check, VERSIONS))
    keys = sum(index_check(v.key, row_id(v.revision, v.sub)) for v in VERSIONS)
    table.commit(META._replace(held=check, indexed=keys), [], [])
    sound = Scan(table)
    assert [sound.step(), sound.step()] == [False, True]
    disk.by_key[b"a"].reverse()
    scan = Scan(table)
    with pytest.raises(Fault, match="out of order"):
        (scan.step(), scan.step())


@pytest.mark.parametrize("name", ["sessions", "versions"])
def test_a_schema_that_means_something_else_is_a_storage_fault(tmp_path: Path, name: str) -> None:
    """One flipped bit, and the id is no alias of the row's number any more: it is NULL."""
    misread = "UPDATE sqlite_master SET sql = replace(sql, 'PRIMARY', 'PRIMERY')"
    table = damaged(tmp_path, f"{misread} WHERE name = '{name}'")
    with pytest.raises(Fault, match="damaged"):
        (table.sessions(), table.latest(b"a"))
    table.close()
