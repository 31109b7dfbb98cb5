"""The shell's loop: what it looks at, and when."""

from collections.abc import Callable
from typing import Any

import zmq

from actors.mailbox import Budget, Mailbox, Slot
from actors.shell import Desk, Shell
from dkv.address import Instant, Local, Outbox
from dkv.counters import Counters
from dkv.messages import Hello, Saved, Space, Stop, Stopped

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


class Scripted:
    """It answers its turns with these outboxes, one after the other; the last one again and again.
    `before` is called at each turn."""

    deadline = None

    def __init__(self, name: Local, *outboxes: Outbox, before: Callable[[], object] = int) -> None:
        self.name, self.counters = name, Counters()
        self.batches: list[list[Any]] = []
        self._outboxes, self._before = list(outboxes), before

    def handle(self, batch: list[Any], _now: Instant) -> Outbox:
        self.batches.append(batch)
        assert len(self.batches) <= _TURNS_MAX, "it is served without end"
        self._before()
        return self._outboxes.pop(0) if len(self._outboxes) > 1 else self._outboxes[0]


STOPPED: Outbox = [(Local.NODE, Stopped("it"))]


def run(context: zmq.Context[Any], desks: list[Desk], things: list[Any]) -> list[Any]:
    """On this thread; who failed. `things` are closed at the end."""
    failed: list[Any] = []
    shell = Shell(
        "test", "n1", context, desks, None, None, lambda _said: None, lambda *e: failed.append(e)
    )
    shell.run()
    for thing in things:
        thing.close()
    context.term()
    return failed


def test_a_quiet_letter_wakes_nobody_and_comes_first_in_the_next_turn() -> None:
    context: zmq.Context[Any] = zmq.Context()
    loud, quiet = (Mailbox(context, Local.CONSENSUS, quiet=q) for q in (False, True))
    door = Mailbox(context, Local.GATEWAY)
    quiet_slot, slot = Slot(context, Local.CONSENSUS, quiet=True), Slot(context, Local.GATEWAY)
    quiet_slot.post([Saved(1)])
    quiet_slot.post([Saved(2)])
    slot.post([Hello()])
    consensus = Scripted(Local.CONSENSUS, STOPPED)
    turns_before: list[int] = []
    gateway = Scripted(
        Local.GATEWAY,
        [(Local.CONSENSUS, Stop()), *STOPPED],
        before=lambda: turns_before.append(len(consensus.batches)),
    )
    desks = [Desk(consensus, [(loud, ONE)], quiet), Desk(gateway, [(door, ONE)])]
    assert not run(context, desks, [loud, quiet, door, quiet_slot, slot])
    assert turns_before == [0]  # though its quiet letters were there first
    assert consensus.batches == [[Saved(1), Saved(2), Stop()]]


def test_saved_alone_is_posted_quietly_and_with_other_letters_loudly_and_in_order() -> None:
    context: zmq.Context[Any] = zmq.Context()
    loud, quiet = (Mailbox(context, Local.CONSENSUS, quiet=q) for q in (False, True))
    box, slot = Mailbox(context, Local.LOG), Slot(context, Local.LOG)
    slot.post([Hello()])
    slot.post([Hello()])
    log = Scripted(
        Local.LOG,
        [(Local.CONSENSUS, Saved(1))],
        [(Local.CONSENSUS, Saved(2)), (Local.CONSENSUS, Space(1)), *STOPPED],
    )
    seen: list[list[Any]] = []

    class Looks:
        def close(self) -> None:
            seen.extend(mailbox.drain(Budget(9, 999))[0] for mailbox in (quiet, loud))

    assert not run(context, [Desk(log, [(box, ONE)])], [Looks(), loud, quiet, box, slot])
    assert seen == [[Saved(1)], [Saved(2), Space(1)]]


def test_who_has_failed_has_no_other_turn_whatever_waits_for_it() -> None:
    """It may have failed half-way through a turn: what it would say next is nobody's promise."""
    context: zmq.Context[Any] = zmq.Context()
    boxes = {which: Mailbox(context, which) for which in (Local.CONSENSUS, Local.GATEWAY)}
    slots = [Slot(context, which) for which in boxes]
    for slot in slots:
        slot.post([Hello()])

    def fails() -> None:
        raise ValueError("diverged")

    consensus = Scripted(Local.CONSENSUS, [], before=fails)
    gateway = Scripted(Local.GATEWAY, [(Local.CONSENSUS, Hello()), (Local.GATEWAY, Hello())])
    desks = [Desk(actor, [(boxes[actor.name], ONE)]) for actor in (consensus, gateway)]
    for _ in range(2):
        slots[0].post([Hello()])  # more than it is given in a turn: it stays ready
    failed = run(context, desks, [*boxes.values(), *slots])
    assert [(name, str(error)) for name, _batch, error in failed] == [("consensus", "diverged")]
    assert (len(consensus.batches), len(gateway.batches)) == (1, 0)


def test_clients_are_drained_once_between_two_looks_at_the_peers() -> None:
    """Also where the actors of a shell post to one another, which is another turn in that round."""
    context: zmq.Context[Any] = zmq.Context()
    flood = Flood(context)
    peers, slot = Mailbox(context, Local.LOG), Slot(context, Local.LOG)  # stands for their port
    own = Mailbox(context, Local.CONSENSUS)

    def peers_write() -> None:
        if len(gateway.batches) == 1:
            slot.post([Saved(7)])

    gateway = Scripted(
        Local.GATEWAY, *[[(Local.CONSENSUS, Hello())]] * 9, STOPPED, before=peers_write
    )
    heard_after: list[int] = []

    def notes() -> None:
        if Saved(7) in consensus.batches[-1]:
            heard_after.append(len(gateway.batches))

    consensus = Scripted(Local.CONSENSUS, *[[]] * 9, STOPPED, before=notes)
    desks = [Desk(consensus, [(peers, ONE), (own, ONE)]), Desk(gateway, [(flood, ONE)])]
    assert not run(context, desks, [flood, peers, slot, own])
    assert heard_after == [1]
