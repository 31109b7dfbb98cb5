"""Reads: get, list a page at a time, a backup's next part, and the sum of the state at an entry.

Owns: what a read answers as of a revision. Must never know who waits for it. Long ones go on in
turns: no statement stays open in between, each turn seeks by key again and looks at the compacted
revision, so that a page ends with `compacted` and is never short.
"""

from typing import Any

import msgpack

from dkv.errors import Code
from dkv.kv.heads import ABSENT, is_live, read_head, row_of
from dkv.kv.saving import Part
from dkv.kv.sessions import pack_answer
from dkv.kv.state import State, known_head
from dkv.kv.version import Version, row_id
from dkv.limits import INT_MAX, LIST_BYTES_MAX, SUB_MAX
from dkv.requests import Malformed, range_of

_pack = msgpack.packb
_OK = b"\x93" + _pack(int(Code.OK))  # the beginning of a packed answer
_TURN_KEYS = 200
_TURN_STEPS = 200  # versions walked back over in a turn; a large one counts for more
_STEP_BYTES = 4_096


class Reading:
    """One read. `answer` is there at once, packed, unless it is a list's or a backup's: then `step`
    does a turn of it, and returns the answer when there is one."""

    __slots__ = ("_long", "_state", "answer", "command")

    def __init__(self, state: State, command: bytes) -> None:
        self._state, self.command = state, command
        self._long: Listing | Part | None = None
        self.answer: bytes | None = None
        try:
            request, fields = state.read_command(command)
            if request.op == "get":
                self.answer = _get(state, fields["key"])
            elif request.op == "list":
                self._long = Listing(state, fields)
            elif request.op == "hash":
                self.answer = _hash(state, fields)
            elif request.op == "snapshot":
                self._long = Part(state, fields)
            else:
                raise Malformed(Code.BAD_REQUEST, f"{request.op} is no read")
        except Malformed as error:
            self.answer = pack_answer(error.code, state.revision, {"words": error.words})

    def step(self) -> bytes | None:
        if self._long is not None:
            self.answer = self._long.step()
        return self.answer


def _get(state: State, key: bytes) -> bytes:
    head = state.heads.get(key, ABSENT)
    if not is_live(head):
        return pack_answer(Code.OK, state.revision, {"found": False, "key_revision": 0})
    row = row_of(head)
    detail = state.details.of(key, row)
    if detail is None:
        detail = _detail(state.store.version(row))
        state.details.keep(key, row, detail)
    packed: bytes = _OK + _pack(state.revision) + detail  # as pack_answer
    return packed


def _detail(found: Version) -> bytes:
    detail: bytes = _pack(
        {
            "found": True,
            "value": found.value,
            "key_revision": found.revision,
            "created": found.created,
            "version": found.version,
            "author": found.author,
            "wall": found.wall,
        }
    )
    return detail


def _hash(state: State, fields: dict[str, Any]) -> bytes:
    index = fields["index"] or state.applied
    if index > state.applied:
        raise Malformed(Code.FUTURE_REVISION, f"this node has applied {state.applied}")
    written = state.sums.at(index)
    if written is None:
        raise Malformed(Code.COMPACTED, f"entry {index} is too long ago to be remembered")
    return pack_answer(Code.OK, state.revision, {"index": index, "hash": f"{written:016x}"})


class Listing:
    """A page of a range, as of the first page's revision, which the token carries on."""

    def __init__(self, state: State, fields: dict[str, Any]) -> None:
        self._state = state
        self._next, self._end = range_of(fields)
        self._limit = fields["limit"]
        self._keys_only = fields["keys_only"]
        self._count_only = fields["count_only"]
        self._items: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._count = 0
        self._revision = fields["revision"] or state.revision
        if fields["token"] is not None:
            self._revision, self._next = _read_token(fields["token"], self._next, self._end)
        if self._revision > state.revision:
            raise Malformed(Code.FUTURE_REVISION, f"this node is at {state.revision}")
        self._through = row_id(self._revision, SUB_MAX - 1)
        self._steps = 0  # left in this turn
        self._walked = 0  # how far back the walk of the next key has come

    def step(self) -> bytes | None:
        """Up to _TURN_KEYS keys; the packed answer when the page is full or the range ends."""
        if self._revision < self._state.store.meta().compacted:
            return pack_answer(Code.COMPACTED, self._state.revision)
        keys = self._state.store.keys(self._next, self._end, _TURN_KEYS)
        self._steps = _TURN_STEPS
        for key in keys:
            if self._full():
                return self._page(key)
            if not self._take(key):
                return None
            self._next = key + b"\0"
        return None if len(keys) == _TURN_KEYS else self._page(None)

    def _full(self) -> bool:
        if self._count_only:
            return False
        return len(self._items) >= self._limit or self._bytes >= LIST_BYTES_MAX

    def _take(self, key: bytes) -> bool:
        """The key as of the page's revision, if it existed then. False: the way back to it is
        longer than a turn, and goes on in the next."""
        store = self._state.store
        row, created, count = read_head(known_head(self._state, key))
        if row > self._through:
            row = self._walk(row)
            if row > self._through:
                return False
            if not row:
                return True  # it was not there yet
            found = store.version(row)
            created, count = found.created, found.version
        if not count:
            return True  # it was deleted
        self._count += 1
        if self._count_only:
            return True
        value = None if self._keys_only else store.version(row).value
        self._items.append((key, value, row // SUB_MAX, created, count))
        self._bytes += len(key) + len(value or b"") + 32
        return True

    def _walk(self, head: int) -> int:
        """From version to version of a key, back to its newest as of the page's revision: its row,
        0 if there is none. Only so far as this turn's steps reach; versions do not change, so the
        next turn goes on from there, whatever the key's head is by then."""
        row = self._walked or head
        while row > self._through and self._steps > 0:
            found = self._state.store.version(row)
            self._steps -= 1 + len(found.value or b"") // _STEP_BYTES
            row = found.previous
        self._walked = row if row > self._through else 0
        return row

    def _page(self, next_key: bytes | None) -> bytes:
        detail: dict[str, Any] = {"items": self._items, "count": self._count}
        if next_key is not None:
            detail["token"] = msgpack.packb((self._revision, next_key))
        return pack_answer(Code.OK, self._revision, detail)


def _read_token(token: bytes, start: bytes, end: bytes) -> tuple[int, bytes]:
    """(revision, first key) of a page token; it must lie in the range it is used with."""
    try:
        revision, key = msgpack.unpackb(token, max_array_len=2, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises six unrelated kinds on bad bytes
        raise Malformed(Code.BAD_REQUEST, "`token` is not one of a page") from error
    if type(revision) is not int or type(key) is not bytes or not 0 <= revision <= INT_MAX:
        raise Malformed(Code.BAD_REQUEST, "`token` is not one of a page")
    if key < start or (end and key >= end):
        raise Malformed(Code.BAD_REQUEST, "`token` is of another range")
    return revision, key
