"""Who votes: names until FORMED, disks from then on, as far as the log goes."""

from dkv.entries import NO_CHECK, Kind, follow
from dkv.raft.configuration import Configuration, after, before, founders, pack_members

DISKS = {"n1": 11, "n2": 12, "n3": 13}
FORMED = follow(NO_CHECK, (2, 1, Kind.FORMED, 0, 0, pack_members(DISKS.items())))
OPENED = follow(FORMED.check, (3, 1, Kind.OPENED, 0, 0, b""))
UNFORMED = founders(("n3", "n1", "n2"))


def opened() -> Configuration:
    return after(OPENED, after(FORMED, UNFORMED))


def test_the_first_election_is_unanimous_and_later_ones_are_not() -> None:
    assert UNFORMED.votes_needed == 3
    assert after(FORMED, UNFORMED).votes_needed == 2


def test_before_formed_every_disk_of_a_member_counts_and_afterwards_only_its_own() -> None:
    assert UNFORMED.counts("n2", 99)
    assert not UNFORMED.counts("n4", 99)
    formed = after(FORMED, UNFORMED)
    assert formed.counts("n2", 12)
    assert not formed.counts("n2", 99)
    assert (UNFORMED.disk_of("n2"), formed.disk_of("n2"), formed.disk_of("n4")) == (0, 12, 0)


def test_a_configuration_holds_from_the_entry_on_and_until_it_is_truncated() -> None:
    assert opened() == Configuration(tuple(DISKS.items()), 2, FORMED.check, 3)
    assert before(4, opened()) == opened()
    assert before(3, opened()) == after(FORMED, UNFORMED)
    assert before(2, opened()) == UNFORMED
    assert before(1, opened()) == UNFORMED


def test_other_entries_change_nothing() -> None:
    for kind in (Kind.NOOP, Kind.COMMANDS, Kind.TICK, Kind.AGREED):
        assert after(follow(OPENED.check, (4, 1, kind, 0, 0, b"")), opened()) == opened()
