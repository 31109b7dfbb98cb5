"""A disk that rots under a node: it refuses, or is as it was; the others go on without it."""

from random import Random

import pytest

from dkv.errors import Ending, Fault
from dkv.limits import SECOND
from tests.scenarios.seeds import seeds
from tests.stores.disk import LOG, STATE, WITNESS
from tests.stores.rot import DAMAGES, NOTICED_WHILE_RUNNING
from tests.world import World

HARMLESS = {"slot"}  # one of them is whole


def busy(seed: int) -> tuple[World, str, str]:
    """Some keys, a session, and a follower: its name, and another's."""
    world = World(seed)
    leader = world.serve()
    session = world.call(leader, "open_session").result["session"]
    for number in range(12):
        place = {"session": session, "sequence": number + 1, "lowest": number + 1}
        assert world.put(leader, b"%d" % (number % 5), b"of %d" % number, **place).ok
    world.run(2 * SECOND)  # state.db has it
    victim, other = (n for n in world.names if n != leader)
    return world, victim, other


def read_all(world: World, name: str, level: str) -> None:
    """Every key, as it was written: what the node serves is right, or it serves nothing."""
    for key in range(5):
        request = world.ask(name, "get", {"level": level}, key=b"%d" % key)
        world.run(SECOND // 10)
        reply = world.replies.get(request)
        if reply is not None and reply.ok:
            number = key + 5 * ((11 - key) // 5)
            assert reply.result.get("value") == b"of %d" % number


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("what", sorted(DAMAGES))
def test_a_damaged_disk_is_refused_at_start(what: str, seed: int) -> None:
    world, victim, other = busy(seed)
    world.crash(victim)
    assert world.nodes[victim].disk.rot(what, Random(seed))
    world.start(victim)
    read_all(world, victim, "serializable")
    ended = world.nodes[victim].ended
    assert (ended is None) == (what in HARMLESS), (what, ended)
    if isinstance(ended, Fault):
        assert ended.ending is Ending.STORAGE_FAULT
    assert world.put(other, b"more", b"").ok


@pytest.mark.parametrize("seed", seeds(3))
@pytest.mark.parametrize("what", NOTICED_WHILE_RUNNING)
def test_rot_under_a_running_node_is_never_served(what: str, seed: int) -> None:
    world, victim, other = busy(seed)
    assert world.nodes[victim].disk.rot(what, Random(seed))
    world.invariants.distrusted.add(victim)  # it acknowledges once more what it cannot know is gone
    read_all(world, victim, "serializable")
    read_all(world, victim, "linearizable")
    assert world.put(other, b"more", b"").ok
    world.restart(victim)
    read_all(world, victim, "serializable")
    ended = world.nodes[victim].ended
    assert ended is None or (isinstance(ended, Fault) and ended.ending is Ending.STORAGE_FAULT)
    assert world.put(other, b"and more", b"").ok


@pytest.mark.parametrize("part", [LOG, STATE, WITNESS])
@pytest.mark.parametrize("done", [False, True])
def test_a_failing_sync_ends_the_node_and_it_comes_back(part: str, done: bool) -> None:
    world, victim, other = busy(7)
    disk = world.nodes[victim].disk
    disk.fail_sync(part, done=done)
    assert world.put(other, b"more", b"").ok
    world.run_until(lambda: world.nodes[victim].ended is not None)
    ended = world.nodes[victim].ended
    assert isinstance(ended, Fault)
    assert ended.ending is Ending.DISK_UNWRITABLE
    world.start(victim)
    world.run_until(lambda: world.is_serving(victim))
    assert world.get(victim, b"more").result["found"]
    read_all(world, victim, "linearizable")


def test_a_full_disk_ends_the_node_and_it_comes_back_when_there_is_room() -> None:
    world, victim, other = busy(8)
    world.nodes[victim].disk.full = True
    assert world.put(other, b"more", b"").ok
    world.run_until(lambda: world.nodes[victim].ended is not None)
    assert "the disk is full" in str(world.nodes[victim].ended)
    world.nodes[victim].disk.full = False
    world.start(victim)
    world.run_until(lambda: world.is_serving(victim))
    assert world.get(victim, b"more").result["found"]


def test_everything_rolled_back_at_once_is_found_by_the_leaders_first_word() -> None:
    world, victim, other = busy(9)
    image = world.nodes[victim].disk.copy()
    assert world.put(other, b"more", b"").ok
    world.run(2 * SECOND)
    world.crash(victim)
    world.nodes[victim].disk.roll_back(image)
    world.invariants.distrusted.add(victim)
    world.start(victim)
    world.run_until(lambda: world.nodes[victim].ended is not None)
    assert "lost entries it had acknowledged" in str(world.nodes[victim].ended)
    world.start(victim)
    assert world.nodes[victim].actors is None  # the witness keeps it
