"""A client on paper: its core, whose network ends on a table."""

from random import Random
from typing import Any

import msgpack

from dkv.client.attempts import Call
from dkv.client.core import Core
from dkv.errors import RULES, Applied, Code, RequestError
from dkv.limits import SECOND
from dkv.requests import PROTOCOL

NODES = ("n1", "n2", "n3")


class Sent:
    """A request on its way, as a node would read it. `position` -1: it was no list."""

    def __init__(self, endpoint: int, request_id: bytes, position: int, header: Any) -> None:
        self.endpoint, self.id, self.position, self.header = endpoint, request_id, position, header
        self.command = msgpack.unpackb(header["command"])
        self.op = self.command["op"]

    @property
    def place(self) -> tuple[int, int, int]:
        return self.header["session"], self.header["sequence"], self.header["lowest"]


class Table:
    """What the client sends lies here to be answered. `held`: nothing is sent before `flush`."""

    def __init__(
        self, nodes: int = 3, *, certificate: bytes = b"", pin: bool = True, pipeline: bool = True
    ) -> None:
        self.sent: list[Sent] = []
        self.messages: list[tuple[int, bytes, Any]] = []  # endpoint, request id, body
        self.full = self.held = False
        addresses = [f"{name}:3000" for name in NODES[:nodes]]
        self.core = Core(
            addresses, self, Random(1), certificate=certificate, pin=pin, pipeline=pipeline
        )
        self.outcomes: list[tuple[dict[str, Any] | None, RequestError | None]] = []
        for endpoint in range(nodes):
            self.connect(endpoint)

    def send(self, endpoint: int, frames: tuple[bytes, ...]) -> bool:
        if self.full:
            return False
        protocol, request_id, packed = frames
        assert protocol == PROTOCOL
        body = msgpack.unpackb(packed)
        self.messages.append((endpoint, request_id, body))
        if type(body) is list:
            self.sent += [Sent(endpoint, request_id, i, r) for i, r in enumerate(body)]
        else:
            self.sent.append(Sent(endpoint, request_id, -1, body))
        return True

    def flush(self) -> None:
        self.held = False
        self.core.flush()

    def _end_turn(self) -> None:
        if not self.held:
            self.core.flush()

    # -- the application -------------------------------------------------------------------------
    def start(self, op: str, timeout_us: int = 5 * SECOND, **how: Any) -> Call:
        fields = {"key": b"k"} | ({"value": how.pop("value", b"v")} if op == "put" else {})
        if op in ("members", "open_session", "status"):
            fields = {}
        call = self.core.start(op, fields, self._done, timeout_us=timeout_us, **how)
        self._end_turn()
        return call

    def start_together(self, *ops: str, **how: Any) -> list[Sent]:
        """What they send."""
        before, self.held = len(self.sent), True
        for op in ops:
            self.start(op, **how)
        self.flush()
        return self.sent[before:]

    def _done(self, body: dict[str, Any] | None, error: RequestError | None) -> None:
        self.outcomes.append((body, error))

    @property
    def error(self) -> RequestError:
        (body, error) = self.outcomes[-1]
        assert body is None
        assert error is not None
        return error

    # -- the nodes -------------------------------------------------------------------------------
    def connect(self, endpoint: int) -> None:
        self.core.connected(endpoint)
        self._end_turn()

    def disconnect(self, endpoint: int, why: str = "gone") -> None:
        self.core.disconnected(endpoint, why)
        self._end_turn()

    def take(self, op: str = "") -> Sent:
        """The oldest request that was sent and not looked at."""
        sent = self.sent.pop(0)
        assert op in ("", sent.op), (op, sent.op)
        return sent

    def answer(self, sent: Sent, **result: Any) -> None:
        self.reply(sent, answered(**result))

    def refuse(self, sent: Sent, code: Code, applied: Applied = "no", leader: str = "") -> None:
        self.reply(sent, refused(code, applied, leader))

    def reply(self, sent: Sent, body: dict[str, Any]) -> None:
        body["node"] = NODES[sent.endpoint]
        if sent.position >= 0:
            body["position"] = sent.position
        self.frames(sent.endpoint, PROTOCOL, sent.id, msgpack.packb(body))

    def burst(self, *replies: tuple[Sent, dict[str, Any]]) -> None:
        """All in one message."""
        bodies = []
        for sent, body in replies:
            place = {"position": sent.position} if sent.position >= 0 else {}
            bodies.append({**body, **place, "id": sent.id, "node": NODES[sent.endpoint]})
        self.frames(replies[0][0].endpoint, PROTOCOL, b"", msgpack.packb(bodies))

    def frames(self, endpoint: int, *frames: bytes) -> None:
        self.core.received(endpoint, frames)
        self._end_turn()

    def wait(self, us: int) -> None:
        """Time passes, and the core is woken whenever it asked to be."""
        end = self.core.now_us + us
        while self.core.wake_us is not None and self.core.wake_us <= end:
            self.core.now_us = max(self.core.now_us, self.core.wake_us)
            self.core.tick()
            self._end_turn()
        self.core.now_us = end

    def open(self, session: int = 7) -> None:
        """Answer the request for a session."""
        self.answer(self.take("open_session"), session=session, ttl_ms=600_000)

    def put(self) -> Sent:
        """A write, sent in its session."""
        self.start("put")
        if self.sent[0].op == "open_session":
            self.open()
        return self.take("put")


def answered(**result: Any) -> dict[str, Any]:
    return {"result": result, "revision": 1}


def refused(code: Code, applied: Applied = "no", leader: str = "") -> dict[str, Any]:
    error = {
        "code": code.name.lower(),
        "applied": applied,
        "retry": RULES[code].retry,
        "leader": leader,
        "words": "no",
    }
    return {"error": error, "revision": 1}
