"""A call, the messages that carry its attempts, and the alarms of both.

Owns: what a client remembers of a call from its start to its outcome; which attempt is answered by
which reply; who is woken when. Must never know what a reply means, nor where anything is sent.

Calls that are ready at the same time share a message, and with it the request id and the alarm: an
attempt is (message, position).
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from dkv.errors import RequestError
from dkv.limits import MS

TRY_US = 1_500 * MS  # without an answer for so long, another node is asked
GRACE_US = 250 * MS  # a node answers at the deadline: its answer needs this to arrive
_PATIENT_TRIES = 2  # after so many attempts each is given twice the time
_NEVER_US = -1
_SPARE = 1_000

# Where a call is: the number of the endpoint that has it, or one of these.
QUEUED = -1  # it waits for the session, or for room in its window
READY = -2  # it goes out with the next flush
PAUSED = -3  # until its alarm, or a new connection
DONE = -4
ANY = -1  # as `avoid`: no endpoint

Done = Callable[[dict[str, Any] | None, RequestError | None], None]


class Call:
    """One request of the application, however often it is sent."""

    __slots__ = (
        *("at", "attempts", "avoid", "command", "deadline_us", "done", "error", "is_write"),
        *("level", "may_repeat", "only", "op", "sequence", "session", "tries", "unsure"),
        *("wake_us", "__weakref__"),
    )

    def __init__(
        self,
        op: str,
        command: bytes,
        level: str,
        deadline_us: int,
        done: Done,
        only: int | None,
        is_write: bool,
        may_repeat: bool,
    ) -> None:
        self.op, self.command, self.level, self.done = op, command, level, done
        self.deadline_us = deadline_us
        self.only = only  # this endpoint and no other
        self.is_write = is_write
        self.may_repeat = may_repeat  # although an attempt may have been applied
        self.session = 0  # in which it has its sequence, for good
        self.sequence = 0
        self.tries = 0
        self.unsure = False  # an attempt may have been applied
        self.error: RequestError | None = None  # the latest definite refusal
        self.at = PAUSED
        self.avoid = ANY  # the endpoint that was silent
        self.attempts: list[tuple[Message, int]] = []  # not answered yet
        self.wake_us = _NEVER_US

    def due_us(self, sent_us: int) -> int:
        """When an attempt of then is given up."""
        patience_us = TRY_US if self.tries <= _PATIENT_TRIES else 2 * TRY_US
        return min(self.deadline_us + GRACE_US, sent_us + patience_us)


class Message:
    """Attempts that were sent together. `calls`: by position, None where answered or settled."""

    __slots__ = ("calls", "id", "open", "sent_us", "wake_us")

    def __init__(self, request_id: bytes, calls: list[Call | None], now_us: int) -> None:
        self.id, self.sent_us = request_id, now_us
        self.calls = calls
        self.open = len(calls)
        self.wake_us = _NEVER_US

    def settle(self, position: int) -> bool:
        """Its attempt there needs no answer any more; whether no other one does."""
        self.calls[position] = None
        self.open -= 1
        return not self.open


class Alarms:
    """Who is to be woken when; a second alarm of the same call or message replaces the first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Call | Message]] = []
        self._count = 0
        self._sweep_at = _SPARE

    def set(self, who: Call | Message, when_us: int) -> None:
        self._count += 1
        who.wake_us = when_us
        heapq.heappush(self._heap, (when_us, self._count, who))
        if len(self._heap) > self._sweep_at:
            self._sweep()

    @staticmethod
    def void(who: Call | Message) -> None:
        who.wake_us = _NEVER_US

    def _sweep(self) -> None:
        """What was answered would be kept until its deadline: at thousands a second so many that
        collecting garbage stops the application for a tenth of a second (measured)."""
        self._heap = [alarm for alarm in self._heap if alarm[2].wake_us == alarm[0]]
        heapq.heapify(self._heap)
        self._sweep_at = _SPARE + 2 * len(self._heap)

    @property
    def next_us(self) -> int | None:
        heap = self._heap
        while heap and heap[0][2].wake_us != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now_us: int) -> Iterator[Call | Message]:
        """Each once, its alarm taken."""
        while self._heap and self._heap[0][0] <= now_us:
            when_us, _count, who = heapq.heappop(self._heap)
            if who.wake_us == when_us:
                who.wake_us = _NEVER_US
                yield who
