"""The only loop: drain, handle, post.

Owns: the thread on which one or more actors live, the order in which they are served, and what
happens when one of them raises. Must never know what a letter means. It recovers from nothing: an
exception leaves its batch behind as a test to paste, and ends the node.

Served in this order: the peers' port, the mailboxes, the client port, each with a budget, so that
Raft is never stuck behind clients. Every round begins with a look at all sources, also while one of
them has more than its budget: a flood at the client port would otherwise hide, for as long as it
lasts, that the peers have written. What an actor posts to another of the same shell is drained
in the same round; the ports are not, they wait for the next look. Quiet letters wake nobody: they
come first in the next turn that there is for another reason.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import zmq
from zmq.backend import zmq_poll

from actors.actor import Actor
from actors.mailbox import Budget, Context, Mailbox, Slot
from actors.port import ClientPort, Port
from actors.transport import Transport
from dkv.address import Client, Instant, Local, Member, Outbox
from dkv.limits import KIB, TURN_BYTES_MAX
from dkv.messages import QUIET, FromPeer, Probed, Roster, Say, Stopped

_POLLIN = int(zmq.POLLIN)
MAILBOX_BUDGET = Budget(1_000, TURN_BYTES_MAX)
PEER_BUDGET = Budget(256, TURN_BYTES_MAX)
# The gateway shares its thread with consensus, and small requests cost it more a byte than large
# ones: a turn of thousands would keep a heartbeat waiting. So it is a valve's.
CLIENT_BUDGET = Budget(256, 64 * KIB)
_VALVE_STEPS = 5
_TURN_LONG_US, _TURN_SHORT_US = 4_000, 1_500
ANSWERS_BUDGET = Budget(1_000, 32 * KIB)
_FOREVER_MS = 3_600_000


class Source(Protocol):
    """Something a shell drains: a mailbox or a port."""

    @property
    def socket(self) -> Any: ...

    def drain(self, budget: Budget) -> tuple[list[Any], bool]: ...


class Valve:
    """A source's budget, as long turns halve it and short ones double it again. What is not read
    stays with who sent it; a ROUTER takes connections in turn, so a flood waits for itself."""

    def __init__(self, source: Source, full: Budget) -> None:
        self.source = source
        self._budgets = [
            Budget(max(full.messages >> step, 1), full.bytes >> step)
            for step in range(_VALVE_STEPS + 1)
        ]
        self._step = 0

    @property
    def budget(self) -> Budget:
        return self._budgets[self._step]

    def turn(self, took_us: int) -> None:
        if took_us > _TURN_LONG_US:
            self._step = min(self._step + 1, _VALVE_STEPS)
        elif took_us < _TURN_SHORT_US and self._step:
            self._step -= 1


def _name_thread(name: str) -> None:
    """For `top -H`, where the system can show it."""
    with suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)


class Desk:
    """An actor and where its letters come from, in the order in which they are drained; `quiet`
    holds those that wake nobody. `strangers`: the last source, whose budget is a valve's."""

    def __init__(
        self,
        actor: Actor,
        sources: list[tuple[Source, Budget]],
        quiet: Mailbox | None = None,
        strangers: Source | None = None,
    ) -> None:
        self.actor = actor
        self.sources = sources
        self.valve = None
        if strangers is not None:
            self.valve = Valve(strangers, CLIENT_BUDGET)
            self.sources = [*sources, (strangers, CLIENT_BUDGET)]
        self.quiet = quiet
        self.drained_us = 0
        self.due_us: int | None = None


