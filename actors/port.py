"""What faces outside: the two ROUTER sockets on TCP, and the DEALERs to other nodes.

Owns: every socket option, set before bind or connect (later ones do not count), and who a message
is from: the User-Id that the doorkeeper gave its connection, never a routing id. Must never know
what a message says. A port is never a mailbox too: inproc frames carry no User-Id, so a mix would
make strangers insiders.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import zmq

from actors.mailbox import NOBLOCK, SNDMORE, Budget, Context, has_more, receive, send
from dkv.counters import Counters
from dkv.errors import Ending, Fault
from dkv.ids import Address
from dkv.limits import CLIENT_HWM, FRAMES_MAX, PEER_HWM
from dkv.messages import FromClient, FromPeer

PEER_DOMAIN = b"peer"
CLIENT_DOMAIN = b"client"
_REBIND_S = 2.0
_PEER_AFFINITY, _CLIENT_AFFINITY = 1, 2  # I/O threads: a flood of clients must not delay peers


class KeyPair(NamedTuple):
    """A Curve key pair, Z85 as ZeroMQ takes it."""

    public: bytes
    secret: bytes


Keys = Callable[[], KeyPair | None]  # the present ones: they can be renewed while a node runs


def _harden(socket: "zmq.Socket[bytes]", frame_bytes_max: int) -> None:
    """What every socket that touches TCP has.

    No heartbeats of ZeroMQ: libzmq aborts the process (`!_io_error`; 4.3.5 and before) when a
    connection ends while its pipe is full and the timer of its heartbeats comes round. A node that
    was paused finds its ports so. The kernel looks after dead connections: what is not taken within
    3 s ends one that is used, keep-alives one that is not.
    """
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.MAXMSGSIZE, frame_bytes_max),
        (zmq.HANDSHAKE_IVL, 3_000),
        (zmq.TCP_MAXRT, 3_000),
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, 3),
        (zmq.TCP_KEEPALIVE_INTVL, 1),
        (zmq.TCP_KEEPALIVE_CNT, 3),
    ):
        socket.set(option, value)


class Port:
    """A ROUTER that strangers can reach. Without keys there is no security, and ZAP decides yet."""

    def __init__(
        self,
        context: Context,
        address: Address,
        domain: bytes,
        keys: Keys,
        frame_bytes_max: int,
        counters: Counters,
    ) -> None:
        self.counters = counters
        self._address, self._keys, self._bound_keys = address, keys, keys()
        self.socket = context.socket(zmq.ROUTER)
        _harden(self.socket, frame_bytes_max)
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.BACKLOG, 512)
        self.socket.set(zmq.SNDHWM, CLIENT_HWM)
        self.socket.set(zmq.RCVHWM, PEER_HWM if domain == PEER_DOMAIN else CLIENT_HWM)
        peers = domain == PEER_DOMAIN
        self.socket.set(zmq.AFFINITY, _PEER_AFFINITY if peers else _CLIENT_AFFINITY)
        self.socket.set(zmq.ZAP_DOMAIN, domain)
        self.socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        if domain == CLIENT_DOMAIN:
            self.socket.set(zmq.LINGER, 500)  # a stopping node's last replies
        if ":" in address.host:
            self.socket.set(zmq.IPV6, 1)
        self._bind(0)

    def _bind(self, patience_s: float) -> None:
        """Listen, with the keys of now. An address that this socket has just left is free only a
        moment later."""
        if self._bound_keys is not None:
            self.socket.set(zmq.CURVE_SERVER, 1)
            self.socket.set(zmq.CURVE_SECRETKEY, self._bound_keys.secret)
        give_up = time.monotonic() + patience_s
        while True:
            try:
                self.socket.bind(self._address.endpoint)
                self._endpoint = str(self.socket.get_string(zmq.LAST_ENDPOINT))
                return
            except zmq.ZMQError as error:
                if error.errno == zmq.EADDRINUSE and time.monotonic() < give_up:
                    time.sleep(0.005)
                    continue
                self.socket.close()
                words = f"cannot listen on {self._address}: {error.strerror or error}"
                raise Fault(Ending.PORT_TAKEN, words) from error

    def renew(self) -> None:
        """Listen with new keys, if there are any. libzmq ends a listener's connections with it
        (measured): peers and clients come back by themselves, if they know the new key."""
        keys = self._keys()
        if keys == self._bound_keys:
            return
        self._bound_keys = keys
        self.socket.unbind(self._endpoint)
        self._bind(_REBIND_S)

    def receive(self) -> tuple[bytes, str, tuple[bytes, ...]] | None:
        """(routing id, User-Id, frames) of one message; None for one that is noise. Raises
        `zmq.Again` when nothing is there."""
        socket = self.socket
        routing_id: bytes = receive(socket, NOBLOCK)  # a ROUTER always has more behind it
        part = receive(socket, NOBLOCK, False)  # asking a Frame for `more` costs least
        frames: list[bytes] = [part.bytes]
        user = _user_of(part)
        while part.more:
            part = receive(socket, NOBLOCK, False)
            if len(frames) <= FRAMES_MAX:
                frames.append(part.bytes)
        if not user:
            self.counters.add("messages_without_user")
            return None
        if len(frames) > FRAMES_MAX:
            self.counters.add("messages_with_too_many_frames")
            return None
        return routing_id, user, tuple(frames)

    def post(self, routing_id: bytes, frames: tuple[bytes, ...]) -> None:
        """A reply, if its connection still takes it."""
        *first, last = frames
        try:
            send(self.socket, routing_id, NOBLOCK | SNDMORE)
            for frame in first:
                send(self.socket, frame, NOBLOCK | SNDMORE)
            send(self.socket, last, NOBLOCK)
        except zmq.Again:
            self.counters.add("replies_dropped_client_slow")
        except zmq.ZMQError:
            self.counters.add("replies_dropped_client_gone")

    def close(self) -> None:
        self.socket.close()


def _user_of(frame: "zmq.Frame") -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


class PeerPort(Port):
    """Where other nodes' frames arrive: one frame a message."""

    def drain(self, budget: Budget) -> tuple[list[FromPeer], bool]:
        letters: list[FromPeer] = []
        size = 0
        try:
            for _ in range(budget.messages):
                message = self.receive()
                if message is None:
                    continue
                _routing_id, user, frames = message
                size += sum(map(len, frames))
                if len(frames) == 1:
                    letters.append(FromPeer("" if user == "insecure" else user, frames[0]))
                else:
                    self.counters.add("peer_frames_malformed")
                if not has_more(self.socket):
                    return letters, False
                if size > budget.bytes:
                    break
        except zmq.Again:
            return letters, False
        return letters, True


