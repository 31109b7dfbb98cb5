"""A state, copied in chunks into another node's stores: SQLite's and memory's alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

from actors import copying, staging
from actors.copying import Copying
from actors.directory import DataDirectory
from actors.staging import Staging
from dkv.counters import Counters
from dkv.kv.snapshot import running_check
from dkv.kv.state import State
from dkv.kv.store import Meta, Store, Stores
from dkv.kv.version import row_id
from dkv.limits import COPIES_MAX, COPY_US, SUB_MAX
from dkv.messages import AskChunk, Chunk, Copy
from tests.stores import MemoryStores, SimDisk
from tests.unit.replica import Replica

DISK = 9
AUTHORS = ("anna", "boris", "clara", "dora", "emil", "fritz", "gustav", "hans", "ida")


class Opened(NamedTuple):
    stores: Stores
    table: Store


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "CHUNK_BYTES", 150)
    monkeypatch.setattr(staging, "STAGED_BYTES", 300)


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Opened]]:
    """The stores of a node that was killed and is started again, each time it is called."""
    if request.param == "memory":
        disk = SimDisk()

        def open_memory() -> Opened:
            disk.lose_unsynced()
            stores = MemoryStores(disk)
            return Opened(stores, stores.table(DISK))

        yield open_memory
        return
    opened: list[DataDirectory] = []

    def close() -> None:
        for directory in opened:
            for table in directory._stores:
                table._db.connection.close()  # type: ignore[union-attr]
            directory.close()
        opened.clear()

    def open_folder() -> Opened:
        close()
        opened.append(DataDirectory(tmp_path / "n9"))
        return Opened(opened[0], opened[0].table(DISK))

    yield open_folder
    close()


@pytest.fixture
def source() -> Replica:
    """Keys, some of them overwritten and deleted, and sessions with answers."""
    replica = Replica()
    for number in range(40):
        replica.put(b"%d" % (number % 25), b"value %d" % number)
    replica.do("delete", key=b"3")
    for author in AUTHORS:
        session = replica.session(author)
        place = {"author": author, "session": session, "sequence": 1}
        replica.do("put", place, key=author.encode(), value=b"1")
    return replica


class Receiver:
    def __init__(self, replica: Replica, stores: Stores) -> None:
        self.replica, self.counters = replica, Counters()
        self.staging = Staging(stores, replica.limits, DISK, self.counters)
        while self.staging.busy:
            self.staging.step()
        self.copying = Copying()

    def chunk(self) -> Chunk:
        self.staging.begin(5)
        ask = self.staging.ask()
        assert isinstance(ask, AskChunk)
        copied = self.copying.answer(self.replica.state, Copy("n9", b"config", *ask), 1)
        assert copied is not None
        return Chunk(*copied[1:])

    def go_on(self, chunks: int = 1_000) -> Meta | None:
        for _ in range(chunks):
            meta = self.staging.take(self.chunk())
            if meta is not None:
                return meta
        return None


def is_like(state: State, other: State) -> bool:
    def facts(s: State) -> Any:
        return s.applied, s.check, s.held, s.written, s.heads, s.sessions.packed()

    return bool(facts(state) == facts(other))


def test_a_state_arrives_as_it_is(source: Replica, reopen: Callable[[], Opened]) -> None:
    receiver = Receiver(source, reopen().stores)
    meta = receiver.go_on()
    assert meta is not None
    assert (meta.disk, meta.installed, meta.configuration) == (
        DISK,
        source.state.applied,
        b"config",
    )
    heads = receiver.staging.heads
    state = State(receiver.staging.install(meta), source.limits)
    state.heads = heads
    assert is_like(state, source.state)
    again = reopen()
    assert again.stores.staged() is None
    state = State(again.table, source.limits)
    state.heads = heads
    assert is_like(state, source.state)


def test_what_was_received_before_a_restart_is_not_asked_for_again(
    source: Replica, reopen: Callable[[], Opened]
) -> None:
    receiver = Receiver(source, reopen().stores)
    assert receiver.go_on(6) is None
    row = receiver.staging.row
    again = Receiver(source, reopen().stores)
    assert 0 < again.staging.row <= row
    source.put(b"meanwhile", b"")
    meta = again.go_on()
    assert meta is not None
    assert meta.applied == source.state.applied


def test_an_unfinished_snapshot_is_no_state(source: Replica, reopen: Callable[[], Opened]) -> None:
    receiver = Receiver(source, reopen().stores)
    receiver.go_on(6)
    again = reopen()
    assert again.stores.staged() is not None
    assert again.table.meta().applied == 0


def test_a_change_of_the_state_at_the_end_begins_the_end_anew(
    source: Replica, reopen: Callable[[], Opened]
) -> None:
    """Sessions come in more than one chunk, and their copy is gone: another node's head differs."""
    receiver = Receiver(source, reopen().stores)
    while not receiver.staging.sessions:
        assert receiver.go_on(1) is None
    receiver.copying = Copying()
    source.put(b"one more", b"")
    meta = receiver.go_on()
    assert meta is not None
    assert meta.applied == source.state.applied
    assert len(receiver.staging.sessions) == len(AUTHORS)


