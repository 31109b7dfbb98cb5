"""A closed loop over plain sockets: so many requests under way, each answer followed by the next.

Owns: connections, waits, the end. Must never know a protocol: a `Talk` makes bytes of requests and
answers of bytes. It is as cheap as Python allows (one poll, one receive and one send for whatever
has come), since it shares the machine with the servers that it measures.
"""

import gc
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

from tests.bench.work import Measured, measured, scattered

_CONNECTIONS = 8
_RECEIVE_BYTES = 256 * 1024
_SILENCE_S = 20.0


class Broken(Exception):
    """A server ended the connection, was silent, or answered what it should not."""


class Talk(Protocol):
    """One connection's end of a protocol."""

    def greet(self, sock: socket.socket) -> None:
        """Whatever comes before the first request."""

    def request(self, number: int) -> tuple[int, bytes]:
        """An id, and the bytes that ask for the key of this number."""

    def answers(self, received: bytes) -> tuple[list[tuple[int, bool]], bytes]:
        """(id, whether it succeeded) of each answer that is now complete; bytes to send back."""


class _Line:
    def __init__(self, port: int, talk: Talk) -> None:
        self.talk = talk
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.asked_s: dict[int, float] = {}
        talk.greet(self.sock)


class Loop:
    """One load. `order` gives the key's number of each turn."""

    def __init__(
        self,
        client: str,
        make: Callable[[], Talk],
        ports: list[int],
        outstanding: int,
        order: Callable[[int], int] = scattered,
    ) -> None:
        self._client, self._order = client, order
        count = 1 if outstanding < _CONNECTIONS else _CONNECTIONS
        self._each = outstanding // count
        self._lines: dict[int, _Line] = {}
        for place in range(count):
            line = _Line(ports[place % len(ports)], make())
            self._lines[line.sock.fileno()] = line
        self._turns = self._answered = self._errors = 0

    def run(self, seconds: float, warmup_s: float = 1.0) -> Measured:
        """Errors are those of the whole run, its warm-up too. Broken: a server has gone."""
        from_s = time.perf_counter() + warmup_s
        waits = self._go(from_s, from_s + seconds, None)
        return measured(self._client, waits, seconds, self._errors, from_s + seconds)

    def run_turns(self, turns: int) -> None:
        """Each turn once. Broken: an answer was a refusal."""
        self._go(0.0, float("inf"), turns)
        if self._errors:
            raise Broken(f"{self._client}: {self._errors} of {turns} were refused")

    def _go(self, from_s: float, to_s: float, turns: int | None) -> list[float]:
        gc.collect()
        gc.disable()  # a collection would be a wait of ours, not theirs
        try:
            return self._loop(from_s, to_s, turns)
        except OSError as error:
            raise Broken(f"{self._client}: {error}") from error
        finally:
            gc.enable()
            for line in self._lines.values():
                line.sock.close()

    def _loop(self, from_s: float, to_s: float, turns: int | None) -> list[float]:
        waits: list[float] = []
        poll = select.epoll()
        for number, line in self._lines.items():
            poll.register(number, select.EPOLLIN)
            self._ask(line, self._each, turns)
        while self._answered < self._turns:
            ready = poll.poll(_SILENCE_S)
            if not ready:
                under_way = self._turns - self._answered
                raise Broken(f"{self._client}: no answer for {_SILENCE_S:.0f} s to {under_way}")
            for number, _ in ready:
                line = self._lines[number]
                received = line.sock.recv(_RECEIVE_BYTES)
                if not received:
                    raise Broken(f"{self._client}: the server ended the connection")
                now = time.perf_counter()
                answers, back = line.talk.answers(received)
                if back:
                    line.sock.sendall(back)
                for request, succeeded in answers:
                    wait = now - line.asked_s.pop(request)
                    if not succeeded:
                        self._errors += 1
                    elif from_s <= now < to_s:
                        waits.append(wait)
                self._answered += len(answers)
                if answers and now < to_s:
                    self._ask(line, len(answers), turns)
        poll.close()
        return waits

    def _ask(self, line: _Line, count: int, turns: int | None) -> None:
        if turns is not None:
            count = min(count, turns - self._turns)
        parts, asked_s = [], line.asked_s
        request, order, now = line.talk.request, self._order, time.perf_counter()
        for turn in range(self._turns, self._turns + count):
            number, packed = request(order(turn))
            asked_s[number] = now
            parts.append(packed)
        self._turns += count
        if parts:
            line.sock.sendall(b"".join(parts))