def now() -> Instant:
    return Instant(time.monotonic_ns() // 1_000, time.time_ns() // 1_000_000)


class Shell(threading.Thread):
    """`report` takes what is for the node itself; `failed` an actor's name, its batch, and what it
    raised, which ends the node. Both are called on this thread."""

    def __init__(
        self,
        name: str,
        node: str,
        context: Context,
        desks: list[Desk],
        transport: Transport | None,
        clients: ClientPort | None,
        report: Callable[[Say | Stopped | Roster | Probed], None],
        failed: Callable[[str, list[Any], BaseException], None],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._node = node
        self._desks = desks
        self._transport, self._clients = transport, clients
        self._report, self._failed = report, failed
        destinations = (Local.CONSENSUS, Local.LOG, Local.MACHINE, Local.GATEWAY)
        self._slots: dict[Local, Slot] = {which: Slot(context, which) for which in destinations}
        self._quiet_slot = Slot(context, Local.CONSENSUS, quiet=True)
        self._own: Mapping[Local, Source] = {
            desk.actor.name: source
            for desk in desks
            for source, _budget in desk.sources
            if isinstance(source, Mailbox)
        }
        self._own_sockets = {source.socket for source in self._own.values()}
        self._sockets = {source.socket for desk in desks for source, _budget in desk.sources}
        self._poll_set = [
            (source.socket, _POLLIN) for desk in desks for source, _budget in desk.sources
        ]
        self._ready: set[Any] = set()
        self._awake_us = 0
        self._stopped = 0
        self._clock: int | None = None

    # -- the loop --------------------------------------------------------------------------------
    def run(self) -> None:
        _name_thread(self.name)
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        for desk in self._desks:
            desk.due_us = desk.actor.deadline
        self._awake_us = now().us
        while self._stopped < len(self._desks):
            self._look()
            self._serve_all(self._sockets)
            if not self._ready.isdisjoint(self._own_sockets):  # posted here, to one another
                self._serve_all(self._own_sockets)
        self._clock = None
        for slot in (*self._slots.values(), self._quiet_slot):
            slot.close()

    def cpu_us(self) -> int:
        """What its thread has used of a processor; asked from any thread, 0 if it does not run. A
        clock of the thread's own, for a look at it each turn would cost what it measures."""
        clock = self._clock
        try:
            return 0 if clock is None else time.clock_gettime_ns(clock) // 1_000
        except OSError:  # it has ended just now
            return 0

    def posted(self, which: Local) -> int:
        """How many letters it has posted to an actor; asked from any thread."""
        return self._slots[which].posted

    def _look(self) -> None:
        """What has arrived; waits for something if nothing is known to be there."""
        timeout_ms = 0 if self._ready else self._timeout_ms()
        self._ready.update(socket for socket, _event in zmq_poll(self._poll_set, timeout_ms))
        if timeout_ms:
            self._awake_us = time.monotonic_ns() // 1_000

    def _timeout_ms(self) -> int:
        due = [desk.due_us for desk in self._desks if desk.due_us is not None]
        if not due:
            return _FOREVER_MS
        return min(max(min(due) - time.monotonic_ns() // 1_000 + 999, 0) // 1_000, _FOREVER_MS)

    def _serve_all(self, among: set[Any]) -> None:
        """Each has its turn, none starves another; nobody has one after an actor has failed."""
        for desk in self._desks:
            if self._stopped < len(self._desks):
                self._serve(desk, among)

    def _serve(self, desk: Desk, among: set[Any]) -> None:
        """One turn of one actor, if there is reason for one: something that waits in one of these
        sockets, or its deadline."""
        batch: list[Any] = []
        for source, budget in desk.sources:
            if source.socket in self._ready and source.socket in among:
                if desk.valve is not None and desk.valve.source is source:
                    budget = desk.valve.budget
                letters, more = source.drain(budget)
                batch += letters
                if not more:
                    self._ready.discard(source.socket)
        if not batch and desk.due_us is None:
            return
        instant = now()
        if not batch and desk.due_us > instant.us:  # type: ignore[operator]
            return
        if desk.quiet is not None and not desk.quiet.is_empty:
            batch[:0] = desk.quiet.drain(MAILBOX_BUDGET)[0]
        try:
            outbox = desk.actor.handle(batch, instant)
            desk.due_us = desk.actor.deadline  # only a turn changes it
            self._post(outbox)
        except BaseException as error:
            self._stopped = len(self._desks)
            self._failed(desk.actor.name.value, batch, error)
            return
        waited_us = instant.us - max(desk.drained_us, self._awake_us)
        desk.drained_us = instant.us
        took_us = time.monotonic_ns() // 1_000 - instant.us
        desk.actor.counters.turn(len(batch), took_us, waited_us)
        if desk.valve is not None:
            desk.valve.turn(took_us)

    # -- posting ---------------------------------------------------------------------------------
    def _post(self, outbox: Outbox) -> None:
        letters: dict[Local, list[Any]] = {}
        for to, letter in outbox:
            match to:
                case Member():
                    self._post_frame(to.name, letter, letters)
                case Client():
                    assert self._clients is not None
                    self._clients.post(to.routing_id, letter.frames)
                case Local.SHELL | Local.NODE:
                    self._obey(letter)
                case Local():
                    letters.setdefault(to, []).append(letter)
                case _:
                    raise AssertionError(f"a shell cannot post to {to!r}")
        for which, group in letters.items():
            if which is Local.CONSENSUS and QUIET.issuperset(map(type, group)):
                self._quiet_slot.post(group)
                continue
            self._slots[which].post(group)
            if which in self._own:
                self._ready.add(self._own[which].socket)

    def _post_frame(self, member: str, frame: bytes, letters: dict[Local, list[Any]]) -> None:
        """To another node, or back to this one's consensus: sealed letters name members."""
        if member == self._node:
            letters.setdefault(Local.CONSENSUS, []).append(FromPeer(member, frame))
        elif self._transport is not None:
            self._transport.post(member, frame)

    def _obey(self, letter: Any) -> None:
        if isinstance(letter, Roster):
            self._introduce(letter)
        elif isinstance(letter, Say | Stopped | Probed):
            self._stopped += isinstance(letter, Stopped)
            self._report(letter)

    def _introduce(self, roster: Roster) -> None:
        """New members, addresses or keys: also this node's own may have changed."""
        if self._transport is not None:
            self._transport.introduce(roster)
        if self._clients is not None:  # the shell of consensus, who has said it
            self._report(roster)
        for desk in self._desks:
            for source, _budget in desk.sources:
                if isinstance(source, Port):
                    source.renew()