def damaged(chunk: Chunk) -> Iterator[Chunk]:
    """What does not fit its check, or what was asked for."""
    flipped = bytes([chunk.versions[0][0] ^ 1, *chunk.versions[0][1:]])
    yield chunk._replace(versions=(flipped, *chunk.versions[1:]))
    yield chunk._replace(versions=chunk.versions[1:])
    yield chunk._replace(check=bytes(8))
    yield chunk._replace(row=chunk.row + 1)
    yield chunk._replace(place=1)


def test_a_damaged_or_foreign_chunk_changes_nothing(
    source: Replica, reopen: Callable[[], Opened]
) -> None:
    receiver = Receiver(source, reopen().stores)
    receiver.go_on(3)
    row, chunk = receiver.staging.row, receiver.chunk()
    for wrong in damaged(chunk):
        assert receiver.staging.take(wrong) is None
        assert receiver.staging.row == row
    assert receiver.go_on() is not None


JUNK: list[dict[str, Any]] = [
    {"versions": (b"\xc1",)},
    {"versions": (b"",)},
    {"versions": (msgpack.packb((1, 2)),)},
    {"versions": (msgpack.packb(["x"] * 10),)},
    {"versions": (msgpack.packb((1, b"k", b"v", 1, 1, 0, "", 0, 0, 77)),)},
    {"versions": (), "head": b"\xc1"},
    {"versions": (), "head": msgpack.packb(7)},
    {"versions": (), "head": msgpack.packb((1,) * 40)},
    {"versions": (), "head": msgpack.packb(Meta(0, 5))},
    {"versions": (), "head": msgpack.packb(Meta(0, 5)), "sessions": ((1, b"\xc1"),)},
    {"versions": (), "head": msgpack.packb(Meta(0, 5)), "sessions": ((1, msgpack.packb((1, 2))),)},
    {"versions": (), "head": msgpack.packb(("x",) * len(Meta._fields))},
]


@pytest.mark.parametrize("junk", JUNK)
def test_nonsense_with_a_good_check_drops_what_was_received_and_nothing_else(
    source: Replica, reopen: Callable[[], Opened], junk: dict[str, Any]
) -> None:
    receiver = Receiver(source, reopen().stores)
    receiver.go_on(3)
    chunk = receiver.chunk()._replace(more=False, **junk)
    parts = (chunk.row, chunk.versions, chunk.sessions, chunk.head)
    chunk = chunk._replace(check=running_check(receiver.staging._check, *parts))
    assert receiver.staging.take(chunk) is None
    assert receiver.counters.get("snapshots_damaged") == 1
    assert receiver.staging.store is None
    assert receiver.go_on() is not None


def test_a_replica_that_has_less_than_the_member_says_nothing(source: Replica) -> None:
    asked = Copy("n9", b"", (source.state.revision + 1) * SUB_MAX, 0, 0, bytes(8))
    assert Copying().answer(source.state, asked, 1) is None
    assert Copying().answer(source.state, asked._replace(row=0), 1) is not None


def test_copies_of_sessions_are_few_and_do_not_last(source: Replica) -> None:
    copier = Copying()

    def ask(member: str, now_us: int) -> bool:
        last = row_id(source.state.revision, SUB_MAX - 1)
        return (
            copier.answer(source.state, Copy(member, b"", last, 0, 0, bytes(8)), now_us) is not None
        )

    assert [ask(f"n{i}", 1) for i in range(COPIES_MAX + 1)] == [True] * COPIES_MAX + [False]
    assert ask("n0", 2)
    assert ask("n7", COPY_US + 2)
