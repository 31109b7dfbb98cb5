"""Compaction: what may be read, what is deleted and in which order, and that no answer tells how
far a replica has come with it."""

from pathlib import Path
from random import Random

import msgpack
import pytest

from actors.table import SqliteTable
from dkv.errors import Code
from dkv.kv.state import State
from dkv.kv.sweep import Sweep
from dkv.limits import ClusterLimits
from dkv.requests import pack_command
from tests.unit.replica import Replica


def rows(replica: Replica) -> dict[int, bytes]:
    """The revisions that are kept, and whose they are."""
    return {v.revision: v.key for _row, (v, _check) in sorted(replica.disk.versions.items())}


def written(*script: str) -> Replica:
    """Each word is a key, put; with a dash before it, deleted."""
    replica = Replica()
    for word in script:
        key = word.strip("-").encode()
        if word[0] == "-":
            replica.do("delete", key=key)
        else:
            replica.put(key, b"%d" % (replica.state.revision + 1))
    return replica


@pytest.mark.parametrize(
    ("script", "revision", "kept"),
    [
        ("a a a b", 4, [3, 4]),
        ("a a a b", 2, [2, 3, 4]),
        ("a a a b", 1, [1, 2, 3, 4]),
        ("a -a b", 2, [3]),
        ("a -a b", 1, [1, 2, 3]),
        ("a -a a", 2, [3]),
        ("a -a a", 3, [3]),
        ("a b a b -a -b c", 6, [7]),
        ("a b a b -a -b c", 5, [4, 6, 7]),
    ],
)
def test_what_a_later_version_follows_goes_and_so_does_a_deletion(
    script: str, revision: int, kept: list[int]
) -> None:
    replica = written(*script.split())
    listed = replica.read("list").detail["items"]
    assert replica.do("compact", revision=revision).detail == {"compacted": revision}
    replica.sweep()
    assert [*rows(replica)] == kept
    assert sorted(replica.disk.keys) == sorted({*rows(replica).values()})
    assert replica.read("list").detail["items"] == listed
    replica.state.commit()
    assert replica.restart().read("list").detail["items"] == listed


def test_compaction_never_goes_back_nor_beyond_the_newest_revision() -> None:
    replica = written("a", "a", "a")
    assert replica.do("compact", revision=4).code is Code.FUTURE_REVISION
    assert replica.do("compact", revision=3, keep=1).code is Code.INVALID
    assert replica.do("compact", keep=1).detail == {"compacted": 2}
    assert replica.do("compact", revision=1).detail == {"compacted": 2}
    assert replica.do("compact", keep=1_000).detail == {"compacted": 2}
    assert replica.do("compact").detail == {"compacted": 3}


@pytest.mark.parametrize("seed", range(40))
def test_replicas_at_any_progress_of_deletion_write_the_same(seed: int) -> None:
    """One deletes at once, one now and then, one never; each restarts when it likes."""
    dice = Random(seed)
    replicas = [Replica() for _ in range(3)]
    eagerness = (1.0, 0.2, 0.0)
    for _ in range(120):
        command = _draw(dice, replicas[0].state.revision)
        for number, chance in enumerate(eagerness):
            replicas[number].raw(command)
            sweep = Sweep(replicas[number].state)
            while sweep.is_due and dice.random() < chance:
                sweep.step()
            replicas[number].state.commit()
            if dice.random() < 0.1:
                replicas[number] = replicas[number].restart()
        assert len({r.state.written for r in replicas}) == 1
        assert len({tuple(_page(r)) for r in replicas}) == 1
    for replica in replicas:
        replica.sweep()
        versions = replica.disk.versions.values()
        assert replica.state.held == sum(check for _v, check in versions)
    assert len({(r.state.held, *rows(r), *r.disk.keys) for r in replicas}) == 1


def _draw(dice: Random, revision: int) -> bytes:
    key, pick = b"%d" % dice.randint(0, 5), dice.random()
    if pick < 0.5:
        return pack_command("put", key=key, value=dice.randbytes(3))
    if pick < 0.8:
        return pack_command("delete", key=key)
    if pick < 0.85:
        return pack_command("delete_range", prefix=b"", limit=3)
    return pack_command("compact", keep=dice.randint(0, 10))


def _page(replica: Replica) -> list[bytes]:
    return [bytes(item[0]) for item in replica.read("list").detail["items"]]


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_deletion_goes_after_what_it_hides_wherever_a_crash_comes(steps: int) -> None:
    """What was deleted is not there again; and the rest of the work is done after the restart."""
    replica = written(*["a", "b", "-a", "c", "-b", "a", "-a", "c"] * 10)
    replica.do("compact")
    sweep = Sweep(replica.state)
    for _ in range(steps):
        sweep.step()
    assert replica.state.swept == 0  # it is in the middle
    replica.state.commit()
    again = replica.restart()
    assert _page(again) == [b"c"]
    again.sweep()
    assert [*rows(again).values()] == [b"c"]
    again.state.commit()
    assert _page(again.restart()) == [b"c"]


def test_a_list_as_of_the_compacted_revision_itself_is_whole() -> None:
    """Its keys are found by walking back over what was written since."""
    replica = written("a", "-a", "b", "c", "-c", "d")
    token = msgpack.packb((6, b""))
    for word in ("a", "b", "c", "-d", "d", "-b"):
        key = word.strip("-").encode()
        replica.do("delete", key=key) if word[0] == "-" else replica.put(key, b"new")
    replica.do("compact", revision=6)
    replica.sweep()
    page = replica.read("list", token=token)
    assert (page.code, page.revision) == (Code.OK, 6)
    assert [item[0] for item in page.detail["items"]] == [b"b", b"d"]
    assert replica.read("list", token=msgpack.packb((5, b""))).code is Code.COMPACTED


def test_deletion_is_done_in_steps() -> None:
    replica = written(*["a"] * 2_000)
    replica.do("compact")
    sweep, steps = Sweep(replica.state), []
    while sweep.is_due:
        steps.append(sweep.step())
    assert sum(steps) == 1_999
    assert max(steps) <= 16


def test_in_sqlite_deleted_space_is_used_again_and_given_back_when_idle(tmp_path: Path) -> None:
    table = SqliteTable(tmp_path / "state.db", 7)
    state = State(table, ClusterLimits())
    replica = Replica()
    replica.state = state

    def fill(rounds: int) -> None:
        for _ in range(rounds):
            for number in range(200):
                replica.put(b"k%03d" % number, bytes(1_000))
        replica.do("compact")
        replica.sweep()
        state.commit()

    fill(10)
    first = table.sizes()
    assert first["free_bytes"] > 3 * first["live_bytes"]
    fill(8)
    again = table.sizes()
    assert again["live_bytes"] + again["free_bytes"] <= 1.2 * sum(list(first.values())[1:])
    assert replica.read("list", keys_only=True).detail["count"] == 200
    state.commit()
    times = 0
    while table.tidy(idle=True):
        times += 1
    table.tidy(idle=True)
    assert times > 0
    left = table.sizes()
    assert left["free_bytes"] <= (left["free_bytes"] + left["live_bytes"]) / 4 + 256 * 4_096
    assert table._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    table.close()
    assert (tmp_path / "state.db").stat().st_size < 1_000_000
