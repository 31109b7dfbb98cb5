"""A connection of the load, on a real socket to a node that the test plays itself."""

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import msgpack
import pytest
import zmq

from dkv.client.wire import Line
from dkv.errors import Code, Denied
from dkv.frames import join, part
from dkv.limits import SECOND
from dkv.load.connection import Connection, Draw, Load, Tally, now_us
from dkv.load.template import get_body, key_of, put_body

KEY = key_of(b"k", 1)
VALUE = b"v" * 10
PUT = {"result": {"key_revision": 4}, "revision": 4, "node": "n1"}
GET = {"result": {"found": True, "key_revision": 4, "value": VALUE}, "revision": 4, "node": "n1"}


def error(code: Code, applied: str = "no", retry: str = "never") -> dict[str, Any]:
    fields = {"code": code.name.lower(), "applied": applied, "retry": retry, "words": "why"}
    return {"error": fields, "revision": 0, "node": "n1"}


class Bench:
    """The connection, and the node at its other end: every request is read by msgpack."""

    def __init__(self, context: "zmq.Context[Any]") -> None:
        self._context = context
        self._node = context.socket(zmq.ROUTER)
        self._node.set(zmq.LINGER, 0)
        self._node.set(zmq.RCVTIMEO, 10_000)
        self.port = self._node.bind_to_random_port("tcp://127.0.0.1")
        self._sender = b""
        self.tally = Tally()
        self.back: list[Draw] = []

    def open(
        self, *, puts: bool = True, pipeline: int = 1, room: int = 4, sessions: int = 0
    ) -> Connection:
        load = Load(
            cycle([(puts, KEY)]).__next__,
            self.back.append,
            put_body(KEY, VALUE, 5_000, in_session=bool(sessions)),
            get_body(KEY, 5_000, "linearizable"),
            len(VALUE),
            pipeline,
            5 * SECOND,
        )
        address = f"127.0.0.1:{self.port}"
        self.connection = Connection(
            self._line, address, b"certificate", load, self.tally, room, sessions
        )
        while not self.connection.up:
            self.connection.look_after(now_us())
        assert self.hear()[1]["command"]["op"] == "present"
        return self.connection

    def _line(self, address: str) -> Line:
        return Line(self._context, address, None, -1)

    def hear(self) -> tuple[bytes, Any]:
        """The next message: its id, and the request or requests in it, commands as maps."""
        self._sender, frame = self._node.recv_multipart()
        parts = part(frame)
        assert parts is not None
        request_id, body = parts
        found = msgpack.unpackb(body)
        for request in found if isinstance(found, list) else [found]:
            request["command"] = msgpack.unpackb(request["command"])
        return request_id, found

    def say(self, *frames: bytes) -> None:
        """A message, and wait until it has arrived."""
        self._node.send_multipart([self._sender, *frames])
        assert self.connection.socket.poll(10_000)
        self.connection.read()

    def reply(self, request_id: bytes, body: Any) -> None:
        self.say(join(request_id, msgpack.packb(body)))

    def lose(self) -> None:
        """The node ends; until the connection's pipe has gone with it."""
        self._node.close()
        while self.connection.socket.poll(10, zmq.POLLOUT):
            pass

    def close(self) -> None:
        self.connection.close()
        self._node.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    context: zmq.Context[Any] = zmq.Context()
    made = Bench(context)
    yield made
    made.close()
    context.term()


def test_it_keeps_full_and_counts_each_answer_once(bench: Bench) -> None:
    connection = bench.open(room=3)
    connection.fill()
    ids = [bench.hear()[0] for _ in range(3)]
    assert len(set(ids)) == connection.under_way == 3
    bench.reply(ids[1], PUT)
    bench.reply(ids[1], PUT)  # a second answer is nobody's
    assert (bench.tally.puts.count, bench.tally.late, connection.room) == (1, 1, 1)
    connection.fill()
    assert bench.hear()[0] not in ids
    assert connection.under_way == 3


def test_a_burst_is_the_replies_in_it(bench: Bench) -> None:
    """An empty id: each reply names its own, and its position where it was in a list."""
    connection = bench.open(pipeline=2, room=4)
    connection.fill()
    messages = [bench.hear() for _ in range(2)]
    assert all(len(requests) == 2 for _id, requests in messages)
    assert all(r["burst"] is True for _id, requests in messages for r in requests)
    replies = [
        {**PUT, "id": messages[1][0], "position": 1},
        {**PUT, "id": messages[0][0], "position": 0},
        {**error(Code.BUSY, retry="later"), "id": messages[1][0], "position": 0},
    ]
    bench.reply(b"", replies)
    assert bench.tally.puts.count == 2
    assert bench.tally.errors == {"busy": 1}
    assert connection.under_way == 1
    bench.reply(messages[0][0], {**PUT, "position": 1})  # alone, as an older node answers
    assert bench.tally.puts.count == 3
    assert connection.under_way == 0


def test_a_burst_without_lists_needs_no_position(bench: Bench) -> None:
    bench.open(puts=False, room=2).fill()
    ids = [bench.hear()[0] for _ in range(2)]
    bench.reply(b"", [{**GET, "id": request_id} for request_id in ids])
    assert bench.tally.gets.count == 2
    assert bench.tally.errors == {}


