"""Linearizable reads are never stale, whoever still believes to lead (ReadIndex, thesis §6.4).

CheckQuorum would hide most mistakes here, so these leaders do not step down for a minute.
"""

from typing import Any

import pytest

from dkv.limits import MS, SECOND, Timing
from dkv.messages import Append, Commit, Heartbeat, HeartbeatAcked
from tests.scenarios.seeds import seeds
from tests.world import World

STUBBORN = Timing(step_down_us=60 * SECOND)


def deposed(world: World, old: str) -> str:
    """Cut the old leader off, elect another, write to it; its name."""
    world.cut(old)
    world.run_until(lambda: world.leader() != old)
    new = world.leader() or ""
    assert world.put(new, b"k", b"new").ok
    assert world.nodes[old].leads  # so it believes
    return new


def never_stale(world: World, request: bytes) -> None:
    world.run_until(lambda: request in world.replies)
    reply = world.replies[request]
    assert not reply.ok or reply.result["value"] == b"new", reply


@pytest.mark.parametrize("seed", seeds(4))
def test_a_deposed_leader_that_does_not_know_it_answers_no_read(seed: int) -> None:
    world = World(seed, timing=STUBBORN)
    old = world.serve()
    assert world.put(old, b"k", b"old").ok
    deposed(world, old)
    asked = world.ask(old, "get", {"ttl_ms": 60_000}, key=b"k")
    world.run(5 * SECOND)
    assert asked not in world.replies
    world.heal()
    never_stale(world, asked)
    assert world.replies[asked].ok


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("seed", seeds(4))
def test_late_acknowledgements_of_earlier_rounds_confirm_no_read(seed: int, copies: int) -> None:
    """The old leader's last rounds were answered while it led; the answers, late and perhaps many
    times, arrive after another has been written to and after the read was asked."""
    world = World(seed, timing=STUBBORN)
    old = world.serve()
    assert world.put(old, b"k", b"old").ok
    world.peer_filter = lambda _a, b, x: not (b == old and isinstance(x, HeartbeatAcked))
    world.run(350 * MS)
    deposed(world, old)
    late = world.ask(old, "get", {"ttl_ms": 60_000}, key=b"k")
    world.run(20 * MS)
    assert len(world.held) >= 4
    world.held[:] = [frame for frame in world.held if frame[1] == old] * copies
    world.rng.shuffle(world.held)
    world.release()
    world.run(50 * MS)
    assert late not in world.replies
    world.heal()
    never_stale(world, late)


def test_a_read_does_not_join_a_round_that_is_under_way() -> None:
    """1. n1's round is acknowledged by all; the letters are on their way when n1 stops for a while.
    2. It is cut off with n2, whose clock is slow; the others elect and write.
    3. n2 asks n1 for a read. n1 wakes to find the question, and behind it the acknowledgements."""
    world = World(seed=5, names=("n1", "n2", "n3", "n4", "n5"), timing=STUBBORN)
    slow = "n2"
    world.nodes[slow].clock_rate = 0.4
    old = world.serve()
    others = [n for n in world.names if n not in (old, slow)]
    assert len(others) == 3
    assert world.put(old, b"k", b"old").ok
    world.run(SECOND)
    world.peer_filter = lambda a, _b, x: not (isinstance(x, HeartbeatAcked) and a in others)
    world.run_until(lambda: len(world.held) == len(others))
    world.pause(old)
    world.cut(old, slow)
    world.run_until(lambda: world.leader() in others)
    assert world.put(world.leader() or "", b"k", b"new").ok
    assert world.nodes[slow].raft.role.leader == old
    late = world.ask(slow, "get", {"ttl_ms": 60_000}, key=b"k")
    world.run(5 * MS)
    world.held[:] = [frame for frame in world.held if frame[1] == old]
    world.release()
    world.resume(old)
    world.run(50 * MS)
    assert late not in world.replies
    world.heal()
    never_stale(world, late)


