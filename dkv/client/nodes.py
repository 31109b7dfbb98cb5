"""The nodes that a client can ask, and which of them is asked.

Owns: endpoints as far as they matter to a choice, and who leads. Must never know a socket, nor what
is asked of the one chosen. A choice is never needed for correctness: every node takes everything.
"""

from collections.abc import Iterable
from random import Random

from dkv.client.attempts import ANY, Call
from dkv.errors import RequestError

_READS_TOGETHER = 16  # before the next node is asked: reads of one moment are spread, too


class Endpoint:
    """A node's client address, as this client has met it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.connected = False
        self.node = ""  # learnt from its replies
        self.why_not = "no connection came about in time"
        self.denied: RequestError | None = None  # its word on our certificate


class Nodes:
    """`together`: whether the calls of a moment may go to one node, for the sake of a message."""

    def __init__(self, addresses: list[str], rng: Random, together: bool) -> None:
        self.endpoints = [Endpoint(a) for a in addresses]
        self.leader = ""
        self._turn = rng.randrange(len(addresses))
        self._together = together

    def connected(self) -> list[int]:
        return [i for i, e in enumerate(self.endpoints) if e.connected]

    def choose(self, call: Call) -> int | None:
        """Writes go to the leader where it is known, reads in turn to every connected node; another
        one than last time, if there is a choice."""
        if call.only is not None:
            return call.only if self.endpoints[call.only].connected else None
        connected = self.connected()
        usable = [i for i in connected if self.endpoints[i].denied is None] or connected
        others = [i for i in usable if i != call.avoid] or usable
        if not others:
            return None
        if call.is_write:
            for i in others:
                if self.leader and self.endpoints[i].node == self.leader:
                    return i
        self._turn += 1
        return others[self._turn % len(others)]

    def chosen(self, calls: list[Call]) -> Iterable[int | None]:
        """For each call of a moment its endpoint: the same for all first attempts of writes, for
        some reads each."""
        writes_to: int | None = None
        reads_to: int | None = None
        writes = reads = 0
        write_run, read_run = (len(calls), _READS_TOGETHER) if self._together else (1, 1)
        for call in calls:
            if call.only is not None or call.avoid != ANY:
                yield self.choose(call)
            elif call.is_write:
                if writes % write_run == 0:
                    writes_to = self.choose(call)
                writes += 1
                yield writes_to
            else:
                if reads % read_run == 0:
                    reads_to = self.choose(call)
                reads += 1
                yield reads_to

    def why_not(self) -> str:
        """For people: how each endpoint fares, those that fare alike together."""
        found: dict[str, list[str]] = {}
        for e in self.endpoints:
            why = "connected, but no answer (is there a leader?)" if e.connected else e.why_not
            found.setdefault(why, []).append(e.address)
        return "; ".join(f"{', '.join(addresses)}: {why}" for why, addresses in found.items())
