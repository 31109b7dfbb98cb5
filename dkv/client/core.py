"""What to send where, again when, and when to give up: the client without its sockets.

Owns: calls from their start to their outcome, the one session, endpoints as far as they matter to
a choice. Must never know a socket or a clock: `wire` and the time are handed in.

How attempts are merged: an outcome is definite only if every attempt was definitely refused; one
silence, one lost connection or one `unknown` makes it `Uncertain`, unless a later attempt of the
same (session, sequence) brings the answer. A write without a session is sent again only after a
definite refusal. No command is ever sent under a second session.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

import msgpack

from dkv.errors import CODE_BY_NAME, RULES, Code, RequestError, request_error
from dkv.limits import MS, SEQUENCE_WINDOW
from dkv.requests import PROTOCOL, TABLE, pack_command

TRY_US = 1_500 * MS  # without an answer for so long, another node is asked
_BACKOFF_US = 20 * MS
_WAKES_SPARE = 1_000
_BACKOFF_US_MAX = 500 * MS
_LOOK_AROUND_US = 5_000 * MS
_GRACE_US = 250 * MS  # a node answers at the deadline: its answer needs this to arrive


class Wire(Protocol):
    """The sockets, one an endpoint."""

    def send(self, endpoint: int, frames: tuple[bytes, ...]) -> bool:
        """Whether the endpoint's connection took it."""


