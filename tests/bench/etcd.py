"""Three nodes of etcd, and its two clients: h2load, and one in Python.

Owns: its flags, who leads, the check that puts became revisions. Must never know other stores. Its
defaults sync the log before a write is acknowledged; none is changed but the database's quota,
which a long run of puts would reach.
"""

import http.client
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench import h2load, http2
from tests.bench.processes import Processes
from tests.bench.sockets import Broken, Loop
from tests.bench.work import KEYS, Measured, Work
from tests.real.cluster import free_ports

_NODES = 3
_QUOTA_BYTES = 8 * 2**30
# With all the keys, where h2load has a few: as its check, and for the wait of one client.
_PYTHON_WORKS = tuple(Work(operation, n) for operation in ("put", "get") for n in (1, 64))


class Etcd:
    name = "etcd"

    def __init__(self, folder: Path, route: str = "leader") -> None:
        self.folder, self._route = folder, route
        self._processes = Processes(folder)
        ports = free_ports(2 * _NODES)
        self._clients, self._peers = ports[:_NODES], ports[_NODES:]

    @staticmethod
    def absent() -> list[str]:
        """What is not installed, as packages of Debian and Ubuntu."""
        packages = {"etcd": "etcd-server", "h2load": "nghttp2-client"}
        return [package for program, package in packages.items() if not shutil.which(program)]

    @staticmethod
    def can_run() -> bool:
        return shutil.which("etcd") is not None

    def clients(self) -> list[str]:
        return ["h2load", "python"] if h2load.is_here() else ["python"]

    @property
    def pids(self) -> list[int]:
        return self._processes.pids

    def version(self) -> str:
        printed = subprocess.run(["etcd", "--version"], capture_output=True, text=True).stdout
        return printed.split("\n", 1)[0].rpartition(" ")[2]

    def start(self) -> None:
        """Until it serves, with all keys put."""
        pairs = [f"n{i}={_url(port)}" for i, port in enumerate(self._peers)]
        for i, (client, peer) in enumerate(zip(self._clients, self._peers, strict=True)):
            self._processes.start(f"n{i}", [
                "etcd", "--name", f"n{i}", "--data-dir", str(self.folder / f"n{i}"),
                "--listen-client-urls", _url(client), "--advertise-client-urls", _url(client),
                "--listen-peer-urls", _url(peer), "--initial-advertise-peer-urls", _url(peer),
                "--initial-cluster", ",".join(pairs), "--initial-cluster-state", "new",
                "--quota-backend-bytes", str(_QUOTA_BYTES),
                "--logger", "zap", "--log-level", "warn",
            ])  # fmt: skip
        self._processes.wait_until(self._all_follow, "leader of etcd")
        fill = partial(http2.Calls, Work("put", 64))
        Loop("etcd's filling", fill, self._ports(), 64, lambda turn: turn).run_turns(KEYS)

    def run(self, client: str, work: Work, seconds: float) -> Measured | None:
        """None: this client is not for this work. etcd needs no pipelining of ours: calls share a
        connection anyway."""
        if work.pipelined or (client == "python" and work not in _PYTHON_WORKS):
            return None
        before = self._revision()
        ports = self._ports()
        if client == "h2load":
            done = h2load.run(work, ports, seconds, self.folder)
        else:
            make = partial(http2.Calls, work)
            done = Loop("python", make, ports, work.outstanding).run(seconds)
        grown = self._revision() - before
        if work.operation == "put" and grown < done.operations:
            raise Broken(f"etcd: {done.operations} puts were counted, and {grown} took place")
        return done

    def close(self) -> None:
        self._processes.kill()

    # -- what its nodes say ----------------------------------------------------------------------
    def _ports(self) -> list[int]:
        """Where the load goes: to the leader, or to each node in turn."""
        if self._route == "spread":
            return self._clients
        leader = self._leader()
        if leader is None:
            raise Broken("etcd has lost its leader")
        return [leader]

    def _leader(self) -> int | None:
        for port in self._clients:
            status = _status(port)
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return port
        return None

    def _all_follow(self) -> bool:
        """Whether each node serves and knows a leader."""
        return all(_status(port).get("leader") for port in self._clients)

    def _revision(self) -> int:
        return int(_status(self._ports()[0])["header"]["revision"])


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _status(port: int) -> dict[str, Any]:
    """OSError: it does not answer, or not with what is known."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("POST", "/v3/maintenance/status", "{}")
        answer = connection.getresponse()
        found = json.loads(answer.read())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"etcd's status: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise OSError(f"etcd's status: {answer.status}")
    assert isinstance(found, dict)
    return found
