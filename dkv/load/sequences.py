"""A session's numbers: which sequence comes next, and which is the lowest without an answer.

Owns: the window of a session (docs/protocol.md, section 8). Must never know what a sequence did.
"""

from dkv.limits import SEQUENCE_WINDOW

_MASK = SEQUENCE_WINDOW - 1
assert SEQUENCE_WINDOW & _MASK == 0


class Sequences:
    """`session` is 0 until the cluster has given it. A sequence is settled when it has an answer,
    or when nobody waits for that any more."""

    __slots__ = ("_settled", "lowest", "next", "place", "session")

    def __init__(self) -> None:
        self.renew(0, b"")

    def renew(self, session: int, place: bytes) -> None:
        """Another session; `place`: the bytes that stand before a sequence in it."""
        self.session, self.place = session, place
        self.next = self.lowest = 1
        self._settled = bytearray(SEQUENCE_WINDOW)

    def has_room(self, count: int) -> bool:
        """Whether the next `count` sequences are within the window."""
        return self.next + count - self.lowest <= SEQUENCE_WINDOW

    def take(self) -> int:
        sequence = self.next
        self.next = sequence + 1
        return sequence

    def settle(self, sequence: int) -> None:
        settled = self._settled
        settled[sequence & _MASK] = 1
        lowest = self.lowest
        while settled[lowest & _MASK]:
            settled[lowest & _MASK] = 0
            lowest += 1
        self.lowest = lowest
