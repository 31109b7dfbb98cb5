"""Where letters go, and when it is.

Owns: the destinations an outbox may name, and the instant a shell hands in. Must never know sockets
or clocks.
"""

from enum import Enum
from typing import Any, NamedTuple


class Local(Enum):
    """The actors of this node, and the shell that hosts the one who speaks."""

    CONSENSUS = "consensus"
    LOG = "log"
    MACHINE = "machine"
    GATEWAY = "gateway"
    SHELL = "shell"
    NODE = "node"


class Peer(NamedTuple):
    """Another member's consensus, with the disk and boot that a letter is meant for (0: any)."""

    name: str
    disk: int
    boot: int


class Member(NamedTuple):
    """A member to whom a sealed frame goes: by name; its shell knows address and key."""

    name: str


class Client(NamedTuple):
    """A connection on the client port, by its routing id."""

    routing_id: bytes


Destination = Local | Peer | Member | Client
Outbox = list[tuple[Destination, Any]]


class Instant(NamedTuple):
    """Now, as a shell hands it in: monotonic microseconds, and Unix milliseconds for people."""

    us: int
    wall_ms: int
