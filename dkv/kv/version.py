"""One revision of a key, and how it is packed.

Owns: its fields, their order in bytes, its check. Must never know how it is stored. A mutation has
its own revision; those of one command share it, ordered by `sub`. Versions never change once
written, and the bytes of one are the same on every replica.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from dkv.limits import SUB_MAX


class Version(NamedTuple):
    """`value` None is a tombstone. `created` is the revision since which the key exists, `version`
    how many puts ago that was, from 1; both 0 in a tombstone. `tick` is cluster time, `wall` Unix
    time, ms. `previous` is the row id of the key's version before this one, 0 if it is the first:
    a read as of an older revision walks back along it."""

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
    previous: int = 0


# A packed version: its row id, then the fields of `Version` behind `sub`.
_FIELDS = len(Version._fields) - 1
_ARRAY = bytes((0x90 | _FIELDS,))  # msgpack's array of fewer than 16
assert _FIELDS < 16, _FIELDS


def row_id(revision: int, sub: int) -> int:
    """Versions in the order they were written, as one integer."""
    return revision * SUB_MAX + sub


def floor_of(compacted: int) -> int:
    """The last row id of that revision, up to which what is superseded goes; 0 of revision 0."""
    return row_id(compacted, SUB_MAX - 1) if compacted else 0


def pack_version(v: Version) -> bytes:
    return msgpack.packb((row_id(v.revision, v.sub), *v[2:]))  # type: ignore[no-any-return]


def unpack_version(packed: bytes) -> Version:
    """What `pack_version` put in: for bytes whose check has been compared."""
    row, *fields = msgpack.unpackb(packed, use_list=False)
    return Version(*divmod(row, SUB_MAX), *fields)


def read_rows(packed: list[bytes]) -> Iterator[tuple[Any, ...]]:
    """The same for many, as bare tuples, their row ids first: for who reads millions."""
    unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=0)
    unpacker.feed(b"".join(packed))
    return iter(unpacker)


def row_of_packed(packed: bytes) -> int:
    return msgpack.unpackb(packed, use_list=False)[0]  # type: ignore[no-any-return]


def row_prefix(row: int) -> bytes:
    """What the packed version of this row begins with, and no other's does."""
    return _ARRAY + msgpack.packb(row)  # type: ignore[no-any-return]


# The check of a packed version. Replicas compare the sums of these.
version_check = crc32
