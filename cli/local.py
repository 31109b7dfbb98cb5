"""`dkv local`: a secured cluster of three nodes on this machine, to try and to develop against.

Owns: its folder (certificates, data), the processes and their restarts, the saved context `local`.
Must never know what a node does: it starts the same command that anybody would.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from cli.certs import certs
from cli.contexts import Context, save_context
from dkv.client import Client
from dkv.errors import DkvError, Ending

_NAMES = ("n1", "n2", "n3")
_RESTART_S = 1.0
_GRACE_S = 15.0
_FINAL = frozenset(int(e) for e in Ending)  # ends that a restart would only repeat
_PR_SET_PDEATHSIG = 1


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".local"),
    show_default=True,
    help="Where certificates and data are kept.",
)
@click.option("--peer-port", type=click.IntRange(1, 65533), default=2380, show_default=True)
@click.option("--client-port", type=click.IntRange(1, 65533), default=3000, show_default=True)
@click.option("--context", default="local", show_default=True, help="Saved for dkvctl under this.")
def local(folder: Path, peer_port: int, client_port: int, context: str) -> None:
    """Run three secured nodes on this machine until Ctrl-C; their data is kept.

    A node that dies is started again a second later.
    """
    folder = folder.resolve()
    _make_certificates(folder / "certs")
    cluster = _Cluster(folder, peer_port, client_port)
    save_context(cluster.context(context), use=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cluster.end)
    try:
        cluster.run()
    finally:
        cluster.stop()
    sys.exit(cluster.code)


def _make_certificates(folder: Path) -> None:
    """Once; each step only if its files are not there, so that an interruption is made good."""
    steps = (
        ("trust", ["init"]),
        ("server.cert", ["server"]),
        *((f"{name}.cert", ["node", name]) for name in _NAMES),
        ("admin.cert", ["client", "admin", "--role", "admin"]),
    )
    for made, command in steps:
        if not (folder / made).exists():
            certs([*command, "--dir", str(folder)], standalone_mode=False)


class _Cluster:
    def __init__(self, folder: Path, peer_port: int, client_port: int) -> None:
        self.code = 0
        self._folder = folder
        self._peers = {name: f"127.0.0.1:{peer_port + i}" for i, name in enumerate(_NAMES)}
        self._clients = {name: f"127.0.0.1:{client_port + i}" for i, name in enumerate(_NAMES)}
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._start_at: dict[str, float] = dict.fromkeys(_NAMES, 0.0)
        self._ending = False

    def context(self, name: str) -> Context:
        certs = self._folder / "certs"
        cert, key, trust = (str(certs / f) for f in ("admin.cert", "admin.key", "trust"))
        return Context(name, tuple(self._clients.values()), cert, key, trust)

    # -- life ------------------------------------------------------------------------------------
    def run(self) -> None:
        greeted = False
        while not self._ending:
            self._watch()
            greeted = greeted or self._greet()
            time.sleep(0.1)

    def end(self, _number: int, _frame: Any) -> None:
        if self._ending:  # a second time: at once
            for node in self._nodes.values():
                node.kill()
        self._ending = True

    def _watch(self) -> None:
        """Start what is due; see who has died."""
        for name, node in list(self._nodes.items()):
            code = node.poll()
            if code is None:
                continue
            del self._nodes[name]
            if code == Ending.REMOVED:
                click.echo(f"{name} was removed from the cluster; the others go on", err=True)
                del self._start_at[name]
                continue
            if code in _FINAL or code == 2:
                click.echo(
                    f"{name} ended with {code}; see above. The others are stopped.", err=True
                )
                self.code, self._ending = code, True
                return
            click.echo(f"{name} died ({_how(code)}): starting it again", err=True)
            self._start_at[name] = time.monotonic() + _RESTART_S
        for name, due in self._start_at.items():
            if name not in self._nodes and due <= time.monotonic():
                self._nodes[name] = self._start(name)

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        """In a process group of its own: Ctrl-C is for this process, which stops them in order."""
        certs = self._folder / "certs"
        options = {
            "name": name,
            "data-dir": self._folder / name,
            "listen-peer-address": self._peers[name],
            "listen-client-address": self._clients[name],
            "initial-cluster": ",".join(f"{n}={a}" for n, a in self._peers.items()),
            "advertise-nodes": ",".join(f"{n}={a}" for n, a in self._clients.items()),
            "initial-cluster-token": "local",
            "peer-cert-file": certs / f"{name}.cert",
            "peer-key-file": certs / f"{name}.key",
            "peer-trusted-ca-file": certs / "trust",
            "cert-file": certs / "server.cert",
            "key-file": certs / "server.key",
            "trusted-ca-file": certs / "trust",
        }
        flags = [f"--{option}={value}" for option, value in options.items()]
        command = [sys.executable, "-m", "cli.server", *flags]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_parent
        )

    def _greet(self) -> bool:
        """Once the cluster serves, say what to do next."""
        context = self.context("local")
        if len(self._nodes) < len(self._start_at):  # without who was removed
            return False
        try:
            with Client(
                list(context.endpoints),
                cert=context.cert,
                key=context.key,
                cacert=context.cacert,
                timeout=0.5,
            ) as kv:
                kv.count(b"")
        except DkvError:
            return False
        click.echo(_welcome(self._nodes, self._clients, self._folder))
        return True

    # -- the end ---------------------------------------------------------------------------------
    def stop(self) -> None:
        for node in self._nodes.values():
            node.terminate()
        give_up = time.monotonic() + _GRACE_S
        for name, node in self._nodes.items():
            with suppress(subprocess.TimeoutExpired):
                node.wait(max(give_up - time.monotonic(), 0.1))
            if node.poll() is None:
                click.echo(f"{name} did not stop within {_GRACE_S:.0f} s: killed", err=True)
                node.kill()
                node.wait()


def _end_with_parent() -> None:
    """In the child: a supervisor that is killed leaves no nodes behind (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _welcome(
    nodes: "dict[str, subprocess.Popen[bytes]]", clients: dict[str, str], folder: Path
) -> str:
    dkvctl = Path(sys.executable).with_name("dkvctl")
    here = min(os.path.relpath(dkvctl), str(dkvctl), key=len)
    who = "\n".join(f"  {n}  clients at {clients[n]}  pid {p.pid}" for n, p in nodes.items())
    return (
        f"\nThe cluster is up, with certificates:\n{who}\n\n"
        f"In another terminal:\n"
        f"  {here} put greeting hello\n"
        f"  {here} get greeting\n"
        f"  {here} status\n"
        f"  {here} dashboard\n\n"
        f"Data and certificates: {folder}   Ctrl-C stops the nodes; the data stays.\n"
    )
