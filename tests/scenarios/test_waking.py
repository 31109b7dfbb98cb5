"""Who is woken by what, and how soon an answer comes all the same.

Every letter that wakes a thread costs more than what it says. So a log's `Saved` wakes nobody, a
commit is told at once only to the member whose clients wait for it, and a round for reads is no
reason to disturb a follower's log and gateway. Here is what must be as fast as before.
"""

from itertools import pairwise
from typing import Any

import pytest

from dkv.address import Local
from dkv.limits import MS, SECOND
from dkv.messages import Apply, Commit, Heard, Heartbeat, Kept, Saved
from tests.scenarios.seeds import seeds
from tests.world import World

# A turn takes at most 80 us, a frame 300 us, an actor is awake after 60 us: from the commit at the
# leader to the reply at a follower, less than a millisecond; and one more where the follower looks
# whether its own log, which wakes nobody, has the entry too.
SOON_US = 2 * MS


def quick_disks(world: World) -> None:
    """A commit finds every log synced."""
    for node in world.nodes.values():
        node.sync_us = (400, 500)


def put_and_measure(world: World, asked_node: str, leader: str) -> int:
    """From the commit at the leader to the reply, in virtual microseconds."""
    raft = world.nodes[leader].raft
    before = raft.commit
    request = world.ask(asked_node, "put", key=b"k", value=b"v")
    world.run_until(lambda: raft.commit > before)
    committed_us = world.now_us
    assert world.reply(request).ok
    return world.now_us - committed_us


