"""A replica's state: entries in, answers out.

Owns: what every command does, and the sums by which replicas are compared. Must never know where
it runs. Applying is total: an ill-formed command is an answer, decided from its bytes and the
replicated limits; only an unknown kind of entry stops the node, for a newer version wrote it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from dkv.entries import Entry, Kind, read_agreed, read_batch
from dkv.errors import Code, Ending, Fault
from dkv.kv.details import Details
from dkv.kv.heads import ABSENT, Heads, is_live, pack_head, read_head, revision_of, row_of
from dkv.kv.sessions import Sessions, pack_answer
from dkv.kv.store import SUM_MASK, Meta, Store
from dkv.kv.sums import Sums
from dkv.kv.version import floor_of, version_check
from dkv.limits import SUB_MAX, ClusterLimits
from dkv.messages import Result
from dkv.parsing import command_reader
from dkv.requests import Malformed, Request, range_of


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


def command_packer() -> Callable[[Command], bytes]:
    """`pack_command_of`, for one thread that packs many: half the cost of a new packer each."""
    return msgpack.Packer().pack  # type: ignore[no-any-return]


class Outcome(NamedTuple):
    """Of one entry: whose batch it was (node, boot, batch; or ""), and its results."""

    node: str
    boot: int
    batch: int
    results: tuple[Result, ...]


NOTHING = Outcome("", 0, 0, ())


class State:
    """Of what the store holds, the heads are not known yet: where anything was applied before, a
    `Scan` must fill them first."""

    def __init__(self, store: Store, limits: ClusterLimits, cluster: bytes = b"") -> None:
        self.store = store
        self.cluster = cluster  # the id of the cluster that this is the state of
        self.heads: Heads = {}
        self.details = Details()
        self.read_command = command_reader(limits)
        self.limits = limits
        meta = store.meta()
        self._base = meta
        self.applied, self.term, self.check = meta.applied, meta.term, meta.check
        self.revision = meta.revision
        self.held, self.written = meta.held, meta.written
        self.compacted, self.floor = meta.compacted, floor_of(meta.compacted)
        self.doomed = meta.swept  # nothing behind this row has gone, or is about to
        self.swept = meta.swept  # how far this replica has come; see dkv/kv/sweep.py
        self.sessions = Sessions(limits, dict(store.sessions()), meta.sessions)
        self.sums = Sums(meta.applied, meta.written)
        if meta.remembered != self.sessions.remembered():
            raise Fault(
                Ending.STORAGE_FAULT,
                "state.db is damaged: the sum of its sessions is not the one it was committed "
                "with, so some are missing or changed. Keep the data directory for inspection",
            )
        self.notes: dict[int, int] = {}  # index -> written, the last few
        self._entry = Entry(0, 0, 0, 0, 0, b"", b"")
        self._author = ""
        self._pack = msgpack.Packer().pack  # one for all: half the cost of a new one each
        self._ops: dict[str, Callable[[dict[str, Any]], tuple[int, dict[str, Any] | None]]] = {
            "put": self._put,
            "delete": self._delete,
            "delete_range": self._delete_range,
            "compact": self._compact,
        }

    # -- entries ---------------------------------------------------------------------------------
    def apply(self, entry: Entry) -> Outcome:
        """Apply the entry that follows. Raises `Fault` where this replica must stop."""
        assert entry.index == self.applied + 1, (entry.index, self.applied)
        self._entry = entry
        outcome = NOTHING
        if entry.kind == Kind.COMMANDS:
            batch = read_batch(entry.payload)
            results = tuple(map(self._apply_command, batch.commands))
            outcome = Outcome(batch.node, batch.boot, batch.number, results)
        elif entry.kind == Kind.TICK:
            self.sessions.expire(entry.tick)
        elif entry.kind == Kind.AGREED:
            self._compare(*read_agreed(entry.payload))
        elif entry.kind > Kind.MEMBERS:
            raise Fault(
                Ending.NEWER_NEEDED,
                f"entry {entry.index} is of kind {entry.kind}, which this version does not know: "
                "a newer version of dkv is needed here",
            )
        self.held &= SUM_MASK
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
        """Every put on every node comes through here: few calls, no objects but what is kept."""
        author, number, sequence, lowest, digest, command = msgpack.unpackb(packed, use_list=False)
        self._author = author
        try:
            request, fields = self.read_command(command)
        except Malformed as error:
            return number, sequence, self._refusal(Code.INVALID, error.words)
        if not number or not request.numbered:
            return number, sequence, self._apply_unnumbered(request, fields, number)
        sessions = self.sessions
        session = sessions.use(number, author, self._entry.tick)
        if isinstance(session, Code):
            return number, sequence, self._refusal(session)
        answer = session.judge(sequence, lowest, digest)
        if answer is None:
            answer = self._execute(request.op, fields)
            sessions.record(number, session, sequence, digest, answer, self.revision)
        elif isinstance(answer, Code):
            answer = self._refusal(answer)
        return number, sequence, answer

    def _apply_unnumbered(self, request: Request, fields: dict[str, Any], number: int) -> bytes:
        """What is no write within a session."""
        if request.edge != "write":
            return self._refusal(Code.INVALID, f"{request.op} is no write")
        if request.op == "open_session":
            return self._open_session()
        if not number:
            if not request.numbered:
                return self._refusal(Code.INVALID, f"{request.op} needs a session")
            return self._execute(request.op, fields)
        session = self.sessions.use(number, self._author, self._entry.tick)
        if isinstance(session, Code):
            return self._refusal(session)
        if request.op == "close_session":
            self.sessions.close(number)
        return pack_answer(Code.OK, self.revision)

    def _execute(self, op: str, fields: dict[str, Any]) -> bytes:
        try:
            code, detail = self._ops[op](fields)
        except Malformed as error:
            return self._refusal(Code.INVALID, error.words)
        packed: bytes = self._pack((code, self.revision, detail))  # as pack_answer
        return packed

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
        head = self.heads.get(key, ABSENT)
        if expected is not None and expected != revision_of(head):
            return Code.CONDITION_FAILED, {"key_revision": revision_of(head)}
        previous, created, count = read_head(head)
        if not count and previous <= self.floor:
            previous = 0  # a deletion: on another replica it may be gone already
        revision = self.revision = self.revision + 1
        self._add(
            revision * SUB_MAX, key, fields["value"], created or revision, count + 1, previous
        )
        return Code.OK, {"key_revision": revision}

    def _delete(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        key, expected = fields["key"], fields["expected"]
        head = self.heads.get(key, ABSENT)
        at = revision_of(head)
        if expected is not None and expected != at:
            return Code.CONDITION_FAILED, {"key_revision": at}
        if not at:
            return Code.OK, {"deleted": 0, "key_revision": 0}
        self.revision += 1
        self._add(self.revision * SUB_MAX, key, None, 0, 0, row_of(head))
        return Code.OK, {"deleted": 1, "key_revision": at}

    def _delete_range(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        start, end = range_of(fields)
        keys, more = self._live_keys(start, end, fields["limit"])
        if keys:
            self.revision += 1
        for row, key in enumerate(keys, self.revision * SUB_MAX):
            self._add(row, key, None, 0, 0, row_of(self.heads[key]))
        return Code.OK, {"deleted": len(keys), "more": more}

    def _compact(self, fields: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """History ends: reads as of an earlier revision are refused from here on, everywhere."""
        revision, keep = fields["revision"], fields["keep"]
        if revision is not None and keep is not None:
            raise Malformed(Code.BAD_REQUEST, "`keep` excludes `revision`")
        end = max(self.revision - (keep or 0), 0) if revision is None else revision
        if end > self.revision:
            return Code.FUTURE_REVISION, {"words": f"the store is at revision {self.revision}"}
        if end > self.compacted:
            self.compacted, self.floor = end, floor_of(end)
            self.written += crc32(b"compacted %d" % end)
        return Code.OK, {"compacted": self.compacted}

    def _live_keys(self, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        """Up to `limit` keys of a range that exist now, and whether there are more."""
        found: list[bytes] = []
        while True:
            page = self.store.keys(start, end, limit + 1)
            for key in page:
                if not is_live(known_head(self, key)):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(key)
            if len(page) <= limit:
                return found, False
            start = page[-1] + b"\0"

    def _add(
        self, row: int, key: bytes, value: bytes | None, created: int, count: int, previous: int
    ) -> None:
        """A version (the order of its fields is `Version`'s). Sums are cut at the entry's end."""
        entry = self._entry
        packed = self._pack(
            (row, key, value, created, count, 0, self._author, entry.tick, entry.wall, previous)
        )
        check = version_check(packed)
        self.held += check
        self.written += check
        new = None if previous or key in self.heads else key
        self.heads[key] = pack_head(row, created, count)
        self.store.add(row, packed, new)

    # -- commits ---------------------------------------------------------------------------------
    def meta(self) -> Meta:
        return self._base._replace(
            applied=self.applied,
            term=self.term,
            check=self.check,
            revision=self.revision,
            held=self.held,
            written=self.written,
            sessions=self.sessions.given,
            remembered=self.sessions.remembered(),
            tick=self._entry.tick or self._base.tick,
            compacted=self.compacted,
            swept=self.swept,
        )

    def commit(self) -> None:
        changed, ended = self.sessions.take_changes()
        self._base = self.meta()
        self.store.commit(self._base, changed, ended)


def known_head(state: State, key: bytes) -> int:
    """The head of a key that the store has listed. Raises `Fault` where there is none: the start
    compared all of them, so a page was damaged since."""
    head = state.heads.get(key)
    if head is None:
        raise Fault(
            Ending.STORAGE_FAULT,
            f"state.db is damaged: its table of keys has {key[:40]!r}, of which there is no "
            "version. Keep the data directory for inspection",
        )
    return head
