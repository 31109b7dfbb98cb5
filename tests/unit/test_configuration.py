"""Who votes: names until FORMED, disks from then on, as far as the log goes."""

from dataclasses import replace

from dkv.entries import NO_CHECK, Entry, Kind, follow
from dkv.raft.configuration import (
    Configuration,
    Reigns,
    Seat,
    after,
    founders,
    pack_change,
    pack_members,
)

DISKS = {"n1": 11, "n2": 12, "n3": 13}
FORMED = follow(NO_CHECK, (2, 1, Kind.FORMED, 0, 0, pack_members(DISKS.items())))
OPENED = follow(FORMED.check, (3, 1, Kind.OPENED, 0, 0, b""))
UNFORMED = founders(("n3", "n1", "n2"))
SEATS = tuple(Seat(name, disk) for name, disk in DISKS.items())
LEARNER = Seat("n4", 14, voting=False, promote=True, peer="h:1", client="h:2", key=b"k", since=5)


def members(index: int, *seats: Seat, removed: tuple[Seat, ...] = ()) -> Entry:
    return follow(OPENED.check, (index, 1, Kind.MEMBERS, 0, 0, pack_change(seats, removed)))


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


def test_a_learner_is_held_and_does_not_count_and_an_invited_one_is_neither() -> None:
    invited = LEARNER._replace(name="n5", disk=0)
    config = after(members(4, *SEATS, LEARNER, invited), opened())
    assert config.holds("n4", 14)
    assert not config.counts("n4", 14)
    assert not config.holds("n4", 15)
    assert not config.holds("n5", 0)
    assert (config.votes_needed, config.voters) == (2, ("n1", "n2", "n3"))
    assert config.seat("n4") == LEARNER


def test_a_change_keeps_the_formation_and_says_who_was_removed() -> None:
    config = after(members(4, *SEATS[:2], removed=SEATS[2:]), opened())
    assert (config.formed, config.opened_index, config.index) == (FORMED.check, 3, 4)
    assert config.has_removed(13)
    assert not config.has_removed(12)
    assert config.votes_needed == 2


def test_a_configuration_holds_from_the_entry_on_and_until_it_is_truncated() -> None:
    assert opened() == Configuration(SEATS, 2, FORMED.check, 3, 3)
    reigns = Reigns([UNFORMED])
    for entry in (FORMED, OPENED, members(4, *SEATS[:2])):
        reigns.take(entry)
    assert reigns.now.names == ("n1", "n2")
    assert reigns.truncate(5).index == 4
    assert reigns.truncate(4) == opened()
    assert reigns.truncate(3) == replace(opened(), opened_index=0, index=2)
    assert reigns.truncate(1) == UNFORMED


def test_what_is_committed_settles() -> None:
    reigns = Reigns([UNFORMED])
    for entry in (FORMED, OPENED, members(4, *SEATS[:2])):
        reigns.take(entry)
    reigns.settle(1)
    assert reigns.settled == UNFORMED
    reigns.settle(3)
    assert reigns.settled == opened()
    assert reigns.now.index == 4
    reigns.settle(9)
    assert reigns.settled is reigns.now


def test_other_entries_change_nothing() -> None:
    for kind in (Kind.NOOP, Kind.COMMANDS, Kind.TICK, Kind.AGREED):
        assert after(follow(OPENED.check, (4, 1, kind, 0, 0, b"")), opened()) == opened()
