"""Versions side by side: what only newer nodes understand waits until all do."""

from typing import Any

import msgpack
import pytest

from actors.keeping import Hard
from dkv.errors import Code, Ending, Fault
from dkv.limits import SECOND
from dkv.raft.configuration import pack, unpack
from dkv.release import Release
from tests.scenarios.seeds import seeds
from tests.world import World

OLD, NEW = Release(1, "1.0"), Release(2, "2.0")


def world_of(seed: int, **releases: Release) -> World:
    world = World(seed, tuple(releases))
    for name, release in releases.items():
        install(world, name, release)
    return world


def install(world: World, name: str, release: Release) -> None:
    world.nodes[name].plan = world.nodes[name].plan._replace(release=release)


def levels(world: World) -> set[int]:
    return {world.nodes[n].raft.config.level for n in world.running()}


def survey(world: World, node: str) -> Any:
    return world.manage(node, "member_list")


def ended(world: World, name: str) -> Ending | None:
    fault = world.nodes[name].ended
    return fault.ending if isinstance(fault, Fault) else None


def upgraded(seed: int) -> tuple[World, str]:
    """n3 was the last old one."""
    world = world_of(seed, n1=NEW, n2=NEW, n3=OLD)
    world.serve()
    world.crash("n3")
    install(world, "n3", NEW)
    world.start("n3")
    world.run_until(lambda: levels(world) == {2} and world.is_serving())
    leader = world.leader()
    assert leader is not None
    return world, leader


@pytest.mark.parametrize("seed", seeds(6))
def test_the_level_stays_until_the_last_old_node_is_replaced(seed: int) -> None:
    world = world_of(seed, n1=NEW, n2=NEW, n3=OLD)
    leader = world.serve()
    world.run(2 * SECOND)
    assert levels(world) == {1}
    assert all(world.put(n, b"k", b"v").ok for n in world.names)
    told = survey(world, leader)
    assert told["level"] == 1
    assert [m["version"] for m in told["members"]] == ["2.0", "2.0", "1.0"]
    world.crash("n3")
    world.run(2 * SECOND)
    assert levels(world) == {1}  # it may come back as it was
    install(world, "n3", NEW)
    world.start("n3")
    world.run_until(lambda: levels(world) == {2} and world.is_serving())
    assert survey(world, "n3")["level"] == 2
    assert all(world.put(n, b"k", b"w").ok for n in world.names)


def test_who_is_silent_holds_the_level_back_though_it_has_told_a_higher_one() -> None:
    world = world_of(5, n1=NEW, n2=NEW, n3=NEW, n4=NEW, n5=OLD)
    leader = world.serve()
    world.run(SECOND)  # all have told
    silent = next(n for n in ("n1", "n2", "n3", "n4") if n != leader)
    world.crash(silent)
    world.run(2 * SECOND)
    world.crash("n5")
    install(world, "n5", NEW)
    world.start("n5")
    world.run(3 * SECOND)
    assert (world.leader(), levels(world)) == (leader, {1})  # the silent one may come back older
    world.start(silent)
    world.run_until(lambda: levels(world) == {2})


@pytest.mark.parametrize("seed", seeds(3))
def test_an_old_node_is_refused_once_the_level_is_raised(seed: int) -> None:
    world, leader = upgraded(seed)
    gone = next(n for n in world.names if n != leader)
    world.run(SECOND)
    world.crash(gone)
    install(world, gone, OLD)
    world.start(gone)
    assert ended(world, gone) is Ending.NEWER_NEEDED
    assert "install the version that the other members run" in str(world.nodes[gone].ended)
    install(world, gone, NEW)  # nothing was hurt
    world.start(gone)
    world.run_until(world.is_serving)
    assert world.put(gone, b"k", b"v").ok


def test_a_node_that_goes_back_after_it_has_told_ends_when_it_hears_of_the_level() -> None:
    world = world_of(3, n1=NEW, n2=NEW, n3=OLD)
    world.serve()
    world.manage("n1", "leader_transfer", name="n1")
    world.run_until(lambda: world.leader() == "n1" and world.is_serving())
    world.crash("n3")
    install(world, "n3", NEW)
    world.start("n3")
    world.run_until(lambda: 2 in levels(world))
    assert world.nodes["n3"].raft.config.level == 1
    world.crash("n3")
    install(world, "n3", OLD)
    world.start("n3")
    world.run_until(lambda: world.nodes["n3"].ended is not None)
    assert ended(world, "n3") is Ending.NEWER_NEEDED
    install(world, "n3", NEW)
    world.start("n3")
    world.run_until(lambda: levels(world) == {2} and world.is_serving())


def test_an_old_newcomer_is_not_let_in_and_a_new_one_is() -> None:
    world, leader = upgraded(4)
    assert not isinstance(world.manage(leader, "member_add", name="n4"), Code)
    world.newcomer("n4")
    install(world, "n4", OLD)
    world.start("n4")
    assert world.come("n4", leader) is Code.NEWER_NEEDED
    assert world.nodes[leader].raft.config.seat("n4").disk == 0
    world.crash("n4")
    install(world, "n4", NEW)
    world.start("n4")
    assert not isinstance(world.come("n4", leader), Code)
    world.run_until(lambda: "n4" in world.voters())
    assert levels(world) == {2}


def test_an_old_learner_holds_the_level_until_it_is_removed() -> None:
    world = world_of(5, n1=OLD, n2=OLD, n3=OLD)
    leader = world.serve()
    world.join("n4", leader, learner=True)
    for name in ("n1", "n2", "n3"):
        world.crash(name)
        install(world, name, NEW)
        world.start(name)
        world.run_until(world.is_serving)
    world.run(2 * SECOND)
    assert levels(world) == {1}
    leader = world.leader() or ""
    assert not isinstance(world.manage(leader, "member_remove", name="n4"), Code)
    world.run_until(lambda: world.nodes[leader].raft.config.level == 2)


def test_the_level_outlives_the_entry_that_said_so() -> None:
    """Behind a cut log it stands in the hard state, in a snapshot with the membership."""
    world, leader = upgraded(6)
    config = world.nodes[leader].raft.config
    hard = Hard(1, leader, 1, False, b"", b"").configured(config)
    kept = Hard(*msgpack.unpackb(hard.packed(), use_list=False))
    assert kept.configuration() == config
    assert unpack(pack(config)) == config
