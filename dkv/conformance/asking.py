"""A stranger at a node's door: frames made by hand, and what comes back.

Owns: its sockets, one a connection, with a certificate or as a guest. Must never know which rule is
being tried.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import zmq

from dkv.conformance.driver import Broken
from dkv.limits import ClusterLimits
from dkv.requests import PROTOCOL, pack_command
from dkv.security.identity import Identity
from dkv.security.secrets import CurvePair, draw_curve_pair
from dkv.security.z85 import z85

Reply = dict[str, Any]


class Caller:
    """One connection; `pair` None: without CURVE."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        address: str,
        pair: CurvePair | None,
        server_key: bytes,
        timeout_s: float,
    ) -> None:
        self.timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._socket = context.socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        if pair is not None:
            self._socket.set(zmq.CURVE_PUBLICKEY, z85(pair.public))
            self._socket.set(zmq.CURVE_SECRETKEY, z85(pair.secret))
            self._socket.set(zmq.CURVE_SERVERKEY, server_key)
        self._socket.connect(f"tcp://{address}")

    def say(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def hear(self, within_s: float | None = None) -> tuple[bytes, ...] | None:
        """The frames of the next message, None if none comes in time."""
        patience_s = self.timeout_s if within_s is None else within_s
        if not self._socket.poll(int(patience_s * 1_000)):
            return None
        return tuple(self._socket.recv_multipart())

    def reply(self) -> tuple[bytes, Any]:
        """(request id, body) of the next message, which must have three frames. Raises `Broken`."""
        frames = self.hear()
        if frames is None:
            raise Broken(f"no answer within {self.timeout_s:g} s")
        if len(frames) != 3 or frames[0] != PROTOCOL:
            raise Broken(f"an answer of frames {[frame[:16].hex() for frame in frames]}")
        return frames[1], unpacked(frames[2])

    def send(self, body: Any) -> bytes:
        """A body under an id of its own, which is returned; bytes go as they are."""
        request_id = b"%d" % next(self._ids)
        packed = body if isinstance(body, bytes) else msgpack.packb(body)
        self.say(PROTOCOL, request_id, packed)
        return request_id

    def body(self, body: Any) -> Reply:
        """The one reply to it. Raises `Broken`."""
        request_id = self.send(body)
        answered, found = self.reply()
        if answered != request_id or type(found) is not dict:
            raise Broken(f"asked under {request_id!r}, answered under {answered!r} with {found}")
        return found

    def ask(self, op: str, around: dict[str, Any] | None = None, **fields: Any) -> Reply:
        return self.body({"command": pack_command(op, **fields), **(around or {})})

    def close(self) -> None:
        self._socket.close()


def unpacked(body: bytes) -> Any:
    """Raises `Broken`."""
    try:
        return msgpack.unpackb(body)
    except Exception:
        raise Broken(f"a body that is no msgpack: {body[:40].hex()}") from None


class Door:
    """A node's client address. `identity` None: a cluster without security. `name` begins every key
    that is written here."""

    def __init__(self, address: str, identity: Identity | None, timeout_s: float) -> None:
        self.address, self.identity, self.timeout_s = address, identity, timeout_s
        self.name = b"conformance/%d/" % time.time_ns()
        self.limits = ClusterLimits()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys = b""
        if identity is not None:
            keys = identity.server_keys_z85(int(time.time()))
            self._keys = keys[0] if keys else b""

    @contextmanager
    def caller(self) -> Iterator[Caller]:
        """A connection that has shown its certificate. Raises `Broken` where that is refused."""
        pair = self.identity.pair if self.identity is not None else None
        caller = Caller(self._context, self.address, pair, self._keys, self.timeout_s)
        try:
            if self.identity is not None:
                reply = caller.ask("present", certificate=self.identity.text)
                if "error" in reply:
                    raise Broken(f"the certificate was refused: {reply['error']}")
            yield caller
        finally:
            caller.close()

    @contextmanager
    def guest(self) -> Iterator[Caller]:
        """One with a key that the node has never seen."""
        pair = draw_curve_pair()
        caller = Caller(self._context, self.address, pair, self._keys, self.timeout_s)
        try:
            yield caller
        finally:
            caller.close()

    def close(self) -> None:
        self._context.destroy(0)
