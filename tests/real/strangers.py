"""Whom a node meets at its ports: guests, thieves of a node's key, and what speaks no ZeroMQ.

Owns: raw sockets, and frames made by hand. Must never know what a node should answer. Everything
waits for an event, with a bound that only a failure reaches.
"""

import itertools
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from dkv.codec import seal, unseal
from dkv.messages import Envelope
from dkv.requests import PROTOCOL, pack_command
from dkv.security.identity import KIND
from dkv.security.secrets import CurvePair, curve_pair, draw_curve_pair, read_secret
from dkv.security.z85 import z85
from tests.real.cluster import PATIENCE_S, Cluster

Reply = dict[str, Any]
_VERDICTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


def wait_until(holds: Callable[[], Any], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.02)


def pair_of(cluster: Cluster, who: str) -> CurvePair:
    """The key pair that lies in the cluster's folder of certificates."""
    return curve_pair(read_secret(cluster.folder / "certs" / f"{who}.key", KIND))


def text_of(cluster: Cluster, who: str) -> bytes:
    return (cluster.folder / "certs" / f"{who}.cert").read_bytes()


class Dealer:
    """A DEALER of a context of its own; `options` are set before it connects."""

    def __init__(self, port: int, options: Iterable[tuple[int, Any]] = ()) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.HANDSHAKE_IVL, 1_000), *options):
            self.socket.set(option, value)
        self._monitor = self.socket.get_monitor_socket(_VERDICTS | zmq.EVENT_DISCONNECTED)
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def __enter__(self) -> "Dealer":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        self._context.destroy(0)

    def event(self) -> int:
        """The next handshake or end of a connection."""
        assert self._monitor.poll(int(PATIENCE_S * 1_000)), "nothing happened to the connection"
        return int(recv_monitor_message(self._monitor)["event"])

    def is_let_in(self) -> bool:
        """Whether the first handshake succeeds."""
        event = self.event()
        return event == zmq.EVENT_HANDSHAKE_SUCCEEDED

    def wait_for_the_end(self) -> None:
        while self.event() != zmq.EVENT_DISCONNECTED:
            pass


def curve(pair: CurvePair, server_key: bytes) -> list[tuple[int, Any]]:
    """The options of a Curve client."""
    return [
        (zmq.CURVE_PUBLICKEY, z85(pair.public)),
        (zmq.CURVE_SECRETKEY, z85(pair.secret)),
        (zmq.CURVE_SERVERKEY, z85(server_key)),
    ]


# -- at the client port --------------------------------------------------------------------------
class Caller(Dealer):
    """Speaks the clients' protocol by hand, with a key pair (`who`: one of the cluster's)."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        who: str = "",
        pair: CurvePair | None = None,
        options: Iterable[tuple[int, Any]] = (),
    ) -> None:
        pair = pair or (pair_of(cluster, who) if who else draw_curve_pair())
        keys = curve(pair, pair_of(cluster, "server").public)
        super().__init__(cluster.clients[node], [*keys, *options])
        self._ids = itertools.count(1)
        if who:
            assert "result" in self.present(text_of(cluster, who))

    def __enter__(self) -> "Caller":
        return self

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def hear(self) -> tuple[bytes, Reply]:
        """(request id, body) of the next reply."""
        assert self.socket.poll(int(PATIENCE_S * 1_000)), "no reply"
        _protocol, request_id, body = self.socket.recv_multipart()
        return request_id, msgpack.unpackb(body)

    def ask(self, op: str, header: dict[str, Any] | None = None, **fields: Any) -> Reply:
        """The reply to a request; others are an error."""
        request_id = b"%d" % next(self._ids)
        body = {"command": pack_command(op, **fields), **(header or {})}
        self.say(PROTOCOL, request_id, msgpack.packb(body))
        answered, reply = self.hear()
        assert answered == request_id
        return reply

    def present(self, text: bytes) -> Reply:
        return self.ask("present", certificate=text)


def code_of(reply: Reply) -> str:
    return str(reply["error"]["code"]) if "error" in reply else "ok"


# -- at the peer port ----------------------------------------------------------------------------
class Thief(Dealer):
    """Has a member's key and writes to another member what it likes; `envelope` is a true one."""

    def __init__(self, cluster: Cluster, name: str, target: str, envelope: Envelope) -> None:
        keys = curve(pair_of(cluster, name), pair_of(cluster, target).public)
        super().__init__(cluster.peers[target], keys)
        self._envelope = envelope

    def __enter__(self) -> "Thief":
        return self

    def post(self, *letters: Any, **changes: Any) -> None:
        self.say(seal(self._envelope._replace(**changes), letters))

    def say(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)


def overhear(cluster: Cluster, name: str) -> Envelope:
    """What the leader writes on its letters to `name`, read in its place: it is stopped, its port
    taken, and it is started again. Nobody knows disk and boot of `name` here: they are 0."""
    assert cluster.stop(name) == {name: 0}
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    port = context.socket(zmq.ROUTER)
    port.set(zmq.CURVE_SERVER, 1)
    port.set(zmq.CURVE_SECRETKEY, z85(pair_of(cluster, name).secret))
    port.bind(f"tcp://127.0.0.1:{cluster.peers[name]}")
    assert port.poll(int(PATIENCE_S * 1_000)), "nobody writes to it"
    envelope, _letters = unseal(port.recv_multipart()[-1])
    context.destroy(0)
    cluster.start(name)
    cluster.wait_serving(name)
    return envelope


def envelope_of(cluster: Cluster, name: str, overheard: Envelope) -> Envelope:
    """As `name` itself would write to anybody now."""
    with cluster.client(name) as kv:
        facts = kv.status()["consensus"]
    return overheard._replace(
        name=name, disk=facts["disk"], boot=facts["boot"], to_disk=0, to_boot=0
    )


# -- what is no ZeroMQ ---------------------------------------------------------------------------
def greeting(mechanism: bytes, version: bytes = b"\3\1") -> bytes:
    """The first 64 bytes of a ZMTP 3 connection."""
    return b"\xff" + bytes(8) + b"\x7f" + version + mechanism.ljust(20, b"\0") + bytes(32)


@contextmanager
def plugs(ports: Iterable[int], count: int = 1) -> Iterator[list[socket.socket]]:
    """Bare TCP connections, `count` to each port."""
    opened = [
        socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        for port in ports
        for _ in range(count)
    ]
    try:
        yield opened
    finally:
        for plug in opened:
            plug.close()


def send_all(plug: socket.socket, data: bytes) -> None:
    """As much as the other side takes before it hangs up."""
    try:
        plug.sendall(data)
    except OSError:
        return


def wait_until_closed(plug: socket.socket, trickle: bytes = b"") -> int:
    """How many bytes it said before it hung up. `trickle` is repeated, a byte at a time, all the
    while."""
    said, give_up = 0, time.monotonic() + PATIENCE_S
    plug.settimeout(0.1)
    for byte in itertools.cycle(trickle or (None,)):
        assert time.monotonic() < give_up, f"still open after {PATIENCE_S:.0f} s"
        try:
            if byte is not None:
                plug.sendall(bytes((byte,)))
            data = plug.recv(4_096)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not data:
            return said
        said += len(data)
    raise AssertionError
