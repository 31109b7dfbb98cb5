"""What a workload says of itself in the middle of a recording.

Owns: the marks and their bytes. Must never know the recorder: to it, a mark is a write to the file
`marks`.
"""

# A field `index` hides a method of tuple.
# mypy: disable-error-code="assignment"

from pathlib import Path
from typing import NamedTuple

import msgpack

from dkv.entries import Entry


class Promise(NamedTuple):
    """All that a log has claimed: its last entry (the check covers those before), and its vote."""

    index: int
    check: bytes
    term: int
    vote: int
    base: int


class Intended(NamedTuple):
    """A turn begins; if it ends, this will be promised."""

    promise: Promise


class Promised(NamedTuple):
    """The turn has ended: its sealed letters leave. The rest is what the witness says by now."""

    promise: Promise
    index: int
    term: int
    check: bytes
    hard_term: int
    vote: int


class Applying(NamedTuple):
    """These committed entries go to the state machine."""

    entries: tuple[Entry, ...]


class Kept(NamedTuple):
    """The state machine has said that state.db holds everything through this index."""

    index: int


class Faulted(NamedTuple):
    """A keeper has given up."""

    words: str


Mark = Intended | Promised | Applying | Kept | Faulted
_KINDS: tuple[type, ...] = (Intended, Promised, Applying, Kept, Faulted)


def pack(mark: Mark) -> bytes:
    return msgpack.packb((_KINDS.index(type(mark)), *mark))  # type: ignore[no-any-return]


def handed(path: Path) -> int:
    """The last entry that went to the state machine, of all marks in a file: it was committed."""
    marks = msgpack.Unpacker(use_list=False)
    marks.feed(path.read_bytes())
    applying = _KINDS.index(Applying)
    return max((mark[1][-1][0] for mark in marks if mark[0] == applying), default=0)


def unpack(packed: bytes) -> Mark:
    kind, *fields = msgpack.unpackb(packed, use_list=False)
    if _KINDS[kind] in (Intended, Promised):
        fields[0] = Promise(*fields[0])
    elif _KINDS[kind] is Applying:
        fields[0] = tuple(Entry(*entry) for entry in fields[0])
    return _KINDS[kind](*fields)  # type: ignore[no-any-return]
