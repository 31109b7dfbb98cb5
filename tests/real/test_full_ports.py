"""A port whose pipe is full when the connection ends: nothing that a stranger or a pause can do
may abort the process."""

import subprocess
import sys

import pytest

# A process of its own: libzmq's assertion takes down whoever has the socket.
SCRIPT = """
import sys, time, zmq
from actors.doorkeeper import Doorkeeper
from actors.port import PeerPort, ClientPort, CLIENT_DOMAIN, PEER_DOMAIN
from dkv.counters import Counters
from dkv.ids import Address
from tests.real.cluster import free_ports

context, other = zmq.Context(io_threads=2), zmq.Context()
Doorkeeper(context, {}, insecure=True).start()
[number] = free_ports(1)
kind, domain = {"peer": (PeerPort, PEER_DOMAIN), "client": (ClientPort, CLIENT_DOMAIN)}[sys.argv[1]]
port = kind(context, Address("127.0.0.1", number), domain, lambda: None, 1 << 20, Counters())
sender = other.socket(zmq.DEALER)
sender.set(zmq.SNDHWM, 0)
sender.connect(f"tcp://127.0.0.1:{number}")
for _ in range(30_000):
    sender.send(b"x" * 1_000)  # more than the port's pipe holds, and nobody takes any
time.sleep(0.5)
sender.close(0)
other.term()
time.sleep(2.5)
print("alive", flush=True)
"""


@pytest.mark.parametrize("kind", ["peer", "client"])
def test_a_connection_that_ends_while_its_pipe_is_full(kind: str) -> None:
    """Found by real chaos: a node that was paused for 7 s under load aborted when it went on."""
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind], capture_output=True, text=True, check=False
    )
    assert run.stdout == "alive\n", run.stderr
