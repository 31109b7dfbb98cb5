"""The loop: every connection kept full, for a time.

Owns: the connections, where they go, the phases of a run (warm-up, measured, last answers), the
processor's time of this thread. Must never know what is sent, nor print anything.

Closed: an operation begins when another one has ended, so a slow cluster is asked less
(docs/benchmarks.md says what that hides).
"""

import gc
import time
from typing import Any, NamedTuple

import zmq
from zmq.backend import zmq_poll

from dkv.client.wire import Credentials, Line
from dkv.errors import Code, RequestError, request_error
from dkv.limits import MIB, MS, SECOND
from dkv.load.connection import SESSION_OUTSTANDING, Connection, Load, Tally, now_us
from dkv.load.latency import Latencies

_POLLIN = int(zmq.POLLIN)
_LOOK_MS = 50  # between two looks at what no reply tells: connections, leaders, time
_MEMBERS_US = 500 * MS  # how often it is asked who leads
_DOWN_US = 500 * MS  # a connection that is down for so long goes elsewhere
_MOVING_US = 1_000 * MS
_CLOSE_US = 500 * MS
_GRACE_US = 500 * MS
_REPLY_BYTES_MAX = 32 * MIB


class Target(NamedTuple):
    """`addresses`: nodes by name. `leader`: its name, if all connections shall go there and follow
    it; empty: they are spread."""

    addresses: dict[str, str]
    leader: str
    credentials: Credentials | None
    certificate: bytes


class Shape(NamedTuple):
    """How many at once: connections; requests under way in all; with sessions or without."""

    clients: int
    outstanding: int
    in_session: bool


class Result(NamedTuple):
    """Of a run. `seconds`, `puts`, `gets`, `thread_us` and `process_us` are the measured time's;
    the rest is of all, warm-up and last answers included."""

    seconds: float
    puts: Latencies
    gets: Latencies
    thread_us: int
    process_us: int
    puts_all: int
    gets_all: int
    errors: dict[str, int]
    unknown: int
    late: int
    moved: int
    fatal: RequestError | None
    why_not: str


