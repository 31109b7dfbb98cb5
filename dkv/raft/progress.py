"""A member as its leader sees it: what it holds, what is on its way, what to send next.

Owns: match, next and the window of one member in one term. Must never know how to build a letter.

    probing      one Append at a time, until one is acknowledged: where do our logs part?
    replicating  pipelined, a window of letters and bytes; `next` runs ahead of `match`
    installing   the next entry is no longer in the log: the member asks for the state, and nothing
                 is appended until it has acknowledged the entry that this is of
"""

from collections import deque

from dkv.ids import UNKNOWN
from dkv.limits import PEER_WINDOW_BYTES, PEER_WINDOW_LETTERS
from dkv.release import Release


class Progress:
    def __init__(self, name: str, next_index: int, now_us: int) -> None:
        self.name = name
        self.disk = UNKNOWN  # of the acknowledgements below: another disk starts at 0
        self.match = 0
        self.next = next_index
        self.probing = True
        self.installing = False
        self.fetching = 0  # the first index asked of the log for this member
        self.heard_us = now_us
        self.asked_us = now_us  # when something was last sent or asked about
        self.round = 0  # the latest heartbeat round it acknowledged
        self.space = 0
        self.release: Release | None = None  # of its software, once it has told this leader
        self.level_us = now_us  # when it last held everything that was committed
        self._in_flight: deque[tuple[int, int, int]] = deque()  # (last index, bytes, sent us)
        self._in_flight_bytes = 0

    @property
    def waiting(self) -> bool:
        """Whether something sent has not been acknowledged."""
        return bool(self._in_flight)

    @property
    def open(self) -> bool:
        """Whether another Append may be sent."""
        if self.fetching or self.installing:
            return False
        if self.probing:
            return not self._in_flight
        return (
            len(self._in_flight) < PEER_WINDOW_LETTERS and self._in_flight_bytes < PEER_WINDOW_BYTES
        )

    def sent(self, last_index: int, size: int, now_us: int) -> None:
        self._in_flight.append((last_index, size, now_us))
        self._in_flight_bytes += size
        self.asked_us = now_us
        if not self.probing:
            self.next = max(self.next, last_index + 1)

    def sent_us(self, index: int) -> int | None:
        """When the oldest of what an acknowledgement of `index` answers was sent; None: nothing."""
        if self._in_flight and self._in_flight[0][0] <= index:
            return self._in_flight[0][2]
        return None

    def acknowledged(self, disk: int, index: int) -> bool:
        """The member holds the log through `index`; whether that is news. Match never falls."""
        assert self.disk in (UNKNOWN, disk), (self.name, self.disk, disk)
        self.disk = disk
        while self._in_flight and self._in_flight[0][0] <= index:
            self._in_flight_bytes -= self._in_flight.popleft()[1]
        if self.probing:
            self._forget_window()
            self.probing = False
        self.installing = False
        self.next = max(self.next, index + 1)
        news = index > self.match
        self.match = max(self.match, index)
        return news

    def probe_from(self, next_index: int) -> None:
        """The logs part before `next`: go back, one Append at a time."""
        self.probing = True
        self.next = max(next_index, self.match + 1)
        self._forget_window()

    def install(self, now_us: int) -> None:
        """What it needs next is not in the log."""
        self.installing, self.fetching = True, 0
        self.asked_us = now_us
        self._forget_window()

    def _forget_window(self) -> None:
        self._in_flight.clear()
        self._in_flight_bytes = 0
