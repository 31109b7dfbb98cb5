"""Where programs look at a node over HTTP: /metrics, /livez and /readyz.

Owns: the port, who may use it how much, and the three answers. Must never know what a metric means,
nor how an actor answers. Whoever connects is a stranger: it is read for two seconds and 8 KiB, may
GET and nothing else, and its connection ends with the answer. Eight are served at a time and a
hundred a second, the others wait in the kernel; a scrape or a probe that is a moment old is told
again. So nobody here can keep the node from its work.

    /livez     every actor answers: the node need not be restarted
    /readyz    and so would a linearizable read: it may be sent requests
    ?verbose   each check on a line of its own; always so when one fails
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from dkv.errors import Ending, Fault
from dkv.ids import Address
from dkv.messages import Probe, Probed

_HEAD_BYTES_MAX = 8_192
_PATIENCE_S = 2.0  # for a request's head, a probe's answers, and an answer's leaving, each
_CONNECTIONS_MAX = 8
_PACE_S = 0.01  # between two connections
_FRESH_S = 0.25  # for so long what was found is told again
_ALIVE = ("gateway", "consensus", "log", "machine")
_READY = (*_ALIVE, "read")
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}
_USAGE = "There are /metrics, /livez and /readyz, the last two with ?verbose too.\n"

Answer = tuple[int, str, bytes]  # status, content type, body


class Checkup:
    """Asks the node how it is: one probe at a time, and what it found is told for a moment."""

    def __init__(self, ask: Callable[[Probe], None], patience_s: float) -> None:
        self._ask, self._patience_s = ask, patience_s
        self._one = threading.Lock()
        self._heard = threading.Condition()
        self._number = 0
        self._found: dict[str, str] = {}
        self._last: dict[str, str] = {}
        self._until_s = 0.0

    def hear(self, letter: Probed) -> None:
        """An answer; of an older probe it counts for nothing."""
        with self._heard:
            if letter.number == self._number:
                self._found[letter.part] = letter.words
                self._heard.notify_all()

    def matters(self) -> dict[str, str]:
        """What is the matter, by check; nothing where all is well."""
        with self._one:
            if time.monotonic() >= self._until_s:
                self._last = self._probe()
                self._until_s = time.monotonic() + _FRESH_S
            return self._last

    def _probe(self) -> dict[str, str]:
        silence = f"no answer within {self._patience_s:g} s"
        with self._heard:
            self._number += 1
            self._found = {}
            self._ask(Probe(self._number))
            self._heard.wait_for(lambda: len(self._found) == len(_READY), self._patience_s)
            return {check: self._found.get(check, silence) for check in _READY}


class Monitor(threading.Thread):
    """Listens from its construction on; raises `Fault` where it cannot. `render` makes the metrics,
    `ask` takes a probe to the node, whose answers `checkup` hears."""

    def __init__(
        self,
        address: Address,
        render: Callable[[], bytes],
        ask: Callable[[Probe], None],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        super().__init__(name="monitor", daemon=True)
        self.checkup = Checkup(ask, patience_s)
        self._render = render
        self._rendering = threading.Lock()
        self._rendered, self._rendered_until_s = b"", 0.0
        self._free = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self._socket = _listen(address)

    def run(self) -> None:
        """Until it is closed."""
        while True:
            self._free.acquire()
            try:
                connection, _who = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0:
                    return
                self._free.release()
                time.sleep(_PACE_S)  # of file descriptors there are none left, or it was reset
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            time.sleep(_PACE_S)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._socket.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                head = _read_head(connection)
                if head is not None:
                    connection.settimeout(_PATIENCE_S)
                    connection.sendall(_packed(*self.answer(head)))
        finally:
            self._free.release()

    def answer(self, head: bytes) -> Answer:
        """To a request, by its first line."""
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400, _TEXT, b"This is no request of HTTP/1.1.\n"
        if words[0] != b"GET":
            return 405, _TEXT, b"Only GET.\n"
        path, _mark, query = words[1].partition(b"?")
        verbose = b"verbose" in query.split(b"&")
        match path:
            case b"/metrics":
                return 200, _METRICS, self._metrics()
            case b"/livez":
                return self._health("livez", _ALIVE, verbose)
            case b"/readyz":
                return self._health("readyz", _READY, verbose)
            case _:
                return 404, _TEXT, _USAGE.encode()

    def _metrics(self) -> bytes:
        with self._rendering:
            if time.monotonic() >= self._rendered_until_s:
                self._rendered = self._render()
                self._rendered_until_s = time.monotonic() + _FRESH_S
            return self._rendered

    def _health(self, name: str, checks: tuple[str, ...], verbose: bool) -> Answer:
        matters = self.checkup.matters()
        well = not any(matters[check] for check in checks)
        if well and not verbose:
            return 200, _TEXT, b"ok\n"
        lines = [
            f"[-] {check}: {matters[check]}" if matters[check] else f"[+] {check}: ok"
            for check in checks
        ]
        lines.append(f"{name}: {'ok' if well else 'failed'}\n")
        return 200 if well else 503, _TEXT, "\n".join(lines).encode()


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=32)
    except OSError as error:
        words = f"cannot listen on {address} for metrics: {error.strerror or error}"
        raise Fault(Ending.PORT_TAKEN, words) from error


def _read_head(connection: socket.socket) -> bytes | None:
    """A request's head; None from one that is too slow, too long, or gone."""
    end_s = time.monotonic() + _PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head:
        left_s = end_s - time.monotonic()
        if left_s <= 0 or len(head) > _HEAD_BYTES_MAX:
            return None
        connection.settimeout(left_s)
        got = connection.recv(4_096)
        if not got:
            return None
        head += got
    return head


def _packed(status: int, kind: str, body: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *(("Allow: GET",) if status == 405 else ()),
        "Connection: close",
        "\r\n",
    )
    return "\r\n".join(lines).encode() + body
