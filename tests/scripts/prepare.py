"""Disks with a log made by hand: what the paper's figures begin with.

Owns: such logs, one term a number. An entry of the same index and term is the same entry on every
node, as the protocol would have made it. Must never know what is done with them.

The first entry of every log is dkv's own (index 1, term 0). The first two that a script names are
FORMED and OPENED, so that number k of a figure stands at index k + 1.
"""

from actors.assembly import FORMAT
from actors.keeping import Hard, Testimony
from dkv.entries import NO_CHECK, Batch, Entry, Kind, follow, genesis, pack_batch
from dkv.ids import draw_id
from dkv.kv.state import Command, pack_command_of
from dkv.raft.configuration import Seat, pack_members
from dkv.requests import pack_command
from tests.stores import SimDisk
from tests.world import World


def prepare(world: World, logs: dict[str, list[int]], seen: dict[str, int]) -> None:
    """Put these logs on the nodes' disks; `seen` are the last terms that they know of."""
    disks = {name: draw_id(world.rng) for name in world.names}
    for name in world.names:
        world.nodes[name].disk = _disk(world, name, disks, logs.get(name, []), seen.get(name, 0))


def _disk(world: World, name: str, disks: dict[str, int], terms: list[int], term: int) -> SimDisk:
    plan = world.nodes[name].plan
    first = genesis(plan.founding, plan.limits)
    entries = [first]
    for index, of in enumerate(terms, 2):
        kind, payload = _content(index, of, disks)
        entries.append(follow(entries[-1].check, (index, of, kind, index, index, payload)))
    disk = SimDisk()
    disk.hard = Hard(
        FORMAT, name, disks[name], False, first.payload, first.check, term=max(term, *terms, 0)
    )
    disk.entries = {entry.index: entry for entry in entries}
    disk.slots[0] = (1, Testimony(0, 0, NO_CHECK, disk.hard.term, 0))
    return disk


def _content(index: int, term: int, disks: dict[str, int]) -> tuple[Kind, bytes]:
    if index == 2:
        seats = (Seat(n, d, peer=f"{n}:2380", client=f"{n}:3000") for n, d in disks.items())
        return Kind.FORMED, pack_members(seats)
    if index == 3:
        return Kind.OPENED, b""
    put = pack_command("put", key=b"%d" % index, value=b"of term %d" % term)
    command = pack_command_of(Command("insecure", 0, 0, 0, 0, put))
    return Kind.COMMANDS, pack_batch(Batch("nobody", 1, index, (command,)))


def terms_of(entries: dict[int, Entry]) -> list[int]:
    """The terms of a log as a script writes them."""
    return [entries[i].term for i in sorted(entries) if i > 1]
