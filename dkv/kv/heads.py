"""Where each key's newest version stands: of every key, in memory.

Owns: how a head is one integer. Must never know what a command means, or how versions are stored.

A put needs row, creation and count of what it replaces; to read these from a file would cost as
much as the put itself. So all heads are held, tombstones too until compaction passes them, in a
plain dict from key to a plain integer: 48 bytes each, and nothing for the garbage collector to walk
through. The scan that every start makes fills it again (`actors/scan.py`).
"""

from collections.abc import Iterable
from typing import Any
from zlib import crc32

from dkv.limits import SUB_MAX

Heads = dict[bytes, int]

# row (63 bits), created (51), version (51): a row id is a revision and 12 bits below it.
_PART = 51
_ROW = 2 * _PART
_MASK = (1 << _PART) - 1

ABSENT = 0  # never written

# Of a key: whether two tables hold the same keys is told by the sums of it, which cost a tenth of
# looking each up.
key_check = crc32


def pack_head(row: int, created: int, version: int) -> int:
    """`created` and `version` as in a Version: both 0, and the key was deleted."""
    return row << _ROW | created << _PART | version


def read_head(head: int) -> tuple[int, int, int]:
    """(row, created, version); all 0 where the key was never written."""
    return head >> _ROW, head >> _PART & _MASK, head & _MASK


def row_of(head: int) -> int:
    return head >> _ROW


def is_live(head: int) -> bool:
    """Whether the key exists: a put always counts."""
    return head & _MASK != 0


def revision_of(head: int) -> int:
    """Where the key is, 0 if it does not exist: what `expected` is compared with."""
    return (head >> _ROW) // SUB_MAX if head & _MASK else 0


class Unfollowed(Exception):
    """Versions that cannot have been written so: which, and why."""


def _may_be_gone(previous: int, head: int, floor: int) -> bool:
    if head == ABSENT:
        return previous <= floor
    return previous == 0 and not is_live(head) and head >> _ROW <= floor


def follow(heads: Heads, rows: Iterable[tuple[Any, ...]], last: int, floor: int) -> tuple[int, int]:
    """Take over versions (as `read_rows` gives them) behind row `last`. The last row then, and the
    sum of `key_check` of those keys that were not known. Raises `Unfollowed` where a version is out
    of order or does not name its key's version before it. At or below row `floor`, the end of what
    is compacted, that one may be gone; and a deletion there counts as gone, if it is or not."""
    new = 0
    for row, key, _value, created, version, _lease, _author, _tick, _wall, previous in rows:
        if row <= last:
            raise Unfollowed(f"version {row} is out of order")
        head = heads.get(key)
        if head is None:
            new += key_check(key)
            head = ABSENT
        if previous != head >> _ROW and not _may_be_gone(previous, head, floor):
            raise Unfollowed(f"version {row} does not follow the one before it of its key")
        heads[key] = row << _ROW | created << _PART | version  # a call each would cost a third
        last = row
    return last, new
