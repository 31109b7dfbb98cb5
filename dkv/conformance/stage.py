"""A play's stage: real sockets for its nodes, the driver of the binding, and time that passes.

Owns: one loop over all of them, in one thread, and who said what when. Must never know a rule: a
play is a function that is handed a stage, tells the driver lines, and lets time pass.
"""

import contextlib
import heapq
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import zmq

from dkv.conformance.cast import Cast, Files
from dkv.conformance.driver import READY_S, Broken, Driver
from dkv.conformance.node import Node, Post, Reply, Seen
from dkv.conformance.notes import why_no_message
from dkv.conformance.store import Store
from dkv.security.secrets import CurvePair
from dkv.security.z85 import z85

HOST = "127.0.0.1"
LATE_S = 1.0  # an answer may come so long after its deadline
_LOAD_S = 2.0  # and this machine may be busy
_END_S = 2.0
_PATIENCE = 3  # with a program's start, on a machine that has more to do
_TURN_MS = 200
_Line = dict[str, Any]


class Stage:
    """`size` nodes n1, n2, …, of which `leader` leads; `files` and `endpoints` are what the driver
    is given at its start, with the first line it is told."""

    def __init__(
        self, command: Sequence[str], cast: Cast, *, size: int = 1, timeout_ms: int = 5_000
    ) -> None:
        self._command, self.cast, self.timeout_ms = command, cast, timeout_ms
        self.files: Files | None = cast.plain
        self.leader = "n1"
        self.store = Store()
        self.react: Callable[[Seen], list[Reply] | None] = lambda _seen: None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._posts: list[tuple[float, int, str, Post]] = []
        self._count = itertools.count(1)
        self.nodes: dict[str, Node] = {}
        self.ports: dict[str, int] = {}
        for number in range(1, size + 1):
            self._add(f"n{number}")
        self.endpoints = [self.address(name) for name in self.nodes]
        self.driver: Driver | None = None
        self.ready: _Line = {}
        self.answers: dict[int, _Line] = {}
        self._told: dict[int, float] = {}  # line -> when it must be answered
        self.ops: dict[int, str] = {}  # line -> what it asks for

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self.driver is not None:
            self.driver.kill()
        self._context.destroy(0)

    # -- nodes -----------------------------------------------------------------------------------
    def _add(self, name: str) -> None:
        self.nodes[name] = Node(
            name, self.store, self.cast.client.text, lambda seen: self.react(seen), self._members
        )
        self.ports[name] = free_port()
        self.listen(name)

    def listen(self, name: str, pair: CurvePair | None = None) -> None:
        """Let a node's door be open: at its first time, and after `shut`."""
        door = self._context.socket(zmq.ROUTER)
        door.set(zmq.LINGER, 0)
        door.set(zmq.CURVE_SERVER, 1)
        door.set(zmq.CURVE_SECRETKEY, z85((pair or self.cast.old).secret))
        give_up = time.monotonic() + _END_S
        while True:  # a port that was just left is free a moment later
            try:
                door.bind(f"tcp://{HOST}:{self.ports[name]}")
                break
            except zmq.ZMQError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
        self._sockets[name] = door
        self._poller.register(door, zmq.POLLIN)

    def shut(self, name: str) -> None:
        """End the node's connections; nothing listens there any more."""
        door = self._sockets.pop(name)
        self._poller.unregister(door)
        door.close()
        self._posts = [post for post in self._posts if post[2] != name]
        heapq.heapify(self._posts)

    def babble(self, seen: Seen, frames: tuple[bytes, ...]) -> None:
        """Let a node send to who asked a message that is none."""
        now_s = time.monotonic()
        self.nodes[seen.node].note(now_s, f"said {why_no_message(frames)}")
        post = Post(now_s, seen.client, frames)
        heapq.heappush(self._posts, (now_s, next(self._count), seen.node, post))

    def address(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    def _members(self) -> dict[str, Any]:
        members = [
            {"name": name, "peer_address": "", "client_address": self.address(name)}
            for name in self.nodes
        ]
        return {"leader": self.leader, "term": 1, "members": members, "limits": {}}

    @property
    def seen(self) -> list[Seen]:
        """Every request so far, at whichever node, in the order of arrival."""
        return sorted((s for n in self.nodes.values() for s in n.seen), key=lambda s: s.tick)

    def asked(self, *ops: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.op in ops]

    # -- the driver ------------------------------------------------------------------------------
    def start(self) -> None:
        """Run the driver until it is ready. Raises `Broken`."""
        env = {"DKV_ENDPOINTS": ",".join(self.endpoints), "DKV_TIMEOUT_MS": str(self.timeout_ms)}
        if self.files is not None:
            trust, certificate, key = map(str, self.files)
            env |= {"DKV_TRUST": trust, "DKV_CERTIFICATE": certificate, "DKV_KEY": key}
        else:
            env |= {"DKV_INSECURE": "1"}
        self.driver = Driver(self._command, env)
        self._poller.register(self.driver.stdout_fd, zmq.POLLIN)
        self._poller.register(self.driver.stderr_fd, zmq.POLLIN)
        if not self.run(lambda: bool(self.ready) or self._is_silent(), _PATIENCE * READY_S):
            raise Broken(f"the driver did not say that it is ready within {READY_S:.0f} s")
        if not self.ready:
            raise Broken("the driver ended before it said that it is ready")

    def dismiss(self) -> None:
        """End the driver; the next line is told to another."""
        assert self.driver is not None
        for descriptor in (self.driver.stdout_fd, self.driver.stderr_fd):
            self._forget_descriptor(descriptor)
        self.driver.kill()
        self.driver, self.ready = None, {}

    def _is_silent(self) -> bool:
        return self.driver is not None and self.driver.is_silent

    @property
    def outstanding(self) -> int:
        count = self.ready.get("outstanding", 1)
        return count if type(count) is int else 1

    def tell(self, op: str, *, timeout_ms: int | None = None, **fields: Any) -> int:
        """Have the driver begin a call; its line's number."""
        if self.driver is None:
            self.start()
        assert self.driver is not None
        number = len(self._told) + 1
        self.ops[number] = op
        line: _Line = {"n": number, "op": op}
        line |= {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
        if timeout_ms is not None:
            line["timeout_ms"] = timeout_ms
        deadline_s = (timeout_ms or self.timeout_ms) / 1_000
        self._told[number] = time.monotonic() + deadline_s + LATE_S + _LOAD_S
        self.driver.tell(line)
        return number

    def answer(self, number: int) -> _Line:
        """What the driver answers to a line. Raises `Broken` if it does not, in time."""
        until_s = self._told[number] - time.monotonic()
        self.run(lambda: number in self.answers or self._is_silent(), until_s)
        if number not in self.answers:
            how = "it has ended" if self._is_silent() else "its deadline has long passed"
            raise Broken(f"line {number} got no answer: {how}")
        return self.answers[number]

    def end(self) -> int | None:
        """End of its lines; its exit code, None if it did not end in time."""
        assert self.driver is not None
        driver = self.driver
        driver.end_of_lines()
        self.run(lambda: driver.ended() is not None, _END_S + _LOAD_S)
        return driver.ended()

    # -- time ------------------------------------------------------------------------------------
    def run(self, holds: Callable[[], bool], for_s: float) -> bool:
        """Let time pass until it holds, or for so long; whether it holds."""
        give_up = time.monotonic() + for_s
        while not holds():
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                return False
            self._turn(left_s)
        return True

    def _turn(self, patience_s: float) -> None:
        due_s = self._posts[0][0] - time.monotonic() if self._posts else patience_s
        patience_ms = min(int(max(min(due_s, patience_s), 0) * 1_000) + 1, _TURN_MS)
        ready = dict(self._poller.poll(patience_ms))
        for name, door in list(self._sockets.items()):
            if door in ready:
                self._receive(name, door)
        self._send_due()
        if self.driver is not None:
            self._hear(self.driver)

    def _hear(self, driver: Driver) -> None:
        if not driver.overhear():
            self._forget_descriptor(driver.stderr_fd)
        for line in driver.heard():
            if "ready" in line:
                self.ready = line
            elif type(line.get("n")) is int and line["n"] not in self.answers:
                self.answers[line["n"]] = line
            else:
                raise Broken(f"the driver answered what was not asked, or twice: {line}"[:300])
        if driver.is_silent:
            self._forget_descriptor(driver.stdout_fd)

    def _forget_descriptor(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._poller.unregister(descriptor)

    def _receive(self, name: str, door: "zmq.Socket[bytes]") -> None:
        with contextlib.suppress(zmq.Again):
            while self._sockets.get(name) is door:  # a play may shut it for what it says
                client, *frames = door.recv_multipart(zmq.NOBLOCK)
                tick, now_s = next(self._count), time.monotonic()
                posts = self.nodes[name].receive(client, tuple(frames), now_s, tick)
                for post in posts if self._sockets.get(name) is door else ():
                    heapq.heappush(self._posts, (post.due_s, next(self._count), name, post))

    def _send_due(self) -> None:
        while self._posts and self._posts[0][0] <= time.monotonic():
            _due_s, _count, name, post = heapq.heappop(self._posts)
            with contextlib.suppress(zmq.ZMQError):  # it has gone
                self._sockets[name].send_multipart((post.client, *post.frames), zmq.NOBLOCK)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])