@pytest.mark.parametrize("seed", seeds(4))
def test_a_put_at_a_follower_is_answered_at_once_when_it_is_committed(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    quick_disks(world)
    world.run(SECOND)
    for name in [n for n in world.names if n != leader] * 10:
        took_us = put_and_measure(world, name, leader)
        assert took_us <= SOON_US, (name, took_us)
        world.run(30 * MS + world.between(0, 100 * MS))


def test_a_commit_wakes_nobody_else_before_the_tick() -> None:
    world = World(seed=5)
    leader = world.serve()
    asked, other = (n for n in world.names if n != leader)
    quick_disks(world)
    world.run(SECOND)
    told: list[tuple[str, int]] = []

    def listen(_sender: str, receiver: str, letter: Any) -> bool:
        if isinstance(letter, Commit):
            told.append((receiver, world.now_us))
        return not isinstance(letter, Heartbeat)  # they tell it too

    world.peer_filter = listen
    raft = world.nodes[leader].raft
    before = raft.commit
    request = world.ask(asked, "put", key=b"k", value=b"v")
    world.run_until(lambda: raft.commit > before)
    committed_us = world.now_us
    assert world.reply(request).ok
    world.run_until(lambda: world.nodes[other].raft.handed == raft.commit, 100 * MS)
    first = {name: min(when for to, when in told if to == name) for name in (asked, other)}
    tick_us = world.timing.commit_tick_us
    assert first[asked] - committed_us <= SOON_US
    assert tick_us <= first[other] - committed_us <= tick_us + SOON_US


@pytest.mark.parametrize("sync_ms", [20, 80])
def test_a_follower_applies_soon_after_its_sync_though_nobody_writes_to_it(sync_ms: int) -> None:
    """`Saved` wakes nobody, and nothing else comes: the leader is not heard any more. What is
    committed waits for this disk alone, so consensus looks, at least each quarter of the time that
    the disk has taken so far."""
    world = World(seed=6)
    leader = world.serve()
    slow = next(n for n in world.names if n != leader)
    quick_disks(world)
    world.run(SECOND)
    node = world.nodes[slow]
    node.sync_us = (sync_ms * MS, sync_ms * MS)
    assert world.put(leader, b"k", b"v").ok
    index = world.nodes[leader].raft.commit
    world.run_until(lambda: node.raft.commit == index, (sync_ms - 5) * MS)
    assert node.raft.saved < index
    world.cut(slow)
    check = world.nodes[leader].raft.tail.last.check
    world.run_until(lambda: node.disk.holds(index, check), sync_ms * MS)
    saved_us = world.now_us
    world.run_until(lambda: node.state.applied == index, 400 * MS)
    moment_us = world.timing.commit_tick_us  # nobody has asked this node for anything
    assert world.now_us - saved_us <= sync_ms * MS // 4 + moment_us + 2 * MS


def hand_overs_to(world: World, name: str) -> list[int]:
    """When something is handed to this node's state machine, from now on."""
    when: list[int] = []

    def within(node: str, _actor: Local, letter: Any) -> bool:
        if node == name and isinstance(letter, Apply):
            when.append(world.now_us)
        return True

    world.letter_filter = within
    return when


def test_a_follower_whose_clients_are_silent_hands_over_a_moments_entries_together() -> None:
    world = World(seed=11)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    quick_disks(world)
    world.run(2 * SECOND)
    handed = hand_overs_to(world, follower)
    began_us = world.now_us
    puts = 0
    while world.now_us < began_us + SECOND:
        assert world.put(leader, b"k", b"v").ok
        puts += 1
    moments = SECOND // world.timing.commit_tick_us
    assert len(handed) <= moments < puts // 3
    assert min(b - a for a, b in pairwise(handed)) >= world.timing.commit_tick_us
    world.run(world.timing.commit_tick_us + world.timing.heartbeat_us)
    assert world.nodes[follower].state.applied == world.nodes[leader].state.applied


@pytest.mark.parametrize("op", ["put", "get"])
def test_it_hands_over_at_once_while_its_own_clients_ask(op: str) -> None:
    world = World(seed=12)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    quick_disks(world)
    world.run(2 * SECOND)
    fields = {"value": b"v"} if op == "put" else {}
    for _ in range(20):
        assert world.put(leader, b"k", b"v").ok
        began_us = world.now_us
        assert world.reply(world.ask(follower, op, key=b"k", **fields)).ok
        assert world.now_us - began_us < world.timing.commit_tick_us


def slowest_put(world: World, leader: str) -> int:
    """Of twenty, which begin at any moment between two heartbeats: from question to reply."""
    waits = []
    for _ in range(20):
        world.run(world.between(0, 150 * MS))
        began_us = world.now_us
        assert world.put(leader, b"k", b"v").ok
        waits.append(world.now_us - began_us)
    return max(waits)


def test_a_leader_whose_disk_is_the_last_of_a_majority_looks_at_it() -> None:
    """Its own acknowledgement wakes nobody, and the only follower's has been here for long."""
    world = World(seed=8)
    leader = world.serve()
    quick_disks(world)
    world.crash(next(n for n in world.names if n != leader))
    world.run(SECOND)
    world.nodes[leader].sync_us = (20 * MS, 20 * MS)
    sync_us = 20 * MS + 20 * MS // 4
    assert slowest_put(world, leader) <= 2 * sync_us + 3 * MS  # one may find the log busy


def test_a_lone_node_hears_its_own_acknowledgement_at_once() -> None:
    world = World(seed=9, names=("n1",))
    world.serve()
    quick_disks(world)
    assert slowest_put(world, "n1") <= 2 * MS


def test_a_leaders_own_acknowledgement_has_no_turn_of_its_own() -> None:
    """Where a follower's comes later than it."""
    world = World(seed=10)
    leader = world.serve()
    for name, node in world.nodes.items():
        node.sync_us = (100, 120) if name == leader else (5 * MS, 6 * MS)
    world.run(SECOND)
    kept: list[int] = []

    def within(name: str, _actor: Local, letter: Any) -> bool:
        if name == leader and isinstance(letter, Kept):
            kept.append(world.now_us)
        return True

    world.letter_filter = within
    request = world.ask(leader, "put", key=b"k", value=b"v")
    world.run_until(lambda: bool(kept))
    node = world.nodes[leader]
    turn_us = node.raft.now.us
    world.run(2 * MS)  # less than the others' disks take
    assert [type(x) for x in node.desks[Local.CONSENSUS].box] == [Saved, Kept]
    assert node.raft.now.us == turn_us
    assert world.reply(request).ok


def test_rounds_for_reads_do_not_wake_a_followers_gateway() -> None:
    """It hears that there is a leader at most twice a heartbeat, and often enough."""
    world = World(seed=7)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    world.run(SECOND)
    rounds: list[int] = []
    heard: list[int] = []
    written: list[int] = []

    def within(name: str, actor: Local, letter: Any) -> bool:
        if name == follower and actor is Local.GATEWAY and isinstance(letter, Heard):
            heard.append(world.now_us)
        if name == follower and actor is Local.LOG:
            written.append(world.now_us)
        return True

    def between(_sender: str, receiver: str, letter: Any) -> bool:
        if receiver == follower and isinstance(letter, Heartbeat):
            rounds.append(world.now_us)
        return True

    world.letter_filter, world.peer_filter = within, between
    began_us = world.now_us
    while world.now_us < began_us + SECOND:
        assert world.get(leader, b"k").ok
    assert len(rounds) > 500
    half_us = world.timing.heartbeat_us // 2
    gaps = [b - a for a, b in pairwise(heard)]
    assert min(gaps) >= half_us - 1 * MS  # a turn, and a letter's way, are not equally long
    assert max(gaps) <= 2 * world.timing.heartbeat_us
    assert len(written) <= 3  # an empty Append is taken to the log, each half a second