@pytest.mark.parametrize("asked_while", ["paused", "awake"])
@pytest.mark.parametrize("seed", seeds(6))
def test_a_leader_that_slept_through_an_election_reads_nothing_stale(
    seed: int, asked_while: str
) -> None:
    world = World(seed, timing=STUBBORN if seed % 2 else None)
    old = world.serve()
    assert world.put(old, b"k", b"old").ok
    world.pause(old)
    world.run_until(lambda: world.leader() != old or not world.nodes[old].paused, 5 * SECOND)
    new = world.leader() or ""
    assert world.put(new, b"k", b"new").ok
    asked: list[bytes] = []
    if asked_while == "paused":
        asked.append(world.ask(old, "get", key=b"k"))
    world.resume(old)
    for _ in range(20):
        asked.append(world.ask(old, "get", key=b"k"))
        world.run(world.rng.randint(50, 400))
    for request in asked:
        never_stale(world, request)
    assert any(world.replies[r].ok for r in asked)


def test_a_new_leader_reads_only_after_an_entry_of_its_own_term_is_committed() -> None:
    """It has the acknowledged write in its log, and does not know yet that it is committed."""
    world = World(seed=6)
    old = world.serve()
    assert world.put(old, b"k", b"old").ok
    world.run(SECOND)
    known = world.nodes[old].raft.commit
    world.peer_filter = lambda _a, _b, x: not isinstance(x, Commit | Heartbeat)
    assert world.put(old, b"k", b"new").ok
    world.crash(old)
    followers = world.running()
    assert all(world.nodes[n].raft.commit == known for n in followers)

    def only_heartbeats(_sender: str, _receiver: str, letter: Any) -> bool:
        return not isinstance(letter, Append | Commit)

    world.peer_filter = only_heartbeats
    world.run_until(lambda: world.leader() in followers)
    new = world.leader() or ""
    asked = world.ask(new, "get", {"ttl_ms": 60_000}, key=b"k")
    world.run(SECOND)
    assert world.nodes[new].raft.commit == known
    assert asked not in world.replies
    world.release()
    assert world.reply(asked).result["value"] == b"new"


@pytest.mark.parametrize("seed", seeds(3))
def test_a_read_through_any_node_sees_every_write_acknowledged_before_it(seed: int) -> None:
    world = World(seed)
    world.serve()
    world.loss, world.duplication = 0.05, 0.30
    last = 0
    for number in range(60):
        through = world.rng.choice(world.names)
        if world.put(through, b"k", b"%d" % number, ttl_ms=1_000).ok:
            last = number
        reply = world.get(world.rng.choice(world.names), b"k")
        assert not reply.ok or int(reply.result.get("value", b"0")) >= last
    assert last > 30


def test_a_serializable_read_says_how_long_ago_a_leader_was_heard_of() -> None:
    world = World(seed=7)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    assert world.put(follower, b"k", b"v").ok
    assert world.get(follower, b"k", "serializable").result["value"] == b"v"  # its own write
    world.cut(follower)
    world.run(3 * SECOND)
    reply = world.get(follower, b"k", "serializable")
    assert reply.result["value"] == b"v"
    assert 2_500 <= reply.result["lag_ms"] <= 3_500
    refused = world.call(follower, "get", {"ttl_ms": 500}, key=b"k")
    assert (refused.code, refused.applied) == ("no_leader", "no")


@pytest.mark.parametrize("seed", seeds(3))
def test_what_a_read_does_not_show_may_come_and_the_same_condition_finds_out(seed: int) -> None:
    """The leader is heard of all the time, and so it reads; only the followers' disks take long."""
    world = World(seed)
    leader = world.serve()
    at = world.put(leader, b"k", b"1").result["key_revision"]
    followers = [world.nodes[name] for name in world.names if name != leader]
    usual = followers[0].sync_us
    for node in followers:
        node.sync_us = (6 * SECOND, 6 * SECOND)
    late = world.call(leader, "put", key=b"k", value=b"late", expected=at)
    assert late.applied == "unknown"
    assert world.get(leader, b"k").result["value"] == b"1"
    for node in followers:
        node.sync_us = usual
    again = world.call(leader, "put", key=b"k", value=b"again", expected=at)
    assert again.code == "condition_failed"
    found = world.get(leader, b"k").result
    assert (found["value"], found["version"]) == (b"late", 2)
