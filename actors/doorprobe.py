"""A node tries its own doors before it is believed to be closed.

Owns: the four tries. Must never know what runs behind a door. A port without its doorkeeper lets
every stranger in and works otherwise, so nobody would notice.

    peer port     a random key must fail, this node's own must pass
    client port   a random key gets through the handshake, and is answered `certificate_needed`
"""

import time
from struct import Struct
from typing import NamedTuple

import msgpack
import zmq

from actors.mailbox import Context
from actors.port import KeyPair
from dkv.errors import Ending, Fault
from dkv.ids import Address
from dkv.requests import PROTOCOL, pack_command

_PATIENCE_S = 15.0  # for a handshake: the machine may have other work
_ANSWER_S = 5.0
_HANDSHAKE_MS = 5_000
_EVENT = Struct("=H")  # how a monitor's message begins (zmq_socket_monitor(3))
_VERDICTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class Entrances(NamedTuple):
    """Where they are, and the public keys behind them."""

    peer: Address
    peer_key: bytes
    client: Address
    server_key: bytes


def draw_key_pair() -> KeyPair:
    return KeyPair(*zmq.curve_keypair())


def probe(context: Context, doors: Entrances, own: KeyPair, stranger: KeyPair) -> None:
    """Raise `Fault` (DOOR_OPEN) unless both doors behave: within milliseconds, or as long as the
    machine lets it wait. `stranger` is the key that the doorkeeper refuses for good, and that the
    gateway's bound on guests does not count.
    """
    if _shakes_hands(context, doors.peer, doors.peer_key, stranger):
        raise Fault(Ending.DOOR_OPEN, f"the peer port {doors.peer} lets a random key in")
    if not _shakes_hands(context, doors.peer, doors.peer_key, own):
        raise Fault(Ending.DOOR_OPEN, f"the peer port {doors.peer} refuses this node's own key")
    code = _answer_to_a_stranger(context, doors, stranger)
    if code != "certificate_needed":
        raise Fault(
            Ending.DOOR_OPEN,
            f"the client port {doors.client} answers a stranger {code!r}, not certificate_needed",
        )


def _connect(
    context: Context, to: Address, server_key: bytes, keys: KeyPair
) -> "zmq.Socket[bytes]":
    socket = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.set(zmq.CURVE_SERVERKEY, server_key)
    socket.set(zmq.CURVE_PUBLICKEY, keys.public)
    socket.set(zmq.CURVE_SECRETKEY, keys.secret)
    if ":" in to.host:
        socket.set(zmq.IPV6, 1)
    return socket


def _here(address: Address) -> str:
    """How this machine reaches what listens there: an open address is reached by loopback."""
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}
    return f"tcp://{Address(loopback.get(address.host, address.host), address.port)}"


def _shakes_hands(context: Context, to: Address, server_key: bytes, keys: KeyPair) -> bool:
    """Whether a connection with these keys gets through."""
    socket = _connect(context, to, server_key, keys)
    monitor = socket.get_monitor_socket(_VERDICTS)
    try:
        socket.connect(_here(to))
        if not monitor.poll(int(_PATIENCE_S * 1000)):
            raise Fault(
                Ending.DOOR_OPEN,
                f"the peer port {to} answers no handshake within {_PATIENCE_S:.0f} s",
            )
        what, _endpoint = monitor.recv_multipart()  # zmq.utils.monitor would load asyncio
        (event,) = _EVENT.unpack_from(what)
        return bool(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close(0)


def _answer_to_a_stranger(context: Context, doors: Entrances, stranger: KeyPair) -> str:
    socket = _connect(context, doors.client, doors.server_key, stranger)
    try:
        socket.connect(_here(doors.client))
        body = msgpack.packb({"command": pack_command("members")})
        socket.send_multipart([PROTOCOL, b"probe", body])
        give_up = time.monotonic() + _ANSWER_S
        while time.monotonic() < give_up:
            if socket.poll(100):
                reply = msgpack.unpackb(socket.recv_multipart()[-1])
                return str(reply.get("error", {}).get("code", "with a result"))
        return "nothing"
    finally:
        socket.close(0)
