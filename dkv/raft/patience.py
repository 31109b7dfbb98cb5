"""When a follower hands committed entries to its state machine: at once, or a moment's together.

Owns: who waits for them. Must never know entries.

Each hand-over wakes a thread, which then competes with the log for the one that the next entry is
waiting for. Where nobody has asked this node for anything lately, nobody waits for its state but a
reader who has said that an older one will do.
"""

from dkv.limits import SECOND

_SILENT_US = SECOND  # since then nobody has asked
_MANY = 256  # entries: more than come in a moment


class Patience:
    """`moment_us`: what is committed within it is handed over together."""

    def __init__(self, moment_us: int) -> None:
        self._moment_us = moment_us
        self._asked_us = -_SILENT_US
        self.due_us: int | None = None  # when what waits is handed over; None: nothing waits

    def asked(self, now_us: int) -> None:
        """A client of this node has asked for what its state machine will answer."""
        self._asked_us = now_us

    def holds(self, count: int, now_us: int) -> bool:
        """Whether a follower lets so many entries wait, now."""
        silent = now_us - self._asked_us > _SILENT_US
        if silent and 0 < count <= _MANY:
            if self.due_us is None:
                self.due_us = now_us + self._moment_us
            if now_us < self.due_us:
                return True
        self.due_us = None
        return False
