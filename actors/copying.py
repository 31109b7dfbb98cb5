"""The state, read in chunks for members that are behind the log.

Owns: which chunk follows what a member has, and the copies of sessions that are too many for one.
Must never know where a chunk goes, nor Raft. Versions never change and stand in one order on every
replica, so nothing is remembered of who has what: the member says what it has, and whoever has
applied as much can go on. What does change (meta, sessions) is copied when all versions have been
sent, in one turn with the last of them.
"""

from typing import NamedTuple

from dkv.kv.snapshot import Sessions, pack_head, running_check
from dkv.kv.state import State
from dkv.kv.version import row_of_packed
from dkv.limits import CHUNK_BYTES, COPIES_MAX, COPY_US, SUB_MAX, first_within
from dkv.messages import Copied, Copy


class _Held(NamedTuple):
    applied: int
    head: bytes
    sessions: list[tuple[int, bytes]]
    asked_us: int


class Copying:
    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def answer(self, state: State, asked: Copy, now_us: int) -> Copied | None:
        """The next chunk; None where there is none to give yet: it is asked for again."""
        held = self._held.get(asked.member)
        if asked.copy and held is not None and held.applied == asked.copy:
            return self._rest(asked, held._replace(asked_us=now_us), ())
        if asked.row // SUB_MAX > state.revision:
            return None  # the member has more than this replica
        found = state.store.scan(asked.row)
        versions = first_within(CHUNK_BYTES, found, len)
        last = row_of_packed(versions[-1]) if versions else asked.row
        if len(versions) < len(found) or state.store.scan(last, 1):
            return _chunk(asked, 0, versions, (), b"", more=True)
        if not self._has_room(asked.member, now_us):
            return None
        head = pack_head(state, asked.configuration)
        sessions = state.sessions.packed()
        held = _Held(state.applied, head, sessions, now_us)
        place = asked.place if asked.copy == held.applied else 0  # or it begins anew
        return self._rest(asked._replace(place=place), held, versions)

    def _has_room(self, member: str, now_us: int) -> bool:
        """Copies are held in memory: few, and not for long."""
        self._held.pop(member, None)
        self._held = {n: h for n, h in self._held.items() if now_us - h.asked_us < COPY_US}
        return len(self._held) < COPIES_MAX

    def _rest(self, asked: Copy, held: _Held, versions: tuple[bytes, ...]) -> Copied:
        """The last versions, or none; and of the sessions as many as fit, at least one."""
        room = CHUNK_BYTES - sum(map(len, versions))
        end = asked.place
        while end < len(held.sessions) and (end == asked.place or room > 0):
            room -= len(held.sessions[end][1])
            end += 1
        if end < len(held.sessions):
            self._held[asked.member] = held
        else:
            self._held.pop(asked.member, None)
        sessions = tuple(held.sessions[asked.place : end])
        more = end < len(held.sessions)
        return _chunk(asked, asked.place, versions, sessions, held.head, more=more)


def _chunk(
    asked: Copy,
    place: int,
    versions: tuple[bytes, ...],
    sessions: Sessions,
    head: bytes,
    *,
    more: bool,
) -> Copied:
    check = running_check(asked.check, asked.row, versions, sessions, head)
    return Copied(asked.member, asked.row, place, check, versions, sessions, head, more)