@pytest.mark.parametrize(
    "result",
    [
        {"found": False, "key_revision": 0},
        {"found": True, "key_revision": 4, "value": VALUE + b"v"},
        {"found": True, "key_revision": 4, "value": b""},
    ],
)
def test_a_get_that_is_not_what_was_put_is_no_success(bench: Bench, result: Any) -> None:
    bench.open(puts=False, room=1).fill()
    bench.reply(bench.hear()[0], {**GET, "result": result})
    assert bench.tally.errors == {"wrong_answer": 1}
    assert bench.tally.gets.count == 0


@pytest.mark.parametrize(
    "frame",
    [
        join(b"x", b"\xc1"),
        join(b"", msgpack.packb([{"result": {}}])),
        join(b"", msgpack.packb(7)),
        join(b"x", msgpack.packb([])),
        join(b"x", b""),
        b"NOPE\1xy",
        b"DKV1",
        b"",
    ],
)
def test_what_is_no_reply_is_counted_and_hurts_nothing(bench: Bench, frame: bytes) -> None:
    connection = bench.open(room=1)
    connection.fill()
    request_id = bench.hear()[0]
    bench.say(frame)
    assert bench.tally.errors == {"not_understood": 1}
    bench.reply(request_id, PUT)
    assert bench.tally.puts.count == 1


def test_writes_wait_for_a_session_and_are_numbered_in_it(bench: Bench) -> None:
    connection = bench.open(room=2, sessions=1)
    connection.fill()
    assert connection.under_way == 0
    connection.look_after(now_us())
    request_id, request = bench.hear()
    assert request["command"] == {"op": "open_session"}
    bench.reply(request_id, {"result": {"session": 9, "ttl_ms": 1}, "revision": 0, "node": "n1"})
    connection.fill()
    first, second = bench.hear(), bench.hear()
    places = [tuple(r[f] for f in ("session", "sequence", "lowest")) for _, r in (first, second)]
    assert places == [(9, 1, 1), (9, 2, 1)]
    bench.reply(second[0], PUT)
    connection.fill()
    assert bench.hear()[1]["lowest"] == 1  # the first is still open
    bench.reply(first[0], error(Code.SESSION_LOST))
    assert connection.room == 1
    connection.fill()
    assert connection.under_way == 1  # nothing under a session that is no more
    connection.look_after(now_us())
    assert bench.hear()[1]["command"] == {"op": "open_session"}


def test_a_refusal_is_counted_by_its_code_and_by_what_is_known(bench: Bench) -> None:
    connection = bench.open(room=3)
    connection.fill()
    ids = [bench.hear()[0] for _ in range(3)]
    bench.reply(ids[0], error(Code.TIMEOUT, "unknown", "same"))
    bench.reply(ids[1], error(Code.NO_LEADER, retry="later"))
    assert bench.tally.errors == {"timeout": 1, "no_leader": 1}
    assert bench.tally.unknown == 1
    assert bench.back == [(True, KEY)] * 2
    connection.fill()
    assert connection.under_way == 1, "it pauses after a refusal that may pass"
    assert bench.tally.fatal is None
    bench.reply(ids[2], error(Code.DENIED))
    assert isinstance(bench.tally.fatal, Denied)


def test_a_node_that_forgot_the_certificate_is_shown_it_again(bench: Bench) -> None:
    connection = bench.open(room=1)
    connection.fill()
    bench.reply(bench.hear()[0], error(Code.CERTIFICATE_NEEDED, retry="same"))
    assert bench.hear()[1]["command"]["op"] == "present"
    assert bench.tally.fatal is None


def test_a_certificate_that_is_refused_ends_it(bench: Bench) -> None:
    bench.open()
    bench.reply(b"present", error(Code.CERTIFICATE_EXPIRED))
    assert isinstance(bench.tally.fatal, Denied)


def test_what_is_not_answered_in_time_is_given_up(bench: Bench) -> None:
    connection = bench.open(room=2)
    connection.fill()
    request_id = bench.hear()[0]
    at_us = now_us()
    connection.look_after(at_us + 5 * SECOND)
    assert connection.under_way == 2  # a node answers at the deadline
    connection.look_after(at_us + 6 * SECOND)
    assert (connection.under_way, connection.room) == (0, 2)
    assert bench.tally.errors == {"timeout": 2}
    assert bench.tally.unknown == 2
    bench.reply(request_id, PUT)
    assert (bench.tally.puts.count, bench.tally.late) == (0, 1)


def test_moving_loses_what_is_under_way(bench: Bench) -> None:
    connection = bench.open(room=2)
    connection.fill()
    connection.move(now_us())
    assert not connection.up
    assert bench.tally.errors == {"lost": 2}
    assert (bench.tally.unknown, connection.room) == (2, 2)


@pytest.mark.parametrize("pipeline", [1, 2])
def test_what_the_connection_does_not_take_was_never_under_way(bench: Bench, pipeline: int) -> None:
    connection = bench.open(room=2, pipeline=pipeline)
    bench.lose()
    connection.fill()
    assert (connection.under_way, connection.room) == (0, 2)
    assert bench.back == [(True, KEY)] * pipeline
    assert (bench.tally.errors, bench.tally.unknown) == ({}, 0)
    connection.look_after(now_us())
    assert not connection.up
