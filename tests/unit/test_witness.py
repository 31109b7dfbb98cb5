"""The witness: two slots, one of them always whole; what it says binds recovery."""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors import keeping, recovery
from actors.keeping import Hard, Witness
from actors.log import Log
from actors.witness import SLOT_BYTES, FileWitness
from dkv.address import Instant
from dkv.counters import Counters
from dkv.entries import Position, genesis, position_of
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.kv.store import Meta
from dkv.limits import ClusterLimits
from dkv.messages import Condemn
from tests.stores import Crash, MemoryJournal, MemoryMargin, MemoryWitness, SimDisk

OLD = keeping.Testimony(4, 2, b"checkold", 2, 7)
NEW = keeping.Testimony(9, 3, b"checknew", 3, 0)
NEWEST = keeping.Testimony(10, 3, b"newest!!", 3, 0)


class Slots:
    """A witness, how to open it again, and how to tear its slot 0 or 1."""

    def __init__(self, open_: Callable[[], Witness], tear: Callable[[int], None]) -> None:
        self.open, self.tear = open_, tear


@pytest.fixture(params=["memory", "file"])
def slots(request: pytest.FixtureRequest, tmp_path: Path) -> Slots:
    disk, path = SimDisk(), tmp_path / "witness"

    def tear(slot: int) -> None:
        disk.slots[slot] = None
        with path.open("r+b") as file:  # half of the new slot over half of the old one
            file.seek(slot * SLOT_BYTES + 16)
            file.write(b"\xff" * 16)

    def open_file() -> Witness:
        return FileWitness(path)

    if request.param == "file":
        return Slots(open_file, tear)
    return Slots(lambda: MemoryWitness(disk), lambda slot: disk.slots.__setitem__(slot, None))


def written(slots: Slots, *testimonies: keeping.Testimony) -> Witness:
    witness = slots.open()
    witness.read()
    for testimony in testimonies:
        witness.write(testimony)
    witness.close()
    return slots.open()


def test_a_new_witness_has_seen_nothing(slots: Slots) -> None:
    assert slots.open().read() is None


def test_the_newest_testimony_is_read(slots: Slots) -> None:
    assert written(slots, OLD).read() == OLD
    assert written(slots, NEW).read() == NEW
    assert written(slots, OLD, NEW, NEWEST).read() == NEWEST


def test_slots_alternate_so_that_the_other_one_stays_whole(slots: Slots) -> None:
    written(slots, OLD, NEW).close()  # OLD in slot 1, NEW in slot 0
    slots.tear(0)
    witness = slots.open()
    assert witness.read() == OLD
    witness.write(NEWEST)  # over the torn one, not over the only whole one
    witness.close()
    slots.tear(0)
    assert slots.open().read() == OLD


def test_both_slots_damaged_is_no_witness(slots: Slots) -> None:
    written(slots, OLD, NEW).close()
    slots.tear(0)
    slots.tear(1)
    assert slots.open().read() is None


@pytest.mark.parametrize("byte", range(0, 72, 5))
def test_a_flipped_bit_anywhere_in_a_slot_is_seen(tmp_path: Path, byte: int) -> None:
    path = tmp_path / "witness"
    witness = FileWitness(path)
    witness.write(OLD)
    witness.close()
    raw = bytearray(path.read_bytes())
    raw[SLOT_BYTES + byte] ^= 1
    path.write_bytes(raw)
    assert FileWitness(path).read() is None


def test_a_shortened_file_is_no_witness(tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "witness")
    witness.write(OLD)
    witness.close()
    (tmp_path / "witness").write_bytes(b"short")
    assert FileWitness(tmp_path / "witness").read() is None


def test_a_write_that_the_power_cut_leaves_the_older_slot() -> None:
    disk = SimDisk()
    witness = MemoryWitness(disk)
    witness.write(OLD)
    disk.fuse.blow_at = len(disk.fuse.steps)
    with pytest.raises(Crash):
        witness.write(NEW)
    assert MemoryWitness(disk).read() == OLD


# -- what recovery makes of it -------------------------------------------------------------------
FIRST = genesis(Founding(b"", "", ("n1",)), ClusterLimits())
HARD = Hard(1, "n1", 7, False, FIRST.payload, FIRST.check, term=5, vote=7)
SEEN = keeping.Testimony(*position_of(FIRST), 5, 7)


def examine(slots: Slots, hard: Hard, *testimonies: keeping.Testimony) -> recovery.Found:
    """A log with the first entry only, beside a witness that says this."""
    journal = MemoryJournal(SimDisk())
    journal.create(hard, (FIRST,))
    return recovery.examine(journal, written(slots, *testimonies), Meta(7))


def test_a_log_that_the_witness_vouches_for_is_believed(slots: Slots) -> None:
    assert examine(slots, HARD, SEEN).last == position_of(FIRST)
    assert examine(slots, HARD, SEEN._replace(vote=0)).start.vote == 7
    assert examine(slots, HARD, SEEN._replace(hard_term=4)).start.term == 5


@pytest.mark.parametrize(
    ("testimony", "words"),
    [
        (SEEN._replace(hard_term=6, vote=0), "rolled back"),
        (SEEN._replace(vote=8), "rolled back"),
        (SEEN._replace(index=2), "the witness saw entry 2"),
        (SEEN._replace(check=bytes(8)), "not the one the witness saw"),
        (SEEN._replace(term=1), "not the one the witness saw"),
    ],
)
def test_a_log_that_contradicts_its_witness_is_a_fault(
    slots: Slots, testimony: keeping.Testimony, words: str
) -> None:
    with pytest.raises(Fault, match=words) as caught:
        examine(slots, HARD, testimony)
    assert caught.value.ending is Ending.STORAGE_FAULT


def test_a_log_without_a_readable_witness_is_a_fault(slots: Slots) -> None:
    with pytest.raises(Fault, match="nothing vouches for the log"):
        examine(slots, HARD)


def test_a_log_that_is_gone_while_the_witness_saw_entries_is_not_begun_anew(slots: Slots) -> None:
    with pytest.raises(Fault, match="the log is gone"):
        recovery.create(MemoryJournal(SimDisk()), written(slots, SEEN), HARD, FIRST)
    recovery.create(MemoryJournal(SimDisk()), written(slots, recovery.NOTHING), HARD, FIRST)


@pytest.mark.parametrize("torn", [None, 0, 1])
def test_a_condemned_disk_stays_condemned_whichever_slot_is_read(
    slots: Slots, torn: int | None
) -> None:
    disk = SimDisk()
    journal, witness = MemoryJournal(disk), written(slots, SEEN)
    journal.create(HARD, (FIRST,))
    witness.read()
    margin = MemoryMargin(disk)
    last = Position(*position_of(FIRST))
    log = Log(journal, witness, margin, HARD, SEEN, last, (), Counters())
    with pytest.raises(Fault, match="lost what it had acknowledged"):
        log.handle([Condemn(1, "lost what it had acknowledged")], Instant(0, 0))
    witness.close()
    if torn is not None:
        slots.tear(torn)
    with pytest.raises(Fault) as caught:
        recovery.examine(journal, slots.open(), Meta(7))
    assert caught.value.ending is Ending.STORAGE_FAULT
