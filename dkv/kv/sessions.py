"""Exactly once: what a session remembers, so that a retried write is executed once (thesis §6.3).

Owns: sessions and their answers; who may use one, when it ends. Must never know what a command
does. All of it is replicated state: decided by entries, their cluster time and replicated limits.

The state keeps the answer of every executed sequence >= `lowest` (a set, not just the last: the
pipelined commands of a session may execute in any order).
"""

from collections.abc import Iterable
from typing import Any
from zlib import crc32

import msgpack

from dkv.errors import Code
from dkv.kv.store import SUM_MASK
from dkv.limits import SEQUENCE_WINDOW, ClusterLimits

_SPREAD = 1_000_003  # between the sums of two sessions' answers


class Session:
    def __init__(self, owner: str, used: int) -> None:
        self.owner = owner
        self.used = used  # cluster time, ms
        self.lowest = 1
        self.answers: dict[int, tuple[int, bytes]] = {}  # sequence -> (digest, packed answer)
        self.answer_bytes = 0

    def settle(self, lowest: int) -> None:
        """The client has every answer below `lowest`."""
        settled: Iterable[int] = range(self.lowest, lowest)
        if lowest - self.lowest > len(self.answers):
            settled = [s for s in self.answers if s < lowest]
        for sequence in settled:
            known = self.answers.pop(sequence, None)
            if known is not None:
                self.answer_bytes -= len(known[1])
        self.lowest = lowest

    def judge(self, sequence: int, lowest: int, digest: int) -> bytes | Code | None:
        """The answer that a sequence had, the reason why it has none, or None: execute it.
        `digest` is of the operation's bytes, as sent."""
        if lowest > self.lowest:
            self.settle(lowest)
        if sequence < self.lowest:
            return Code.STALE
        if sequence - self.lowest >= SEQUENCE_WINDOW:
            return Code.SEQUENCE_WINDOW
        known = self.answers.get(sequence)
        if known is None:
            return None
        return known[1] if known[0] == digest else Code.SEQUENCE_REUSED

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
        self._stale: set[int] = set()  # they changed, and are not packed again yet
        self._packed: dict[int, bytes] = {}  # what the next commit must write
        self._ended: set[int] = set()
        self._checks = {i: session_check(i, p) for i, p in packed.items()}
        self._sum = sum(self._checks.values()) & SUM_MASK
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
        self._stale.add(self.given)
        return self.given

    def close(self, number: int) -> None:
        session = self._sessions.pop(number)
        self._by_owner[session.owner] -= 1
        if not self._by_owner[session.owner]:
            del self._by_owner[session.owner]
        self._stale.discard(number)
        self._ended.add(number)
        self._packed.pop(number, None)
        self._sum = (self._sum - self._checks.pop(number, 0)) & SUM_MASK

    def use(self, number: int, owner: str, tick: int) -> Session | Code:
        """The session, used now; or why not."""
        session = self._sessions.get(number)
        if session is None:
            return Code.SESSION_LOST
        if session.owner != owner:
            return Code.DENIED
        if tick > session.used:
            session.used = tick
        self._stale.add(number)
        return session

    def record(
        self,
        number: int,
        session: Session,
        sequence: int,
        digest: int,
        answer: bytes,
        revision: int,
    ) -> None:
        """Whatever apply answered, refusals included, is the answer of that sequence."""
        size = len(answer)
        limits = self._limits
        room = limits.session_answers_bytes_max - session.answer_bytes
        if size > limits.answer_bytes_max or size > room:
            answer = pack_answer(Code.ANSWER_DROPPED, revision)
            size = len(answer)
        session.answers[sequence] = (digest, answer)
        session.answer_bytes += size
        self.written += crc32(answer, (number * _SPREAD + sequence) & 0xFFFFFFFF)

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
        for number in self._stale:
            packed = self._packed[number] = self._sessions[number].pack()
            check = session_check(number, packed)
            self._sum = (self._sum + check - self._checks.get(number, 0)) & SUM_MASK
            self._checks[number] = check
        self._stale.clear()
        return self._sum

    def packed(self) -> list[tuple[int, bytes]]:
        """All of them, as they are now."""
        return [(i, session.pack()) for i, session in sorted(self._sessions.items())]

    def take_changes(self) -> tuple[list[tuple[int, bytes]], list[int]]:
        """What the next commit must write: changed sessions, and ended ones."""
        self.remembered()
        changed, ended = sorted(self._packed.items()), sorted(self._ended)
        self._packed.clear()
        self._ended.clear()
        return changed, ended
