"""Becoming a member of a cluster that runs: what a node needs from whoever asks for it.

Owns: the two steps, as a node sees them. Must never know how they are asked (`cli.joining` does, as
a client with the node's certificate at a member's client port).

    introduce   before there is a directory: what makes this cluster, and who is in it
    join        once the directory, and so the disk's id, is durable: that disk takes the seat

Both may be repeated, so a node that dies in between begins again with the same command.
"""

from typing import NamedTuple, Protocol

from dkv.ids import Address, Founding
from dkv.limits import ClusterLimits


class Introduced(NamedTuple):
    """`addresses`: name → peer address of each member; `clients` and `keys` where known."""

    founding: Founding
    limits: ClusterLimits
    addresses: dict[str, Address]
    clients: dict[str, Address]
    keys: dict[str, bytes]


class Joining(Protocol):
    def introduce(self) -> Introduced:
        """Waits for a member that answers. Raises `Fault` where this node is refused."""

    def join(self, disk: int) -> None:
        """Waits until the disk has the seat. Raises `Fault` where it is refused."""
