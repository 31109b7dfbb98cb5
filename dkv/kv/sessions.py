"""Exactly once: what a session remembers, so that a retried write is executed once (thesis §6.3).

Owns: sessions and their answers; who may use one, when it ends. Must never know what a command
does. All of it is replicated state: decided by entries, their cluster time and replicated limits.

The state keeps the answer of every executed sequence >= `lowest` (a set, not just the last: the
pipelined commands of a session may execute in any order).
"""

from typing import Any, NamedTuple
from zlib import crc32

import msgpack

from dkv.errors import Code
from dkv.kv.store import SUM_MASK
from dkv.limits import SEQUENCE_WINDOW, ClusterLimits


class Numbered(NamedTuple):
    """A command's place: `digest` is of the operation's bytes, as sent."""

    session: int
    sequence: int
    lowest: int
    digest: int


class Session:
    def __init__(self, owner: str, used: int) -> None:
        self.owner = owner
        self.used = used  # cluster time, ms
        self.lowest = 1
        self.answers: dict[int, tuple[int, bytes]] = {}  # sequence -> (digest, packed answer)
        self.answer_bytes = 0

    def settle(self, lowest: int) -> None:
        """The client has every answer below `lowest`."""
        if lowest > self.lowest:
            self.lowest = lowest
            for sequence in [s for s in self.answers if s < lowest]:
                self.answer_bytes -= len(self.answers.pop(sequence)[1])

    def pack(self) -> bytes:
        answers = tuple((s, d, a) for s, (d, a) in sorted(self.answers.items()))
        return msgpack.packb((self.owner, self.used, self.lowest, answers))  # type: ignore[no-any-return]

    @classmethod
    def unpack(cls, packed: bytes) -> "Session":
        owner, used, lowest, answers = msgpack.unpackb(packed, use_list=False)
        session = cls(owner, used)
        session.lowest = lowest
        session.answers = {s: (d, a) for s, d, a in answers}
        session.answer_bytes = sum(len(a) for _s, _d, a in answers)
        return session


def pack_answer(code: int, revision: int, detail: dict[str, Any] | None = None) -> bytes:
    """What apply says, as it is remembered and as it travels to the gateway."""
    return msgpack.packb((code, revision, detail))  # type: ignore[no-any-return]


def session_check(number: int, packed: bytes) -> int:
    """The CRC-32 of a session's row; the sum of all is in meta, for a row may also be missing."""
    return crc32(packed, number & 0xFFFFFFFF)


class Sessions:
    def __init__(self, limits: ClusterLimits, packed: dict[int, bytes], given: int) -> None:
        self._limits = limits
        self._sessions = {i: Session.unpack(p) for i, p in packed.items()}
        self._by_owner: dict[str, int] = {}
        for session in self._sessions.values():
            self._by_owner[session.owner] = self._by_owner.get(session.owner, 0) + 1
        self.given = given
        self.changed: set[int] = set()
        self.ended: set[int] = set()
        self._checks = {i: session_check(i, p) for i, p in packed.items()}
        self._sum = sum(self._checks.values()) & SUM_MASK
        self._packed: dict[int, bytes] = {}  # of those that changed: as they are now
        self.written = 0  # sum of recorded answers, taken by the state after each entry

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, owner: str, tick: int) -> int | None:
        """A new session's id, given by the cluster; None when there are too many."""
        limits = self._limits
        if (
            len(self._sessions) >= limits.sessions_max
            or self._by_owner.get(owner, 0) >= limits.sessions_per_name_max
        ):
            return None
        self.given += 1
        self._sessions[self.given] = Session(owner, tick)
        self._by_owner[owner] = self._by_owner.get(owner, 0) + 1
        self.changed.add(self.given)
        return self.given

    def close(self, number: int) -> None:
        session = self._sessions.pop(number)
        self._by_owner[session.owner] -= 1
        if not self._by_owner[session.owner]:
            del self._by_owner[session.owner]
        self.changed.discard(number)
        self.ended.add(number)
        self._packed.pop(number, None)
        self._sum = (self._sum - self._checks.pop(number, 0)) & SUM_MASK

    def use(self, number: int, owner: str, tick: int) -> Session | Code:
        """The session, used now; or why not."""
        session = self._sessions.get(number)
        if session is None:
            return Code.SESSION_LOST
        if session.owner != owner:
            return Code.DENIED
        session.used = max(session.used, tick)
        self.changed.add(number)
        self._packed.pop(number, None)
        return session

    def judge(self, session: Session, place: Numbered) -> bytes | Code | None:
        """The answer it had, the reason it has none, or None: execute it."""
        session.settle(place.lowest)
        if place.sequence < session.lowest:
            return Code.STALE
        if place.sequence - session.lowest >= SEQUENCE_WINDOW:
            return Code.SEQUENCE_WINDOW
        known = session.answers.get(place.sequence)
        if known is None:
            return None
        digest, answer = known
        return answer if digest == place.digest else Code.SEQUENCE_REUSED

    def record(self, session: Session, place: Numbered, answer: bytes, revision: int) -> None:
        """Whatever apply answered, refusals included, is the answer of that sequence."""
        limits = self._limits
        room = limits.session_answers_bytes_max - session.answer_bytes
        if len(answer) > min(limits.answer_bytes_max, room):
            answer = pack_answer(Code.ANSWER_DROPPED, revision)
        session.answers[place.sequence] = (place.digest, answer)
        session.answer_bytes += len(answer)
        mark = crc32(answer, crc32(b"%d,%d;" % (place.session, place.sequence)))
        self.written = (self.written + mark) & SUM_MASK

    def expire(self, tick: int) -> int:
        """End what was not used for the replicated time; how many. (Judged by the entry's tick.)"""
        ttl = self._limits.session_ttl_ms
        overdue = sorted(i for i, s in self._sessions.items() if s.used + ttl <= tick)
        for number in overdue:
            self.close(number)
        return len(overdue)

    def next_expiry(self) -> int:
        """The earliest tick at which a session may end, 0 if there is none."""
        used = min((s.used for s in self._sessions.values()), default=None)
        return 0 if used is None else used + self._limits.session_ttl_ms

    def remembered(self) -> int:
        """The sum of the checks of all sessions, as they are now."""
        for number in self.changed - self._packed.keys():
            packed = self._packed[number] = self._sessions[number].pack()
            check = session_check(number, packed)
            self._sum = (self._sum + check - self._checks.get(number, 0)) & SUM_MASK
            self._checks[number] = check
        return self._sum

    def take_changes(self) -> tuple[list[tuple[int, bytes]], list[int]]:
        """What the next commit must write: changed sessions, and ended ones."""
        self.remembered()
        changed = [(i, self._packed[i]) for i in sorted(self.changed)]
        ended = sorted(self.ended)
        self._packed.clear()
        self.changed.clear()
        self.ended.clear()
        return changed, ended
