"""One contract for both journals: SQLite's in a node, memory's in the simulator."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors import keeping, recovery
from actors.journal import SqliteJournal
from actors.keeping import Hard, Journal
from dkv.entries import Entry, Kind, follow, genesis, position_of
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.kv.store import Meta
from dkv.limits import ClusterLimits
from dkv.raft.configuration import pack_members
from tests.stores import MemoryJournal, MemoryWitness, SimDisk

FIRST = genesis(Founding(b"", "", ("n1",)), ClusterLimits())
HARD = Hard(1, "n1", 7, False, FIRST.payload, FIRST.check)
Open = Callable[[], Journal]


def log_of(*kinds: int) -> list[Entry]:
    entries = [FIRST]
    for index, kind in enumerate(kinds, 2):
        payload = pack_members([("n1", 7)]) if kind == Kind.FORMED else b"payload"
        entries.append(follow(entries[-1].check, (index, 1, kind, 5, 6, payload)))
    return entries


LOG = log_of(Kind.FORMED, Kind.OPENED, Kind.COMMANDS, Kind.COMMANDS)


@pytest.fixture(params=["memory", "sqlite"])
def crash(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the journal anew, as a power cut would leave it."""
    disk = SimDisk()
    opened: list[SqliteJournal] = []

    def memory() -> Journal:
        disk.lose_unsynced()
        return MemoryJournal(disk)

    def sqlite() -> Journal:
        for journal in opened:
            journal._db.connection.close()  # without a COMMIT, as a killed process
        opened[:] = [SqliteJournal(tmp_path / "log.db")]
        return opened[0]

    yield memory if request.param == "memory" else sqlite
    for journal in opened:
        journal._db.connection.close()


@pytest.fixture
def journal(crash: Open) -> Journal:
    """Created, and holding LOG."""
    found = crash()
    found.create(HARD, LOG[:1])
    found.replace(0, LOG[1:])
    found.commit()
    return found


def rows(journal: Journal, first: int = 1, last: int = 99) -> list[Entry]:
    return list(journal.rows(first, last))


def test_a_new_directory_has_no_hard_state(crash: Open) -> None:
    assert crash().hard() is None


def test_creation_is_durable_when_it_returns(crash: Open) -> None:
    crash().create(HARD, LOG[:1])
    again = crash()
    assert again.hard() == HARD
    assert rows(again) == LOG[:1]


def test_entries_come_back_as_they_were(journal: Journal) -> None:
    assert rows(journal) == LOG
    assert rows(journal, 2, 3) == LOG[1:3]
    assert rows(journal, 9, 99) == []
    assert [type(e) for e in rows(journal)] == [Entry] * len(LOG)


def test_what_was_committed_survives_and_nothing_else(journal: Journal, crash: Open) -> None:
    more = follow(LOG[-1].check, (6, 1, Kind.NOOP, 0, 0, b""))
    journal.replace(0, (more,))
    journal.keep(HARD._replace(term=9, vote=7))
    assert rows(journal) == [*LOG, more]
    again = crash()
    assert rows(again) == LOG
    assert again.hard() == HARD


def test_a_truncation_drops_what_follows_and_adds(journal: Journal, crash: Open) -> None:
    other = follow(LOG[2].check, (4, 2, Kind.NOOP, 0, 0, b"other"))
    journal.replace(4, (other,))
    journal.commit()
    assert rows(journal) == [*LOG[:3], other]
    assert rows(crash()) == [*LOG[:3], other]


def test_a_truncation_that_was_not_committed_has_not_happened(
    journal: Journal, crash: Open
) -> None:
    journal.replace(2, ())
    assert rows(journal) == LOG[:1]
    assert rows(crash()) == LOG


def test_hard_state_and_entries_are_of_one_moment(journal: Journal, crash: Open) -> None:
    hard = HARD._replace(term=3, vote=7, base=position_of(LOG[2]), base_tick=5)
    journal.cut(3)
    journal.keep(hard)
    journal.commit()
    again = crash()
    assert again.hard() == hard
    assert rows(again) == LOG[3:]


def test_configurations_are_found_among_the_entries(journal: Journal) -> None:
    assert journal.configurations(99) == LOG[1:3]
    assert journal.configurations(2) == LOG[1:2]


def test_a_commit_of_nothing_is_no_error(journal: Journal) -> None:
    journal.commit()
    journal.tidy(idle=True)
    assert rows(journal) == LOG


def test_a_closed_journal_is_found_again(journal: Journal, crash: Open) -> None:
    journal.close()
    assert rows(crash()) == LOG


# -- damage (SQLite's own) -----------------------------------------------------------------------
@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    journal = SqliteJournal(path)
    journal.create(HARD, LOG[:1])
    journal.replace(0, LOG[1:])
    journal.commit()
    journal.close()
    return path


def damage(path: Path, statement: str) -> SqliteJournal:
    """What a flipped bit leaves: SQLite returns such rows as good."""
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    return SqliteJournal(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET payload = x'70' WHERE idx = 3",
        "UPDATE entries SET payload = x'70' WHERE idx = 5",
        "UPDATE entries SET term = 2 WHERE idx = 4",
        "UPDATE entries SET payload = 'payload' WHERE idx = 4",  # of another type
        "UPDATE entries SET tick = 'x' WHERE idx = 4",
        "UPDATE entries SET chk = 0 WHERE idx = 4",
        "UPDATE entries SET chk = x'0000000000000000' WHERE idx = 5",
        "DELETE FROM entries WHERE idx = 3",
        "DELETE FROM entries WHERE idx >= 4",  # the witness saw entry 5
    ],
)
def test_a_damaged_or_missing_row_is_a_storage_fault(file: Path, statement: str) -> None:
    witness = MemoryWitness(SimDisk())
    witness.write(keeping.Testimony(*position_of(LOG[4]), 0, 0))
    journal = damage(file, statement)
    with pytest.raises(Fault) as caught:
        recovery.examine(journal, witness, Meta(7))
    assert caught.value.ending is Ending.STORAGE_FAULT
    journal.close()


def test_a_sound_log_is_believed(file: Path) -> None:
    witness = MemoryWitness(SimDisk())
    witness.write(keeping.Testimony(*position_of(LOG[0]), 0, 0))
    journal = damage(file, "UPDATE entries SET payload = payload")
    found = recovery.examine(journal, witness, Meta(7))
    assert found.last == position_of(LOG[4])
    assert found.start.reigns[-1].opened_index == 3
    journal.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE hard SET chk = x'00'",
        "DELETE FROM hard",
        "UPDATE hard SET state = x'90'",
        "UPDATE hard SET state = 7",
    ],
)
def test_a_damaged_hard_state_is_a_storage_fault(file: Path, statement: str) -> None:
    journal = damage(file, statement)
    with pytest.raises(Fault, match="must not vote"):
        journal.hard()
    journal.close()


def test_another_format_asks_for_a_newer_version(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "log.db")
    journal.create(HARD._replace(format=2), LOG[:1])
    with pytest.raises(Fault) as caught:
        journal.hard()
    assert caught.value.ending is Ending.NEWER_NEEDED
    journal.close()


def test_syncs_are_counted_by_the_transactions_that_took_place(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "log.db")
    journal.create(HARD, [FIRST])
    before = journal.sizes()
    journal.commit()  # nothing to commit
    journal.replace(0, LOG[1:])
    journal.commit()
    after = journal.sizes()
    journal.close()
    assert after["syncs"] - before["syncs"] == 1
    assert after["sync_us"] > before["sync_us"]
