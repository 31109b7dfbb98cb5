"""Three nodes of ZooKeeper, and a client that speaks its protocol.

Owns: its configuration, who leads, its frames. Must never know other stores. Its defaults sync the
transaction log before a write is acknowledged (forceSync). Its nearest to a linearizable read is
`sync` and then a get on one connection, which is what a get sends here; it is weaker, since a
leader answers `sync` without asking a majority.
"""

import os
import shutil
import socket
import struct
from abc import ABC, abstractmethod
from pathlib import Path

from tests.bench.processes import Processes
from tests.bench.sockets import Broken, Loop
from tests.bench.work import KEYS, VALUE, Measured, Work
from tests.real.cluster import free_ports

_NODES = 3
_JAR = Path(os.environ.get("ZOOKEEPER_JAR", "/usr/share/java/zookeeper.jar"))
_CONF = Path("/etc/zookeeper/conf")  # its log4j settings
_CREATE, _GET, _PUT, _SYNC = 1, 4, 5, 9
_TIMEOUT_MS = 30_000
_WARMUP_S = 3.0  # the virtual machine compiles what runs often
_REPLY_HEAD_BYTES = 16  # xid, zxid, error


class ZooKeeper:
    name = "zookeeper"

    def __init__(self, folder: Path, route: str = "leader") -> None:
        self.folder, self._route = folder, route
        self._processes = Processes(folder)
        ports = free_ports(3 * _NODES)
        self._clients, self._quorum, self._election = ports[:3], ports[3:6], ports[6:]

    @staticmethod
    def absent() -> list[str]:
        """What is not installed, as packages of Debian and Ubuntu."""
        java = [] if shutil.which("java") else ["default-jre-headless"]
        return java + ([] if _JAR.exists() else ["zookeeper"])

    @staticmethod
    def can_run() -> bool:
        return not ZooKeeper.absent()

    def clients(self) -> list[str]:
        return ["python"]

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def version(self) -> str:
        text = _four_letters(self._clients[0], b"srvr")
        return text.partition("version: ")[2].partition(",")[0].partition("-")[0]

    def start(self) -> None:
        """Until it serves, with all keys put, and warm."""
        servers = "".join(
            f"server.{i + 1}=127.0.0.1:{quorum}:{election}\n"
            for i, (quorum, election) in enumerate(zip(self._quorum, self._election, strict=True))
        )
        for i, port in enumerate(self._clients):
            data = self.folder / f"n{i}"
            data.mkdir()
            (data / "myid").write_text(str(i + 1))
            settings = self.folder / f"n{i}.cfg"
            settings.write_text(
                f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={data}\nclientPort={port}\n"
                "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\n"
                f"4lw.commands.whitelist=srvr\n{servers}"
            )
            self._processes.start(f"n{i}", [
                "java", "-Xmx1000m", "-Dzookeeper.root.logger=WARN,CONSOLE",
                f"-Dzookeeper.log.dir={self.folder}", "-cp", f"{_CONF}:{_JAR}",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(settings),
            ])  # fmt: skip
        self._processes.wait_until(self._all_serve, "leader of ZooKeeper")
        self._turns(_Create, 1, 1)
        self._turns(_CreateKey, 64, KEYS)
        for work in (Work("put", 64), Work("get", 64)):
            self.run("python", work, _WARMUP_S)

    def run(self, _client: str, work: Work, seconds: float) -> Measured | None:
        """None for a pipelined work: every work is pipelined on its connections anyway."""
        if work.pipelined:
            return None
        make = {"put": Put, "get": SyncAndGet}[work.operation]
        if work.level == "serializable":
            make = Get
        return Loop("python", make, self._ports(), work.outstanding).run(seconds)

    def close(self) -> None:
        self._processes.kill()

    def _turns(self, make: "type[Talk]", outstanding: int, turns: int) -> None:
        filling = Loop("ZooKeeper's filling", make, self._ports(), outstanding, lambda turn: turn)
        filling.run_turns(turns)

    def _ports(self) -> list[int]:
        if self._route == "spread":
            return self._clients
        leader = self._leader()
        if leader is None:
            raise Broken("ZooKeeper has lost its leader")
        return [leader]

    def _leader(self) -> int | None:
        for port in self._clients:
            if "Mode: leader" in _four_letters(port, b"srvr"):
                return port
        return None

    def _all_serve(self) -> bool:
        return all("Mode: " in _four_letters(port, b"srvr") for port in self._clients)


