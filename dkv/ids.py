"""Names, addresses and identities: what a node, a disk and a cluster are called.

Owns: their syntax and how the cluster's id follows from its makers. Must never know how an id is
stored or sent. Disk and boot ids are random 63-bit integers, 0 meaning "not known"; they are
drawn by whoever creates a data directory or starts a node.
"""

import re
from hashlib import blake2b
from random import Random
from typing import NamedTuple

import msgpack

from dkv.errors import Misconfigured
from dkv.limits import INT_MAX, MEMBERS_MAX, NAME_BYTES_MAX

UNKNOWN = 0
CLUSTER_ID_BYTES = 16

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def is_name(text: object) -> bool:
    """Whether `text` may name a node or a certificate: a file name can be made of it."""
    return type(text) is str and len(text) <= NAME_BYTES_MAX and _NAME.match(text) is not None


def check_name(text: str, what: str = "name") -> str:
    """`text`, if it is a name; else `Misconfigured` says what a name looks like."""
    if not is_name(text):
        raise Misconfigured(
            f"{what} {text!r} is not usable: letters, digits, '.', '_', '-', "
            f"beginning with a letter or digit, at most {NAME_BYTES_MAX} of them"
        )
    return text


def draw_id(rng: Random) -> int:
    """A new disk or boot id, never `UNKNOWN`."""
    return rng.randint(1, INT_MAX)


class Address(NamedTuple):
    """Where something listens. An empty host, when listening, is every interface."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """As ZeroMQ spells it."""
        return f"tcp://{Address(self.host or '*', self.port)}"


def parse_address(text: str, what: str = "address", *, needs_host: bool = True) -> Address:
    """`host:port`, `:port` or `[::1]:port` as an `Address`; `Misconfigured` says what is wrong."""
    host, colon, port_text = text.strip().rpartition(":")
    host = host.removeprefix("tcp://")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Misconfigured(f"{what} {text!r}: write an IPv6 address as [address]:port")
    if not colon or not port_text.isascii() or not port_text.isdigit():
        raise Misconfigured(f"{what} {text!r}: it must be host:port, as in 10.0.0.1:2380")
    if not 0 < int(port_text) < 65536:
        raise Misconfigured(f"{what} {text!r}: the port must be between 1 and 65535")
    if needs_host and not host:
        raise Misconfigured(f"{what} {text!r}: the host is missing")
    if any(c.isspace() or c in "/\\,=" or not c.isprintable() for c in host):
        raise Misconfigured(f"{what} {text!r}: {host!r} is not a host")
    return Address(host, int(port_text))


def parse_members(text: str, option: str) -> dict[str, Address]:
    """`name=host:port,name=host:port` as a mapping, in the order given."""
    members: dict[str, Address] = {}
    for part in text.split(","):
        name, equals, address = part.strip().partition("=")
        if not equals:
            raise Misconfigured(
                f"{option}: {part.strip()!r} is not name=host:port; "
                f"write {option} n1=10.0.0.1:2380,n2=10.0.0.2:2380,n3=10.0.0.3:2380"
            )
        check_name(name, f"{option}: node name")
        if name in members:
            raise Misconfigured(f"{option}: {name} is listed twice")
        members[name] = parse_address(address, f"{option}: address of {name}")
    if len(members) > MEMBERS_MAX:
        raise Misconfigured(f"{option}: at most {MEMBERS_MAX} members, {len(members)} given")
    if len(set(members.values())) != len(members):
        raise Misconfigured(f"{option}: two members have the same address")
    return members


class Founding(NamedTuple):
    """What makes a cluster this cluster and no other; fixed for ever when it is created.

    `authority` is the public key that signs its certificates (empty without security), `salt`
    is empty at formation and 16 random bytes for a restored or recovered cluster.
    """

    authority: bytes
    token: str
    names: tuple[str, ...]
    salt: bytes = b""

    def cluster_id(self) -> bytes:
        names = tuple(sorted(self.names))
        packed = msgpack.packb(("dkv cluster", self.authority, self.token, names, self.salt))
        return blake2b(packed, digest_size=CLUSTER_ID_BYTES).digest()