class Generator:
    """One run. `stop` may be called from a signal handler."""

    def __init__(self, target: Target, shape: Shape, load: Load) -> None:
        self._target, self._load = target, load
        self._tally = Tally()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._leader, self._term = target.leader, 0
        room, more = divmod(shape.outstanding, shape.clients)
        self._connections: list[Connection] = []
        for n in range(shape.clients):
            name = target.leader or list(target.addresses)[n % len(target.addresses)]
            address, own = target.addresses[name], room + (n < more)
            self._connections.append(self._connect(address, own, shape.in_session))
        self._scouts = {n: self._connect(a, 0, False) for n, a in target.addresses.items()}
        self._asked_us = self._looked_us = 0
        self._stopped = False
        self._moved = 0
        self._poll_set: list[tuple[zmq.Socket[bytes], int]] = []
        self._by_socket: dict[Any, Connection] = {}
        self._over: list[tuple[Latencies, Latencies]] = []

    def _connect(self, address: str, room: int, in_session: bool) -> Connection:
        sessions = -(-room // SESSION_OUTSTANDING) if in_session else 0
        certificate = self._target.certificate
        return Connection(self._line, address, certificate, self._load, self._tally, room, sessions)

    def _line(self, address: str) -> Line:
        return Line(self._context, address, self._target.credentials, _REPLY_BYTES_MAX)

    def stop(self) -> None:
        """End early, as if the time were over."""
        self._stopped = True

    # -- a run -----------------------------------------------------------------------------------
    def run(self, warmup_s: float, seconds: float) -> Result:
        """Warm up, measure, wait for the last answers. Garbage is not collected meanwhile: there is
        none in cycles, and looking for it would be measured."""
        gc.collect()
        gc.disable()
        try:
            self._go_on(now_us() + int(warmup_s * SECOND))
            self._renew()
            began_us, thread_ns, process_ns = (
                now_us(),
                time.thread_time_ns(),
                time.process_time_ns(),
            )
            self._go_on(began_us + int(seconds * SECOND))
            measured_s = (now_us() - began_us) / SECOND
            thread_us = (time.thread_time_ns() - thread_ns) // 1_000
            process_us = (time.process_time_ns() - process_ns) // 1_000
            puts, gets = self._renew()
            self._finish()
        finally:
            gc.enable()
            self.close()
        return self._result(measured_s, puts, gets, thread_us, process_us)

    def run_out(self, puts: int, patience_us: int) -> Result:
        """Until so many puts have succeeded. Gives up when none does for `patience_us`."""
        tally, done, since_us = self._tally, -1, now_us()
        try:
            while tally.puts.count < puts and not self._has_ended():
                if tally.puts.count > done:
                    done, since_us = tally.puts.count, now_us()
                elif now_us() - since_us > patience_us:
                    words = f"the keys could not be written. {self._why_not()}"
                    tally.fatal = request_error(Code.LOST, words, "no")
                self._turn(sending=True)
            self._finish()
        finally:
            self.close()
        return self._result(0.0, Latencies(), Latencies(), 0, 0)

    def _has_ended(self) -> bool:
        return self._stopped or self._tally.fatal is not None

    def _go_on(self, until_us: int) -> None:
        while now_us() < until_us and not self._has_ended():
            self._turn(sending=True)

    def _renew(self) -> tuple[Latencies, Latencies]:
        """The operations since the last renewal; from now on others are counted."""
        tally = self._tally
        past = tally.puts, tally.gets
        self._over.append(past)
        tally.puts, tally.gets = Latencies(), Latencies()
        return past

    def _finish(self) -> None:
        """The last answers, then the sessions' end."""
        until_us = now_us() + self._load.ttl_us + _GRACE_US
        while any(c.under_way for c in self._connections) and now_us() < until_us:
            self._turn(sending=False)
        closing = [c for c in self._connections if c.close_sessions()]
        until_us = now_us() + _CLOSE_US
        while any(c.has_sessions and c.up for c in closing) and now_us() < until_us:
            self._turn(sending=False)

    def _result(
        self, seconds: float, puts: Latencies, gets: Latencies, thread_us: int, process_us: int
    ) -> Result:
        self._renew()
        tally = self._tally
        return Result(
            seconds,
            puts,
            gets,
            thread_us,
            process_us,
            sum(p.count for p, _g in self._over),
            sum(g.count for _p, g in self._over),
            dict(tally.errors.most_common()),
            tally.unknown,
            tally.late,
            self._moved,
            tally.fatal,
            self._why_not(),
        )

    def close(self) -> None:
        for each in (*self._connections, *self._scouts.values()):
            each.close()
        self._context.term()

    # -- a turn ----------------------------------------------------------------------------------
    def _turn(self, *, sending: bool) -> None:
        """Wait for replies, read them, send what there is room for."""
        for socket, _event in zmq_poll(self._poll_set, _LOOK_MS):
            connection = self._by_socket[socket]
            connection.read()
            if sending:
                connection.fill()
        if now_us() - self._looked_us >= _LOOK_MS * MS:
            self._look_after(sending)

    def _look_after(self, sending: bool) -> None:
        """What time has brought, on all connections."""
        at_us = self._looked_us = now_us()
        for connection in (*self._connections, *self._scouts.values()):
            connection.look_after(at_us)
        self._ask_who_leads(at_us)
        for connection in self._connections:
            self._place(connection, at_us)
            if sending:
                connection.fill()
        self._by_socket = {c.socket: c for c in self._connections}  # scouts need no haste
        self._poll_set = [(socket, _POLLIN) for socket in self._by_socket]

    def _ask_who_leads(self, at_us: int) -> None:
        for scout in self._scouts.values():
            scout.read()
            found, scout.members = scout.members, None
            if found and found["leader"] in self._target.addresses and found["term"] >= self._term:
                self._leader, self._term = found["leader"], found["term"]
        if at_us - self._asked_us > _MEMBERS_US:
            self._asked_us = at_us
            for scout in self._scouts.values():
                scout.ask_members()

    def _place(self, connection: Connection, at_us: int) -> None:
        """To the leader, where that is wanted; away from a node that is down."""
        if connection.target == connection.address:
            better = self._better(connection, at_us)
            if better != connection.address:
                connection.target, connection.moving_us = better, at_us
        waiting = connection.up and connection.under_way
        if connection.target != connection.address and (
            not waiting or at_us - connection.moving_us > _MOVING_US
        ):
            connection.move(at_us)
            self._moved += 1

    def _better(self, connection: Connection, at_us: int) -> str:
        here = connection.address
        if self._target.leader:
            leader = self._scouts[self._leader]
            return leader.address if leader.up else here
        if connection.up or at_us - connection.down_us < _DOWN_US:
            return here
        others = [s.address for s in self._scouts.values() if s.up]
        return others[self._moved % len(others)] if others else here

    def _why_not(self) -> str:
        """For people: how the nodes that do not answer fare."""
        down = {s.address: s.why_not for s in self._scouts.values() if not s.up}
        return "; ".join(f"{address}: {why}" for address, why in down.items())
