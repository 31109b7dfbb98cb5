"""Junk: entries of a leader that lost its term before a majority had them. Never applied.

n1 (old leader)   1 .. k  j1 j2 j3        cut off; j* were never acknowledged
the others        1 .. k  e1 e2 e3 ...    committed under a new leader
"""

from typing import Any

from dkv.address import Local
from dkv.limits import SECOND
from dkv.messages import Append, Saved, Write
from tests.world import World

JUNK = [b"junk/%d" % i for i in range(3)]
GOOD = [b"good/%d" % i for i in range(6)]


def with_junk(seed: int) -> tuple[World, str, int]:
    """An old leader still cut off, the last index it shares with the others."""
    world = World(seed)
    old = world.serve()
    world.put(old, b"shared", b"")
    world.run(SECOND)
    shared = world.nodes[old].raft.commit
    world.cut(old)
    for key in JUNK:
        world.ask(old, "put", {"ttl_ms": 500}, key=key, value=b"")
        world.run(1_000)
    assert world.nodes[old].raft.tail.last.index == shared + len(JUNK)
    world.run_until(lambda: world.leader() != old)
    new = world.leader()
    assert new is not None
    for key in GOOD:
        assert world.put(new, key, b"").ok
    return world, old, shared


def settle(world: World, old: str) -> None:
    """All are equal in the end, with what was acknowledged and without the junk."""
    leader = world.leader()
    assert leader is not None
    world.put(leader, b"last", b"")
    commit = world.nodes[leader].raft.commit
    world.run_until(lambda: all(n.state.applied >= commit for n in world.nodes.values()))
    for key in JUNK:
        assert not world.get(old, key, "serializable").result["found"]
    for key in GOOD:
        assert world.get(old, key, "serializable").result["found"]


def test_a_commit_index_that_overtakes_the_append_replacing_junk_commits_nothing() -> None:
    world, old, shared = with_junk(seed=1)
    world.peer_filter = lambda _a, b, x: not (b == old and isinstance(x, Append))
    world.heal()
    world.run(2 * SECOND)
    node = world.nodes[old]
    assert world.nodes[world.leader() or ""].raft.commit > shared + len(JUNK)
    assert node.raft.role.leader == world.leader()
    assert (node.raft.commit, node.state.applied) == (shared, shared)
    world.release()
    settle(world, old)


def test_a_saved_of_a_replaced_write_saves_nothing_of_what_replaced_it() -> None:
    """1. The old leader's junk is on its disk; the log's `Saved` waits in consensus' mailbox.
    2. The Append that replaces it is taken: its own Write waits in the log's mailbox.
    3. Now the old `Saved` is read: what it speaks of is gone."""
    world = World(seed=2)
    old = world.serve()
    world.put(old, b"shared", b"")
    world.run(SECOND)
    shared = world.nodes[old].raft.commit
    node = world.nodes[old]
    late: list[Saved] = []
    writes: list[Write] = []

    def keep(name: str, _actor: Local, letter: Any) -> bool:
        if name == old and isinstance(letter, Saved):
            late.append(letter)
            return False
        if name == old and isinstance(letter, Write) and world.leader() != old:
            writes.append(letter)
            return False
        return True

    world.letter_filter = keep
    world.cut(old)
    for key in JUNK:
        world.ask(old, "put", {"ttl_ms": 500}, key=key, value=b"")
        world.run(10_000)
    assert late
    assert node.disk.entries[shared + 1].term == node.raft.term
    world.run_until(lambda: world.leader() != old)
    new = world.leader() or ""
    for key in GOOD:
        assert world.put(new, key, b"").ok
    world.heal()
    world.run_until(lambda: node.raft.commit > shared + len(JUNK))
    world.letter_filter = lambda n, _a, x: not (n == old and isinstance(x, Write))
    for letter in late:
        world.deliver(old, Local.CONSENSUS, letter)
    world.run(20_000)
    assert (node.raft.saved, node.raft.handed, node.state.applied) == (shared, shared, shared)
    world.restart(old)  # the Writes that waited are lost with the power: junk is what it has
    world.letter_filter = lambda *_: True
    assert (
        node.disk.entries[shared + 1].payload != world.nodes[new].disk.entries[shared + 1].payload
    )
    world.run_until(world.is_serving)
    settle(world, old)