def _four_letters(port: int, command: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(command)
        text = b""
        while received := sock.recv(4096):
            text += received
    return text.decode(errors="replace")


# -- the protocol: a length, then jute's big-endian fields ---------------------------------------
def path(number: int) -> bytes:
    """16 bytes."""
    return b"/bench/%09d" % number


def _text(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def _packet(content: bytes) -> bytes:
    return _text(content)


class Talk(ABC):
    """A session, and requests with even numbers. A subclass says what it asks."""

    def __init__(self) -> None:
        self._request = 0
        self._rest = b""

    def greet(self, sock: socket.socket) -> None:
        no_session = struct.pack(">iqiq", 0, 0, _TIMEOUT_MS, 0) + _text(bytes(16)) + b"\0"
        sock.sendall(_packet(no_session))
        (length,) = struct.unpack(">i", _exactly(sock, 4))
        _exactly(sock, length)

    def request(self, number: int) -> tuple[int, bytes]:
        self._request += 2
        return self._request, self.ask(self._request, number)

    @abstractmethod
    def ask(self, request: int, number: int) -> bytes:
        """The bytes of a request for the key of this number."""

    def fits(self, answer: bytes) -> bool:
        """Whether a successful answer's body is what was asked for."""
        return True

    def answers(self, received: bytes) -> tuple[list[tuple[int, bool]], bytes]:
        packed, at = self._rest + received, 0
        done: list[tuple[int, bool]] = []
        while len(packed) - at >= 4:
            end = at + 4 + int.from_bytes(packed[at : at + 4], "big")
            if end > len(packed):
                break
            request, _zxid, error = struct.unpack_from(">iqi", packed, at + 4)
            if request > 0 and request % 2 == 0:
                body = packed[at + 4 + _REPLY_HEAD_BYTES : end]
                done.append((request, error == 0 and self.fits(body)))
            elif request > 0 and error:
                raise Broken(f"ZooKeeper refused a sync: {error}")
            at = end
        self._rest = packed[at:]
        return done, b""


class Put(Talk):
    def ask(self, request: int, number: int) -> bytes:
        any_version = struct.pack(">i", -1)
        head = struct.pack(">ii", request, _PUT)
        return _packet(head + _text(path(number)) + _text(VALUE) + any_version)


class Get(Talk):
    def ask(self, request: int, number: int) -> bytes:
        no_watch = b"\0"
        return _packet(struct.pack(">ii", request, _GET) + _text(path(number)) + no_watch)

    def fits(self, answer: bytes) -> bool:
        return answer[4 : 4 + len(VALUE)] == VALUE


class SyncAndGet(Get):
    """The answers come in the order of the requests, so the get's answer stands for both."""

    def ask(self, request: int, number: int) -> bytes:
        sync = _packet(struct.pack(">ii", request + 1, _SYNC) + _text(path(number)))
        return sync + super().ask(request, number)


class _Create(Talk):
    """The parent of all keys."""

    def ask(self, request: int, number: int) -> bytes:
        anyone = struct.pack(">ii", 1, 31) + _text(b"world") + _text(b"anyone")
        node = _text(self.node(number)) + _text(VALUE) + anyone + struct.pack(">i", 0)
        return _packet(struct.pack(">ii", request, _CREATE) + node)

    def node(self, number: int) -> bytes:
        return b"/bench"


class _CreateKey(_Create):
    def node(self, number: int) -> bytes:
        return path(number)


def _exactly(sock: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = sock.recv(count - len(received))
        if not part:
            raise OSError("ZooKeeper ended the connection")
        received += part
    return received
