"""The rows of the replicated log, and the chain that makes damage visible.

Owns: what an entry is, its kinds, and its check. Every check covers its row and the check before
it (short BLAKE2b), so two logs with equal checks at an index are equal up to there, and a flipped
bit or a missing row cannot hide: SQLite alone returns such rows with `integrity_check` "ok".
Must never know where entries are kept or who has them.
"""

from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

import msgpack

from dkv.ids import Founding
from dkv.limits import CHECK_BYTES, ClusterLimits

NO_CHECK = bytes(CHECK_BYTES)


class Kind(IntEnum):
    """What an entry means. An unknown kind stops a node: a newer version wrote it."""

    GENESIS = 0  # index 1, term 0: the founding and the cluster-wide limits
    NOOP = 1  # a new leader's first entry (thesis §6.4)
    FORMED = 2  # the first configuration: the disks that voted
    OPENED = 3  # every member has acknowledged FORMED: clients are served
    COMMANDS = 4  # a batch of clients' commands
    TICK = 5  # cluster time has passed: expire what is due
    AGREED = 6  # the state's sum that a majority gave at an index
    MEMBERS = 7  # the whole configuration anew, a member more, fewer or other


CONFIGURING = (Kind.FORMED, Kind.OPENED, Kind.MEMBERS)  # what the configuration follows from


class Entry(NamedTuple):
    """One row of the log. `tick` is milliseconds of cluster time, `wall` of Unix time."""

    index: int
    term: int
    kind: int
    tick: int
    wall: int
    payload: bytes
    check: bytes


_TYPES = (int, int, int, int, int, bytes, bytes)


class Position(NamedTuple):
    """An entry without its content: enough to compare two logs there."""

    index: int
    term: int
    check: bytes


def position_of(entry: Entry) -> Position:
    return Position(entry.index, entry.term, entry.check)


def chain(
    before: bytes, index: int, term: int, kind: int, tick: int, wall: int, payload: bytes
) -> bytes:
    """The check of a row that follows a row with check `before`."""
    digest = blake2b(before, digest_size=CHECK_BYTES)
    digest.update(b"%d,%d,%d,%d,%d;" % (index, term, kind, tick, wall))
    digest.update(payload)
    return digest.digest()


def follow(before: bytes, row: tuple[int, int, int, int, int, bytes]) -> Entry:
    """The `Entry` of a row (without its check) behind a row with check `before`."""
    return Entry(*row, chain(before, *row))


def is_sound(entry: Entry, before: bytes) -> bool:
    """Whether an entry's check is that of its content behind `before`. SQLite's columns have no
    types: in a damaged row a number may be a text, or nothing."""
    return all(map(isinstance, entry, _TYPES)) and entry.check == chain(before, *entry[:6])


def entry_bytes(entry: Entry) -> int:
    """What an entry counts in windows and caches."""
    return len(entry.payload) + 64


def genesis(founding: Founding, limits: ClusterLimits, backup: bytes = b"") -> Entry:
    """The first entry: equal bytes on every member that was told the same. `backup` is the hash of
    the file that a restored cluster begins with, so that members of two files do not meet."""
    told = (founding.cluster_id(), tuple(founding), tuple(limits))
    payload = msgpack.packb((*told, backup) if backup else told)
    return follow(NO_CHECK, (1, 0, Kind.GENESIS, 0, 0, payload))


def read_genesis(entry: Entry) -> tuple[Founding, ClusterLimits]:
    """What `genesis` put in."""
    _cluster, founding, limits, *_backup = msgpack.unpackb(entry.payload, use_list=False)
    return Founding(*founding), ClusterLimits(*limits)


class Batch(NamedTuple):
    """The payload of COMMANDS: whose proposal it was, and the commands' bytes.

    The origin is (node, boot, batch): its own state machine hands it the results, and results of
    another boot are dropped.
    """

    node: str
    boot: int
    number: int
    commands: tuple[bytes, ...]


def pack_batch(batch: Batch) -> bytes:
    return msgpack.packb(batch)  # type: ignore[no-any-return]


def read_batch(payload: bytes) -> Batch:
    return Batch(*msgpack.unpackb(payload, use_list=False))


def pack_agreed(index: int, written: int) -> bytes:
    """The payload of AGREED: at this index, a majority's states had this sum."""
    return msgpack.packb((index, written))  # type: ignore[no-any-return]


def read_agreed(payload: bytes) -> tuple[int, int]:
    index, written = msgpack.unpackb(payload)
    return index, written
