"""A part of the log, told to whoever looks at it: the state machine's share in a `tail`.

Owns: what is said of an entry and of a command, and what of that the question leaves out. Must
never know where entries come from, nor say a value. What cannot be understood is told as such, for
an entry that is not committed may be anybody's.
"""

from collections import deque
from typing import Any, NamedTuple

import msgpack

from dkv.address import Instant
from dkv.entries import Batch, Entry, Kind, read_batch
from dkv.errors import Code
from dkv.kv.sessions import pack_answer
from dkv.kv.state import Command, State
from dkv.limits import MS, OUTCOMES_MAX, TAIL_APPLY_MS
from dkv.messages import Result, Shown
from dkv.requests import Malformed
from dkv.timeline import Timeline

_TURN_COMMANDS = 128  # looked at in a turn, beyond one entry: about a millisecond
_KINDS = {int(kind): kind.name.lower() for kind in Kind}
_CODES = {int(code): code.name.lower() for code in Code}
_NO_BATCH = Batch("", 0, 0, ())


class Outcomes:
    """What the last commands came to, by entry; and when each entry was applied."""

    def __init__(self, applied: int) -> None:
        self.applied = Timeline(applied)
        self._kept: dict[int, tuple[Result, ...]] = {}
        self._order: deque[int] = deque()
        self._count = 0

    def keep(self, index: int, results: tuple[Result, ...]) -> None:
        self._kept[index] = results
        self._order.append(index)
        self._count += len(results)
        while self._count > OUTCOMES_MAX:
            self._count -= len(self._kept.pop(self._order.popleft()))

    def of(self, index: int) -> tuple[Result, ...]:
        """Nothing, where it is not applied or too long ago."""
        return self._kept.get(index, ())


class Filter(NamedTuple):
    """Which commands are asked for."""

    prefix: bytes
    author: str
    brief: bool

    @property
    def is_open(self) -> bool:
        return not self.prefix and not self.author

    def passes(self, row: list[Any]) -> bool:
        _op, key, author, *_rest = row
        return key.startswith(self.prefix) and self.author in ("", author)


