"""A replica that came to another state than the majority: it stops, the others go on."""

import pytest

from dkv.errors import Ending, Fault
from dkv.limits import SECOND, ClusterLimits
from dkv.parsing import command_reader
from tests.world import World

LIMITS = ClusterLimits(note_entries=16)


def write(world: World, through: str, count: int) -> None:
    for number in range(count):
        assert world.put(through, b"%d" % number, b"a value of twenty by").ok


@pytest.mark.parametrize("victim", ["a follower", "the leader"])
def test_a_replica_that_applied_differently_stops_and_the_others_go_on(victim: str) -> None:
    world = World(seed=1, limits=LIMITS)
    leader = world.serve()
    name = leader if victim == "the leader" else next(n for n in world.names if n != leader)
    others = [n for n in world.names if n != name]
    world.invariants.distrusted.add(name)
    state = world.nodes[name].state
    smaller = LIMITS._replace(value_bytes_max=10)
    state.read_command = command_reader(smaller)  # it answers `invalid` where others put
    world.run(SECOND)
    for number in range(40):
        world.ask(others[0], "put", key=b"%d" % number, value=b"a value of twenty by")
        world.run(SECOND // 10)
    world.run_until(lambda: world.nodes[name].ended is not None)
    fault = world.nodes[name].ended
    assert isinstance(fault, Fault)
    assert fault.ending is Ending.DIVERGED
    assert "this replica's state differs from the majority's at entry" in str(fault)
    world.run_until(world.is_serving)
    write(world, others[0], 40)
    assert [n for n in others if world.nodes[n].ended] == []
    assert world.get(others[1], b"39").result["found"]
    world.start(name)  # the mark is on its disk: no restart makes it right
    again = world.nodes[name].ended
    assert isinstance(again, Fault)
    assert again.ending is Ending.DIVERGED


def test_replicas_that_agree_are_compared_and_go_on() -> None:
    world = World(seed=2, limits=LIMITS)
    leader = world.serve()
    write(world, leader, 100)
    world.run(SECOND)
    assert not any(node.ended for node in world.nodes.values())
    kinds = [e.kind for e in world.nodes[leader].disk.entries.values()]
    assert kinds.count(6) >= 5
    assert len({node.state.written for node in world.nodes.values()}) == 1


def test_without_a_majority_for_any_sum_it_is_counted_and_nobody_is_blamed() -> None:
    world = World(seed=3, limits=LIMITS)
    leader = world.serve()
    world.invariants.distrusted.update(world.names)
    for number, name in enumerate(world.names):
        world.nodes[name].state.written += number
    write(world, leader, 40)
    world.run(SECOND)
    assert not any(node.ended for node in world.nodes.values())
    assert world.nodes[leader].raft.counters.get("state_hash_without_majority") >= 1
