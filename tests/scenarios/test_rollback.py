"""A disk that has less than it promised: found by its witness, else by the leader; never trusted.

A controller that lied about a sync, a volume put back from a backup, a file lost from a directory:
SQLite opens what is left as if nothing had happened.
"""

from typing import NamedTuple

import pytest

from dkv.entries import Position
from dkv.errors import Ending, Fault
from dkv.limits import SECOND, ClusterLimits
from tests.stores import SimDisk
from tests.world import World


class Scene(NamedTuple):
    world: World
    victim: str
    earlier: SimDisk  # its volume, before the last writes that it acknowledged
    latest: SimDisk


def scene(seed: int) -> Scene:
    """A follower down; its disk as it is, and as it was some acknowledged writes ago."""
    world = World(seed)
    leader = world.serve()
    victim, other = (n for n in world.names if n != leader)
    for number in range(5):
        assert world.put(leader, b"early/%d" % number, b"").ok
    world.run(2 * SECOND)
    world.crash(victim)
    earlier = world.nodes[victim].disk.copy()
    world.start(victim)
    world.run_until(world.is_serving)
    world.pause(other)
    for number in range(5):
        assert world.put(leader, b"late/%d" % number, b"").ok  # the victim's word made it so
    world.resume(other)
    world.run(2 * SECOND)
    assert world.leader() == leader
    world.crash(victim)
    return Scene(world, victim, earlier, world.nodes[victim].disk.copy())


def refused_with(found: Scene, disk: SimDisk) -> str:
    """Start the victim on this disk: it refuses, and again; the others go on."""
    world, victim = found.world, found.victim
    world.invariants.distrusted.add(victim)
    world.nodes[victim].disk = disk
    words = ""
    for _ in range(2):
        world.start(victim)
        world.run_until(lambda: world.nodes[victim].ended is not None, 3 * SECOND)
        fault = world.nodes[victim].ended
        assert isinstance(fault, Fault)
        assert fault.ending is Ending.STORAGE_FAULT
        words = words or str(fault)
    for name in world.running():
        assert world.get(name, b"late/4").result["found"]
    assert world.put(world.running()[0], b"more", b"").ok
    return words


def test_an_untouched_disk_is_believed() -> None:
    found = scene(1)
    found.world.nodes[found.victim].disk = found.latest
    found.world.start(found.victim)
    found.world.run_until(found.world.is_serving)
    assert found.world.get(found.victim, b"late/4").result["found"]


def test_a_log_rolled_back_is_found_by_its_witness() -> None:
    found = scene(2)
    disk = found.latest
    disk.hard, disk.entries, disk.meta = (
        found.earlier.hard,
        found.earlier.entries,
        found.earlier.meta,
    )
    assert "the witness saw entry" in refused_with(found, disk)


def test_a_log_shortened_by_its_last_acknowledged_entry_is_found_by_its_witness() -> None:
    found = scene(3)
    disk = found.latest
    disk.meta = found.earlier.meta
    disk.entries.pop(max(disk.entries))
    assert "what was acknowledged has been lost" in refused_with(found, disk)


def test_a_log_without_an_entry_in_the_middle_is_damaged() -> None:
    found = scene(4)
    found.latest.entries.pop(4)
    assert "entry 4 of the log is missing or damaged" in refused_with(found, found.latest)


def test_a_flipped_bit_in_the_last_entry_is_damage_and_no_torn_tail() -> None:
    found = scene(5)
    last = max(found.latest.entries)
    entry = found.latest.entries[last]
    found.latest.entries[last] = entry._replace(payload=entry.payload[:-1] + b"\x01")
    assert f"entry {last} of the log is missing or damaged" in refused_with(found, found.latest)


def test_a_forgotten_term_and_vote_are_found_by_the_witness() -> None:
    found = scene(6)
    disk = found.latest
    assert disk.hard is not None
    disk.hard = disk.hard._replace(term=disk.hard.term - 1, vote=0)
    assert "older than those the witness saw" in refused_with(found, disk)


def test_a_log_that_lost_its_witness_is_not_believed() -> None:
    found = scene(7)
    found.latest.slots = [None, None]
    assert "nothing vouches for the log" in refused_with(found, found.latest)


def test_a_witness_that_lost_its_log_begins_no_new_one() -> None:
    found = scene(8)
    disk = SimDisk()
    disk.slots = found.latest.slots
    assert "the log is gone, and the witness saw entries" in refused_with(found, disk)


def test_a_whole_volume_rolled_back_is_found_by_the_leaders_match() -> None:
    """Log, witness and state.db of one earlier moment fit each other perfectly."""
    found = scene(9)
    words = refused_with(found, found.earlier)
    assert "this disk lost entries it had acknowledged" in words
    for name in found.world.running():
        found.world.crash(name)
    found.world.start(found.victim)  # nobody is there to tell it: its own witness knows by now
    assert "the witness saw entry" in str(found.world.nodes[found.victim].ended)


@pytest.mark.parametrize("seed", [10, 11, 12])
def test_a_volume_rolled_back_acknowledges_and_votes_for_nothing_before_it_is_found(
    seed: int,
) -> None:
    """With the third cut off, leader and rolled-back disk must not lose an acknowledged write:
    the leader's first letter to it carries its match."""
    found = scene(seed)
    world, victim = found.world, found.victim
    leader = world.leader() or ""
    third = next(n for n in world.names if n not in (leader, victim))
    world.cut(third)
    world.invariants.distrusted.add(victim)
    world.nodes[victim].disk = found.earlier
    world.start(victim)
    world.run_until(lambda: world.nodes[victim].ended is not None, 3 * SECOND)
    world.run(3 * SECOND)
    assert set(world.invariants.leaders.values()) == {leader}
    world.heal()
    world.run_until(lambda: world.is_serving(leader, third))
    assert world.get(third, b"late/4").result["found"]


def test_a_state_ahead_of_its_log_is_a_fault() -> None:
    found = scene(13)
    disk = found.earlier  # log and witness of an earlier moment
    disk.meta, disk.sessions = found.latest.meta, found.latest.sessions
    disk.versions, disk.keys = found.latest.versions, found.latest.keys
    assert "the two files are not of one moment" in refused_with(found, disk)


def test_a_state_of_another_directory_is_a_fault() -> None:
    found = scene(14)
    assert found.latest.meta is not None
    found.latest.meta = found.latest.meta._replace(disk=found.latest.meta.disk + 1)
    assert "of another data directory" in refused_with(found, found.latest)


def test_a_state_below_the_base_of_its_log_is_a_fault() -> None:
    world = World(seed=15, limits=ClusterLimits())
    leader = world.serve()
    victim = next(n for n in world.names if n != leader)
    world.crash(victim)
    earlier = world.nodes[victim].disk.copy()
    world.start(victim)
    world.run_until(world.is_serving)
    for number in range(1_400):
        assert world.put(leader, b"%d" % (number % 10), b"").ok
    world.run(3 * SECOND)
    world.crash(victim)
    disk = world.nodes[victim].disk
    assert disk.hard is not None
    assert disk.hard.base > Position(256, 0, b"")
    latest = disk.copy()
    disk.meta, disk.versions = earlier.meta, earlier.versions
    disk.keys = earlier.keys
    world.put(leader, b"late/4", b"")
    words = refused_with(Scene(world, victim, earlier, latest), disk)
    assert f"the log begins behind {disk.hard.base.index}" in words
