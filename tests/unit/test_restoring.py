"""A data directory from a backup: one that a node believes, or none."""

import io
from pathlib import Path
from random import Random

import pytest

from actors import recovery
from actors.directory import DataDirectory
from actors.restoring import base_of, restore
from actors.scan import Scan
from dkv.errors import Ending, Fault, Misconfigured
from dkv.ids import Founding
from dkv.kv.backup import BackupError, Contents, Reader, Writer, examine, origin_of
from dkv.kv.saving import facts_of
from dkv.kv.state import State
from dkv.limits import ClusterLimits
from tests.unit.replica import Replica

LIMITS = ClusterLimits(value_bytes_max=2_000_000, request_bytes_max=2_100_000)
FOUNDING = Founding(b"a" * 32, "token", ("n1", "n2"), b"s" * 16)


def original() -> Replica:
    made = Replica(LIMITS)
    for number in range(400):
        made.put(b"%d" % (number % 150), bytes(number * 50))
    made.do("delete_range", prefix=b"7")
    return made


def saved(made: Replica) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, origin_of(facts_of(made.state), 1))
    after, part = 0, made.read("snapshot").detail
    while part["versions"]:
        writer.add(part["versions"])
        after = part["next"]
        part = made.read("snapshot", revision=made.state.revision, after=after).detail
    writer.finish()
    return file.getvalue()


DATA = saved(original())


def reader(data: bytes = DATA) -> Reader:
    return Reader(io.BytesIO(data), "f")


def contents() -> Contents:
    return examine(reader())


def make(folder: Path, name: str = "n1", data: bytes = DATA) -> None:
    restore(folder, name, FOUNDING, contents(), reader(data).versions(), Random(1))


def test_a_node_believes_it_and_finds_everything(tmp_path: Path) -> None:
    made, folder = original(), tmp_path / "d"
    make(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    directory = DataDirectory(folder)
    journal, witness = directory.journal(), directory.witness()
    hard = journal.hard()
    assert hard is not None
    table = directory.table(hard.disk)
    found = recovery.examine(journal, witness, table.meta())
    assert (found.founding, found.limits) == (FOUNDING, LIMITS)
    assert found.last == found.start.base == base_of(FOUNDING, contents())
    assert (found.start.name, found.start.vote, found.start.joining) == ("n1", 0, False)
    assert not found.start.reigns[-1].is_formed
    assert found.start.reigns[-1].names == ("n1", "n2")
    state = State(table, LIMITS)
    scan = Scan(table, state.heads)
    while not scan.step():
        pass
    assert state.heads == made.state.heads
    assert (state.applied, state.revision) == (made.state.applied, made.state.revision)
    assert (state.written, state.held) == (made.state.written, made.state.held)
    assert len(state.sessions) == 0
    for each in (table, journal, witness, directory):
        each.close()


def test_two_members_of_one_restoration_differ_in_their_disks_alone(tmp_path: Path) -> None:
    hards = []
    for number, name in enumerate(("n1", "n2")):
        place = tmp_path / name
        restore(place, name, FOUNDING, contents(), reader().versions(), Random(number))
        directory = DataDirectory(place)
        journal = directory.journal()
        hards.append(journal.hard())
        journal.close()
        directory.close()
    first, second = hards
    assert first is not None
    assert second is not None
    assert first.disk != second.disk
    assert first._replace(disk=0, name="") == second._replace(disk=0, name="")


def test_what_is_in_a_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_text("precious")
    with pytest.raises(Misconfigured, match="is not empty"):
        make(tmp_path / "d")
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["file"]


def test_a_directory_whose_making_was_broken_off_is_none(tmp_path: Path) -> None:
    """The file was changed between two looks at it: no log is made, so nobody starts on it."""
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    with pytest.raises(BackupError):
        make(tmp_path / "d", data=bytes(damaged))
    directory = DataDirectory(tmp_path / "d")
    journal = directory.journal()
    assert journal.hard() is None
    table = directory.table(99)
    hard = recovery.Hard(1, "n1", 99, False, b"", bytes(8))
    with pytest.raises(Fault, match="another data directory") as caught:
        recovery._check_state(hard, table.meta(), None)
    assert caught.value.ending is Ending.STORAGE_FAULT
    for each in (table, journal, directory):
        each.close()
