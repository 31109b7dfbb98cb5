"""One revision of a key.

Owns: its fields and its check. Must never know how it is stored. A mutation has its own revision;
those of one command share it, ordered by `sub`. Versions never change once written.
"""

import struct
from typing import Any, NamedTuple
from zlib import crc32

from dkv.limits import SUB_MAX

_NUMBERS = struct.Struct(">6q?")


class Version(NamedTuple):
    """`value` None is a tombstone. `created` is the revision since which the key exists, `version`
    how many puts ago that was, from 1. `tick` is cluster time, `wall` Unix time, ms."""

    revision: int
    sub: int
    key: bytes
    value: bytes | None
    created: int
    version: int
    lease: int
    author: str
    tick: int
    wall: int


_TYPES: tuple[Any, ...] = (int, int, bytes, (bytes, type(None)), int, int, int, str, int, int)


def row_id(revision: int, sub: int) -> int:
    """Versions in the order they were written, as one integer."""
    return revision * SUB_MAX + sub


def row_check(v: Version) -> int:
    """The CRC-32 of a row; every read verifies it (SQLite returns damaged rows as good)."""
    numbers = _NUMBERS.pack(
        row_id(v.revision, v.sub), v.created, v.version, v.lease, v.tick, v.wall, v.value is None
    )
    check = crc32(v.author.encode(), crc32(numbers))
    check = crc32(v.value or b"", crc32(b"%d:" % len(v.key), check))
    return crc32(v.key, check)


def is_sound(v: Version, check: int) -> bool:
    """Whether a row as found has its check. SQLite's columns have no types: in a damaged row a
    number may be a text, or nothing."""
    return all(map(isinstance, v, _TYPES)) and row_check(v) == check


def index_check(key: bytes, row: int) -> int:
    """The same for the row of the index that leads to a version."""
    return crc32(key, crc32(b"%d:" % row))
