"""Who is a member, and who of them votes. Names until there is a first configuration, disks then.

Owns: the configuration as a value, how entries change it, and the majority it takes. Must never
know roles or terms, nor whether a change is wise (`changes`).

A member is its disk id. The first election is unanimous (`formed_index` 0: every initial member
must vote); its leader's first entry, FORMED, lists the disks that voted. With a mere majority,
n1 and n2 could acknowledge a write, n2 be wiped, n1 be cut off, and n3 with the empty n2 would
found a second cluster that knows nothing of it.

A later entry, MEMBERS, holds the whole configuration anew, with one member more, fewer or other
(thesis §4.1): majorities of before and after overlap. It holds from the log until it is truncated.
With it comes the level (`dkv.release`) that every member has, and without which none may be one.

    invited   a seat without a disk: nobody has come yet
    learner   a disk that is sent everything and counts for nothing (§4.2.1)
    voter     counts
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import msgpack

from dkv.entries import NO_CHECK, Entry, Kind
from dkv.ids import UNKNOWN
from dkv.raft.quorum import majority
from dkv.release import FIRST_LEVEL

REMOVED_MAX = 64  # disks that are told that they were removed; older ones are merely not heard


class Seat(NamedTuple):
    """A member. Addresses are HOST:PORT, or empty where nobody has said one; `key` is the Curve
    public key, `certificate` its text, empty without security. `since`: Unix ms, for people."""

    name: str
    disk: int = UNKNOWN
    voting: bool = True
    promote: bool = False  # a learner that becomes a voter by itself once it is close
    peer: str = ""
    client: str = ""
    key: bytes = b""
    certificate: bytes = b""
    since: int = 0


@dataclass(frozen=True)
class Configuration:
    """`index` is that of the entry that said so (0: none has). `removed` were members."""

    seats: tuple[Seat, ...]
    formed_index: int = 0
    formed: bytes = NO_CHECK  # the check of the FORMED entry
    opened_index: int = 0
    index: int = 0
    removed: tuple[Seat, ...] = ()
    level: int = FIRST_LEVEL

    @cached_property
    def _by_name(self) -> dict[str, Seat]:
        return {seat.name: seat for seat in self.seats}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(seat.name for seat in self.seats)

    @cached_property
    def voters(self) -> tuple[str, ...]:
        return tuple(seat.name for seat in self.seats if seat.voting)

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """(name, disk) of each; the disk is UNKNOWN until FORMED or its coming names it."""
        return tuple((seat.name, seat.disk) for seat in self.seats)

    @property
    def is_formed(self) -> bool:
        return self.formed_index > 0

    @property
    def votes_needed(self) -> int:
        size = len(self.voters)
        return majority(size) if self.is_formed else size

    def seat(self, name: str) -> Seat | None:
        return self._by_name.get(name)

    def disk_of(self, name: str) -> int:
        """The disk of a member, UNKNOWN before FORMED and for who is no member."""
        seat = self._by_name.get(name)
        return UNKNOWN if seat is None else seat.disk

    def holds(self, name: str, disk: int) -> bool:
        """Whether this disk is a member's, a learner's too."""
        seat = self._by_name.get(name)
        return seat is not None and (not self.formed_index or seat.disk == disk != UNKNOWN)

    def counts(self, name: str, disk: int) -> bool:
        """Whether a vote or an acknowledgement of this disk counts."""
        seat = self._by_name.get(name)
        return seat is not None and seat.voting and (not self.formed_index or seat.disk == disk)

    def has_removed(self, disk: int) -> bool:
        return any(seat.disk == disk for seat in self.removed)


def founders(names: Iterable[str]) -> Configuration:
    """The configuration of a cluster that has not formed."""
    return Configuration(tuple(Seat(name) for name in sorted(names)))


def pack_members(members: Iterable[tuple[object, ...]]) -> bytes:
    """The payload of FORMED: seats, or their first fields."""
    return msgpack.packb(tuple(sorted(members)))  # type: ignore[no-any-return]


def pack_change(seats: Iterable[Seat], removed: Iterable[Seat], level: int = FIRST_LEVEL) -> bytes:
    """The payload of MEMBERS."""
    rows = (tuple(sorted(seats)), tuple(removed), *_said(level))
    return msgpack.packb(rows)  # type: ignore[no-any-return]


def _said(level: int) -> tuple[int, ...]:
    """Nodes of the first level know no field for it, and need none."""
    return () if level == FIRST_LEVEL else (level,)


def read_seats(rows: Iterable[tuple[object, ...]]) -> tuple[Seat, ...]:
    return tuple(Seat(*row) for row in rows)  # type: ignore[arg-type]


def after(entry: Entry, configuration: Configuration) -> Configuration:
    """The configuration once `entry` is in the log (it holds from then on, until truncated)."""
    if entry.kind == Kind.FORMED:
        rows = msgpack.unpackb(entry.payload, use_list=False)
        return Configuration(read_seats(rows), entry.index, entry.check, 0, entry.index)
    if entry.kind == Kind.OPENED:
        return replace(configuration, opened_index=entry.index, index=entry.index)
    if entry.kind == Kind.MEMBERS:
        seats, removed, *level = msgpack.unpackb(entry.payload, use_list=False)
        return replace(
            configuration,
            seats=read_seats(seats),
            removed=read_seats(removed),
            index=entry.index,
            level=level[0] if level else FIRST_LEVEL,
        )
    return configuration


class Reigns:
    """The configuration in force, and those before it that a truncation may bring back.

    The first is committed (or the founders'); each other one came with an entry that may go."""

    def __init__(self, known: Iterable[Configuration]) -> None:
        self._known = list(known)
        assert self._known, "there are founders at least"

    @property
    def now(self) -> Configuration:
        return self._known[-1]

    @property
    def settled(self) -> Configuration:
        """The last one known to be committed, once `settle` was told how far that is."""
        return self._known[0]

    def take(self, entry: Entry) -> Configuration:
        new = after(entry, self.now)
        if new is not self.now:
            self._known.append(new)
        return self.now

    def truncate(self, index: int) -> Configuration:
        """`index` and what follows it are gone."""
        while len(self._known) > 1 and self.now.index >= index:
            self._known.pop()
        return self.now

    def settle(self, commit: int) -> None:
        """Everything through `commit` stays."""
        while len(self._known) > 1 and self._known[1].index <= commit:
            del self._known[0]


def pack(config: Configuration) -> bytes:
    """As snapshots and a log without its head carry it; only `unpack` reads it."""
    rows = (config.seats, config.formed_index, config.formed, config.opened_index)
    rest = (config.index, config.removed, *_said(config.level))
    return msgpack.packb((*rows, *rest))  # type: ignore[no-any-return]


def unpack(packed: bytes) -> Configuration:
    seats, formed_index, formed, opened_index, index, removed, *level = msgpack.unpackb(
        packed, use_list=False
    )
    gone = read_seats(removed)
    return Configuration(read_seats(seats), formed_index, formed, opened_index, index, gone, *level)
