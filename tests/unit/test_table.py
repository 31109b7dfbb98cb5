"""One contract for both tables: SQLite's in a node, memory's in the simulator."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import msgpack
import pytest

from actors.scan import Scan
from actors.table import SqliteTable, chunk_check
from dkv.entries import NO_CHECK, Batch, Kind, follow, pack_batch
from dkv.errors import Ending, Fault
from dkv.kv.heads import read_head
from dkv.kv.reading import Reading
from dkv.kv.state import Command, State, pack_command_of
from dkv.kv.store import Meta, Store
from dkv.kv.version import Version, pack_version, row_id, unpack_version, version_check
from dkv.limits import ClusterLimits
from dkv.requests import pack_command
from tests.stores import MemoryTable, SimDisk

Open = Callable[[], Store]
DISK = 7


def version(
    revision: int, key: bytes, value: bytes | None = b"v", sub: int = 0, previous: int = 0
) -> Version:
    """`previous` is a revision, of sub 0."""
    live = value is not None
    return Version(
        *(revision, sub, key, value, revision * live, int(live), 0, "anna", 5, 6),
        row_id(previous, 0),
    )


VERSIONS = (
    version(1, b"a"),
    version(2, b"b"),
    version(3, b"a", b"again", previous=1),
    version(4, b"c", sub=0),
    version(4, b"d", sub=1),
    version(5, b"b", None, previous=2),
    version(6, b"\xff\xff", b""),
)
HELD = sum(version_check(pack_version(v)) for v in VERSIONS)


def add(table: Store, v: Version) -> None:
    new = None if v.previous else v.key
    table.add(row_id(v.revision, v.sub), pack_version(v), new)


def scanned(table: Store) -> list[Version]:
    found: list[Version] = []
    while slice_ := table.scan(row_id(found[-1].revision, found[-1].sub) if found else -1):
        found += map(unpack_version, slice_)
    return found


def whole(table: Store) -> dict[bytes, int]:
    """The heads, where a scan finds everything in order."""
    heads: dict[bytes, int] = {}
    scan = Scan(table, heads)
    while not scan.step():
        pass
    return heads


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
        add(found, each)
    return found


META = Meta(
    *(DISK, 9, 2, b"12345678", 6), held=HELD, written=2**64 - 1, sessions=3, remembered=2**64 - 1
)


def test_a_new_table_is_of_its_disk_and_empty(crash: Open) -> None:
    table = crash()
    assert table.meta() == Meta(DISK)
    assert list(table.sessions()) == []
    assert table.scan(-1) == []
    assert table.keys(b"", b"", 99) == []


def test_what_was_added_is_read_before_it_is_committed(table: Store) -> None:
    for each in VERSIONS:
        assert table.version(row_id(each.revision, each.sub)) == each
    assert table.keys(b"", b"", 99) == [b"a", b"b", b"c", b"d", b"\xff\xff"]


@pytest.mark.parametrize(
    ("start", "end", "count", "expected"),
    [
        (b"", b"", 9, [b"a", b"b", b"c", b"d", b"\xff\xff"]),
        (b"", b"", 2, [b"a", b"b"]),
        (b"b", b"d", 9, [b"b", b"c"]),
        (b"a\0", b"c", 9, [b"b"]),
        (b"d", b"", 9, [b"d", b"\xff\xff"]),
        (b"", b"a", 9, []),
        (b"d", b"a", 9, []),
    ],
)
def test_keys_of_a_range(
    table: Store, start: bytes, end: bytes, count: int, expected: list[bytes]
) -> None:
    assert table.keys(start, end, count) == expected


def test_what_was_committed_survives_together_with_its_meta(table: Store, crash: Open) -> None:
    table.commit(META, [(1, b"one"), (2, b"two")], [])
    add(table, version(7, b"a", b"lost", previous=3))
    add(table, version(8, b"lost"))
    again = crash()
    assert again.meta() == META
    assert scanned(again) == list(VERSIONS)
    assert again.keys(b"", b"", 99) == [b"a", b"b", b"c", b"d", b"\xff\xff"]
    assert list(again.sessions()) == [(1, b"one"), (2, b"two")]


def test_what_was_not_committed_is_gone_and_may_be_added_again(table: Store, crash: Open) -> None:
    assert len(table.keys(b"", b"", 99)) == 5  # a range read is no commit
    again = crash()
    assert again.meta() == Meta(DISK)
    assert again.keys(b"", b"", 99) == []
    for each in VERSIONS:
        add(again, each)
    assert scanned(again) == list(VERSIONS)


@pytest.mark.parametrize("size", [0, 1, 250, 1_000, 1_990, 2_000, 3_970, 4_000, 9_000])
def test_versions_of_any_size_stand_in_chunks_as_they_came(crash: Open, size: int) -> None:
    table = crash()
    versions = [version(n, b"k%d" % n, bytes([n % 256]) * (size + n % 40)) for n in range(1, 300)]
    for number, each in enumerate(versions):
        add(table, each)
        if number % 90 == 7:
            table.commit(META, [], [])
    table.commit(META, [], [])
    again = crash()
    assert scanned(again) == versions
    for each in reversed(versions):
        assert again.version(row_id(each.revision, 0)) == each


def test_sessions_change_and_end_with_a_commit(table: Store, crash: Open) -> None:
    table.commit(META, [(1, b"one"), (2, b"two")], [])
    table.commit(META, [(2, b"second"), (3, b"three")], [1, 99])
    assert list(crash().sessions()) == [(2, b"second"), (3, b"three")]


def test_a_diverged_replica_keeps_that_and_drops_what_was_not_committed(
    table: Store, crash: Open
) -> None:
    table.commit(META, [], [])
    add(table, version(7, b"wrong"))
    table.mark_diverged(META._replace(diverged=True))
    again = crash()
    assert again.meta() == META._replace(diverged=True)
    assert scanned(again) == list(VERSIONS)
    assert b"wrong" not in again.keys(b"", b"", 99)


def test_a_scan_fills_the_heads_of_every_key(table: Store) -> None:
    table.commit(META, [], [])
    assert {key: read_head(head) for key, head in whole(table).items()} == {
        b"a": (row_id(3, 0), 3, 1),
        b"b": (row_id(5, 0), 0, 0),
        b"c": (row_id(4, 0), 4, 1),
        b"d": (row_id(4, 1), 4, 1),
        b"\xff\xff": (row_id(6, 0), 6, 1),
    }


def test_a_version_that_is_missing_is_a_storage_fault(table: Store) -> None:
    for row in (0, row_id(3, 1), row_id(50, 0)):  # before, between, behind what is there
        with pytest.raises(Fault) as caught:
            table.version(row)
        assert caught.value.ending is Ending.STORAGE_FAULT


def test_tidying_changes_nothing_that_is_read(table: Store, crash: Open) -> None:
    table.commit(META, [], [])
    table.tidy(idle=True)
    table.tidy(idle=False)
    add(table, version(7, b"e"))
    assert table.version(row_id(7, 0)) == version(7, b"e")
    assert scanned(crash()) == list(VERSIONS)


def test_closing_drops_what_was_not_committed(table: Store, crash: Open) -> None:
    table.commit(META, [], [])
    add(table, version(7, b"e"))
    table.close()
    assert scanned(crash()) == list(VERSIONS)


# -- damage (SQLite's own) -----------------------------------------------------------------------
# With such an author a version has a chunk to itself.
CHUNKS = (*(each._replace(author="anna" * 600) for each in VERSIONS),)


def damaged(path: Path, *statements: str, versions: Sequence[Version] = VERSIONS) -> SqliteTable:
    """A table whose content a flipped bit has changed."""
    table = SqliteTable(path / "state.db", DISK)
    for each in versions:
        add(table, each)
    held = sum(version_check(pack_version(v)) for v in versions)
    table.commit(META._replace(held=held), [(1, b"one")], [])
    table.close()
    for statement in statements:
        _alter(path, statement)
    return SqliteTable(path / "state.db", DISK)


def _alter(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path / "state.db")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "body = x'00'",
        "body = NULL",
        "body = substr(body, 2)",
        "body = CAST(substr(body, 1, 20) || x'ff' || substr(body, 22) AS BLOB)",
        "body = (SELECT body FROM chunks WHERE id = 4096)",  # a row of another place
        "chk = chk + 1",
        "chk = 0.5",
        "body = 'x'",  # other types: a flipped bit in the head of a row
        "chk = 'x'",
    ],
)
def test_a_damaged_chunk_is_found_by_whoever_reads_it(tmp_path: Path, change: str) -> None:
    row = row_id(3, 0)
    not_null = "UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '')"
    update = f"UPDATE chunks SET {change} WHERE id = {row}"
    table = damaged(tmp_path, not_null, update, versions=CHUNKS)
    for read in (lambda: table.version(row), lambda: whole(table)):
        with pytest.raises(Fault, match="is damaged") as caught:
            read()
        assert caught.value.ending is Ending.STORAGE_FAULT
    assert table.version(row_id(4, 0)) == CHUNKS[3]
    table.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM chunks WHERE id = 12288", "the sum of its versions"),
        ("DELETE FROM chunks WHERE id = 24576", "the sum of its versions"),
        ("DELETE FROM chunks WHERE id = 4096", "does not follow"),
        ("UPDATE chunks SET id = 1 WHERE id = 24576", "is damaged"),
        ("DELETE FROM keys WHERE key = x'61'", "does not hold the keys"),
        ("DELETE FROM keys", "does not hold the keys"),
        ("UPDATE keys SET key = x'6161' WHERE key = x'61'", "does not hold the keys"),
        ("INSERT INTO keys VALUES (x'6161')", "does not hold the keys"),
        ("UPDATE keys SET key = 'a' WHERE key = x'61'", "damaged"),
    ],
)
def test_what_is_hidden_or_elsewhere_is_found_by_the_scan(
    tmp_path: Path, statement: str, words: str
) -> None:
    table = damaged(tmp_path, statement, versions=CHUNKS)
    with pytest.raises(Fault, match=words) as caught:
        whole(table)
    assert caught.value.ending is Ending.STORAGE_FAULT
    table.close()


def test_a_chunk_of_an_older_moment_is_found_by_the_scan(tmp_path: Path) -> None:
    """A write that the disk lost: the chunk fits its check, and lacks its last versions."""
    table = damaged(tmp_path)
    (body,) = (packed[0] for packed in table._db.execute("SELECT body FROM chunks").fetchall())
    fewer = msgpack.packb(msgpack.unpackb(body)[:-1])
    first = row_id(1, 0)
    table._db.execute("UPDATE chunks SET body = ?, chk = ?", (fewer, chunk_check(first, fewer)))
    with pytest.raises(Fault, match="the sum of its versions"):
        whole(table)
    with pytest.raises(Fault, match="is missing"):
        table.version(row_id(6, 0))
    table.close()


def test_a_key_that_nobody_wrote_is_met_by_whoever_lists_or_deletes_a_range(tmp_path: Path) -> None:
    """A page damaged while the node runs: it says so, and serves nothing."""
    table = SqliteTable(tmp_path / "state.db", DISK)
    state = State(table, ClusterLimits())
    table._db.execute("INSERT INTO keys VALUES (x'6161')")
    reading = Reading(state, pack_command("list", prefix=b""))
    delete = pack_command_of(Command("anna", 0, 0, 0, 0, pack_command("delete_range", prefix=b"")))
    row = (1, 1, Kind.COMMANDS, 0, 0, pack_batch(Batch("n1", 1, 1, (delete,))))
    for meet in (reading.step, lambda: state.apply(follow(NO_CHECK, row))):
        with pytest.raises(Fault, match="of which there is no version") as caught:
            meet()
        assert caught.value.ending is Ending.STORAGE_FAULT
    table.close()


def test_a_directory_from_before_compaction_is_read(tmp_path: Path) -> None:
    """Its meta ends with `remembered`."""
    packed = msgpack.packb((2, *Meta(DISK, 5, revision=3)[:-1]))
    table = SqliteTable(tmp_path / "state.db", DISK)
    table._db.execute("UPDATE meta SET state = ?, chk = ?", (packed, crc32(packed)))
    table._db.execute("COMMIT")
    table.close()
    table = SqliteTable(tmp_path / "state.db", DISK)
    assert table.meta() == Meta(DISK, 5, revision=3, swept=0)
    table.close()


def test_a_directory_of_the_first_format_is_left_alone_with_words_on_what_to_do(
    tmp_path: Path,
) -> None:
    packed = msgpack.packb((1, *Meta(DISK)))
    table = SqliteTable(tmp_path / "state.db", DISK)
    table._db.execute("UPDATE meta SET state = ?, chk = ?", (packed, crc32(packed)))
    table._db.execute("COMMIT")
    table.close()
    with pytest.raises(Fault, match="put them into a new cluster") as caught:
        SqliteTable(tmp_path / "state.db", DISK)
    assert caught.value.ending is Ending.NEWER_NEEDED


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


class _Circle(MemoryTable):
    """A damaged tree may lead in a circle."""

    def scan(self, after: int) -> list[bytes]:
        return super().scan(after if after < row_id(4, 0) else -1)


class _CircleOfKeys(MemoryTable):
    def keys(self, start: bytes, end: bytes, count: int) -> list[bytes]:
        return [*super().keys(start, end, count), b"a"]


@pytest.mark.parametrize("kind", [_Circle, _CircleOfKeys])
def test_a_scan_that_does_not_move_forward_ends_with_a_storage_fault(
    kind: type[MemoryTable],
) -> None:
    """The scan must neither follow it nor ever end well."""
    disk = SimDisk()
    table = MemoryTable(disk, DISK)
    for each in VERSIONS:
        add(table, each)
    table.commit(META, [], [])
    assert len(whole(table)) == 5
    with pytest.raises(Fault, match="out of order"):
        whole(kind(disk, DISK))


@pytest.mark.parametrize("name", ["sessions", "chunks", "keys"])
def test_a_schema_that_means_something_else_is_a_storage_fault(tmp_path: Path, name: str) -> None:
    """One flipped bit, and the id is no alias of the row's number any more: it is NULL."""
    misread = "UPDATE sqlite_master SET sql = replace(sql, 'PRIMARY', 'PRIMERY')"

    def read() -> None:
        table = damaged(tmp_path, f"{misread} WHERE name = '{name}'")
        try:
            (table.sessions(), whole(table))
        finally:
            table.close()

    with pytest.raises(Fault) as caught:
        read()
    assert caught.value.ending is Ending.STORAGE_FAULT
