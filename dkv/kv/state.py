"""A replica's state: entries in, answers out.

Owns: what every command does, and the sums by which replicas are compared. Must never know where
it runs. Applying is total: an ill-formed command is an answer, decided from its bytes and the
replicated limits; only an unknown kind of entry stops the node, for a newer version wrote it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from dkv.entries import Entry, Kind, read_agreed, read_batch
from dkv.errors import Code, Ending, Fault
from dkv.kv.heads import ABSENT, Head, Heads
from dkv.kv.sessions import Numbered, Session, Sessions, pack_answer
from dkv.kv.store import SUM_MASK, Meta, Store
from dkv.kv.sums import Sums
from dkv.kv.version import Version, index_check, row_id
from dkv.limits import ClusterLimits
from dkv.messages import Result
from dkv.requests import Malformed, range_of, read_command


class Command(NamedTuple):
    """What the gateway puts around a client's command."""

    author: str
    session: int
    sequence: int
    lowest: int
    digest: int
    command: bytes


def pack_command_of(command: Command) -> bytes:
    return msgpack.packb(command)  # type: ignore[no-any-return]


class Outcome(NamedTuple):
    """Of one entry: whose batch it was (node, boot, batch; or ""), and its results."""

    node: str
    boot: int
    batch: int
    results: tuple[Result, ...]


NOTHING = Outcome("", 0, 0, ())


