"""Who votes. Names until there is a first configuration, disks from then on.

Owns: the configuration as a value, and the majority it takes. Must never know roles or terms.

A member is its disk id. The first election is unanimous (`formed_index` 0: every initial member
must vote); its leader's first entry, FORMED, lists the disks that voted. With a mere majority,
n1 and n2 could acknowledge a write, n2 be wiped, n1 be cut off, and n3 with the empty n2 would
found a second cluster that knows nothing of it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgpack

from dkv.entries import NO_CHECK, Entry, Kind
from dkv.ids import UNKNOWN
from dkv.raft.quorum import majority


class Configuration(NamedTuple):
    """`members` are (name, disk); the disk is UNKNOWN until FORMED names it."""

    members: tuple[tuple[str, int], ...]
    formed_index: int = 0
    formed: bytes = NO_CHECK  # the check of the FORMED entry
    opened_index: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _disk in self.members)

    @property
    def is_formed(self) -> bool:
        return self.formed_index > 0

    @property
    def votes_needed(self) -> int:
        size = len(self.members)
        return majority(size) if self.is_formed else size

    def disk_of(self, name: str) -> int:
        """The disk of a member, UNKNOWN before FORMED and for who is no member."""
        return dict(self.members).get(name, UNKNOWN)

    def counts(self, name: str, disk: int) -> bool:
        """Whether a vote or an acknowledgement of this disk counts."""
        known = dict(self.members).get(name)
        return known is not None and (not self.is_formed or known == disk)


def founders(names: Iterable[str]) -> Configuration:
    """The configuration of a cluster that has not formed."""
    return Configuration(tuple((name, UNKNOWN) for name in sorted(names)))


def pack_members(members: Iterable[tuple[str, int]]) -> bytes:
    """The payload of FORMED."""
    return msgpack.packb(tuple(sorted(members)))  # type: ignore[no-any-return]


def after(entry: Entry, configuration: Configuration) -> Configuration:
    """The configuration once `entry` is in the log (it holds from then on, until truncated)."""
    if entry.kind == Kind.FORMED:
        members = msgpack.unpackb(entry.payload, use_list=False)
        return Configuration(members, entry.index, entry.check)
    if entry.kind == Kind.OPENED:
        return configuration._replace(opened_index=entry.index)
    return configuration


def pack(configuration: Configuration) -> bytes:
    """As snapshots and a log without its head carry it; only `unpack` reads it."""
    return msgpack.packb(configuration)  # type: ignore[no-any-return]


def unpack(packed: bytes) -> Configuration:
    return Configuration(*msgpack.unpackb(packed, use_list=False))


def before(index: int, configuration: Configuration) -> Configuration:
    """The configuration once `index` and what follows it have been truncated."""
    if index <= configuration.formed_index:
        return founders(configuration.names)
    if index <= configuration.opened_index:
        return configuration._replace(opened_index=0)
    return configuration
