"""Core and sockets together: what `Client` and `AsyncClient` both drive.

Owns: the lines, the monotonic clock that core is told, credentials read from files. Must never
wait: whoever drives it decides how.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import zmq

from dkv.client.attempts import Done
from dkv.client.calls import Ask
from dkv.client.core import Core
from dkv.client.wire import Credentials, Line
from dkv.errors import Misconfigured
from dkv.ids import parse_address
from dkv.limits import MIB
from dkv.security.certificate import CLIENT_ROLES
from dkv.security.identity import load_identity

_REPLY_BYTES_MAX = 32 * MIB
_ENDPOINTS_MAX = 16

FilePath = str | Path


def _now_us() -> int:
    return time.monotonic_ns() // 1_000


class Engine:
    """`endpoints` are host:port, one or several, or one string with commas between them."""

    def __init__(
        self,
        endpoints: str | Iterable[str],
        cert: FilePath | None,
        key: FilePath | None,
        cacert: FilePath | None,
        insecure: bool,
        pin: bool,
        passphrase: str | None,
        pipeline: bool = True,
        roles: tuple[str, ...] = CLIENT_ROLES,
    ) -> None:
        named = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
        addresses = [str(parse_address(e, "endpoint")) for e in named if e.strip()]
        if not addresses:
            raise Misconfigured("no endpoint: name at least one node as host:port")
        self._credentials, certificate = load_credentials(
            cert, key, cacert, insecure, passphrase, roles
        )
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lines: list[Line] = []
        self.core = Core(
            addresses, self, Random(), certificate=certificate, pin=pin, pipeline=pipeline
        )
        self.core.now_us = _now_us()
        self._pin = pin
        for address in addresses:
            self._open(address)

    def _open(self, address: str) -> None:
        self.lines.append(Line(self._context, address, self._credentials, _REPLY_BYTES_MAX))

    # -- what core asks for ----------------------------------------------------------------------
    def send(self, endpoint: int, frames: tuple[bytes, bytes, bytes]) -> bool:
        return self.lines[endpoint].send(frames)

    # -- what a driver calls ---------------------------------------------------------------------
    def start(self, ask: Ask[Any], timeout_s: float, done: Done) -> None:
        """Goes out with the next `flush`."""
        self.core.now_us = _now_us()
        self.core.start(
            ask.op,
            ask.fields,
            done,
            timeout_us=int(timeout_s * 1_000_000),
            level=ask.level or "linearizable",
            only=ask.only,
        )

    def flush(self) -> Iterable[int]:
        """Send what is ready; the lines that got something. Sending may take away the signal that
        such a line has replies: read it."""
        return self.core.flush()

    def read(self, number: int) -> None:
        """A line's socket may have replies."""
        core = self.core
        core.now_us = _now_us()
        for frames in self.lines[number].replies():
            core.received(number, frames)

    def watch(self, number: int) -> None:
        """A line's monitor may have news. Replies that came before it are read first."""
        self.read(number)
        for up, why in self.lines[number].news(self.core.now_us):
            if up:
                self.core.connected(number)
            else:
                self.core.disconnected(number, why)

    def tick(self) -> bool:
        """What time has brought; whether a socket was made anew, or one was added."""
        self.core.now_us = _now_us()
        self.core.tick()
        changed = [line.renew(self.core.now_us) for line in self.lines]
        return any(changed) or self.discover()

    def discover(self) -> bool:
        """Lines to the nodes that a node has named; whether there are new ones."""
        found, self.core.found = self.core.found, []
        if not found:
            return False
        known = {line.address for line in self.lines}
        new = [a for a in found if a and a not in known] if not self._pin else []
        for address in new[: _ENDPOINTS_MAX - len(self.lines)]:
            self.core.add_endpoint(address)
            self._open(address)
        return bool(new)

    def wake_us(self) -> int | None:
        """When `tick` must be called at the latest; None: nothing is under way."""
        wake_us = self.core.wake_us
        for line in self.lines:
            if line.renew_at_us is not None and (wake_us is None or line.renew_at_us < wake_us):
                wake_us = line.renew_at_us
        return wake_us

    def patience_us(self, wake_us: int) -> int:
        """How long until then."""
        return max(wake_us - _now_us(), 0)

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self._context.term()


def load_credentials(
    cert: FilePath | None,
    key: FilePath | None,
    cacert: FilePath | None,
    insecure: bool,
    passphrase: str | None,
    roles: tuple[str, ...] = CLIENT_ROLES,
) -> tuple[Credentials | None, bytes]:
    """Curve keys and the certificate to present; (None, b"") without security."""
    if insecure:
        return None, b""
    if cert is None or key is None or cacert is None:
        raise Misconfigured(
            "a certificate, its key and the trust file are needed (cert, key, cacert); "
            "or insecure, for a cluster that runs without security"
        )
    now = int(time.time())
    identity = load_identity(
        Path(cert), Path(key), Path(cacert), now, passphrase=passphrase, roles=roles
    )
    servers = identity.server_keys_z85(now)
    if not servers:
        raise Misconfigured(f"{cacert}: it names no server certificate that is valid now")
    credentials = Credentials(identity.public_z85, identity.secret_z85, servers)
    return credentials, identity.text
