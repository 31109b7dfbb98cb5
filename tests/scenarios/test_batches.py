"""Batches: what arrives together is cut where an entry, a letter, a frame must end."""

from collections.abc import Iterable
from typing import Any

from dkv.codec import encode
from dkv.entries import Kind, read_batch
from dkv.limits import ENTRY_BYTES_MAX, FRAME_MARGIN_BYTES, KIB, MIB, SECOND, peer_frame_bytes_max
from dkv.messages import Append
from tests.world import World


def sizes(world: World, name: str) -> list[tuple[int, int]]:
    """(commands, bytes) of every batch in a node's log."""
    entries: Iterable[Any] = world.nodes[name].disk.entries.values()
    found = [e for e in entries if e.kind == Kind.COMMANDS]
    return [(len(read_batch(e.payload).commands), len(e.payload)) for e in found]


def test_five_mebibytes_of_commands_at_once_become_entries_that_fit_a_frame() -> None:
    world = World(seed=1)
    leader = world.serve()
    follower = next(n for n in world.names if n != leader)
    frames: list[int] = []

    def measure(_sender: str, _receiver: str, letter: Any) -> bool:
        if isinstance(letter, Append):
            frames.append(len(encode([letter])))
        return True

    world.peer_filter = measure
    value = bytes(8 * KIB)
    asked = [world.ask(follower, "put", key=b"%d" % n, value=value) for n in range(640)]
    assert all(world.reply(request).ok for request in asked)
    batches = sizes(world, follower)
    assert sum(count for count, _size in batches) == 640
    assert 5 <= len(batches) <= 8  # together, and no more than it takes
    assert max(size for _count, size in batches) <= ENTRY_BYTES_MAX + FRAME_MARGIN_BYTES
    assert max(frames) <= peer_frame_bytes_max(world.limits) - FRAME_MARGIN_BYTES
    world.run(SECOND)
    assert len({node.state.written for node in world.nodes.values()}) == 1


def test_values_as_large_as_allowed_go_alone() -> None:
    world = World(seed=2)
    leader = world.serve()
    value = bytes(MIB)
    asked = [world.ask(leader, "put", key=b"%d" % n, value=value) for n in range(5)]
    assert all(world.reply(request).ok for request in asked)
    assert [count for count, _size in sizes(world, leader)] == [1] * 5
    refused = world.put(leader, b"k", bytes(MIB + 1))
    assert (refused.code, refused.applied) == ("too_large", "no")


def test_small_commands_that_wait_together_become_one_entry() -> None:
    world = World(seed=3)
    leader = world.serve()
    asked = [world.ask(leader, "put", key=b"%d" % n, value=b"") for n in range(200)]
    assert [world.reply(r).result["key_revision"] for r in asked] == list(range(1, 201))
    assert [count for count, _size in sizes(world, leader)] == [200]