class State:
    def __init__(self, store: Store, limits: ClusterLimits) -> None:
        self.store = store
        self.heads = Heads(store)
        self.limits = limits
        meta = store.meta()
        self._base = meta
        self.applied, self.term, self.check = meta.applied, meta.term, meta.check
        self.revision = meta.revision
        self.held, self.indexed, self.written = meta.held, meta.indexed, meta.written
        self.sessions = Sessions(limits, dict(store.sessions()), meta.sessions)
        self.sums = Sums(meta.applied, meta.written)
        self.notes: dict[int, int] = {}  # index -> written, the last few
        self._entry = Entry(0, 0, 0, 0, 0, b"", b"")
        self._author = ""
        self._ops: dict[str, Callable[[dict[str, Any]], tuple[int, dict[str, Any] | None]]] = {
            "put": self._put,
            "delete": self._delete,
            "delete_range": self._delete_range,
        }

    # -- entries ---------------------------------------------------------------------------------
    def apply(self, entry: Entry) -> Outcome:
        """Apply the entry that follows. Raises `Fault` where this replica must stop."""
        assert entry.index == self.applied + 1, (entry.index, self.applied)
        self._entry = entry
        outcome = NOTHING
        if entry.kind == Kind.COMMANDS:
            batch = read_batch(entry.payload)
            results = tuple(self._apply_command(packed) for packed in batch.commands)
            outcome = Outcome(batch.node, batch.boot, batch.number, results)
        elif entry.kind == Kind.TICK:
            self.sessions.expire(entry.tick)
        elif entry.kind == Kind.AGREED:
            self._compare(*read_agreed(entry.payload))
        elif entry.kind > Kind.AGREED:
            raise Fault(
                Ending.NEWER_NEEDED,
                f"entry {entry.index} is of kind {entry.kind}, which this version does not know: "
                "a newer version of dkv is needed here",
            )
        self.written = (self.written + self.sessions.written) & SUM_MASK
        self.sessions.written = 0
        self.applied, self.term, self.check = entry.index, entry.term, entry.check
        self.sums.take(self.applied, self.written)
        return outcome

    def note(self) -> tuple[int, int] | None:
        """(index, written) when the entry just applied is one at which replicas compare."""
        if self.applied % self.limits.note_entries:
            return None
        self.notes[self.applied] = self.written
        while len(self.notes) > 8:
            del self.notes[min(self.notes)]
        return self.applied, self.written

    def _compare(self, index: int, written: int) -> None:
        mine = self.notes.get(index)
        if mine is not None and mine != written:
            self.store.mark_diverged(self._base._replace(diverged=True))
            raise Fault(
                Ending.DIVERGED,
                f"this replica's state differs from the majority's at entry {index}: it must not "
                "be used any more. Keep its data directory for inspection; the others go on",
            )

    # -- commands --------------------------------------------------------------------------------
    def _apply_command(self, packed: bytes) -> Result:
        command = Command(*msgpack.unpackb(packed, use_list=False))
        self._author = command.author
        answer = self._answer(command)
        return command.session, command.sequence, answer

    def _answer(self, c: Command) -> bytes:
        try:
            request, fields = read_command(c.command, self.limits)
        except Malformed as error:
            return self._refusal(Code.INVALID, error.words)
        if request.edge != "write":
            return self._refusal(Code.INVALID, f"{request.op} is no write")
        if request.op == "open_session":
            return self._open_session()
        if not c.session:
            if not request.numbered:
                return self._refusal(Code.INVALID, f"{request.op} needs a session")
            return self._execute(request.op, fields)
        session = self.sessions.use(c.session, c.author, self._entry.tick)
        if isinstance(session, Code):
            return self._refusal(session)
        if request.op == "keep_alive":
            return pack_answer(Code.OK, self.revision)
        if request.op == "close_session":
            self.sessions.close(c.session)
            return pack_answer(Code.OK, self.revision)
        return self._execute_once(session, c, request.op, fields)

    def _execute_once(self, session: Session, c: Command, op: str, fields: dict[str, Any]) -> bytes:
        place = Numbered(c.session, c.sequence, c.lowest, c.digest)
        known = self.sessions.judge(session, place)
        if isinstance(known, Code):
            return self._refusal(known)
        if known is not None:
            return known
        answer = self._execute(op, fields)
        self.sessions.record(session, place, answer, self.revision)
        return answer

    def _execute(self, op: str, fields: dict[str, Any]) -> bytes:
        try:
            code, detail = self._ops[op](fields)
        except Malformed as error:
            return self._refusal(Code.INVALID, error.words)
        return pack_answer(code, self.revision, detail)

    def _refusal(self, code: Code, words: str = "") -> bytes:
        return pack_answer(code, self.revision, {"words": words} if words else None)

    def _open_session(self) -> bytes:
        number = self.sessions.open(self._author, self._entry.tick)
        if number is None:
            return self._refusal(Code.SESSIONS_FULL)
        detail: dict[str, Any] = {"session": number, "ttl_ms": self.limits.session_ttl_ms}
        return pack_answer(Code.OK, self.revision, detail)

    # -- operations: (code, detail) --------------------------------------------------------------
    def _put(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        key, expected = fields["key"], fields["expected"]
        head = self.heads.of(key)
        if expected is not None and expected != head.revision:
            return Code.CONDITION_FAILED, {"key_revision": head.revision}
        self.revision += 1
        self._add(0, key, fields["value"], head.created or self.revision, head.version + 1)
        return Code.OK, {"key_revision": self.revision}

    def _delete(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        key, expected = fields["key"], fields["expected"]
        at = self.heads.of(key).revision
        if expected is not None and expected != at:
            return Code.CONDITION_FAILED, {"key_revision": at}
        if not at:
            return Code.OK, {"deleted": 0, "key_revision": 0}
        self.revision += 1
        self._add(0, key, None, 0, 0)
        return Code.OK, {"deleted": 1, "key_revision": at}

    def _delete_range(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        start, end = range_of(fields)
        keys, more = live_keys(self.store, start, end, self.revision, fields["limit"])
        if keys:
            self.revision += 1
        for sub, key in enumerate(keys):
            self._add(sub, key, None, 0, 0)
        return Code.OK, {"deleted": len(keys), "more": more}

    def _add(self, sub: int, key: bytes, value: bytes | None, created: int, count: int) -> None:
        entry = self._entry
        version = Version(
            self.revision, sub, key, value, created, count, 0, self._author, entry.tick, entry.wall
        )
        self.heads.moved(key, ABSENT if value is None else Head(self.revision, created, count))
        check = self.store.add(version)
        self.held = (self.held + check) & SUM_MASK
        self.written = (self.written + check) & SUM_MASK
        row = row_id(self.revision, sub)
        self.indexed = (self.indexed + index_check(key, row)) & SUM_MASK

    # -- commits ---------------------------------------------------------------------------------
    def meta(self) -> Meta:
        return self._base._replace(
            applied=self.applied,
            term=self.term,
            check=self.check,
            revision=self.revision,
            held=self.held,
            indexed=self.indexed,
            written=self.written,
            sessions=self.sessions.given,
        )

    def commit(self) -> None:
        changed, ended = self.sessions.take_changes()
        self._base = self.meta()
        self.store.commit(self._base, changed, ended)


def live_keys(
    store: Store, start: bytes, end: bytes, revision: int, limit: int
) -> tuple[list[bytes], bool]:
    """Up to `limit` keys of a range that exist as of `revision`, and whether there are more."""
    found: list[bytes] = []
    while True:
        page = store.keys(start, end, revision, limit + 1)
        for key, row in page:
            if store.version(row).value is None:
                continue
            if len(found) == limit:
                return found, True
            found.append(key)
        if len(page) <= limit:
            return found, False
        start = page[-1][0] + b"\0"
