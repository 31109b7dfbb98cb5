"""One cluster and never two, whatever disks are lost while it forms and afterwards."""

import pytest

from dkv.errors import Ending, Fault
from dkv.limits import SECOND
from dkv.messages import Append, PreVote
from tests.scenarios.seeds import seeds
from tests.world import Node, World


def ended(node: Node) -> tuple[Ending, str]:
    assert isinstance(node.ended, Fault), node.ended
    return node.ended.ending, str(node.ended)


def warnings(node: Node) -> str:
    return "\n".join(say.words for say in node.said)


def test_two_of_three_do_not_form_and_say_whom_they_wait_for() -> None:
    world = World(seed=1)
    world.start("n1", "n2")
    world.run(20 * SECOND)
    assert world.invariants.leaders == {}
    reply = world.put("n1", b"k", b"v")
    assert (reply.code, reply.applied) == ("forming", "no")
    assert "it waits for n3" in reply.body["error"]["words"]
    world.start("n3")
    world.run_until(world.is_serving)
    assert not world.get("n1", b"k").result["found"]


@pytest.mark.parametrize("seed", seeds(4))
def test_a_disk_wiped_after_an_acknowledgement_founds_no_second_cluster(seed: int) -> None:
    """n1 and n2 acknowledged, n2 is wiped, n1 is cut off: n3 and the empty n2 are a majority of
    names, and know nothing of it."""
    world = World(seed)
    leader = world.serve()
    third = "n3" if leader != "n3" else "n1"
    wiped = next(n for n in world.names if n not in (leader, third))
    world.cut(third)
    assert world.put(leader, b"k", b"acknowledged").ok
    terms = dict(world.invariants.leaders)
    world.wipe(wiped)
    world.heal()
    world.cut(leader)
    world.start(wiped)
    world.run_until(lambda: world.nodes[wiped].ended is not None)
    ending, words = ended(world.nodes[wiped])
    assert ending is Ending.DISK_REPLACED
    assert "DiskReplaced" in words
    assert f"/data/{wiped}" in words
    assert "Put the old data directory back" in words
    assert "empty all data directories" not in words  # for this cluster has opened
    world.run(10 * SECOND)
    assert world.invariants.leaders == terms
    world.heal()
    world.run_until(world.is_serving)
    assert world.get(third, b"k").result["value"] == b"acknowledged"


def test_a_wiped_disk_never_votes_again_while_it_hears_nobody_who_knows() -> None:
    world = World(seed=5)
    leader = world.serve()
    one, two = (n for n in world.names if n != leader)
    assert world.put(leader, b"k", b"v").ok
    terms = dict(world.invariants.leaders)
    world.cut(leader)
    world.wipe(one)
    world.wipe(two)
    world.start(one, two)  # two empty disks, a majority of names, nobody to contradict them
    world.run(20 * SECOND)
    assert world.invariants.leaders == terms
    assert not world.nodes[one].raft.config.is_formed


def test_of_three_with_two_wiped_the_third_says_that_the_quorum_is_lost() -> None:
    world = World(seed=6)
    world.serve()
    assert world.put("n3", b"k", b"v").ok
    world.run(SECOND)
    terms = dict(world.invariants.leaders)
    for name in ("n1", "n2"):
        world.wipe(name)
    world.restart("n3")
    world.start("n1", "n2")
    world.run_until(lambda: all(world.nodes[n].ended for n in ("n1", "n2")))
    assert {ended(world.nodes[n])[0] for n in ("n1", "n2")} == {Ending.DISK_REPLACED}
    said = warnings(world.nodes["n3"])
    assert "QUORUM LOST: the disks of n1, n2" in said
    errors = [s.words for s in world.nodes["n3"].said if s.severity == "error"]
    assert any("QUORUM LOST" in words for words in errors)  # errors are never left out
    assert "Put the old data directories back" in said
    assert "empty all" not in said
    world.run(10 * SECOND)
    assert world.invariants.leaders == terms
    assert world.get("n3", b"k", "serializable").result["value"] == b"v"


def formed_on_two(seed: int) -> tuple[World, str, str, str]:
    """FORMED is committed by the first leader and another; the third, cut off, has not seen it."""
    world = World(seed)
    world.peer_filter = lambda _a, _b, x: not isinstance(x, Append)
    world.start()
    world.run_until(lambda: world.leader() is not None)
    first = world.leader() or ""
    second, third = (n for n in world.names if n != first)
    world.cut(third)
    world.held[:] = [frame for frame in world.held if frame[1] == second]
    world.release()
    world.run_until(lambda: world.nodes[first].raft.commit == 2)
    return world, first, second, third


def test_a_cluster_formed_on_two_of_three_opens_only_when_the_third_has_it() -> None:
    world, first, second, third = formed_on_two(seed=7)
    world.restart(first)
    world.peer_filter = lambda a, _b, x: not (a == first and isinstance(x, PreVote))
    world.run_until(lambda: world.leader() == second)
    world.run(5 * SECOND)
    raft = world.nodes[second].raft
    assert raft.commit > raft.config.formed_index > 0
    assert raft.config.opened_index == 0
    reply = world.put(second, b"k", b"v")
    assert (reply.code, reply.applied) == ("forming", "no")
    assert f"it waits for {third}" in reply.body["error"]["words"]
    world.heal()
    world.run_until(world.is_serving)
    assert world.put(third, b"k", b"v").ok


def test_a_disk_lost_before_the_cluster_opened_is_cured_by_emptying_all() -> None:
    world, _first, _second, third = formed_on_two(seed=8)
    world.wipe(third)
    world.heal()
    world.start(third)
    world.run_until(lambda: world.nodes[third].ended is not None)
    assert "nothing was acknowledged: stop all nodes and empty all" in ended(world.nodes[third])[1]
    for name in world.names:
        world.wipe(name)
    world.new_era()
    world.serve()
