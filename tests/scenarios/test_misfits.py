"""Volumes and settings of another day: refused in words that name what to change."""

from typing import Any

import pytest

from dkv.errors import Ending, Fault, Misconfigured
from dkv.ids import Founding
from dkv.limits import SECOND, ClusterLimits
from tests.world import World


def test_yesterdays_volume_in_todays_cluster_is_refused_by_its_disk_id() -> None:
    world = World(seed=1)
    world.serve()
    assert world.put("n1", b"yesterday", b"").ok
    for name in world.names:
        world.crash(name)
    yesterday = world.nodes["n2"].disk
    for name in world.names:
        world.wipe(name)
    world.new_era()
    world.serve()
    assert world.put("n1", b"today", b"").ok
    world.crash("n2")
    world.nodes["n2"].disk = yesterday
    world.start("n2")
    world.run_until(lambda: world.nodes["n2"].ended is not None)
    fault = world.nodes["n2"].ended
    assert isinstance(fault, Fault)
    assert fault.ending is Ending.DISK_REPLACED
    assert "/data/n2 holds an earlier or another formation of this cluster" in str(fault)
    world.run_until(lambda: world.is_serving("n1", "n3"))
    for name in ("n1", "n3"):
        assert any(s.reason == "disk_replaced" for s in world.nodes[name].said)
        assert world.put(name, b"today", b"").ok
        assert not world.get(name, b"yesterday").result["found"]


def test_yesterdays_volume_moves_no_term_of_todays_cluster() -> None:
    world = World(seed=2)
    world.serve()
    for name in world.names:
        world.crash(name)
    yesterday = world.nodes["n2"].disk
    yesterday.hard = yesterday.hard._replace(term=yesterday.hard.term + 50)  # type: ignore[union-attr]
    for name in world.names:
        world.wipe(name)
    world.new_era()
    world.serve()
    world.crash("n2")
    world.nodes["n2"].disk = yesterday
    world.run_until(lambda: world.is_serving("n1", "n3"))
    term = max(world.nodes[n].raft.term for n in ("n1", "n3"))
    world.start("n2")
    world.run(5 * SECOND)
    assert max(world.nodes[n].raft.term for n in ("n1", "n3")) == term


OTHER_PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "token": (
        {"founding": Founding(b"", "other", ("n1", "n2", "n3"))},
        "/data/n2 belongs to a cluster with another --initial-cluster-token",
    ),
    "limits": (
        {"limits": ClusterLimits(value_bytes_max=1000)},
        "--value-bytes-max is 1000, the cluster was created with 1048576",
    ),
    "name": ({"name": "n3"}, "/data/n2 is the data directory of n2, not of n3"),
}


@pytest.mark.parametrize("what", OTHER_PLANS)
def test_a_known_directory_with_other_settings_is_a_configuration_error(what: str) -> None:
    world = World(seed=3)
    world.serve()
    world.crash("n2")
    changes, words = OTHER_PLANS[what]
    plan = world.nodes["n2"].plan
    world.start_node("n2", plan._replace(**changes))
    found = world.nodes["n2"].ended
    assert isinstance(found, Misconfigured | Fault)
    assert found.ending in (Ending.MISCONFIGURED, Ending.WRONG_DIRECTORY)
    assert words in str(found)
    world.start_node("n2", plan)  # nothing was changed by the attempt
    world.run_until(world.is_serving)


def test_names_are_only_compared_until_the_cluster_has_formed() -> None:
    """Afterwards the log says who the members are, and they change."""
    world = World(seed=3)
    world.start("n2")
    world.run(SECOND)
    world.crash("n2")
    others = {"founding": Founding(b"", "", ("n1", "n2", "n4"))}
    plan = world.nodes["n2"].plan
    world.start_node("n2", plan._replace(**others))
    words = "names n1, n2, n4, but the cluster in /data/n2 has the members n1, n2, n3"
    assert words in str(world.nodes["n2"].ended)
    world.nodes["n2"].plan = plan
    world.serve()
    world.crash("n2")
    world.start_node("n2", plan._replace(**others))
    world.run_until(world.is_serving)
    assert world.put("n2", b"k", b"v").ok


OTHER_FOUNDINGS: dict[str, tuple[dict[str, Any], str]] = {
    "names": ({"founding": Founding(b"", "", ("n1", "n2"))}, "its --initial-cluster names n1, n2"),
    "token": (
        {"founding": Founding(b"", "other", ("n1", "n2", "n3"))},
        "its --initial-cluster-token differs",
    ),
    "authority": (
        {"founding": Founding(b"another", "", ("n1", "n2", "n3"))},
        "its certificates are of another authority",
    ),
    "limits": (
        {"limits": ClusterLimits(key_bytes_max=100)},
        "its --key-bytes-max is 100, ours 4096",
    ),
}


@pytest.mark.parametrize("what", OTHER_FOUNDINGS)
def test_an_empty_member_with_other_settings_hears_which_ones_differ(what: str) -> None:
    world = World(seed=4)
    changes, words = OTHER_FOUNDINGS[what]
    plan = world.nodes["n2"].plan
    world.start("n1", "n3")
    world.start_node("n2", plan._replace(**changes))
    world.run(10 * SECOND)
    assert world.invariants.leaders == {}
    said = [s.words for n in ("n1", "n3") for s in world.nodes[n].said if s.reason == "misfit"]
    assert any("n2 was told another cluster" in x and words in x for x in said), said
    assert any(s.reason == "misfit" for s in world.nodes["n2"].said)
    assert all(node.ended is None for node in world.nodes.values())  # no talk of damaged disks
    world.wipe("n2")
    world.start_node("n2", plan)
    world.run_until(world.is_serving)
