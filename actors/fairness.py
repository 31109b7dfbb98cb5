"""Clients take turns: what one asks for without end must not hold up what another asks for now.

Owns: requests that wait for their batch, in a line for each connection; how much of a line goes at
a time; who is here. Must never know what a request says, nor when a batch may go.

    alone       a connection's whole line goes: larger batches share the cost of an entry
    in company  of each line so much as takes a few milliseconds, and the rest waits for the next
                batch: a newcomer is behind one batch, not behind everything
    large       commands have a queue, and batches, of their own

By connection, not by name: many processes may share a name, and without security all do.
"""

from actors.ledger import Pending
from dkv.limits import FAIR_SHARE_BYTES, FAIR_SHARE_REQUESTS, SECOND


class Company:
    """Which connections have asked for something in the last second or two."""

    def __init__(self) -> None:
        self._now: set[bytes] = set()
        self._before: set[bytes] = set()
        self._until_us = 0
        self.note = self._now.add

    def turn(self, now_us: int) -> None:
        """Forget who has been silent for long. `note` is anew after it."""
        if now_us >= self._until_us:
            self._before, self._now = self._now, set()
            self.note = self._now.add
            self._until_us = now_us + SECOND

    @property
    def is_shared(self) -> bool:
        now, before = self._now, self._before
        return len(now) > 1 or len(before) > 1 or bool(now and before and now != before)


class FairQueue:
    """Requests that wait, in the order in which each connection sent them."""

    def __init__(self) -> None:
        self._lines: dict[bytes, list[Pending]] = {}
        self.last: Pending | None = None  # of the last batch
        self.number = self.posted_us = 0  # of that batch, for who paces them

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, pending: Pending) -> None:
        client = pending.asked.slip.client
        line = self._lines.get(client)
        if line is None:
            self._lines[client] = [pending]
        else:
            line.append(pending)

    def take(self, *, shared: bool) -> list[Pending]:
        """The next batch: everything, or a share of each line."""
        lines, self._lines = self._lines, {}
        taken: list[Pending] = []
        for client, line in lines.items():
            count = _share(line) if shared else len(line)
            taken += line[:count]
            if count < len(line):
                self._lines[client] = line[count:]
        self.last = taken[-1] if taken else None
        return taken

    def all(self) -> list[Pending]:
        return [pending for line in self._lines.values() for pending in line]

    def clear(self) -> None:
        self._lines.clear()


def _share(line: list[Pending]) -> int:
    """How many of a line go in a batch that others share: at least one."""
    size = 0
    for count, pending in enumerate(line[:FAIR_SHARE_REQUESTS]):
        size += len(pending.packed)
        if count and size > FAIR_SHARE_BYTES:
            return count
    return min(len(line), FAIR_SHARE_REQUESTS)
