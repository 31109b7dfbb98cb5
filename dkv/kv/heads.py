"""Where each key's newest version stands: of every key ever written, in memory.

Owns: how a head is one integer. Must never know what a command means, or how versions are stored.

A put needs row, creation and count of what it replaces; to read these from a file would cost as
much as the put itself. So all heads are held, tombstones too, in a plain dict from key to a plain
integer: 48 bytes each, and nothing for the garbage collector to walk through. The scan that every
start makes fills it again (`actors/scan.py`).
"""

from dkv.limits import SUB_MAX

Heads = dict[bytes, int]

# row (63 bits), created (51), version (51): a row id is a revision and 12 bits below it.
_PART = 51
_ROW = 2 * _PART
_MASK = (1 << _PART) - 1

ABSENT = 0  # never written


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
