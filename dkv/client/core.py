"""What to send where, again when, and when to give up: the client without its sockets.

Owns: calls from their start to their outcome, what goes together in a message, endpoints as far as
they matter to a choice. Must never know a socket or a clock: `wire` and the time are handed in.

How attempts are merged: an outcome is definite only if every attempt was definitely refused; one
silence, one lost connection or one `unknown` makes it `Uncertain`, unless a later attempt of the
same (session, sequence) brings the answer. A write without a session is sent again only after a
definite refusal. No command is ever sent under a second session.

Nothing is sent before `flush`: whoever drives a core calls it when the application has said what it
has to say for now, and after each turn. What is ready by then, first attempts and later ones, goes
out in as few messages as there are nodes to ask. An attempt is a position in a message; each is
answered, refused, lost and sent again by itself, in whatever company.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, Protocol

import msgpack

from dkv.client.attempts import (
    ANY,
    DONE,
    GRACE_US,
    PAUSED,
    QUEUED,
    READY,
    TRY_US,
    Alarms,
    Call,
    Done,
    Message,
)
from dkv.client.bursts import messages_of, replies_of
from dkv.client.nodes import Endpoint, Nodes
from dkv.client.session import Session
from dkv.errors import Applied, Code, RequestError, error_told, request_error
from dkv.limits import MS, REQUESTS_PER_MESSAGE_MAX
from dkv.requests import PROTOCOL, TABLE, pack_command

_BACKOFF_US = 20 * MS
_BACKOFF_US_MAX = 500 * MS
_FULL = (Code.DISK_LOW, Code.QUOTA)  # it may be the leader alone; else a person must act
_FULL_TRIES = 5  # within 0.6 s
_LOOK_AROUND_US = 5_000 * MS
_EARLIER_US = 50 * MS
_PRESENT = b"present"  # the id of the request that shows the certificate

# Twice is as good as once: at worst a session that nobody uses expires.
_HARMLESS = frozenset(("open_session", "keep_alive", "close_session", "join"))
_IN_A_SESSION = frozenset(("keep_alive", "close_session"))


class Wire(Protocol):
    """The sockets, one an endpoint."""

    def send(self, endpoint: int, frames: tuple[bytes, bytes, bytes]) -> bool:
        """Whether the endpoint's connection took it."""


