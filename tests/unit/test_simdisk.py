"""The simulated disk: what a crash leaves of a turn under way, images, and errors of the disk."""

from random import Random

import pytest

from actors import keeping
from actors.keeping import Hard
from dkv.entries import Kind, follow, genesis
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.kv.store import Meta
from dkv.kv.version import Version, pack_version, row_id
from dkv.limits import ClusterLimits
from tests.stores import DiskError, MemoryJournal, MemoryTable, MemoryWitness, SimDisk
from tests.stores.disk import LOG, STATE, WITNESS

FIRST = genesis(Founding(b"", "", ("n1",)), ClusterLimits())
SECOND = follow(FIRST.check, (2, 1, Kind.NOOP, 0, 0, b""))
HARD = Hard(1, "n1", 7, False, FIRST.payload, FIRST.check)
SEEN = keeping.Testimony(1, 0, FIRST.check, 0, 0)
VERSION = Version(1, 0, b"k", b"v", 1, 1, 0, "anna", 5, 6)


def made() -> SimDisk:
    disk = SimDisk()
    witness = MemoryWitness(disk)
    witness.write(SEEN)
    witness.write(SEEN)
    MemoryJournal(disk).create(HARD, (FIRST,))
    MemoryTable(disk, 7).commit(Meta(7), [], [])
    return disk


def turn(disk: SimDisk) -> None:
    """A log's turn: an entry and a promise, then the witness."""
    journal, witness = MemoryJournal(disk), MemoryWitness(disk)
    assert witness.read() == SEEN
    journal.replace(0, (SECOND,))
    journal.keep(HARD._replace(term=1))
    journal.commit()
    witness.write(SEEN._replace(hard_term=1))


def found(disk: SimDisk) -> tuple[bool, int, keeping.Testimony | None]:
    assert disk.hard is not None
    return 2 in disk.entries, disk.hard.term, MemoryWitness(disk).read()


def test_a_crash_in_a_turn_leaves_whole_commits_in_their_order() -> None:
    seen, torn = set(), 0
    for seed in range(100):
        disk = made()
        disk.begin_turn(LOG)
        turn(disk)
        assert not disk.holds(2, SECOND.check)
        assert (disk.term, disk.promises()["witness"]) == (0, (0, 0))
        disk.lose_unsynced(Random(seed))
        seen.add(found(disk))
        torn += None in disk.slots
    nothing, log = (False, 0, SEEN), (True, 1, SEEN)
    assert seen == {nothing, log, (True, 1, SEEN._replace(hard_term=1))}
    assert torn


def test_what_a_turn_has_ended_with_is_durable() -> None:
    for ended in (True, False):
        disk = made()
        if ended:
            disk.begin_turn(LOG)
        turn(disk)
        disk.end_turn(LOG)
        assert disk.holds(2, SECOND.check)
        assert disk.holds(1, FIRST.check)
        disk.lose_unsynced(Random(1))
        assert found(disk) == (True, 1, SEEN._replace(hard_term=1))


def test_a_commit_of_the_state_survives_as_a_whole_or_not_at_all() -> None:
    seen = set()
    for seed in range(20):
        disk = made()
        table = MemoryTable(disk, 7)
        disk.begin_turn(STATE)
        table.add(row_id(1, 0), pack_version(VERSION), VERSION.key)
        table.commit(Meta(7, applied=5), [(3, b"session")], [])
        table.add(row_id(2, 0), pack_version(VERSION._replace(revision=2)), None)
        disk.lose_unsynced(Random(seed))
        table = MemoryTable(disk, 7)
        seen.add((table.meta().applied, len(disk.versions), len(list(table.sessions()))))
    assert seen == {(0, 0, 0), (5, 1, 1)}


def test_an_image_is_what_a_power_cut_would_leave_and_can_be_gone_back_to() -> None:
    disk = made()
    MemoryJournal(disk).replace(0, (SECOND,))
    image = disk.copy()
    assert (2 in image.entries, 2 in disk.entries) == (False, True)
    disk.lose_unsynced()
    turn(disk)
    disk.roll_back(image, (LOG, STATE))
    assert found(disk) == (False, 0, SEEN._replace(hard_term=1))
    disk.roll_back(image)
    assert found(disk) == (False, 0, SEEN)
    turn(disk)
    assert found(image) == (False, 0, SEEN)
    disk.wipe((WITNESS,))
    assert MemoryWitness(disk).read() is None
    disk.wipe()
    assert MemoryJournal(disk).hard() is None


@pytest.mark.parametrize("part", [LOG, WITNESS])
@pytest.mark.parametrize("done", [False, True])
def test_a_sync_that_fails_may_have_been_done(part: str, done: bool) -> None:
    disk = made()
    disk.fail_sync(part, done=done)
    with pytest.raises((DiskError, Fault)):
        turn(disk)
    disk.lose_unsynced()
    entry, term, testimony = found(disk)
    assert entry == bool(term) == (part == WITNESS or done)
    assert testimony == (SEEN._replace(hard_term=1) if done and part == WITNESS else SEEN)


def test_on_a_full_disk_every_write_fails_and_says_so() -> None:
    disk = made()
    disk.full = True
    journal, entries = MemoryJournal(disk), [SECOND]
    for write in (
        lambda: journal.replace(0, entries),
        lambda: journal.keep(HARD),
        lambda: MemoryTable(disk, 7).add(row_id(1, 0), pack_version(VERSION), b"k"),
    ):
        with pytest.raises(DiskError) as caught:
            write()
        fault = journal.fault(caught.value)
        assert (fault.ending, "the disk is full" in str(fault)) == (Ending.DISK_UNWRITABLE, True)
    with pytest.raises(Fault, match="the disk is full"):
        MemoryWitness(disk).write(SEEN)
    disk.full = False
    turn(disk)


def test_rot_stays_with_the_files_it_is_in() -> None:
    disk = made()
    image = disk.copy()
    disk.rot("hard", Random(1))
    disk.rot("meta", Random(1))
    rotten = disk.copy()
    disk.roll_back(image, (LOG,))
    assert MemoryJournal(disk).hard() == HARD
    with pytest.raises(Fault, match="meta"):
        MemoryTable(disk, 7)
    disk.roll_back(image)
    MemoryTable(disk, 7)
    disk.roll_back(rotten, (LOG,))
    with pytest.raises(Fault, match="term and vote"):
        MemoryJournal(disk).hard()
