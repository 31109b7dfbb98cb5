"""The head of the log is cut: what moves from its rows into the hard state is verified first.

Both journals, for a damaged row looks the same in both.
"""

from collections.abc import Callable

import pytest

from actors import keeping
from actors.keeping import Hard
from actors.log import Log
from dkv.address import Instant
from dkv.counters import Counters
from dkv.entries import Entry, Kind, Position, follow, genesis, position_of
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.limits import ClusterLimits
from dkv.messages import Cut
from dkv.raft.configuration import pack_members
from tests.stores import MemoryJournal, MemoryMargin, MemoryWitness, SimDisk

FIRST = genesis(Founding(b"", "", ("n1",)), ClusterLimits())
HARD = Hard(1, "n1", 7, False, FIRST.payload, FIRST.check)
MEMBERS = pack_members([("n1", 7)])


def entries() -> list[Entry]:
    found = [FIRST]
    for index, kind in enumerate((Kind.FORMED, Kind.OPENED, Kind.NOOP, Kind.NOOP), 2):
        payload = MEMBERS if kind == Kind.FORMED else b""
        found.append(follow(found[-1].check, (index, 1, kind, 5, 6, payload)))
    return found


def cut(disk: SimDisk, through: int) -> Hard:
    journal, witness = MemoryJournal(disk), MemoryWitness(disk)
    hard = journal.hard()
    assert hard is not None
    testimony = keeping.Testimony(*position_of(entries()[-1]), 0, 0)
    last = Position(*testimony[:3])
    log = Log(journal, witness, MemoryMargin(disk), hard, testimony, last, (), Counters())
    log.handle([Cut(through)], Instant(0, 0))
    assert disk.hard is not None
    return disk.hard


@pytest.fixture
def disk() -> SimDisk:
    found = SimDisk()
    MemoryJournal(found).create(HARD, entries())
    return found


def test_the_configuration_of_a_sound_head_is_kept(disk: SimDisk) -> None:
    hard = cut(disk, 4)
    config = hard.configuration()
    assert (config.formed_index, config.members, config.opened_index) == (2, (("n1", 7),), 3)
    assert hard.base == position_of(entries()[3])
    assert cut(disk, 5).configuration() == config


def damaged(index: int, **fields: object) -> Callable[[SimDisk], object]:
    return lambda disk: disk.entries.update({index: disk.entries[index]._replace(**fields)})


@pytest.mark.parametrize(
    "damage",
    [
        damaged(2, payload=pack_members([("n1", 6)])),
        damaged(2, payload=b"\xc1"),
        damaged(2, kind=Kind.NOOP),
        damaged(2, check=bytes(8)),
        damaged(3, check=bytes(8)),
        damaged(4, check=bytes(8)),
        damaged(5, tick=6),
        damaged(5, kind=Kind.OPENED),
        lambda disk: disk.entries.pop(5),
        lambda disk: disk.entries.pop(4),
        lambda disk: disk.entries.pop(2),
    ],
)
def test_a_damaged_head_is_a_storage_fault(
    disk: SimDisk, damage: Callable[[SimDisk], object]
) -> None:
    damage(disk)
    with pytest.raises(Fault) as caught:
        cut(disk, 5)
    assert caught.value.ending is Ending.STORAGE_FAULT
