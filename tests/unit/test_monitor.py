"""What the HTTP port answers, and to whom; what a probe asks of the actors."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from actors.monitor import Monitor
from dkv.address import Local
from dkv.errors import Code, Ending, Fault
from dkv.ids import Address
from dkv.messages import (
    Describe,
    Described,
    Found,
    Led,
    Lookup,
    Probe,
    Probed,
    ReadAt,
    ReadIndex,
    Refused,
    Stop,
)
from tests.unit.front import Front

PARTS = ("gateway", "consensus", "log", "machine", "read")


@contextmanager
def monitor(
    answer: Callable[[Monitor, Probe], None], patience_s: float = 10.0
) -> Iterator[tuple[Monitor, int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = Address("127.0.0.1", port)
    made = Monitor(address, lambda: b"# none\n", lambda p: answer(made, p), patience_s)
    made.start()
    try:
        yield made, port
    finally:
        made.close()


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(request)
        got = b""
        try:
            while part := connection.recv(65_536):
                got += part
        except ConnectionError:  # it was ended with something unread
            pass
        return got


def well(made: Monitor, probe: Probe) -> None:
    hears(made, probe, {})


def hears(made: Monitor, probe: Probe, matters: dict[str, str]) -> None:
    """From another thread, as in a node."""

    def say() -> None:
        for part in PARTS:
            made.checkup.hear(Probed(probe.number, part, matters.get(part, "")))

    threading.Thread(target=say).start()


def test_a_node_that_is_well_says_so_shortly() -> None:
    with monitor(well) as (_made, port):
        for path in (b"/livez", b"/readyz"):
            got = ask(port, b"GET %s HTTP/1.1\r\nHost: n1\r\n\r\n" % path)
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert got.endswith(b"\r\n\r\nok\n")
        got = ask(port, b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"version=0.0.4" in got
        assert got.endswith(b"# none\n")


def test_each_check_is_a_line() -> None:
    with monitor(lambda m, p: hears(m, p, {"read": "n1 knows no leader"})) as (_made, port):
        got = ask(port, b"GET /readyz?verbose HTTP/1.1\r\n\r\n").decode()
        assert got.startswith("HTTP/1.1 503 ")
        assert "[+] log: ok\n[+] machine: ok\n[-] read: n1 knows no leader\nreadyz: failed\n" in got
        assert (
            "\nok\n" in ask(port, b"GET /livez HTTP/1.1\r\n\r\n").decode()
        )  # that is another matter


def test_who_does_not_answer_is_named() -> None:
    def all_but_the_log(made: Monitor, probe: Probe) -> None:
        for part in PARTS:
            if part != "log":
                made.checkup.hear(Probed(probe.number, part))
                made.checkup.hear(Probed(probe.number - 1, "log"))  # to an older probe: nothing

    with monitor(all_but_the_log, 0.01) as (_made, port):
        got = ask(port, b"GET /livez HTTP/1.1\r\n\r\n")
        assert b" 503 " in got
        assert b"[-] log: no answer within 0.01 s\n" in got


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"\x00\xff \r\n\r\n", b"400"),
        (b"GET /" + b"a" * 7_000 + b" HTTP/1.1\r\n\r\n", b"404"),
    ],
)
def test_anything_else_is_refused_in_words(request_: bytes, status: bytes) -> None:
    with monitor(well) as (_made, port):
        got = ask(port, request_)
        assert got.split(b" ")[1] == status
        assert got.endswith(b".\n")


def test_a_head_without_end_is_cut_off_and_others_are_served() -> None:
    with monitor(well) as (_made, port):
        assert ask(port, b"a" * 100_000) == b""
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(7)]
        assert b" 200 " in ask(port, b"GET /livez HTTP/1.1\r\n\r\n")
        for connection in idle:
            connection.close()


def test_an_address_in_use_ends_the_start_with_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(Fault, match="for metrics: Address already in use") as caught:
            Monitor(address, bytes, lambda _probe: None)
    assert caught.value.ending is Ending.PORT_TAKEN


# -- the gateway's part --------------------------------------------------------------------------
def parts(front: Front) -> dict[str, str]:
    """What it has told so far."""
    told = [x for x in front.inside if isinstance(x, Probed)]
    front.inside = [x for x in front.inside if not isinstance(x, Probed)]
    assert {p.number for p in told} <= {4}
    return {p.part: p.words for p in told}


def test_a_probe_takes_the_way_of_a_read() -> None:
    front = Front()
    front.handle(Probe(4))
    assert parts(front) == {"gateway": ""}
    *asked, read = front.inside
    assert [type(x) for x in asked] == 3 * [Describe]
    assert isinstance(read, ReadIndex)
    front.inside.clear()
    front.handle(Described(read.batch, "log", b""), ReadAt(read.batch, 9))
    assert parts(front) == {"log": ""}
    (lookup,) = front.inside
    assert isinstance(lookup, Lookup)
    front.handle(Found(lookup.batch, 0, (b"",)))
    assert parts(front) == {"read": ""}


def test_a_probe_is_told_why_no_read_would_be_answered() -> None:
    front = Front()
    front.lead("", 2)
    front.handle(Probe(4))
    assert parts(front)["read"] == "n1 knows no leader"
    front.lead("n2", 3)
    front.handle(Probe(4))
    (read,) = [x for x in front.inside if isinstance(x, ReadIndex)]
    front.handle(Refused(read.batch, Code.NO_LEADER))
    assert "leader" in parts(front)["read"]
    front.handle(Led(3, "n2", False, ("n3",)), Probe(4))
    assert parts(front)["read"] == "it waits for n3"
    front.handle(Stop(), Probe(4))
    assert parts(front)["read"] == "n1 is stopping"


def test_only_the_latest_probe_is_answered() -> None:
    front = Front()
    front.handle(Probe(3))
    first = front.inside[-1].batch
    front.inside.clear()
    front.handle(Probe(4))
    assert parts(front) == {"gateway": ""}
    front.handle(Described(first, "log", b""), ReadAt(first, 9), Refused(first, Code.BUSY))
    assert parts(front) == {}
    assert Local.NODE
