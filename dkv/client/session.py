"""The numbers of a session: within it a write that is sent twice is executed once.

Owns: the one session a client has, the sequence of the next write, which ones are unanswered. Must
never know how a session is opened, nor what a write is.
"""

from dkv.limits import SEQUENCE_WINDOW


class Session:
    """`id` 0: there is none."""

    def __init__(self) -> None:
        self.id = 0
        self.lowest = 1  # the lowest sequence without an answer; with none, the next one
        self._last = 0
        self._unanswered: set[int] = set()
        self._used_us = 0
        self._ttl_us = 0

    def begin(self, number: int, ttl_us: int, now_us: int) -> None:
        self.id, self._ttl_us, self._used_us = number, ttl_us, now_us
        self._last, self.lowest = 0, 1
        self._unanswered.clear()

    def is_usable(self, now_us: int) -> bool:
        """The cluster still knows it for sure: used within half its life, or in use."""
        if not self.id:
            return False
        return bool(self._unanswered) or now_us - self._used_us < self._ttl_us // 2

    def number(self, now_us: int) -> int:
        """The next write's sequence; 0 while the window has no room for it."""
        sequence = self._last + 1
        if sequence - self.lowest >= SEQUENCE_WINDOW:
            return 0
        self._last = sequence
        self._unanswered.add(sequence)
        self._used_us = now_us
        return sequence

    def answered(self, sequence: int) -> None:
        """Its final answer has come, or nobody waits for it any more."""
        unanswered = self._unanswered
        unanswered.discard(sequence)
        while self.lowest <= self._last and self.lowest not in unanswered:
            self.lowest += 1
