"""What a node's actors say of themselves, gathered for `status`, and who looks at the log.

Owns: questions that wait for actors of this node, and how many tails may wait at once, each of
which is told much. Must never know how an answer is packed or sent.
"""

from typing import Any

import msgpack

from actors.admission import Asked
from actors.ledger import Pending
from dkv.address import Local, Outbox
from dkv.limits import TAIL_MARGIN_MS, TAILS_MAX, TAILS_PER_NAME_MAX
from dkv.messages import Describe, Described, Observe

_DESCRIBED = (Local.CONSENSUS, Local.LOG, Local.MACHINE)


class Descriptions:
    """Of the actors beside the gateway, by the number under which each was asked."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[Pending, dict[str, Any]]] = {}

    def begin(self, pending: Pending, number: int) -> Outbox:
        self._open[number] = (pending, {})
        return [(actor, Describe(number)) for actor in _DESCRIBED]

    def take(self, letter: Described) -> tuple[Pending, dict[str, Any]] | None:
        """Whose question is complete now, or needs no answer any more; and all that was said."""
        if letter.batch not in self._open:
            return None
        pending, gathered = self._open[letter.batch]
        gathered[letter.actor] = msgpack.unpackb(letter.facts)
        if len(gathered) < len(_DESCRIBED) and not pending.done:
            return None
        del self._open[letter.batch]
        return pending, gathered


class Tails:
    def __init__(self, node: str) -> None:
        self._node = node
        self._all: list[Pending] = []

    def open(self) -> list[Pending]:
        return [pending for pending in self._all if not pending.done]

    def obstacle(self, asked: Asked) -> str:
        """Why no other may wait; empty: nothing is in the way."""
        name, others = asked.principal.name, self.open()
        own = sum(p.asked.principal.name == name for p in others)
        if own >= TAILS_PER_NAME_MAX:
            return f"{own} tails of {name} wait at {self._node}: end some of them"
        if len(others) >= TAILS_MAX:
            return f"{len(others)} tails wait at {self._node}: end some of them"
        return ""

    def begin(self, pending: Pending, number: int) -> Observe:
        self._all = [*self.open(), pending]
        fields, header = pending.asked.fields, pending.asked.header
        wait_ms = max(min(fields["wait_ms"], header.ttl_ms - TAIL_MARGIN_MS), 0)
        after, limit = (fields["after"], fields["after_term"]), fields["limit"]
        what = (fields["settled"], limit, fields["committed"])
        return Observe(number, wait_ms, *after, *what, header.command)
