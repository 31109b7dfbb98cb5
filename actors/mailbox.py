"""How letters pass between the actors of a node: ROUTER and DEALER over inproc.

Owns: the calls of ZeroMQ on the hot path, and the frames inside a node. Must never know what a
letter means. Inside a node nothing is dropped and nothing blocks: high-water marks are 0; the
valves are at the gateway and in the windows.

pyzmq's convenience methods cost more than the work: two frames by `send_multipart` take several
times as long as by the backend's `send` with plain int flags. Only this module and `port` do so.
"""

from typing import Any, NamedTuple

import zmq
from zmq.backend import Socket as Backend

from dkv.address import Local
from dkv.codec import decode, encode

NOBLOCK = int(zmq.NOBLOCK)
SNDMORE = int(zmq.SNDMORE)

receive = Backend.recv
send = Backend.send
_option = Backend.get
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)


def has_more(socket: Any) -> bool:
    """Whether a message is waiting. (To be told by an exception costs twice as much.)"""
    return bool(int(_option(socket, _EVENTS)) & _POLLIN)


Context = zmq.Context[zmq.Socket[bytes]]


def address_of(which: Local, *, quiet: bool = False) -> str:
    return f"inproc://dkv/{which.value}{'/quiet' if quiet else ''}"


class Budget(NamedTuple):
    """What is taken from a source in a turn: so many messages, or until so many bytes."""

    messages: int
    bytes: int


class Mailbox:
    """Where an actor's letters arrive. A quiet one holds what wakes nobody: it is not polled, but
    emptied at each turn that there is for another reason."""

    def __init__(self, context: Context, which: Local, *, quiet: bool = False) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.RCVHWM, 0)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(address_of(which, quiet=quiet))
        self.taken = 0  # letters

    @property
    def is_empty(self) -> bool:
        return not has_more(self.socket)

    def drain(self, budget: Budget) -> tuple[list[Any], bool]:
        """Letters that were waiting, and whether the budget ended before they did."""
        letters: list[Any] = []
        socket, size = self.socket, 0
        more = False
        try:
            for _ in range(budget.messages):
                receive(socket, NOBLOCK)
                frame = receive(socket, NOBLOCK)
                letters += decode(frame)
                size += len(frame)
                more = has_more(socket)
                if not more or size > budget.bytes:
                    break
        except zmq.Again:
            more = False
        self.taken += len(letters)
        return letters, more

    def close(self) -> None:
        self.socket.close()


class Slot:
    """Through which a thread posts to an actor. A shell has one for each destination."""

    def __init__(self, context: Context, which: Local, *, quiet: bool = False) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(address_of(which, quiet=quiet))
        self.posted = 0  # letters: with what a mailbox has taken, how many wait there

    def post(self, letters: list[Any]) -> None:
        self.posted += len(letters)
        send(self.socket, encode(letters))

    def close(self) -> None:
        self.socket.close()