class Core:
    """`pipeline` False: one command a message, for comparison."""

    def __init__(
        self,
        addresses: list[str],
        wire: Wire,
        rng: Random,
        *,
        certificate: bytes = b"",
        pin: bool = False,
        pipeline: bool = True,
    ) -> None:
        self.nodes = Nodes(addresses, rng, pipeline)
        self._wire, self._rng = wire, rng
        self._certificate, self._pin = certificate, pin
        self._together = REQUESTS_PER_MESSAGE_MAX if pipeline else 1
        self._pack = msgpack.Packer().pack
        self._presented: set[int] = set()
        self._ids = 0
        self._messages: dict[bytes, Message] = {}
        self._calls: dict[Call, None] = {}  # in the order they began
        self._session = Session()
        self._opening = False
        self._queue: deque[Call] = deque()  # waits for the session, or for room in its window
        self._ready: list[Call] = []
        self._alarms = Alarms()
        self.found: list[str] = []  # client addresses that a node named
        self._looked_us = 0
        self.now_us = 0

    def add_endpoint(self, address: str) -> None:
        self.nodes.endpoints.append(Endpoint(address))

    # -- calls -----------------------------------------------------------------------------------
    def start(
        self,
        op: str,
        fields: dict[str, Any],
        done: Done,
        *,
        timeout_us: int,
        level: str = "linearizable",
        only: int | None = None,
        in_session: bool = True,
    ) -> Call:
        """Begin a request, which goes out with the next `flush`; `done` gets the reply's body or
        the error, once."""
        row = TABLE[op]
        in_session = in_session and row.numbered
        is_write = row.edge == "write" or (row.edge == "lead" and op != "member_list")
        may_repeat = not is_write or in_session or op in _HARMLESS
        command = self._pack_command(op, fields)
        deadline_us = self.now_us + timeout_us
        call = Call(op, command, level, deadline_us, done, only, is_write, may_repeat)
        if op != "members" and self.now_us - self._looked_us >= _LOOK_AROUND_US:
            self._refresh()
        self._calls[call] = None
        if not in_session:
            self._send(call)
            return call
        call.at = QUEUED
        self._queue.append(call)
        self._serve_queue()
        if call.at == QUEUED:
            self._alarms.set(call, deadline_us)
        return call

    def _pack_command(self, op: str, fields: dict[str, Any]) -> bytes:
        """As `pack_command`, by a packer that is not made anew for each."""
        if None in fields.values():
            fields = {name: value for name, value in fields.items() if value is not None}
        packed: bytes = self._pack({"op": op, **fields})
        return packed

    def _finish(self, call: Call, body: dict[str, Any] | None, error: RequestError | None) -> None:
        if call.at == DONE:
            return
        call.at = DONE
        self._alarms.void(call)
        del self._calls[call]
        for message, position in call.attempts:
            if message.settle(position):
                self._forget(message)
        call.attempts.clear()
        if call.sequence and call.session == self._session.id:
            self._session.answered(call.sequence)
        call.done(body, error)
        if self._queue:
            self._serve_queue()

    def _forget(self, message: Message) -> None:
        del self._messages[message.id]
        self._alarms.void(message)

    def _fail(self, call: Call, code: Code, words: str, applied: Applied) -> None:
        self._finish(call, None, request_error(code, words, applied, self.nodes.leader))

    def _give_up(self, call: Call) -> None:
        """The deadline: what is known of it all together."""
        if call.unsure and call.is_write:
            words = "no answer within the deadline: it may or may not have been applied"
            self._fail(call, Code.TIMEOUT, words, "unknown")
        elif call.error is not None:
            self._finish(call, None, call.error)
        else:
            words = f"nobody did it within the deadline. {self.nodes.why_not()}"
            self._fail(call, Code.LOST, words, "no")

    # -- the session -----------------------------------------------------------------------------
    def _serve_queue(self) -> None:
        """Writes that wait, as far as there is a session and room in its window."""
        queue, session = self._queue, self._session
        while queue:
            call = queue[0]
            if call.at == QUEUED:
                if not session.is_usable(self.now_us):
                    self._open_session(call.deadline_us)
                    return
                sequence = session.number(self.now_us)
                if not sequence:
                    return
                call.session, call.sequence = session.id, sequence
                self._send(call)
            queue.popleft()

    def _open_session(self, deadline_us: int) -> None:
        if self._opening:
            return
        self._opening = True
        left_us = deadline_us - self.now_us
        timeout_us = max(left_us - _EARLIER_US, 1)  # why it failed is said before the write is
        self.start("open_session", {}, self._opened, timeout_us=timeout_us)

    def _opened(self, body: dict[str, Any] | None, error: RequestError | None) -> None:
        self._opening = False
        if body is None:
            assert error is not None
            why = str(error) if error.applied == "no" else self.nodes.why_not()
            words = f"a write needs a session, and none could be opened: {why}"
            waiting, self._queue = self._queue, deque()
            for call in waiting:  # nothing of them was ever sent
                self._finish(call, None, request_error(error.code, words, "no", error.leader))
            return
        result = body["result"]
        self._session.begin(result["session"], result["ttl_ms"] * MS, self.now_us)
        self._serve_queue()

    def close_session(self, done: Done, timeout_us: int) -> bool:
        """Ask to end the session, if there is one."""
        if not self._session.id:
            return False
        self.start("close_session", {}, done, timeout_us=timeout_us)
        return True

    # -- sending ---------------------------------------------------------------------------------
    def _send(self, call: Call) -> None:
        """With the next flush."""
        call.at = READY
        self._alarms.void(call)
        self._ready.append(call)

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    def flush(self) -> Iterable[int]:
        """Send what is ready; the endpoints that got something."""
        if not self._ready:
            return ()
        ready, self._ready = self._ready, []
        groups: dict[int, list[Call]] = {}
        for call, endpoint in zip(ready, self.nodes.choose_for(ready), strict=True):
            if call.at != READY:
                continue
            if endpoint is None:
                self._pause(call, min(call.deadline_us, self.now_us + _BACKOFF_US_MAX))
            elif endpoint in groups:
                groups[endpoint].append(call)
            else:
                groups[endpoint] = [call]
        for endpoint, calls in groups.items():
            if self._certificate and endpoint not in self._presented:
                self._present(endpoint)
            for part in messages_of(calls, self._together):
                self._post(endpoint, part)
        return groups

    def _post(self, endpoint: int, calls: list[Call]) -> None:
        """One message."""
        self._ids += 1
        request_id = self._ids.to_bytes(8)
        if len(calls) == 1:
            body = self._pack(self._request(calls[0]))
        else:
            body = self._pack([self._request(call) for call in calls])
        if not self._wire.send(endpoint, (PROTOCOL, request_id, body)):
            for call in calls:
                self._pause(call, self.now_us + _BACKOFF_US)
            return
        now_us = self.now_us
        self._messages[request_id] = message = Message(request_id, [*calls], now_us)
        for position, call in enumerate(calls):
            call.tries += 1
            call.at, call.avoid = endpoint, ANY
            call.attempts.append((message, position))
        self._alarms.set(message, min([call.due_us(now_us) for call in calls]))

    def _request(self, call: Call) -> dict[str, Any]:
        remaining_ms = max((call.deadline_us - self.now_us) // MS, 1)
        request = {"command": call.command, "ttl_ms": remaining_ms, "burst": True}
        if call.sequence:
            request["session"] = call.session
            request["sequence"] = call.sequence
            request["lowest"] = self._lowest(call)
            if call.unsure:
                request["retry"] = True
        elif call.op in _IN_A_SESSION:
            request["session"] = self._session.id
        if call.level != "linearizable":
            request["level"] = call.level
        return request

    def _lowest(self, call: Call) -> int:
        """The lowest sequence without an answer; of a session that was lost, nothing matters."""
        session = self._session
        return session.lowest if call.session == session.id else call.sequence

    def _pause(self, call: Call, until_us: int) -> None:
        call.at = PAUSED
        self._alarms.set(call, until_us)

    def _present(self, endpoint: int) -> None:
        """Show the certificate before the first request on a connection."""
        self._presented.add(endpoint)
        command = pack_command("present", certificate=self._certificate)
        body = msgpack.packb({"command": command})
        self._wire.send(endpoint, (PROTOCOL, _PRESENT, body))

    # -- who leads -------------------------------------------------------------------------------
    def look_around(self, endpoint: int) -> None:
        """Ask a node for the members: its own name, who leads, and addresses not known yet."""
        self._looked_us = self.now_us
        self.start("members", {}, self._looked, timeout_us=TRY_US, only=endpoint)

    def _looked(self, body: dict[str, Any] | None, _error: RequestError | None) -> None:
        if body is not None:
            self.nodes.leader = body["result"]["leader"] or self.nodes.leader
            self.found = [m["client_address"] for m in body["result"]["members"]]

    def _refresh(self) -> None:
        """While there is something to do, learn of a new leader although nothing fails."""
        if self._pin:
            return
        connected = self.nodes.connected()
        if connected:
            self.look_around(self._rng.choice(connected))

    # -- what the wire says ----------------------------------------------------------------------
    def connected(self, endpoint: int) -> None:
        self.nodes.endpoints[endpoint].connected = True
        self._presented.discard(endpoint)
        if not self._pin:
            self.look_around(endpoint)
        for call in self._calls:
            if call.at == PAUSED:
                self._send(call)

    def disconnected(self, endpoint: int, why: str) -> None:
        """Whatever was sent there may or may not have arrived."""
        self.nodes.endpoints[endpoint].connected = False
        self.nodes.endpoints[endpoint].why_not = why
        for call in list(self._calls):
            if call.at == endpoint:
                self._lost(call, "the connection ended before an answer came")

    def _lost(self, call: Call, words: str) -> None:
        call.unsure = True
        call.avoid = call.at
        if call.may_repeat and self.now_us < call.deadline_us:
            self._send(call)
        elif call.may_repeat:
            self._give_up(call)
        else:
            self._fail(call, Code.LOST, words, "unknown")

    def received(self, endpoint: int, frames: Sequence[bytes]) -> None:
        """A reply, or a burst of them; what is neither is dropped."""
        for request_id, body in replies_of(frames):
            self._replied(endpoint, request_id, body)

    def _replied(self, endpoint: int, request_id: bytes, body: dict[str, Any]) -> None:
        self.nodes.endpoints[endpoint].node = body.get("node", "")
        message = self._messages.get(request_id)
        if message is None:
            if request_id == _PRESENT:
                self._certificate_judged(endpoint, body)
            return
        position = body.get("position")
        if position is None:
            self._replied_to_all(endpoint, message, body)
        elif type(position) is int and 0 <= position < len(message.calls):
            self._replied_to(endpoint, message, position, body)

    def _replied_to_all(self, endpoint: int, message: Message, body: dict[str, Any]) -> None:
        """To a message of one request. Or a list was refused as a whole, by a node that has not
        seen our certificate, say: nothing of it was carried out."""
        if len(message.calls) > 1 and "error" not in body:
            return
        for position in range(len(message.calls)):
            self._replied_to(endpoint, message, position, body)

    def _replied_to(
        self, endpoint: int, message: Message, position: int, body: dict[str, Any]
    ) -> None:
        call = message.calls[position]
        if call is None:
            return
        if "result" in body:
            self._finish(call, body, None)
        elif type(body.get("error")) is dict:
            call.attempts.remove((message, position))
            if message.settle(position):
                self._forget(message)
            self._refused(call, endpoint, body["error"], body)

    def _certificate_judged(self, endpoint: int, body: dict[str, Any]) -> None:
        if "error" not in body:
            self.nodes.endpoints[endpoint].denied = None
            return
        error = error_told(body["error"])
        if error.retry != "never":  # by a node that stops, say; the calls have answers of their own
            self._presented.discard(endpoint)
            return
        self.nodes.endpoints[endpoint].denied = error
        for call in list(self._calls):
            if call.at == endpoint:
                self._finish(call, None, error)

    def _refused(
        self, call: Call, endpoint: int, fields: dict[str, Any], body: dict[str, Any]
    ) -> None:
        error = error_told(fields)
        if fields.get("leader"):
            self.nodes.leader = fields["leader"]
        if error.code is Code.CERTIFICATE_NEEDED and self._certificate and call.tries < 5:
            self._presented.discard(endpoint)  # the node has restarted, or has forgotten
            self._send(call)
            return
        if error.code is Code.SESSION_LOST and call.session in (0, self._session.id):
            self._session.id = 0
        if error.code is Code.ANSWER_DROPPED:
            body["result"] = {}
        if error.applied == "no" and not call.unsure:
            call.error = error
        else:
            call.unsure = True
        again = error.retry in ("same", "later", "other")
        if error.applied == "unknown" and not call.may_repeat:
            again = False
        if error.code in _FULL and call.tries >= _FULL_TRIES:
            again = False
        if not again or self.now_us >= call.deadline_us:
            self._end_refused(call, error)
        else:
            self._back_off(call, endpoint, error)

    def _end_refused(self, call: Call, error: RequestError) -> None:
        """A retry's refusal tells of the retry: an earlier attempt may have been applied, unless
        the cluster answers for the command itself."""
        settled = error.code in _ANSWERS_OF_APPLY
        if call.unsure and call.is_write and error.applied == "no" and not settled:
            error = request_error(error.code, str(error), "unknown", error.leader)
        self._finish(call, None, error)

    def _back_off(self, call: Call, endpoint: int, error: RequestError) -> None:
        if error.retry == "other":
            call.avoid = endpoint
        if error.retry == "same" and call.tries < 3:
            pause_us = 1 * MS
        else:
            longest = min(_BACKOFF_US << min(call.tries, 10), _BACKOFF_US_MAX)
            pause_us = self._rng.randint(longest // 2, longest)
        self._pause(call, min(self.now_us + pause_us, call.deadline_us))

    # -- time ------------------------------------------------------------------------------------
    @property
    def wake_us(self) -> int | None:
        """When `tick` must be called at the latest."""
        return self._alarms.next_us

    def tick(self) -> None:
        for who in self._alarms.due(self.now_us):
            if type(who) is Message:
                self._look_after_message(who)
            elif type(who) is Call:
                self._look_after(who)

    def _look_after_message(self, message: Message) -> None:
        """Those of its attempts whose time is over; the next alarm for the others."""
        later: list[int] = []
        for call in list(message.calls):
            if call is None or call.attempts[-1][0] is not message or call.at < 0:
                continue  # answered, or it has been sent again since
            due_us = call.due_us(message.sent_us)
            if due_us <= self.now_us:
                self._look_after(call)
            else:
                later.append(due_us)
        if later and message.open:
            self._alarms.set(message, min(later))

    def _look_after(self, call: Call) -> None:
        waiting = call.at >= 0
        if self.now_us >= call.deadline_us + (GRACE_US if waiting else 0):
            call.unsure = call.unsure or waiting
            self._give_up(call)
        elif waiting and self.now_us < call.deadline_us:
            self._lost(call, "no answer came")
        elif waiting:
            self._alarms.set(call, call.deadline_us + GRACE_US)
        else:
            self._send(call)


# Answers that apply gave to this very (session, sequence): they settle the earlier attempts too.
_ANSWERS_OF_APPLY = frozenset((Code.CONDITION_FAILED, Code.INVALID))
