"""A node's links to members that were away, over real sockets."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq
from zmq.utils import z85

from actors.doorkeeper import Doorkeeper
from actors.doorprobe import draw_key_pair
from actors.mailbox import Context
from actors.port import PEER_DOMAIN, PeerPort
from actors.transport import Transport
from dkv.counters import Counters
from dkv.ids import Address
from dkv.messages import Roster
from tests.real.cluster import PATIENCE_S
from tests.real.strangers import wait_until

OWN, OTHER = draw_key_pair(), draw_key_pair()


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.term()  # the doorkeeper closes its own


def to_n2(context: Context, port: int, came: set[str]) -> Transport:
    transport = Transport(context, "n1", lambda: OWN, 1_000, Counters(), came)
    transport.introduce(Roster((("n2", f"127.0.0.1:{port}", z85.decode(OTHER.public), ""),)))
    return transport


def test_the_doorkeeper_tells_who_came(context: Context) -> None:
    keeper = Doorkeeper(context, {z85.decode(OWN.public): "n1"}, insecure=False)
    came, also = keeper.arrivals(), keeper.arrivals()
    keeper.start()
    at = Address("127.0.0.1", 0)
    with closing(PeerPort(context, at, PEER_DOMAIN, lambda: OTHER, 1_000, Counters())) as door:
        port = int(door.socket.last_endpoint.rpartition(b":")[2])
        with closing(to_n2(context, port, set())) as transport:
            transport.post("n2", b"frame")
            wait_until(lambda: came, "somebody came")
    assert came == also == {"n1"}


def test_who_has_come_back_is_written_to_by_a_new_link_at_once(context: Context) -> None:
    """The old one would try again when ZeroMQ finds it is time, as long as 2 s later."""
    came: set[str] = set()
    with (
        socket.create_server(("127.0.0.1", 0)) as away,
        closing(to_n2(context, away.getsockname()[1], came)) as transport,
    ):
        away.settimeout(PATIENCE_S)
        with away.accept()[0]:  # it says nothing: the link waits for the handshake
            transport.post("n2", b"nobody takes it")
            away.settimeout(1.0)
            with pytest.raises(TimeoutError):
                away.accept()
            came.add("n2")
            transport.post("n2", b"nor this")
            with away.accept()[0]:
                assert came == set()
