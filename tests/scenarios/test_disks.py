"""Disks that fail or fill: one statement, one node, all nodes at once."""

import pytest

from dkv.errors import Ending, Fault
from dkv.limits import SECOND
from tests.scenarios.seeds import seeds
from tests.world import World

LOW, CRITICAL = 1, 2


def fail_next(world: World, name: str, what: str) -> None:
    """The next step of this kind raises, whichever steps come before it."""
    world.nodes[name].disk.fuse.fail_next = what


@pytest.mark.parametrize("what", ["table.add", "table.commit", "journal.replace", "journal.commit"])
@pytest.mark.parametrize("victim", ["the leader", "a follower"])
def test_a_failing_statement_ends_the_node_and_loses_nothing(what: str, victim: str) -> None:
    """A failed INSERT rolls back the whole lazy transaction: nothing may go on from there."""
    world = World(seed=1)
    leader = world.serve()
    name = leader if victim == "the leader" else next(n for n in world.names if n != leader)
    for number in range(10):  # in the lazy transaction, not committed
        assert world.put(leader, b"%d" % number, b"").ok
    assert world.nodes[name].disk.undo_table
    fail_next(world, name, what)
    other = next(n for n in world.names if n not in (leader, name))
    world.ask(other, "put", key=b"unlucky", value=b"")
    world.run_until(lambda: world.nodes[name].ended is not None)
    fault = world.nodes[name].ended
    assert isinstance(fault, Fault)
    assert (fault.ending, what in str(fault)) == (Ending.DISK_UNWRITABLE, True)
    world.run_until(world.is_serving)
    assert world.put(other, b"meanwhile", b"").ok
    world.start(name)
    world.run_until(world.is_serving)
    for key in (b"0", b"9", b"meanwhile"):
        assert world.get(name, key).result["found"]
    world.run(SECOND)
    assert len({node.state.written for node in world.nodes.values()}) == 1


def fill(world: World, level: int, *names: str) -> None:
    for name in names or world.names:
        world.nodes[name].disk.space_level = level


def test_with_all_disks_low_what_grows_is_refused_and_all_else_goes_on() -> None:
    world = World(seed=2)
    leader = world.serve()
    session = world.call(leader, "open_session").result["session"]
    for key in (b"a", b"b", b"c"):
        assert world.put(leader, key, b"v").ok
    fill(world, LOW)
    assert world.call(leader, "keep_alive", {"session": session}).ok  # a Write looks at the margin
    world.run(SECOND)
    for name in world.names:
        place = {"session": session, "sequence": 1, "lowest": 1}
        for header in ({}, place):
            refused = world.put(name, b"more", b"v", **header)
            assert (refused.code, refused.applied) == ("disk_low", "no")
        assert world.call(name, "open_session").ok  # who deletes needs one
        assert world.get(name, b"a").result["value"] == b"v"
        assert world.call(name, "list", prefix=b"").result["count"] >= 1
        assert world.call(name, "keep_alive", {"session": session}).ok
    assert world.call("n1", "delete", key=b"a").result["deleted"] == 1
    assert world.call("n2", "delete_range", prefix=b"b").result["deleted"] == 1
    world.crash(leader)  # a new leader's first entry uses the margin
    world.run_until(world.is_serving)
    follower = next(n for n in world.running() if n != world.leader())
    assert world.call(follower, "delete", key=b"c").ok
    fill(world, 0)
    world.start(leader)
    world.run_until(world.is_serving)
    world.run(3 * SECOND)  # nobody does anything: it lifts itself
    for name in world.names:
        assert world.put(name, b"more", b"v").ok
    assert not any(node.ended for node in world.nodes.values())


def test_with_all_disks_critical_no_write_is_accepted_and_reads_go_on() -> None:
    world = World(seed=3)
    leader = world.serve()
    assert world.put(leader, b"k", b"v").ok
    fill(world, CRITICAL)
    assert world.call(leader, "delete", key=b"nothing").ok
    world.run(SECOND)
    last = world.nodes[leader].raft.tail.last.index
    for name in world.names:
        put = world.ask(name, "put", key=b"k", value=b"w")
        delete = world.ask(name, "delete", key=b"k")
        for refused in map(world.reply, (put, delete)):
            assert (refused.code, refused.applied) == ("disk_low", "no")
        assert world.get(name, b"k").result["value"] == b"v"
    assert world.nodes[leader].raft.tail.last.index == last
    fill(world, 0)
    world.run(3 * SECOND)
    assert world.put("n1", b"k", b"w").ok


@pytest.mark.parametrize("level", [LOW, CRITICAL])
def test_a_leader_without_room_gives_way_where_a_majority_has_room(level: int) -> None:
    world = World(seed=5)
    leader = world.serve()
    fill(world, level, leader)
    assert world.put(leader, b"k", b"v").ok  # a Write looks at the margin
    world.run(3 * SECOND)
    assert world.leader() not in (None, leader)
    for name in world.names:
        if (name, level) != (leader, CRITICAL):
            assert world.put(name, b"k", b"v").ok
            continue
        for refused in (world.put(name, b"k", b"v"), world.get(name, b"k")):  # it is left behind
            assert (refused.code, refused.applied) == ("disk_low", "no")
    assert world.nodes[leader].raft.counters.get("handovers_for_room") == 1


def test_a_leader_without_room_leads_on_where_its_heir_would_refuse_too() -> None:
    world = World(seed=5)
    leader = world.serve()
    other = next(n for n in world.names if n != leader)
    fill(world, LOW, leader, other)
    assert world.put(leader, b"k", b"v").ok
    term = world.nodes[leader].raft.term
    world.run(3 * SECOND)
    assert (world.leader(), world.nodes[leader].raft.term) == (leader, term)


def test_one_full_disk_of_three_does_not_stop_the_others() -> None:
    world = World(seed=4)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    fill(world, CRITICAL, follower)
    for number in range(20):
        assert world.put(leader, b"%d" % number, b"").ok
    world.run(SECOND)
    assert world.nodes[follower].raft.tail.last.index < world.nodes[leader].raft.tail.last.index
    refused = world.put(follower, b"through it", b"")
    assert (refused.code, refused.applied) == ("disk_low", "no")
    fill(world, 0)
    world.run(3 * SECOND)
    commit = world.nodes[leader].raft.commit
    world.run_until(lambda: world.nodes[follower].state.applied >= commit)


@pytest.mark.parametrize("seed", seeds(3))
def test_a_leader_whose_disk_stalls_gives_up_its_role(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    world.nodes[leader].sync_us = (8 * SECOND, 9 * SECOND)
    other = next(n for n in world.names if n != leader)
    assert world.put(other, b"k", b"v").ok  # a majority's disks are well
    world.ask(other, "put", key=b"k", value=b"w")
    world.run_until(lambda: world.leader() not in (None, leader))
    world.run_until(lambda: world.is_serving(other))
    assert world.put(other, b"k", b"x").ok
