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
        self._wrote_to = 0
        self._together = together

    def connected(self) -> list[int]:
        return [i for i, e in enumerate(self.endpoints) if e.connected]

    def choose(self, call: Call) -> int | None:
        """Writes go to the leader where it is known, reads in turn to every connected node; another
        one than last time, if there is a choice."""
        if call.only is not None:
            return call.only if self.endpoints[call.only].connected else None
        if call.is_write and call.avoid == ANY:
            last = self.endpoints[self._wrote_to]  # mostly it still leads
            if last.node == self.leader != "" and last.connected and last.denied is None:
                return self._wrote_to
        connected = self.connected()
        usable = [i for i in connected if self.endpoints[i].denied is None] or connected
        others = [i for i in usable if i != call.avoid] or usable
        if not others:
            return None
        if call.is_write:
            for i in others:
                if self.leader and self.endpoints[i].node == self.leader:
                    self._wrote_to = i
                    return i
        self._turn += 1
        return others[self._turn % len(others)]

    def choose_for(self, calls: list[Call]) -> Iterable[int | None]:
        """For each call of a moment its endpoint: the same for those that are alike, though only
        for some reads each."""
        if len(calls) == 1 or not self._together:
            return map(self.choose, calls)
        return self._chosen(calls)

    def _chosen(self, calls: list[Call]) -> Iterable[int | None]:
        chosen: dict[tuple[bool, int], int | None] = {}
        reads = 0
        for call in calls:
            alike = call.is_write, call.avoid
            if call.only is not None:
                yield self.choose(call)
                continue
            if not call.is_write:
                reads += 1
            if alike not in chosen or (not call.is_write and reads % _READS_TOGETHER == 1):
                chosen[alike] = self.choose(call)
            yield chosen[alike]

    def why_not(self) -> str:
        """For people: how each endpoint fares, those that fare alike together."""
        found: dict[str, list[str]] = {}
        for e in self.endpoints:
            why = "connected, but no answer (is there a leader?)" if e.connected else e.why_not
            found.setdefault(why, []).append(e.address)
        return "; ".join(f"{', '.join(addresses)}: {why}" for why, addresses in found.items())
