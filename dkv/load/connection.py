"""One connection of the load: its session, what is under way on it, its replies.

Owns: requests from their bytes to their outcome. Must never know another connection, nor for how
long the load goes on. An attempt is not repeated: what was refused, lost or not answered in time is
counted by its code, and the next operation takes its place.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack
import zmq
from zmq.backend import Socket as Backend

from dkv.client.wire import Line
from dkv.errors import CODE_BY_NAME, RULES, Code, RequestError, request_error
from dkv.frames import join, part
from dkv.limits import MS
from dkv.load.latency import Latencies
from dkv.load.sequences import Sequences
from dkv.load.template import LOWEST, PLACE, Body, list_of
from dkv.requests import pack_command

_NOBLOCK = int(zmq.NOBLOCK)
_PAUSE_US = 20 * MS  # after a refusal that may pass
_ASK_AGAIN_US = 1_000 * MS
_GRACE_US = 250 * MS  # a node answers at the deadline: its answer needs this to arrive
_PASSING = frozenset(("same", "later", "other"))
_OF_A_SESSION = frozenset((Code.SESSION_LOST, Code.STALE, Code.ANSWER_DROPPED))
SESSION_OUTSTANDING = 512  # half a session's window: a slow answer must not stop the others at once

Draw = tuple[bool, bytes]  # is it a put, and the key
Flight = tuple[int, Sequences | None, int, Draw]  # sent at (us), its place, what it was


class Load(NamedTuple):
    """What is sent. `draw`: the next operation, None when there are no more; `give_back` takes one
    that did not succeed. `pipeline`: requests a message. `ttl_us`: how long an answer is of use."""

    draw: Callable[[], Draw | None]
    give_back: Callable[[Draw], None]
    put: Body
    get: Body
    value_bytes: int
    pipeline: int
    ttl_us: int


class Tally:
    """What became of it: on all connections together, since the last renewal of the two."""

    def __init__(self) -> None:
        self.puts, self.gets = Latencies(), Latencies()
        self.errors: Counter[str] = Counter()
        self.unknown = 0  # puts that may have happened
        self.late = 0  # answers to what had been given up
        self.fatal: RequestError | None = None  # what the next one would meet, too


def now_us() -> int:
    return time.monotonic_ns() // 1_000


class Connection:
    """`room`: requests it may have under way; 0 for one that only asks for the members."""

    def __init__(
        self,
        make_line: Callable[[str], Line],
        address: str,
        certificate: bytes,
        load: Load,
        tally: Tally,
        room: int,
        sessions: int,
    ) -> None:
        self.room = room
        self.up = False
        self.down_us = now_us()  # since when it is not up
        self.why_not = "no connection came about in time"
        self.target = address  # where it should be; it moves when nothing is under way
        self.moving_us = 0
        self.members: dict[str, Any] | None = None  # as last answered
        self._make_line, self._certificate = make_line, certificate
        self._load, self._tally = load, tally
        self._line = make_line(address)
        self._flights: dict[tuple[bytes, int], Flight] = {}
        self._sessions = [Sequences() for _ in range(sessions)]
        self._asked_us = 0  # for a session
        self._turn = 0
        self._count = 0
        self._paused_us = 0

    @property
    def address(self) -> str:
        return self._line.address

    @property
    def socket(self) -> "zmq.Socket[bytes]":
        return self._line.socket

    @property
    def under_way(self) -> int:
        return len(self._flights)

    @property
    def has_sessions(self) -> bool:
        return any(s.session for s in self._sessions)

    # -- sending ---------------------------------------------------------------------------------
    def fill(self) -> None:
        """As many messages as there is room for."""
        load = self._load
        count = load.pipeline
        if self.room < count or not self._may_send():
            return
        sent_us = now_us()
        while self.room >= count:
            sequences = self._session_for(count) if self._sessions else None
            if sequences is None and self._sessions:
                return
            self._count += 1
            request_id = self._count.to_bytes(8)
            if count > 1:
                body = self._begin_list(request_id, sequences, sent_us)
            else:
                draw = load.draw()
                body = draw and self._begin((request_id, -1), draw, sequences, sent_us)
            if not body:
                return
            if not self._send(request_id, body):
                self._take_back(request_id)
                return

    def _may_send(self) -> bool:
        if not self.up or self.target != self.address:
            return False
        if self._paused_us:
            if now_us() < self._paused_us:
                return False
            self._paused_us = 0
        return all(s.session for s in self._sessions)

    def _session_for(self, count: int) -> Sequences | None:
        """The next in turn that has room in its window."""
        for _ in self._sessions:
            self._turn = (self._turn + 1) % len(self._sessions)
            if self._sessions[self._turn].has_room(count):
                return self._sessions[self._turn]
        return None

    def _begin_list(
        self, request_id: bytes, sequences: Sequences | None, sent_us: int
    ) -> bytes | None:
        """A message's requests, fewer where no more are drawn."""
        bodies = []
        for position in range(self._load.pipeline):
            draw = self._load.draw()
            if draw is None:
                break
            bodies.append(self._begin((request_id, position), draw, sequences, sent_us))
        return list_of(bodies) if bodies else None

    def _begin(
        self, key: tuple[bytes, int], draw: Draw, sequences: Sequences | None, sent_us: int
    ) -> bytes:
        """A request's bytes; it is under way from now on."""
        self.room -= 1
        is_put, name = draw
        if not is_put:
            self._flights[key] = (sent_us, None, 0, draw)
            return self._load.get.head + name + self._load.get.tail
        if sequences is None:
            self._flights[key] = (sent_us, None, 0, draw)
            return self._load.put.head + name + self._load.put.tail
        sequence = sequences.take()
        self._flights[key] = (sent_us, sequences, sequence, draw)
        place = PLACE.pack(sequence, LOWEST, sequences.lowest)
        return self._load.put.head + name + sequences.place + place

    def _send(self, request_id: bytes, body: bytes) -> bool:
        """Whether the connection took it."""
        try:
            Backend.send(self._line.socket, join(request_id, body), _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _take_back(self, request_id: bytes) -> None:
        """Nothing of it has left."""
        for key in [key for key in self._flights if key[0] == request_id]:
            self._end(self._flights.pop(key))
        self._paused_us = now_us() + _PAUSE_US

    def _ask(self, request_id: bytes, op: str, session: int = 0, **fields: Any) -> None:
        """Something beside the load."""
        request: dict[str, Any] = {"command": pack_command(op, **fields)}
        if session:
            request["session"] = session
        self._send(request_id, msgpack.packb(request))

    def ask_members(self) -> None:
        if self.up:
            self._ask(b"members", "members")

    # -- replies ---------------------------------------------------------------------------------
    def read(self) -> None:
        """What has arrived."""
        receive, socket = Backend.recv, self._line.socket
        try:
            while True:
                parts = part(receive(socket, _NOBLOCK))
                if parts is None:
                    self._tally.errors["not_understood"] += 1
                else:
                    self.take(*parts)
        except zmq.Again:
            return

    def take(self, request_id: bytes, packed: bytes) -> None:
        """A reply, or with an empty id a burst: an array of replies, each with its `id`."""
        try:
            body = msgpack.unpackb(packed)
            if request_id:
                self._answer(request_id, body)
            else:
                for reply in body:
                    self._answer(reply["id"], reply)
        except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException):
            self._tally.errors["not_understood"] += 1

    def _answer(self, request_id: bytes, reply: dict[str, Any]) -> None:
        """One request's outcome."""
        flight = self._flights.pop((request_id, reply.get("position", -1)), None)
        if flight is None:
            self._spoke(request_id, reply)
            return
        sent_us, sequences, sequence, draw = flight
        self.room += 1
        if sequences is not None:
            sequences.settle(sequence)
        result = reply.get("result")
        if result is None:
            self._refused(reply["error"], draw, sequences)
        elif draw[0]:
            if result["key_revision"] < 1:
                self._tally.errors["wrong_answer"] += 1
            self._tally.puts.add(time.monotonic_ns() // 1_000 - sent_us)
        elif result["found"] and len(result["value"]) == self._load.value_bytes:
            self._tally.gets.add(time.monotonic_ns() // 1_000 - sent_us)
        else:
            self._tally.errors["wrong_answer"] += 1

    def _refused(self, error: dict[str, Any], draw: Draw, sequences: Sequences | None) -> None:
        name, applied = error["code"], error["applied"]
        self._tally.errors[name] += 1
        self._tally.unknown += applied != "no" and draw[0]
        self._load.give_back(draw)
        code = CODE_BY_NAME.get(name)
        if code is Code.CERTIFICATE_NEEDED:
            self._present()
        elif code is Code.SESSION_LOST and sequences in self._sessions:
            self._sessions[self._sessions.index(sequences)] = Sequences()
            self._asked_us = 0
        elif error["retry"] in _PASSING:
            self._paused_us = now_us() + _PAUSE_US
        elif code not in _OF_A_SESSION:
            self._fail(error)

    def _fail(self, error: dict[str, Any]) -> None:
        code = CODE_BY_NAME.get(error["code"], Code.BAD_REQUEST)
        words = error.get("words", RULES[code].words)
        self._tally.fatal = self._tally.fatal or request_error(code, words, error["applied"])

    def _spoke(self, request_id: bytes, reply: dict[str, Any]) -> None:
        """To what was asked beside the load, or an answer that comes too late."""
        error = reply.get("error")
        kind, _, number = request_id.partition(b".")
        if kind == b"present":
            if error:
                self._fail(error)
        elif kind == b"open":
            sequences = self._sessions[int(number)]
            if error and (error["retry"] == "never" or error["code"] == "sessions_full"):
                self._fail(error)
            elif not error and not sequences.session:
                session = reply["result"]["session"]
                sequences.renew(session, self._load.put.in_session(session))
        elif kind == b"members":
            self.members = reply.get("result")
        elif kind == b"close":
            self._sessions[int(number)].session = 0
        else:
            self._tally.late += 1

    # -- what does not come back -----------------------------------------------------------------
    def _end(self, flight: Flight) -> None:
        """Nobody waits for it any more."""
        _sent_us, sequences, sequence, draw = flight
        self.room += 1
        if sequences is not None:
            sequences.settle(sequence)
        self._load.give_back(draw)

    def _forget(self, keys: list[tuple[bytes, int]], code: Code) -> None:
        for key in keys:
            flight = self._flights.pop(key)
            self._end(flight)
            self._tally.errors[code.name.lower()] += 1
            self._tally.unknown += flight[3][0]

    def look_after(self, at_us: int) -> None:
        """News of the connection, answers that did not come, sessions that are not open yet."""
        if self._line.has_news():
            self.read()  # replies that came before it
            for up, why in self._line.news(at_us):
                if up:
                    self._rise()
                else:
                    self._fall(at_us, why)
        self._line.renew(at_us)
        limit_us = at_us - self._load.ttl_us - _GRACE_US
        overdue = []
        for key, flight in self._flights.items():  # in the order in which they were sent
            if flight[0] > limit_us:
                break
            overdue.append(key)
        self._forget(overdue, Code.TIMEOUT)
        if self.up and at_us - self._asked_us > _ASK_AGAIN_US:
            self._open_sessions(at_us)

    def _rise(self) -> None:
        self.up = True
        self._asked_us = 0
        self._present()

    def _fall(self, at_us: int, why: str) -> None:
        self.why_not = why
        if self.up:
            self.up, self.down_us = False, at_us
            self._forget(list(self._flights), Code.LOST)

    def _present(self) -> None:
        if self._certificate:
            self._ask(b"present", "present", certificate=self._certificate)

    def _open_sessions(self, at_us: int) -> None:
        self._asked_us = at_us
        for number, sequences in enumerate(self._sessions):
            if not sequences.session:
                self._ask(b"open.%d" % number, "open_session")

    def close_sessions(self) -> bool:
        """Ask for their end; whether there are any."""
        for number, sequences in enumerate(self._sessions):
            if sequences.session and self.up:
                self._ask(b"close.%d" % number, "close_session", sequences.session)
        return self.up and self.has_sessions

    # -- elsewhere -------------------------------------------------------------------------------
    def move(self, at_us: int) -> None:
        """To where it should be; what is still under way here is lost."""
        self._forget(list(self._flights), Code.LOST)
        self._line.close()
        self._line = self._make_line(self.target)
        self.up, self.down_us = False, at_us

    def close(self) -> None:
        self._line.close()
