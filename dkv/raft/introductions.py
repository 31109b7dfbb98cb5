"""Where the members are: their addresses and keys, by what was said last.

Owns: merging what this node was told at start (command line, notebook, certificates beside its own)
with what the configuration says. Must never know sockets. At start what was told holds, for all
addresses may have changed since the log was written; from then on whatever a new configuration
changes is the newer.
"""

from collections.abc import Iterable

from dkv.messages import Member, Roster
from dkv.raft.configuration import Configuration, Seat


class Introductions:
    def __init__(self, told: Iterable[Member], config: Configuration) -> None:
        self._said: dict[str, Member] = {}
        for seat in (*config.removed, *config.seats):
            self._believe(seat)
        self.tell(told)

    def tell(self, told: Iterable[Member]) -> None:
        """What the node was told, or read again; an empty address or key says nothing."""
        for name, peer, key, client in told:
            _name, known_peer, known_key, known_client = self.of(name)
            self._said[name] = (name, peer or known_peer, key or known_key, client or known_client)

    def of(self, name: str) -> Member:
        return self._said.get(name, (name, "", b"", ""))

    def follow(self, before: Configuration, now: Configuration) -> None:
        """A configuration has taken another's place."""
        for seat in now.seats:
            if seat != before.seat(seat.name):
                self._believe(seat)

    def _believe(self, seat: Seat) -> None:
        self.tell(((seat.name, seat.peer, seat.key, seat.client),))

    def roster(self, config: Configuration, own: str) -> Roster:
        """Members, and who was removed: those are told so. A node that is no member yet needs
        whomever it knows."""
        if not config.is_formed or own not in config.names:
            return Roster(tuple(m for m in self._said.values() if m[1]))
        gone = [seat.name for seat in config.removed if seat.name not in config.names]
        names = dict.fromkeys((*config.names, *gone))
        known = tuple(self._said[n] for n in names if n in self._said and self._said[n][1])
        return Roster(known, tuple(dict.fromkeys(gone)))
