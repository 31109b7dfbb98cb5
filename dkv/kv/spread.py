"""Where the bytes are: keys, live bytes and history's, by the first levels of the keys' names.

Owns: what a part of that answer counts. Must never know whether there is more than one reader. The
versions are read in the order of their writing, a slice a turn, and a part ends after so many of
them, or so many names; its token says where the next one begins. So nothing is held for long, here
or in between. What is written meanwhile is counted not at all or half: this is for people.
"""

from typing import Any

import msgpack

from dkv.errors import Code
from dkv.kv.heads import ABSENT, row_of
from dkv.kv.sessions import pack_answer
from dkv.kv.state import State
from dkv.kv.version import floor_of, read_rows
from dkv.limits import INT_MAX, SPREAD_NAMES_MAX, SPREAD_TURNS, SWEEP_SLICE_BYTES
from dkv.requests import Malformed

_SEPARATOR = b"/"


class Spread:
    def __init__(self, state: State, fields: dict[str, Any]) -> None:
        self._state = state
        self._prefix, self._depth = fields["prefix"], fields["depth"]
        self._after, self._through = -1, floor_of(state.revision)
        if fields["token"] is not None:
            self._after, self._through = _read_token(fields["token"])
        self._found: dict[bytes, list[int]] = {}  # name -> keys, live bytes, bytes of history
        self._turns = SPREAD_TURNS

    def step(self) -> bytes | None:
        """One slice; the packed answer when this part is done."""
        slice_ = self._state.store.scan(self._after, SWEEP_SLICE_BYTES)
        done = not slice_
        for row, key, value, *_rest in read_rows(slice_):
            if row > self._through:
                done = True
                break
            self._after = row
            if key.startswith(self._prefix):
                self._count(row, key, value)
        self._turns -= 1
        if not done and self._turns > 0 and len(self._found) < SPREAD_NAMES_MAX:
            return None
        rows = [(name, *counts) for name, counts in sorted(self._found.items())]
        detail: dict[str, Any] = {"rows": rows}
        if not done:
            detail["token"] = msgpack.packb((self._after, self._through))
        return pack_answer(Code.OK, self._state.revision, detail)

    def _count(self, row: int, key: bytes, value: bytes | None) -> None:
        counts = self._found.setdefault(self._name(key), [0, 0, 0])
        size = len(key) + len(value or b"")
        if value is not None and row_of(self._state.heads.get(key, ABSENT)) == row:
            counts[0] += 1
            counts[1] += size
        else:
            counts[2] += size

    def _name(self, key: bytes) -> bytes:
        """The levels that lead to the key, `depth` of them at most."""
        levels = key[len(self._prefix) :].split(_SEPARATOR)[:-1][: self._depth]
        name: bytes = self._prefix + b"".join(level + _SEPARATOR for level in levels)
        return name


def _read_token(token: bytes) -> tuple[int, int]:
    try:
        after, through = msgpack.unpackb(token, max_array_len=2, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises six unrelated kinds on bad bytes
        raise Malformed(Code.BAD_REQUEST, "`token` is not one of a part") from error
    if type(after) is not int or type(through) is not int or not 0 <= after <= through <= INT_MAX:
        raise Malformed(Code.BAD_REQUEST, "`token` is not one of a part")
    return after, through
