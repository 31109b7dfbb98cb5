"""Real nodes for tests and measurements: processes, ports, certificates, in one folder.

Owns: starting, killing, pausing and stopping them, and what they printed. Must never know what is
tested. Every process it started has ended when it is closed.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from dkv.client import AsyncClient, Client
from dkv.errors import DkvError
from dkv.security.authority import Authority, create_authority
from dkv.security.files import write_new
from dkv.security.identity import KIND
from dkv.security.secrets import draw_curve_pair, write_secret

PATIENCE_S = 20.0


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def make_certificates(folder: Path, names: Iterable[str]) -> Authority:
    """An authority, a server pair, a pair for each node, and clients admin, writer and reader."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = create_authority(folder / "authority.key", None)
    now_s = int(time.time())
    server = issue(authority, folder, "server", "server")
    trust = authority.found(now_s, 10)._replace(server_certificates=(server,))
    write_new(folder / "trust", trust.text, 0o644)
    for name in names:
        issue(authority, folder, name, "node")
    for role in ("admin", "writer", "reader"):
        issue(authority, folder, role, role)
    return authority


def issue(authority: Authority, folder: Path, name: str, role: str, days: int = 10) -> Any:
    pair = draw_curve_pair()
    certificate = authority.certify(name, pair.public, role, time.time_ns() // 1_000_000, days)
    write_secret(folder / f"{name}.key", KIND, pair.secret, None)
    write_new(folder / f"{name}.cert", certificate.text, 0o644)
    return certificate


class Cluster:
    """`size` nodes n1, n2, … under `folder`, not started yet."""

    def __init__(
        self, folder: Path, size: int = 3, *, secure: bool = True, options: Iterable[str] = ()
    ) -> None:
        self.folder, self.secure = folder, secure
        self.names = [f"n{i + 1}" for i in range(size)]
        self.hosts = dict.fromkeys(self.names, "127.0.0.1")
        ports = free_ports(2 * size)
        self.peers = dict(zip(self.names, ports[:size], strict=True))
        self.clients = dict(zip(self.names, ports[size:], strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.options = list(options)
        self.joined: set[str] = set()  # nodes that came later
        self.patience_s = PATIENCE_S
        if secure:
            self.authority = make_certificates(folder / "certs", self.names)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for name in list(self.processes):
            self.kill(name)

    # -- processes -------------------------------------------------------------------------------
    def flags(self, name: str, **changes: str) -> list[str]:
        certs = self.folder / "certs"
        options = {
            "name": name,
            "data-dir": str(self.data_dir(name)),
            "listen-peer-address": f"{self.hosts[name]}:{self.peers[name]}",
            "listen-client-address": f"{self.hosts[name]}:{self.clients[name]}",
            "initial-cluster": self._pairs(self.peers),
            "advertise-nodes": self._pairs(self.clients),
        }
        if self.secure:
            options |= {
                "peer-cert-file": str(certs / f"{name}.cert"),
                "peer-key-file": str(certs / f"{name}.key"),
                "peer-trusted-ca-file": str(certs / "trust"),
                "cert-file": str(certs / "server.cert"),
                "key-file": str(certs / "server.key"),
                "trusted-ca-file": str(certs / "trust"),
            }
        if name in self.joined:
            doors = [n for n in self.clients if n != name and n in self.processes]
            options |= {"initial-cluster": "", "advertise-nodes": ""}
            options["join"] = ",".join(self.endpoints(*doors))
        options |= {key.replace("_", "-"): value for key, value in changes.items()}
        insecure = [] if self.secure else ["--insecure"]
        return [*(f"--{k}={v}" for k, v in options.items()), *insecure, *self.options]

    def newcomer(self, name: str) -> None:
        """A node that is not started yet, and no member; under a known name, an empty disk."""
        if name not in self.names:
            self.names.append(name)
            self.hosts[name] = "127.0.0.1"
            self.peers[name], self.clients[name] = free_ports(2)
            if self.secure:
                issue(self.authority, self.folder / "certs", name, "node")
        self.joined.add(name)

    def renumber(self) -> None:
        """Every node gets new ports, for its next start."""
        ports = free_ports(2 * len(self.names))
        self.peers = dict(zip(self.names, ports[::2], strict=True))
        self.clients = dict(zip(self.names, ports[1::2], strict=True))

    def data_dir(self, name: str) -> Path:
        return self.folder / name

    def launcher(self, name: str) -> list[str]:
        """The command that a node's flags are given to."""
        return [sys.executable, "-m", "cli.server"]

    def start(self, *names: str, **changes: str) -> None:
        for name in names or self.names:
            with self.lines_file(name).open("ab") as lines:
                self.processes[name] = subprocess.Popen(
                    [*self.launcher(name), *self.flags(name, **changes)],
                    stdin=subprocess.DEVNULL,
                    stdout=lines,
                    stderr=lines,
                    env={k: v for k, v in os.environ.items() if not k.startswith("DKV_")},
                )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> dict[str, int]:
        """Orderly; their exit codes."""
        for name in names or self.names:
            self.processes[name].terminate()
        return {name: self.wait(name) for name in names or self.names}

    def wait(self, name: str) -> int:
        """Until it has ended by itself; its exit code."""
        code = self.processes[name].wait(self.patience_s)
        del self.processes[name]
        return code

    def pause(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGCONT)

    def signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def lines_file(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def lines(self, name: str) -> str:
        return self.lines_file(name).read_text()

    # -- clients ---------------------------------------------------------------------------------
    def client_options(self, who: str = "admin") -> dict[str, Any]:
        if not self.secure:
            return {"insecure": True}
        certs = self.folder / "certs"
        cert, key, trust = certs / f"{who}.cert", certs / f"{who}.key", certs / "trust"
        return {"cert": cert, "key": key, "cacert": trust}

    def endpoints(self, *names: str) -> list[str]:
        return [f"{self.hosts[name]}:{self.clients[name]}" for name in names or self.names]

    def client(self, *names: str, who: str = "admin", **options: Any) -> Client:
        """To these nodes (all); `names` given, to them alone."""
        options = {"pin": bool(names), "timeout": self.patience_s, **options}
        return Client(self.endpoints(*names), **{**self.client_options(who), **options})

    def async_client(self, *names: str, who: str = "admin", **options: Any) -> AsyncClient:
        options = {"pin": bool(names), "timeout": self.patience_s, **options}
        return AsyncClient(self.endpoints(*names), **{**self.client_options(who), **options})

    # -- what one waits for ----------------------------------------------------------------------
    def wait_serving(self, *names: str) -> None:
        """Until each of these answers a linearizable read."""
        for name in names or self.names:
            with self.client(name) as kv:
                kv.count(b"\0never")

    def leader(self) -> str:
        """As a majority of the running nodes sees it."""
        give_up = time.monotonic() + self.patience_s
        while time.monotonic() < give_up:
            for name in self.processes:
                with suppress(DkvError), self.client(name, timeout=1.0) as kv:
                    kv.count(b"\0never")  # a leader that a majority confirms
                    leader = str(kv.members()["leader"])
                    if leader in self.processes:
                        return leader
        raise AssertionError(f"no leader within {self.patience_s:.0f} s")

    def _pairs(self, ports: dict[str, int]) -> str:
        return ",".join(f"{name}={self.hosts[name]}:{port}" for name, port in ports.items())