class Tailing:
    """One answer on its way: `step` does a turn of it, and returns it when it is whole."""

    def __init__(self, state: State, outcomes: Outcomes, shown: Shown, now_us: int) -> None:
        self._state, self._outcomes, self._shown = state, outcomes, shown
        self.batch = shown.batch
        self.until_us = now_us + min(shown.wait_ms, TAIL_APPLY_MS) * MS  # not waited for longer
        _request, fields = state.read_command(shown.question)
        self._settled, self._committed = fields["settled"], fields["committed"]
        prefix, author = fields["prefix"] or b"", fields["author"] or ""
        self._filter = Filter(prefix, author, fields["brief"])
        self._entries = deque(shown.entries)
        self._last: Entry | None = None  # that was told of
        self._items: list[dict[str, Any]] = []
        pairs = zip(shown.moments, shown.saved_us, strict=True)
        self._moments = {m[0]: (*m, saved_us) for m, saved_us in pairs}

    def is_ready(self, applied: int, now_us: int) -> bool:
        """Whether what was committed is applied, so that all that happened to it can be told."""
        return applied >= self._shown.commit or now_us >= self.until_us

    def step(self, now: Instant) -> bytes | None:
        looked = 0
        if self._committed:  # what is not applied yet is left to the next answer
            self._entries = deque(e for e in self._entries if e.index <= self._state.applied)
        while self._entries and looked < _TURN_COMMANDS:
            self._last = self._entries.popleft()
            looked += 1 + self._take(self._last, now)
        return None if self._entries else self._answer(now)

    # -- entries ---------------------------------------------------------------------------------
    def _take(self, entry: Entry, now: Instant) -> int:
        """How many commands had to be looked at."""
        batch = _batch_of(entry)
        is_brief = self._filter.brief and self._filter.is_open
        rows = [] if is_brief else self._commands(entry, batch)
        if not rows and not self._filter.is_open:
            return len(batch.commands)
        item: dict[str, Any] = {
            "index": entry.index,
            "term": entry.term,
            "kind": _KINDS.get(entry.kind, f"kind {entry.kind}"),
            "origin": batch.node,
            "bytes": len(entry.payload),
            "proposed": entry.wall,
            **self._times(entry.index, entry.term, now),
            "count": len(batch.commands),
        }
        if not self._filter.brief:
            item["commands"] = rows
        self._items.append(item)
        return len(batch.commands)

    def _commands(self, entry: Entry, batch: Batch) -> list[list[Any]]:
        results = self._outcomes.of(entry.index)
        answers = [answer for _session, _sequence, answer in results]
        answers += [b""] * (len(batch.commands) - len(answers))
        pairs = zip(batch.commands, answers, strict=True)
        rows = [self._command(packed, answer) for packed, answer in pairs]
        return rows if self._filter.is_open else [row for row in rows if self._filter.passes(row)]

    def _command(self, packed: bytes, answer: bytes) -> list[Any]:
        """[op, key, author, revision, bytes of the value, session, code]"""
        try:
            command = Command(*msgpack.unpackb(packed, use_list=False))
            author, session = str(command.author), int(command.session)
            request, fields = self._state.read_command(command.command)
        except Malformed:
            op, key, size = "", b"", 0
        except Exception:  # no command at all; msgpack raises six unrelated kinds on bad bytes
            return ["", b"", "", None, 0, 0, None]
        else:
            op, key = request.op, _key_of(fields)
            size = len(fields.get("value") or b"")
        revision, code = _outcome(answer) if answer else (None, None)
        return [op, key, author, revision, size, session, code]

    # -- times -----------------------------------------------------------------------------------
    def _times(self, index: int, term: int, now: Instant) -> dict[str, int | None]:
        """When it was here, and how long after that it was saved, known committed, applied."""
        _index, its_term, received_us, committed_us, saved_us = self._moments.get(
            index, (index, 0, 0, 0, 0)
        )
        if its_term != term:
            received_us = committed_us = saved_us = 0
        wall = now.wall_ms - (now.us - received_us) // MS if received_us else None
        applied_us = self._outcomes.applied.when(index)
        reached = {"saved_us": saved_us, "committed_us": committed_us, "applied_us": applied_us}
        since = {
            name: max(us - received_us, 0) if us and received_us else None
            for name, us in reached.items()
        }
        return {"received": wall, **since}

    def _marks(self, now: Instant) -> list[list[Any]]:
        """Of what was shown before; with what its commands came to, where all were shown."""
        has_all = self._filter.is_open and not self._filter.brief
        marks = []
        for index, (_index, term, *_us) in self._moments.items():
            if index <= self._shown.after:
                times = self._times(index, term, now)
                reached = (times["saved_us"], times["committed_us"], times["applied_us"])
                results = self._outcomes.of(index) if has_all else ()
                outcomes = [_outcome(answer) for _session, _sequence, answer in results]
                marks.append([index, term, *reached, outcomes or None])
        return marks

    # -- the answer ------------------------------------------------------------------------------
    def _answer(self, now: Instant) -> bytes:
        shown, state = self._shown, self._state
        known = msgpack.unpackb(shown.known)
        after, after_term = shown.after, known["after_term"]
        if self._last is not None:
            after, after_term, *_rest = self._last
        elif shown.base > after:
            after, after_term = shown.base, 0
        marks = self._marks(now)
        detail = {
            **known,
            "wall": now.wall_ms,
            "first": shown.base + 1,
            "saved": shown.saved,
            "applied": state.applied,
            "compacted": shown.base > shown.after,
            "after": after,
            "after_term": after_term,
            "settled": self._settled_by(after, marks),
            "items": self._items,
            "marks": marks,
        }
        return pack_answer(Code.OK, state.revision, detail)

    def _settled_by(self, after: int, marks: list[list[Any]]) -> int:
        """Through which entry everything has been told, by this answer and those before it."""
        told = after
        if self._settled and self._settled < self._shown.after:
            told = max(marks[-1][0] or 0, self._settled) if marks else after
        return min(told, after, self._state.applied)


class Tails:
    """All that are under way. A turn does a part of one of them: results wait behind it."""

    def __init__(self) -> None:
        self._waiting: deque[Tailing] = deque()

    @property
    def due_us(self) -> int | None:
        return min([tailing.until_us for tailing in self._waiting], default=None)

    def add(self, tailing: Tailing) -> None:
        self._waiting.append(tailing)

    def step(self, applied: int, now: Instant) -> tuple[int, bytes] | None:
        """The batch of one that is whole by now, and its answer."""
        ready = [t for t in self._waiting if t.is_ready(applied, now.us)]
        if not ready:
            return None
        tailing = ready[0]
        self._waiting.remove(tailing)
        answer = tailing.step(now)
        if answer is not None:
            return tailing.batch, answer
        tailing.until_us = now.us  # it goes on with the next turn
        self._waiting.append(tailing)
        return None


def _batch_of(entry: Entry) -> Batch:
    if entry.kind != Kind.COMMANDS:
        return _NO_BATCH
    try:
        batch = read_batch(entry.payload)
        return batch._replace(node=str(batch.node), commands=tuple(batch.commands))
    except Exception:  # msgpack raises six unrelated kinds on bad bytes
        return _NO_BATCH


def _outcome(answer: bytes) -> tuple[int, str]:
    """(revision, code) of a packed answer."""
    number, revision, _detail = msgpack.unpackb(answer)
    return revision, _CODES.get(number, f"code {number}")


def _key_of(fields: dict[str, Any]) -> bytes:
    for name in ("key", "prefix", "start"):
        if fields.get(name):
            key: bytes = fields[name]
            return key
    return b""
