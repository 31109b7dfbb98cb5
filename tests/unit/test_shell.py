"""The shell's loop: what it looks at, and when."""

from typing import Any

import zmq

from actors.mailbox import Budget, Mailbox, Slot
from actors.shell import Desk, Shell
from dkv.address import Instant, Local, Outbox
from dkv.counters import Counters
from dkv.messages import Stop, Stopped

_TURNS_MAX = 100
ONE = Budget(1, 1)


class Flood:
    """A source that always has more than its budget, as a client port under a flood."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.bind("inproc://flood")
        self._sender = context.socket(zmq.DEALER)
        self._sender.connect("inproc://flood")
        self._sender.send(b"")  # it stays there: the poll finds it

    def drain(self, _budget: Budget) -> tuple[list[Any], bool]:
        return [Stop()], True

    def close(self) -> None:
        self.socket.close(0)
        self._sender.close(0)


class Flooded:
    """Served without end; after its first turn a letter arrives for the other actor."""

    name = Local.GATEWAY
    deadline = None

    def __init__(self, other: Slot) -> None:
        self.counters = Counters()
        self.turns = 0
        self._other = other

    def handle(self, _batch: list[Any], _now: Instant) -> Outbox:
        self.turns += 1
        assert self.turns <= 2 * _TURNS_MAX, "the shell looks nowhere else"
        if self.turns == 1:
            self._other.post([Stop()])
        return [(Local.NODE, Stopped("gateway"))] if self.turns >= _TURNS_MAX else []


class Waiting:
    name = Local.CONSENSUS
    deadline = None

    def __init__(self, flooded: Flooded) -> None:
        self.counters = Counters()
        self._flooded = flooded
        self.heard_after: int | None = None

    def handle(self, _batch: list[Any], _now: Instant) -> Outbox:
        self.heard_after = self._flooded.turns
        self._flooded.turns = _TURNS_MAX  # that was it
        return [(Local.NODE, Stopped("consensus"))]


def test_a_flood_at_one_source_hides_no_letter_at_another() -> None:
    context: zmq.Context[Any] = zmq.Context()
    flood, mailbox = Flood(context), Mailbox(context, Local.CONSENSUS)
    other = Slot(context, Local.CONSENSUS)
    flooded = Flooded(other)
    waiting = Waiting(flooded)
    desks = [Desk(waiting, [(mailbox, ONE)]), Desk(flooded, [(flood, ONE)])]
    failures: list[Any] = []
    shell = Shell(
        "test", "n1", context, desks, None, None, lambda _said: None, lambda *e: failures.append(e)
    )
    shell.run()  # on this thread
    for thing in (flood, mailbox, other):
        thing.close()
    context.term()
    assert not failures
    assert waiting.heard_after == 1


def test_a_thread_that_has_not_begun_or_has_ended_uses_no_processor() -> None:
    context: zmq.Context[Any] = zmq.Context()
    mailbox, slot = Mailbox(context, Local.GATEWAY), Slot(context, Local.GATEWAY)
    used: list[int] = []

    class Once:
        name = Local.GATEWAY
        deadline = None
        counters = Counters()

        def handle(self, _batch: list[Any], _now: Instant) -> Outbox:
            used.append(shell.cpu_us())
            return [(Local.NODE, Stopped("gateway"))]

    desks = [Desk(Once(), [(mailbox, ONE)])]
    shell = Shell("test", "n1", context, desks, None, None, lambda _: None, lambda *_: None)
    assert shell.cpu_us() == 0
    slot.post([Stop()])
    shell.start()
    shell.join()
    assert shell.cpu_us() == 0
    assert used > [0]
    mailbox.close()
    slot.close()
    context.term()
