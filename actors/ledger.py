"""What the gateway has promised to answer, and has not answered yet.

Owns: pending requests, by batch and by their place in a session; their deadlines; what is in
flight. Must never know how a batch travels.

A refusal is definite only if every proposal of that command was refused by a consensus that neither
appended nor relayed it: so each pending request counts its proposals and their refusals.
"""

import heapq
from collections.abc import Iterator, Sequence

from actors.admission import Asked
from dkv.limits import (
    MS,
    REQUEST_BYTES_IN_FLIGHT_MAX,
    REQUEST_BYTES_OF_A_CLIENT_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    REQUESTS_OF_A_CLIENT_MAX,
    SECOND,
)

_RETRY_US = 500 * MS
_RETRY_US_MAX = 4 * SECOND
_BYTES_PER_US = 4  # what is under way is given the time that a slow disk needs for it
NEVER_US = 2**62  # as a batch's `retry_us`: only deadlines wake it


_REQUEST_BYTES = 512  # what a request takes beside its command
# A command of so many bytes weighs as much as another request.
_WEIGHED_BYTES = REQUEST_BYTES_OF_A_CLIENT_MAX // REQUESTS_OF_A_CLIENT_MAX


class Pending:
    """A request under way. `packed`: the command as it stands in an entry (writes). `place`:
    (session, sequence), under which a write may be proposed again. Its stages, each when it came,
    0 before: `since_us`; `posted_us`, to consensus; `ready_us`, committed here, or a read that was
    confirmed."""

    __slots__ = (
        *("asked", "deadline_us", "done", "packed", "place"),
        *("posted", "posted_us", "ready_us", "refused", "refused_code", "refused_words"),
        *("since_us", "size", "weight"),
    )

    def __init__(self, asked: Asked, packed: bytes, now_us: int) -> None:
        header = asked.header
        self.asked = asked
        self.packed = packed
        self.deadline_us = now_us + (header.ttl_ms or 1) * MS
        self.since_us = now_us
        self.posted_us = self.ready_us = 0
        self.posted = 0
        self.refused = 0
        self.refused_code = 0
        self.refused_words = ""
        self.done = False
        self.size = len(packed) + _REQUEST_BYTES
        self.weight = 1 + len(packed) // _WEIGHED_BYTES
        self.place: tuple[int, int] | None = None
        if header.session and asked.request.numbered:
            self.place = header.session, header.sequence

    @property
    def surely_not_applied(self) -> bool:
        return self.posted == self.refused and not self.asked.header.retry


class Batch:
    __slots__ = ("attempt", "members", "retry_us")

    def __init__(self, members: list[Pending], attempt: int, retry_us: int) -> None:
        self.members = members
        self.attempt = attempt
        self.retry_us = retry_us

    @property
    def wake_us(self) -> int:
        """The next moment at which one of its requests needs something."""
        return min([p.deadline_us for p in self.members if not p.done] + [self.retry_us])


class Ledger:
    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self._number = 0
        self._batches: dict[int, Batch] = {}
        self._held: dict[bytes, int] = {}  # by connection: what its requests weigh
        self._places: dict[tuple[int, int], list[Pending]] = {}
        self._wakes: list[tuple[int, int]] = []  # a heap of (when, batch)

    def has_room(self) -> bool:
        return self.count < REQUESTS_IN_FLIGHT_MAX and self.bytes < REQUEST_BYTES_IN_FLIGHT_MAX

    def has_room_for(self, client: bytes) -> bool:
        """Room at all, of which one connection may fill a part, so that another finds some."""
        return self.has_room() and self._held.get(client, 0) < REQUESTS_OF_A_CLIENT_MAX

    def open(self, pending: Pending) -> None:
        self.count += 1
        self.bytes += pending.size
        client = pending.asked.slip.client
        self._held[client] = self._held.get(client, 0) + pending.weight
        place = pending.place
        if place in self._places:
            self._places[place].append(pending)
        elif place is not None:
            self._places[place] = [pending]

    def close(self, pending: Pending) -> None:
        assert not pending.done
        pending.done = True
        self.count -= 1
        self.bytes -= pending.size
        client = pending.asked.slip.client
        left = self._held[client] - pending.weight
        if left:
            self._held[client] = left
        else:
            del self._held[client]
        if pending.place is not None:
            same = self._places[pending.place]
            if len(same) == 1:
                del self._places[pending.place]
            else:
                same.remove(pending)

    def post(self, members: list[Pending], attempt: int, now_us: int) -> int:
        """A new batch's number; each of its requests has been proposed once more."""
        for pending in members:
            pending.posted += 1
            pending.posted_us = now_us
        patience_us = min(_RETRY_US << attempt, _RETRY_US_MAX) + self.bytes // _BYTES_PER_US
        return self.hold(members, now_us + patience_us, attempt)

    def hold(self, members: list[Pending], retry_us: int, attempt: int = 0) -> int:
        """A batch that is only looked at again: at `retry_us`, or at a deadline."""
        number = self.draw()
        batch = Batch(members, attempt, retry_us)
        self._batches[number] = batch
        self.again(number, batch)
        return number

    def draw(self) -> int:
        """A number that no batch has."""
        self._number += 1
        return self._number

    def get(self, number: int) -> Batch | None:
        return self._batches.get(number)

    def take(self, number: int) -> Batch | None:
        return self._batches.pop(number, None)

    def of_place(self, place: tuple[int, int]) -> Sequence[Pending]:
        """Everybody who waits for this command's answer, whichever batch it was in."""
        same = self._places.get(place)
        return [*same] if same else ()

    def wake_us(self) -> int | None:
        while self._wakes and self._wakes[0][1] not in self._batches:  # answered meanwhile
            heapq.heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else None

    def due(self, now_us: int) -> Iterator[tuple[int, Batch]]:
        """Batches whose moment has come, taken out of the ledger if nobody waits in them."""
        while self._wakes and self._wakes[0][0] <= now_us:
            _when, number = heapq.heappop(self._wakes)
            batch = self._batches.get(number)
            if batch is not None:
                yield number, batch

    def again(self, number: int, batch: Batch) -> None:
        """Look at a batch later."""
        heapq.heappush(self._wakes, (batch.wake_us, number))

    def numbers(self) -> list[int]:
        return list(self._batches)
