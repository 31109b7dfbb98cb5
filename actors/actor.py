"""What an actor is: a batch in, an outbox out.

Owns: the protocol that the shell drives and the simulator drives alike. An actor has no socket,
clock or thread; `now` and a seeded Random are handed in, so the same inputs give the same outbox.
An outbox is posted only after `handle` has returned; a keeper's return is its durability barrier.
An exception out of `handle` ends the node.
"""

from typing import Any, Protocol

from dkv.address import Instant, Local, Outbox
from dkv.counters import Counters


class Actor(Protocol):
    name: Local
    counters: Counters

    @property
    def deadline(self) -> int | None:
        """When `handle` must be called though nothing has arrived: monotonic us; None: never."""

    def handle(self, batch: list[Any], now: Instant) -> Outbox:
        """Everything that was waiting, in order; what follows from it."""