class Endpoint:
    """A node's client address, as this client has met it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.connected = False
        self.node = ""  # learnt from its replies
        self.why_not = "no connection came about in time"
        self.denied: RequestError | None = None  # its word on our certificate


class Call:
    """One request of the application, however often it is sent."""

    def __init__(
        self,
        op: str,
        command: bytes,
        level: str,
        deadline_us: int,
        done: Callable[[dict[str, Any] | None, RequestError | None], None],
        only: int | None,
        in_session: bool,
    ) -> None:
        self.op, self.command, self.level, self.done = op, command, level, done
        self.deadline_us = deadline_us
        self.only = only  # this endpoint and no other
        self.in_session = in_session
        self.session = 0  # in which it has its sequence, for good
        self.sequence = 0
        self.tries = 0
        self.unsure = False  # an attempt may have been applied
        self.error: RequestError | None = None  # the latest definite refusal
        self.wake_us = 0
        self.at: int | None = None  # the endpoint that has it now
        self.ids: list[bytes] = []

    @property
    def is_write(self) -> bool:
        return TABLE[self.op].edge == "write"

    @property
    def may_repeat(self) -> bool:
        """Whether sending it again is safe although an attempt may have been applied."""
        return not self.is_write or self.sequence > 0 or self.op in _HARMLESS


# Twice is as good as once: at worst a session that nobody uses expires.
_EARLIER_US = 50 * MS
_HARMLESS = frozenset(("open_session", "keep_alive", "close_session"))


class Core:
    def __init__(
        self,
        addresses: list[str],
        wire: Wire,
        rng: Random,
        *,
        certificate: bytes = b"",
        pin: bool = False,
    ) -> None:
        self.endpoints = [Endpoint(a) for a in addresses]
        self.leader = ""
        self._wire, self._rng = wire, rng
        self._certificate, self._pin = certificate, pin
        self._presented: set[int] = set()
        self._turn = rng.randrange(len(addresses))
        self._ids = 0
        self._by_id: dict[bytes, Call] = {}
        self._calls: OrderedDict[int, Call] = OrderedDict()  # by id(), in the order they began
        self._session = 0
        self._session_used_us = 0
        self._session_ttl_us = 0
        self._opening = False
        self._sequence = 0
        self._unanswered: OrderedDict[int, None] = OrderedDict()
        self._queue: list[Call] = []  # waits for the session, or for room in its window
        self.found: list[str] = []  # client addresses that a node named
        self._looked_us = 0
        self._wakes: list[tuple[int, int, Call]] = []
        self._armed = 0
        self.now_us = 0

    def add_endpoint(self, address: str) -> None:
        self.endpoints.append(Endpoint(address))

    # -- calls -----------------------------------------------------------------------------------
    def start(
        self,
        op: str,
        fields: dict[str, Any],
        done: Callable[[dict[str, Any] | None, RequestError | None], None],
        *,
        timeout_us: int,
        level: str = "linearizable",
        only: int | None = None,
        in_session: bool = True,
    ) -> Call:
        """Begin a request; `done` gets the reply's body or the error, once."""
        in_session = in_session and TABLE[op].numbered
        command = pack_command(op, **fields)
        deadline_us = self.now_us + timeout_us
        call = Call(op, command, level, deadline_us, done, only, in_session)
        if op != "members":
            self._refresh()
        self._calls[id(call)] = call
        if in_session:
            self._arm(call, deadline_us)
            self._queue.append(call)
            self._serve_queue()
        else:
            self._send(call)
        return call

    def _finish(self, call: Call, body: dict[str, Any] | None, error: RequestError | None) -> None:
        if self._calls.pop(id(call), None) is None:
            return
        for request_id in call.ids:
            self._by_id.pop(request_id, None)
        if call.sequence:
            if call.session == self._session:
                self._unanswered.pop(call.sequence, None)
        elif call in self._queue:
            self._queue.remove(call)
        call.done(body, error)
        self._serve_queue()

    def _give_up(self, call: Call) -> None:
        """The deadline: what is known of it all together."""
        if call.unsure and call.is_write:
            words = "no answer within the deadline: it may or may not have been applied"
            self._finish(call, None, request_error(Code.TIMEOUT, words, "unknown", self.leader))
        elif call.error is not None:
            self._finish(call, None, call.error)
        else:
            words = f"nobody did it within the deadline. {self.why_not()}"
            self._finish(call, None, request_error(Code.LOST, words, "no", self.leader))

    def why_not(self) -> str:
        """For people: how each endpoint fares, those that fare alike together."""
        found: dict[str, list[str]] = {}
        for e in self.endpoints:
            why = "connected, but no answer (is there a leader?)" if e.connected else e.why_not
            found.setdefault(why, []).append(e.address)
        return "; ".join(f"{', '.join(addresses)}: {why}" for why, addresses in found.items())

    # -- the session -----------------------------------------------------------------------------
    def _serve_queue(self) -> None:
        """Writes that wait, as far as there is a session and room in its window."""
        while self._queue and self._has_session():
            lowest = next(iter(self._unanswered), self._sequence + 1)
            if self._sequence + 1 - lowest >= SEQUENCE_WINDOW:
                return
            call = self._queue.pop(0)
            self._sequence += 1
            call.session, call.sequence = self._session, self._sequence
            self._unanswered[call.sequence] = None
            self._session_used_us = self.now_us
            self._send(call)

    def _has_session(self) -> bool:
        fresh = self.now_us - self._session_used_us < self._session_ttl_us // 2
        if self._session and (fresh or self._unanswered):
            return True
        if not self._opening:
            self._opening = True
            left_us = self._queue[0].deadline_us - self.now_us
            timeout_us = max(left_us - _EARLIER_US, 1)  # why it failed is said before the write is
            self.start("open_session", {}, self._opened, timeout_us=timeout_us)
        return False

    def _opened(self, body: dict[str, Any] | None, error: RequestError | None) -> None:
        self._opening = False
        if body is None:
            assert error is not None
            for call in list(self._queue):  # nothing of them was ever sent
                why = str(error) if error.applied == "no" else self.why_not()
                words = f"a write needs a session, and none could be opened: {why}"
                self._finish(call, None, request_error(error.code, words, "no", error.leader))
            return
        self._session = body["result"]["session"]
        self._session_ttl_us = body["result"]["ttl_ms"] * MS
        self._session_used_us = self.now_us
        self._sequence = 0
        self._unanswered.clear()
        self._serve_queue()

    def close_session(
        self, done: Callable[[dict[str, Any] | None, RequestError | None], None], timeout_us: int
    ) -> bool:
        """Ask to end the session, if there is one."""
        if not self._session:
            return False
        self.start("close_session", {}, done, timeout_us=timeout_us)
        return True

    # -- sending ---------------------------------------------------------------------------------
    def _send(self, call: Call) -> None:
        endpoint = self._choose(call)
        call.at = None
        if endpoint is None:
            self._arm(call, min(call.deadline_us, self.now_us + _BACKOFF_US_MAX))
            return
        self._ids += 1
        request_id = self._ids.to_bytes(8)
        frames = (PROTOCOL, request_id, self._body(call))
        self._present(endpoint)
        if not self._wire.send(endpoint, frames):
            self._arm(call, self.now_us + _BACKOFF_US)
            return
        call.tries += 1
        call.at = endpoint
        call.ids.append(request_id)
        self._by_id[request_id] = call
        patience_us = TRY_US * (1 + (call.tries > 2))
        self._arm(call, min(call.deadline_us + _GRACE_US, self.now_us + patience_us))

    def _body(self, call: Call) -> bytes:
        remaining_ms = max((call.deadline_us - self.now_us) // MS, 1)
        request: dict[str, Any] = {"command": call.command, "ttl_ms": remaining_ms}
        if call.sequence:
            request["session"] = call.session
            request["sequence"] = call.sequence
            request["lowest"] = self._lowest(call)
            if call.unsure:
                request["retry"] = True
        elif call.op in ("keep_alive", "close_session"):
            request["session"] = self._session
        if call.level != "linearizable":
            request["level"] = call.level
        return msgpack.packb(request)  # type: ignore[no-any-return]

    def _lowest(self, call: Call) -> int:
        """The lowest sequence without an answer; of a session that was lost, nothing matters."""
        return next(iter(self._unanswered)) if call.session == self._session else call.sequence

    def _choose(self, call: Call) -> int | None:
        """Writes go to the leader where it is known, reads in turn to every connected node; another
        one than last time, if there is a choice."""
        if call.only is not None:
            return call.only if self.endpoints[call.only].connected else None
        usable = [i for i, e in enumerate(self.endpoints) if e.connected and e.denied is None]
        if not usable:
            usable = [i for i, e in enumerate(self.endpoints) if e.connected]
        others = [i for i in usable if i != call.at] or usable
        if not others:
            return None
        if call.is_write:
            for i in others:
                if self.leader and self.endpoints[i].node == self.leader:
                    return i
        self._turn += 1
        return others[self._turn % len(others)]

    def _present(self, endpoint: int) -> None:
        """Show the certificate before the first request on a connection."""
        if not self._certificate or endpoint in self._presented:
            return
        self._presented.add(endpoint)
        command = pack_command("present", certificate=self._certificate)
        body = msgpack.packb({"command": command})
        self._wire.send(endpoint, (PROTOCOL, b"present", body))

    # -- who leads -------------------------------------------------------------------------------
    def look_around(self, endpoint: int) -> None:
        """Ask a node for the members: its own name, who leads, and addresses not known yet."""
        self._looked_us = self.now_us
        self.start("members", {}, self._looked, timeout_us=TRY_US, only=endpoint)

    def _looked(self, body: dict[str, Any] | None, _error: RequestError | None) -> None:
        if body is not None:
            self.leader = body["result"]["leader"] or self.leader
            self.found = [m["client_address"] for m in body["result"]["members"]]

    def _refresh(self) -> None:
        """While there is something to do, learn of a new leader although nothing fails."""
        if self._pin or self.now_us - self._looked_us < _LOOK_AROUND_US:
            return
        connected = [i for i, e in enumerate(self.endpoints) if e.connected]
        if connected:
            self.look_around(self._rng.choice(connected))

    # -- what the wire says ----------------------------------------------------------------------
    def connected(self, endpoint: int) -> None:
        self.endpoints[endpoint].connected = True
        self._presented.discard(endpoint)
        if not self._pin:
            self.look_around(endpoint)
        for call in list(self._calls.values()):
            if call.at is None and call not in self._queue:
                self._send(call)

    def disconnected(self, endpoint: int, why: str) -> None:
        """Whatever was sent there may or may not have arrived."""
        self.endpoints[endpoint].connected = False
        self.endpoints[endpoint].why_not = why
        for call in list(self._calls.values()):
            if call.at == endpoint:
                self._lost(call, "the connection ended before an answer came")

    def _lost(self, call: Call, words: str) -> None:
        call.unsure = True
        if call.may_repeat and self.now_us < call.deadline_us:
            self._send(call)
        elif call.may_repeat:
            self._give_up(call)
        else:
            self._finish(call, None, request_error(Code.LOST, words, "unknown", self.leader))

    def received(self, endpoint: int, frames: list[bytes]) -> None:
        """A reply; what is not one is dropped."""
        try:
            protocol, request_id, packed = frames
            body = msgpack.unpackb(packed)
            if protocol != PROTOCOL or not isinstance(body, dict) or body.get("partial"):
                return
        except (ValueError, msgpack.UnpackException):
            return
        self.endpoints[endpoint].node = body.get("node", "")
        if request_id == b"present":
            self._certificate_judged(endpoint, body)
            return
        call = self._by_id.get(request_id)
        if call is None:
            return
        if "result" in body:
            self._finish(call, body, None)
        elif isinstance(body.get("error"), dict):
            self._refused(call, endpoint, body["error"], body)

    def _certificate_judged(self, endpoint: int, body: dict[str, Any]) -> None:
        if "error" not in body:
            self.endpoints[endpoint].denied = None
            return
        error = _error_of(body["error"])
        self.endpoints[endpoint].denied = error
        for call in list(self._calls.values()):
            if call.at == endpoint:
                self._finish(call, None, error)

    def _refused(
        self, call: Call, endpoint: int, fields: dict[str, Any], body: dict[str, Any]
    ) -> None:
        error = _error_of(fields)
        if fields.get("leader"):
            self.leader = fields["leader"]
        if error.code is Code.CERTIFICATE_NEEDED and self._certificate and call.tries < 5:
            self._presented.discard(endpoint)  # the node has restarted, or has forgotten
            call.at = None
            self._send(call)
            return
        if error.code is Code.SESSION_LOST and call.session in (0, self._session):
            self._session = 0
        if error.code is Code.ANSWER_DROPPED:
            body["result"] = {}
        if error.applied == "no" and not call.unsure:
            call.error = error
        else:
            call.unsure = True
        again = error.retry in ("same", "later", "other")
        if error.applied == "unknown" and not call.may_repeat:
            again = False
        if not again or self.now_us >= call.deadline_us:
            self._end_refused(call, error)
        else:
            self._back_off(call, error)

    def _end_refused(self, call: Call, error: RequestError) -> None:
        """A retry's refusal tells of the retry: an earlier attempt may have been applied, unless
        the cluster answers for the command itself."""
        settled = error.code in _ANSWERS_OF_APPLY
        if call.unsure and call.is_write and error.applied == "no" and not settled:
            error = request_error(error.code, str(error), "unknown", error.leader)
        self._finish(call, None, error)

    def _back_off(self, call: Call, error: RequestError) -> None:
        if error.retry == "same" and call.tries < 3:
            pause_us = 1 * MS
        else:
            longest = min(_BACKOFF_US << min(call.tries, 10), _BACKOFF_US_MAX)
            pause_us = self._rng.randint(longest // 2, longest)
        call.at = None
        self._arm(call, min(self.now_us + pause_us, call.deadline_us))

    # -- time ------------------------------------------------------------------------------------
    def _arm(self, call: Call, when_us: int) -> None:
        """Look at a call again then; what was armed before is void."""
        self._armed += 1
        call.wake_us = when_us
        heapq.heappush(self._wakes, (when_us, self._armed, call))
        if len(self._wakes) > _WAKES_SPARE + 4 * len(self._calls):
            self._forget_void_wakes()

    def _forget_void_wakes(self) -> None:
        """Answered calls would be kept until their deadlines: at thousands a second so many that
        collecting garbage stops the application for a tenth of a second (measured)."""
        self._wakes = [w for w in self._wakes if w[2].wake_us == w[0] and id(w[2]) in self._calls]
        heapq.heapify(self._wakes)

    @property
    def wake_us(self) -> int | None:
        """When `tick` must be called at the latest."""
        return self._wakes[0][0] if self._wakes else None

    def tick(self) -> None:
        while self._wakes and self._wakes[0][0] <= self.now_us:
            when_us, _count, call = heapq.heappop(self._wakes)
            if call.wake_us == when_us and id(call) in self._calls:
                self._look_after(call)

    def _look_after(self, call: Call) -> None:
        waiting = call.at is not None
        if self.now_us >= call.deadline_us + (_GRACE_US if waiting else 0):
            call.unsure = call.unsure or waiting
            self._give_up(call)
        elif waiting and self.now_us < call.deadline_us:
            self._lost(call, "no answer came")
        elif waiting:
            self._arm(call, call.deadline_us + _GRACE_US)
        else:
            self._send(call)


# Answers that apply gave to this very (session, sequence): they settle the earlier attempts too.
_ANSWERS_OF_APPLY = frozenset((Code.CONDITION_FAILED, Code.INVALID))


def _error_of(fields: dict[str, Any]) -> RequestError:
    """The exception that a reply's error stands for. Codes of newer nodes are treated by class."""
    code = CODE_BY_NAME.get(fields.get("code", ""), Code.BAD_REQUEST)
    applied = fields.get("applied", "unknown")
    error = request_error(code, fields.get("words", RULES[code].words), applied)
    error.leader = fields.get("leader", "")
    if code is Code.CONDITION_FAILED:
        error.key_revision = fields.get("key_revision", 0)  # type: ignore[attr-defined]
    return error
