"""Who leads, who may not, and how a write finds its way to whoever does."""

import pytest

from dkv.limits import MS, SECOND
from dkv.messages import Relay
from tests.scenarios.seeds import seeds
from tests.world import World, everything


def test_a_write_through_any_node_is_answered_by_that_node_and_read_there() -> None:
    world = World(seed=1)
    world.serve()
    for name in world.names:
        reply = world.put(name, name.encode(), b"v")
        assert reply.ok
        assert reply.body["node"] == name
        assert world.get(name, name.encode(), "serializable").result["found"]


def test_writes_through_followers_are_batched_into_few_entries() -> None:
    world = World(seed=2)
    leader = world.serve()
    before = world.nodes[leader].raft.tail.last.index
    asked = [world.ask(n, "put", key=b"%d" % i, value=b"") for i in range(50) for n in world.names]
    assert all(world.reply(request).ok for request in asked)
    assert world.nodes[leader].raft.tail.last.index - before <= 6


@pytest.mark.parametrize("lost", ["on their way", "perhaps in the leader's log"])
@pytest.mark.parametrize("seed", seeds(4))
def test_writes_of_a_session_outlive_the_crash_of_the_leader(seed: int, lost: str) -> None:
    world = World(seed)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    session = world.call(follower, "open_session").result["session"]
    asked = [
        world.ask(
            follower,
            "put",
            {"session": session, "sequence": number, "lowest": 1, "ttl_ms": 10_000},
            key=b"k",
            value=b"%d" % number,
        )
        for number in range(1, 11)
    ]
    if lost == "on their way":
        world.peer_filter = lambda _a, _b, x: not isinstance(x, Relay)
    world.run(world.rng.randint(300, 3_000))
    world.crash(leader)
    world.peer_filter = everything
    assert all(world.reply(request).ok for request in asked)
    assert world.get(follower, b"k").result["version"] == 10


@pytest.mark.parametrize("seed", seeds(4))
def test_a_node_that_was_cut_off_returns_without_moving_term_or_leader(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    world.run(SECOND)
    terms = dict(world.invariants.leaders)
    world.cut(follower)
    world.run(20 * SECOND)
    assert world.nodes[follower].raft.counters.get("pre_elections") > 5
    assert world.nodes[follower].raft.counters.get("elections") <= 1
    assert world.put(leader, b"k", b"v").ok
    world.heal()
    world.run(5 * SECOND)
    assert world.leader() == leader
    assert world.invariants.leaders == terms
    assert world.get(follower, b"k").result["value"] == b"v"


@pytest.mark.parametrize("direction", ["both ways", "its incoming letters", "its outgoing letters"])
def test_a_leader_that_no_majority_answers_steps_down(direction: str) -> None:
    world = World(seed=3)
    leader = world.serve()
    world.run(SECOND)
    world.cut(leader)
    if direction == "its incoming letters":
        world.blocked = {(a, b) for a, b in world.blocked if b == leader}
    elif direction == "its outgoing letters":
        world.blocked = {(a, b) for a, b in world.blocked if a == leader}
    world.run_until(lambda: not world.nodes[leader].leads, 2 * SECOND)
    others = [n for n in world.names if n != leader]
    world.run_until(lambda: world.is_serving(*others))
    assert world.put(others[0], b"k", b"v").ok
    cut_off = world.call(leader, "put", {"ttl_ms": 300}, key=b"k", value=b"w")
    assert cut_off.applied in ("no", "unknown")
    world.heal()
    world.run_until(world.is_serving)
    world.run(SECOND)
    assert world.get(leader, b"k").result["value"] == b"v"


def test_a_leader_that_one_of_two_followers_answers_goes_on() -> None:
    world = World(seed=4)
    leader = world.serve()
    terms = dict(world.invariants.leaders)
    lost = next(n for n in world.names if n != leader)
    world.crash(lost)
    for _ in range(10):
        world.run(SECOND)
        assert world.put(leader, b"k", b"v").ok
    assert world.invariants.leaders == terms


def test_without_a_leader_a_read_is_refused_definitely_at_its_deadline() -> None:
    world = World(seed=5)
    leader = world.serve()
    for name in world.names:
        if name != leader:
            world.crash(name)
    world.run(3 * SECOND)
    reply = world.call(leader, "get", {"ttl_ms": 500}, key=b"k")
    assert (reply.code, reply.applied) == ("no_leader", "no")


def test_a_restarted_follower_of_an_idle_cluster_serves_without_any_write() -> None:
    """It knows no commit index until an Append of this term has verified its log: it is asked."""
    world = World(seed=6)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    assert world.put(leader, b"k", b"v").ok
    world.run(20 * MS)  # its witness knows of no commit yet
    last = world.nodes[leader].raft.tail.last.index
    world.restart(follower)
    world.run_until(world.is_serving, 2 * SECOND)
    assert world.get(follower, b"k").result["value"] == b"v"
    assert world.nodes[leader].raft.tail.last.index == last


@pytest.mark.parametrize("size", [1, 2, 5])
def test_clusters_of_other_sizes_serve_while_a_majority_lives(size: int) -> None:
    world = World(seed=7, names=[f"n{i}" for i in range(1, size + 1)])
    leader = world.serve()
    assert world.put(world.names[-1], b"k", b"v").ok
    spare = [n for n in world.names if n != leader][: (size - 1) // 2]
    for name in spare:
        world.crash(name)
    assert world.put(leader, b"k", b"w").ok
    for name in spare:
        world.start(name)
    world.run(500 * MS)
    world.run_until(world.is_serving)
    assert world.get(world.names[-1], b"k").result["value"] == b"w"
