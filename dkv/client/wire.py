"""The client's sockets: one DEALER an endpoint, and the monitor that says how it fares.

Owns: socket options, Curve keys, the sentences about a node that cannot be reached. Must never
know a request. A wrong server key, a node that is down and a door that refuses look alike from the
socket itself; the monitor tells them apart, and libzmq gives some of them up for good, so a new
socket is made.
"""

import errno
from collections.abc import Iterable
from typing import NamedTuple

import zmq
from zmq.backend import Socket as Backend
from zmq.utils.monitor import recv_monitor_message

from dkv.frames import join, part
from dkv.limits import MS
from dkv.requests import PROTOCOL

_NOBLOCK = int(zmq.NOBLOCK)
_EVENTS_NOW = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_RENEW_US = 500 * MS  # between two sockets to an endpoint that failed a handshake
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


_NOTHING = "nothing answers there (is the node running, and the address right?)"
_ENDED = "the connection ended"
_STRANGER = "what answers there is not a node of dkv"
_REFUSED = "its doorkeeper refuses this key"
_UNPROVEN = (
    "it does not prove the server key of the trust file (a trust file of another cluster, or the "
    "address of a peer port?)"
)
_SILENT = "it takes connections and then says nothing (is the node stopped, or overloaded?)"
_SECURED = "it wants a certificate, and this client has none (it was told: insecure)"
_UNSECURED = "it runs without security, or is no node of dkv; this client expects a server key"
# After these libzmq tries no more, or would try the same server key again.
_GIVEN_UP = frozenset((_STRANGER, _REFUSED, _UNPROVEN, _SILENT, _SECURED, _UNSECURED))
_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)


def _why_ended(event: int, before: int) -> str:
    """A handshake that failed is followed by DISCONNECTED, that by CONNECT_RETRIED: neither has
    anything to add."""
    if event == zmq.EVENT_CONNECT_RETRIED:
        return "" if before == zmq.EVENT_DISCONNECTED else _NOTHING
    if before in _FAILURES:
        return ""
    return _STRANGER if before == zmq.EVENT_CONNECTED else _ENDED


class Credentials(NamedTuple):
    """Curve keys, Z85. `server_keys`: what a true server may prove, the newest first."""

    public: bytes
    secret: bytes
    server_keys: tuple[bytes, ...]


class Line:
    """The socket to one endpoint, and what its monitor last said."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: str,
        credentials: Credentials | None,
        bytes_max: int,
    ) -> None:
        self.address = address
        self._context, self._credentials, self._bytes_max = context, credentials, bytes_max
        self._server_key = 0
        self.renew_at_us: int | None = None  # when `renew` makes a new socket
        self._open()

    def _open(self) -> None:
        self._before = 0  # the last event of this socket
        socket = self._context.socket(zmq.DEALER)
        for option, value in (
            (zmq.LINGER, 500),
            (zmq.IMMEDIATE, 1),
            (zmq.MAXMSGSIZE, self._bytes_max),
            (zmq.SNDHWM, 10_000),
            (zmq.RCVHWM, 10_000),
            (zmq.HANDSHAKE_IVL, 2_000),
            (zmq.HEARTBEAT_IVL, 1_000),
            (zmq.HEARTBEAT_TIMEOUT, 3_000),
            (zmq.HEARTBEAT_TTL, 3_000),
            (zmq.RECONNECT_IVL, 50),
            (zmq.RECONNECT_IVL_MAX, 1_000),
            (zmq.CONNECT_TIMEOUT, 2_000),
        ):
            socket.set(option, value)
        if "[" in self.address:
            socket.set(zmq.IPV6, 1)
        if self._credentials is not None:
            keys = self._credentials.server_keys
            socket.set(zmq.CURVE_PUBLICKEY, self._credentials.public)
            socket.set(zmq.CURVE_SECRETKEY, self._credentials.secret)
            socket.set(zmq.CURVE_SERVERKEY, keys[self._server_key % len(keys)])
        self.socket = socket
        self.monitor = socket.get_monitor_socket(_EVENTS)
        socket.connect(f"tcp://{self.address}")

    def send(self, frames: tuple[bytes, bytes, bytes]) -> bool:
        _protocol, request_id, body = frames
        try:
            Backend.send(self.socket, join(request_id, body), _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def has_news(self) -> bool:
        return bool(int(Backend.get(self.monitor, _EVENTS_NOW)) & _POLLIN)

    def replies(self) -> Iterable[tuple[bytes, bytes, bytes]]:
        """The messages that have arrived, parted. Whether there are any is asked before each, for
        the exception that says that there are none costs twice as much."""
        receive, socket, look = Backend.recv, self.socket, Backend.get
        while int(look(socket, _EVENTS_NOW)) & _POLLIN:
            parts = part(receive(socket, _NOBLOCK))  # as it was asked: in one frame
            if parts is not None:
                yield PROTOCOL, *parts

    def news(self, now_us: int) -> Iterable[tuple[bool, str]]:
        """(connected, why not) for each change since the last call."""
        while self.has_news():
            message = recv_monitor_message(self.monitor)
            event, before = message["event"], self._before
            self._before = event
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                yield True, ""
            elif event != zmq.EVENT_CONNECTED:
                why = self._why_failed(event, message["value"]) or _why_ended(event, before)
                if why in _GIVEN_UP and self.renew_at_us is None:  # libzmq tries on meanwhile
                    self.renew_at_us = now_us + _RENEW_US
                if why:
                    yield False, why

    def _why_failed(self, event: int, number: int) -> str:
        """The sentence on a handshake that failed; empty for other events."""
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return _REFUSED
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            if number != errno.EPIPE:
                return _SILENT
            return _SECURED if self._credentials is None else _UNPROVEN  # the other end hung up
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            return _SECURED if self._credentials is None else _UNSECURED
        return ""

    def renew(self, now_us: int) -> bool:
        """A new socket where the old one will not try again; the next server key, if several."""
        if self.renew_at_us is None or now_us < self.renew_at_us:
            return False
        self.renew_at_us = None
        self._server_key += 1
        self.close()
        self._open()
        return True

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()