class ClientPort(Port):
    """Where clients' messages arrive, and their replies leave."""

    def drain(self, budget: Budget) -> tuple[list[FromClient], bool]:
        letters: list[FromClient] = []
        size = 0
        try:
            for _ in range(budget.messages):
                message = self.receive()
                if message is not None:
                    letters.append(FromClient(*message))
                    size += sum(map(len, letters[-1].frames))
                    if len(letters) == 1 and not has_more(self.socket):
                        return letters, False
                    if size > budget.bytes:
                        break
        except zmq.Again:
            return letters, False
        return letters, True


class Link:
    """A DEALER to another node's peer port. Nothing waits in it for a node that is away."""

    def __init__(
        self,
        context: Context,
        endpoint: str,
        keys: KeyPair | None,
        server_key: bytes,
        frame_bytes_max: int,
    ) -> None:
        self.target = (endpoint, server_key)
        self.socket = context.socket(zmq.DEALER)
        _harden(self.socket, frame_bytes_max)
        self.socket.set(zmq.AFFINITY, _PEER_AFFINITY)
        self.socket.set(zmq.IMMEDIATE, 1)
        self.socket.set(zmq.SNDHWM, PEER_HWM)
        self.socket.set(zmq.RECONNECT_IVL, 100)
        self.socket.set(zmq.RECONNECT_IVL_MAX, 2_000)
        self.socket.set(zmq.CONNECT_TIMEOUT, 2_000)
        if "[" in endpoint:
            self.socket.set(zmq.IPV6, 1)
        if keys is not None:
            self.socket.set(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.set(zmq.CURVE_SECRETKEY, keys.secret)
            self.socket.set(zmq.CURVE_SERVERKEY, server_key)
        self.socket.connect(endpoint)

    def post(self, frame: bytes) -> bool:
        """Whether the pipe took it; Raft repairs what it did not."""
        try:
            send(self.socket, frame, NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self.socket.close()
