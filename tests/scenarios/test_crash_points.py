"""A power cut at every single step of a disk: before the step and after it.

The steps are those of a node that had junk in its log, replaces it under a new leader, votes, and
perhaps leads: truncation, entries, term and vote, commit, witness, state.db. A crash is never
damage, so whatever the moment, the node comes back, has what it promised, and becomes equal to
the others. That nothing is promised too early is watched in every world (`tests.invariants`).
"""

import pytest

from dkv.limits import MS, SECOND
from tests.stores import Fuse
from tests.world import World


def play(fuse: Fuse) -> list[str]:
    """The story, with a fuse in the old leader's disk; the steps that its disk has made."""
    world = World(seed=11)
    old = world.serve()
    assert world.put(old, b"shared", b"").ok
    world.run(SECOND)
    world.cut(old)
    for key in (b"junk/1", b"junk/2"):
        world.ask(old, "put", {"ttl_ms": 300}, key=key, value=b"")
        world.run(5 * MS)
    world.run_until(lambda: world.leader() != old)
    new = world.leader() or ""
    assert world.put(new, b"kept", b"").ok
    world.run(SECOND)
    world.nodes[old].disk.fuse = fuse
    world.heal()
    world.run(300 * MS)
    world.crash(new)  # now the old leader votes, or is voted for
    world.run(2 * SECOND)
    if world.nodes[old].actors is not None:
        world.ask(old, "put", key=b"perhaps", value=b"")
        world.run(2 * SECOND)  # time enough for state.db's lazy commit
    steps = fuse.steps
    world.restart(old)
    assert world.nodes[old].ended is None, world.nodes[old].ended
    world.run(SECOND)
    world.start(new)
    world.run_until(world.is_serving)
    check(world, old)
    return steps


def check(world: World, old: str) -> None:
    leader = world.leader() or ""
    assert world.put(leader, b"after", b"").ok
    commit = world.nodes[leader].raft.commit
    world.run_until(lambda: all(n.state.applied >= commit for n in world.nodes.values()))
    for key, there in ((b"shared", 1), (b"kept", 1), (b"after", 1), (b"junk/1", 0), (b"junk/2", 0)):
        assert world.get(old, key, "serializable").result["found"] == there, key
    assert len({node.state.written for node in world.nodes.values()}) == 1


STEPS = play(Fuse())


def test_the_story_has_every_kind_of_step() -> None:
    kinds = {"journal.replace", "journal.keep", "journal.commit", "witness.write"}
    assert kinds | {"table.add", "table.commit"} == set(STEPS)
    before = STEPS.index("journal.commit")
    assert STEPS[before + 1] == "witness.write"  # a new term: at once, before anything else


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(len(STEPS)), ids=lambda i: f"{i}-{STEPS[i]}")
def test_a_power_cut_here_loses_nothing(step: int, after: bool) -> None:
    fuse = Fuse()
    fuse.blow_at, fuse.after = step, after
    play(fuse)
    assert fuse.steps == STEPS[: step + 1]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_power_cut_while_a_directory_is_created_leaves_one_that_can_be_begun(after: bool) -> None:
    steps = 1
    number = 0
    while number < steps:
        world = World(seed=12)
        disk = world.nodes["n2"].disk
        disk.fuse.blow_at, disk.fuse.after = number, after
        world.start()
        assert world.nodes["n2"].actors is None
        steps = max(steps, created_in_steps())
        world.start("n2")
        world.run_until(world.is_serving)
        number += 1


def created_in_steps() -> int:
    world = World(seed=12)
    world.start("n2")
    return len(world.nodes["n2"].disk.fuse.steps)
