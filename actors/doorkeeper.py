"""The doorkeeper: who may connect (ZAP, ZeroMQ RFC 27).

Owns: the handler at inproc://zeromq.zap.01, which must run before any port is bound; without one, a
CURVE port lets everybody in. Must never know what a connection is used for. No exception leaves it:
one that did would hang every later handshake.

    peer port     keys of verified node certificates; the User-Id is the node's name. Others get
                  300, which libzmq tries again: a key may be admitted yet (a 400 would silence it).
                  libzmq may tell of a 300 only when it gives the handshake up, after 3 s;
                  so the key with which the node tries its own door gets 400, which it hears at once
    client port   any key; the User-Id is the key (Z85), and whoever has not shown a certificate for
                  it is a guest, who may do nothing else
    insecure      everybody is "insecure": the same doors, for the NULL mechanism
"""

import threading
from collections.abc import Mapping

import zmq
from zmq.utils import z85

from actors.mailbox import Context
from actors.port import CLIENT_DOMAIN, PEER_DOMAIN
from dkv.counters import Counters

_ENDPOINT = "inproc://zeromq.zap.01"
_KEY_BYTES = 32


class Doorkeeper(threading.Thread):
    """`peers`: Curve public key (32 bytes) → node name; replaced as a whole, never changed."""

    def __init__(
        self,
        context: Context,
        peers: Mapping[bytes, str],
        *,
        insecure: bool,
        trial_key: bytes = b"",
    ) -> None:
        """`trial_key`: the node's own stranger."""
        super().__init__(name="doorkeeper", daemon=True)
        self.peers = peers
        self.counters = Counters()
        self._insecure = insecure
        self._trial_key = trial_key
        self._arrivals: list[set[str]] = []
        self._socket = context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(_ENDPOINT)

    def arrivals(self) -> set[str]:
        """A new set, into which each member that is let in from now on is put; who reads it takes
        them out."""
        self._arrivals.append(set())
        return self._arrivals[-1]

    def run(self) -> None:
        """Until the context ends."""
        try:
            while True:
                self._answer(self._socket.recv_multipart())
        except zmq.ContextTerminated:
            self._socket.close()

    def _answer(self, frames: list[bytes]) -> None:
        try:
            *route, empty, version, request, domain, _address, _identity, mechanism = frames[:8]
            credentials = frames[8:]
        except ValueError:
            self.counters.add("zap_malformed")
            return
        status, text, user = b"400", b"not admitted", b""
        if version == b"1.0" and not empty:
            status, text, user = self._judge(domain, mechanism, credentials)
        self.counters.add(f"zap_{domain.decode('ascii', 'replace')}_{status.decode()}")
        self._socket.send_multipart([*route, b"", b"1.0", request, status, text, user, b""])

    def _judge(
        self, domain: bytes, mechanism: bytes, credentials: list[bytes]
    ) -> tuple[bytes, bytes, bytes]:
        if self._insecure:
            good = mechanism == b"NULL"
            return (b"200", b"OK", b"insecure") if good else (b"400", b"no security here", b"")
        if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != _KEY_BYTES:
            return b"400", b"CURVE is needed", b""
        key = credentials[0]
        if domain == CLIENT_DOMAIN:
            return b"200", b"OK", z85.encode(key)
        name = self.peers.get(key) if domain == PEER_DOMAIN else None
        if name is None:
            return b"400" if key == self._trial_key else b"300", b"not a member's key, for now", b""
        for each in self._arrivals:
            each.add(name)
        return b"200", b"OK", name.encode()
