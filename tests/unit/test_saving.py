"""The parts of a backup: of one moment, whatever is written meanwhile and whoever gives them."""

import io
from pathlib import Path
from typing import Any

import pytest

from actors.table import SqliteTable
from dkv.errors import Code
from dkv.kv.backup import Reader, Writer, examine, origin_of
from dkv.kv.rows import Rows
from dkv.kv.state import State
from dkv.kv.store import Store
from dkv.kv.version import row_id, row_of_packed, version_check
from dkv.limits import INT_MAX, KIB, ClusterLimits
from tests.stores import MemoryTable, SimDisk
from tests.unit.replica import Replica

CLUSTER = b"c" * 16


class SqliteReplica(Replica):
    """The same on a file: its chunks end where they end."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.state = State(SqliteTable(folder / "state.db", 1), ClusterLimits())


def fill(replica: Replica, first: int, last: int, size: int = 40) -> None:
    replica.state.cluster = CLUSTER
    for number in range(first, last):
        replica.tick += 1
        replica.put(b"%d" % (number % 700), bytes(size))
        if number % 50 == 0:
            replica.do("delete_range", prefix=b"%d" % (number % 7))


def begun(part: dict[str, Any]) -> dict[str, Any]:
    return {k: part["of"][k] for k in ("cluster", "index", "revision", "compacted")}


def test_a_backup_is_of_the_moment_at_which_it_began(tmp_path: Path) -> None:
    """Writes between its parts, commits too; and it goes on at a replica whose versions stand
    otherwise together."""
    mine, other = SqliteReplica(tmp_path), Replica()
    for replica in (mine, other):
        fill(replica, 0, 20_000)
    mine.state.commit()
    part = mine.read("snapshot").detail
    of, versions, parts = begun(part), part["versions"], 1
    expected = other.state.store.span(0, 2**62)
    while len(expected) < part["of"]["revision"]:
        expected += other.state.store.span(row_of_packed(expected[-1]), 2**62)
    writer = Writer(io.BytesIO(), origin_of(part["of"], 0))
    while part["versions"]:
        writer.add(part["versions"])
        for replica in (mine, other):
            fill(replica, parts * 10, parts * 10 + 30)
        replica = (mine, other)[parts % 2]
        part = replica.read("snapshot", **of, after=part["next"]).detail
        assert "of" not in part
        versions += part["versions"]
        parts += 1
    assert parts > 5
    assert "next" not in part
    assert versions[:5_000] == expected[:5_000]
    assert row_of_packed(versions[-1]) // 4096 == of["revision"]
    assert mine.state.revision > of["revision"]
    writer.finish()  # the sum is the one that the state had then


def test_a_part_is_small_and_writes_nothing(tmp_path: Path) -> None:
    replica = SqliteReplica(tmp_path)
    fill(replica, 0, 3_000, size=1_000)
    table = replica.state.store
    waiting = dict(table._waiting)  # type: ignore[attr-defined]
    assert waiting
    part = replica.read("snapshot").detail
    revision, sizes = part["of"]["revision"], []
    while part["versions"]:
        sizes.append(sum(map(len, part["versions"])))
        part = replica.read("snapshot", revision=revision, after=part["next"]).detail
    assert max(sizes) < 300 * KIB
    assert len(sizes) > 8
    assert table._waiting == waiting  # type: ignore[attr-defined]


def test_what_is_asked_of_the_wrong_replica_is_refused() -> None:
    replica = Replica()
    fill(replica, 0, 10)
    of = begun(replica.read("snapshot").detail)
    assert replica.read("snapshot", **of, after=4096).code is Code.OK
    wrong = replica.read("snapshot", **{**of, "cluster": b"d" * 16})
    assert wrong.code is Code.BAD_REQUEST
    assert "another cluster" in wrong.detail["words"]
    behind = replica.read("snapshot", **{**of, "index": replica.state.applied + 1})
    assert behind.code is Code.FUTURE_REVISION
    beyond = replica.read("snapshot", **{**of, "revision": replica.state.revision + 1})
    assert beyond.code is Code.FUTURE_REVISION


def test_the_largest_numbers_that_may_be_asked_with_harm_nobody(tmp_path: Path) -> None:
    replica = SqliteReplica(tmp_path)
    fill(replica, 1, 10)
    most = {"after": INT_MAX, "index": 0, "compacted": INT_MAX, "cluster": CLUSTER}
    assert replica.read("snapshot", **most, revision=9).detail == {"versions": []}
    assert replica.read("snapshot", **most, revision=INT_MAX).code is Code.FUTURE_REVISION
    assert replica.read("snapshot", index=INT_MAX).code is Code.FUTURE_REVISION
    assert replica.read("snapshot", after=INT_MAX).detail["versions"]  # it begins


def test_a_backup_whose_versions_were_compacted_meanwhile_ends_so() -> None:
    replica = Replica()
    fill(replica, 0, 40)
    of = begun(replica.read("snapshot").detail)
    replica.disk.meta = replica.state.meta()._replace(compacted=20)
    for revision, code in ((5, Code.COMPACTED), (20, Code.COMPACTED), (21, Code.OK)):
        answer = replica.read("snapshot", **of, after=row_id(revision, 0))
        assert answer.code is code, revision
    again = replica.read("snapshot").detail
    assert again["of"]["compacted"] == 20
    assert replica.read("snapshot", **begun(again), after=row_id(5, 0)).code is Code.OK


def test_an_empty_store_has_one_part() -> None:
    assert Replica().read("snapshot").detail["versions"] == []


@pytest.mark.parametrize("committed", [True, False])
def test_any_place_between_two_versions_can_be_gone_on_from(
    tmp_path: Path, committed: bool
) -> None:
    """Also in the middle of what stands together in a chunk, and of what waits to be written."""
    replica = SqliteReplica(tmp_path)
    fill(replica, 0, 300)
    if committed:
        replica.state.commit()
    store: Store = replica.state.store
    rows = [row_of_packed(p) for p in store.span(0, 2**62)]
    assert rows == sorted(set(rows))
    assert len(rows) > 300
    for place in range(0, len(rows), 7):
        end = min(place + 90, len(rows) - 1)
        found = store.span(rows[place], rows[end])
        assert [row_of_packed(p) for p in found] == rows[place + 1 : end + 1]
        assert [row_of_packed(p) for p in store.span(rows[place] - 1, rows[place])] == [rows[place]]


def test_the_cursor_comes_to_the_end_of_its_revision() -> None:
    table = MemoryTable(SimDisk(), 1)
    replica = Replica()
    fill(replica, 0, 1_200)
    replica.do("delete_range", prefix=b"4")
    last = replica.state.revision
    rows = Rows(replica.state.store, last, row_id(last - 1, 4_095))
    assert len(rows.take()) > 50  # all that one command deleted
    assert rows.take() == []
    rows = Rows(replica.state.store, revision=1_000)
    found = []
    while taken := rows.take():
        found += taken
    assert row_of_packed(found[-1]) == rows.after
    assert rows.after // 4096 == 1_000
    assert Rows(table, 5).take() == []
    assert sum(map(version_check, found)) != replica.state.held


def test_the_file_made_of_parts_is_believed() -> None:
    replica, file = Replica(), io.BytesIO()
    fill(replica, 0, 2_000)
    part = replica.read("snapshot").detail
    of = begun(part)
    writer = Writer(file, origin_of(part["of"], 5))
    while part["versions"]:
        writer.add(part["versions"])
        part = replica.read("snapshot", **of, after=part["next"]).detail
    writer.finish()
    found = examine(Reader(io.BytesIO(file.getvalue()), "f"))
    assert found.keys == replica.read("list", count_only=True).detail["count"]
    assert found.origin.written == replica.state.written
