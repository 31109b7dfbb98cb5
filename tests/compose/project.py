"""The cluster of `compose/` under a name, ports and volumes of the tests' own.

Owns: the engine's command lines, the client's certificates, what a node may be asked from outside.
Must never know what is tested. Whatever it made is gone when it is closed, but for the base image.
"""

import json
import os
import subprocess
import tarfile
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from dkv.client import Client
from dkv.errors import DkvError

FOLDER = Path(__file__).resolve().parents[2] / "compose"
PATIENCE_S = 60.0
_LOOK_S = 0.02
_FIRST_PORT = 24_001
_METRICS_PORT = 9464  # of each node, in their network
DASHBOARD_PORT = 24_080
FOUNDERS = ("n1", "n2", "n3")
ALL = (*FOUNDERS, "n4", "n5")


class Missing(Exception):
    """What these tests cannot do without, in words."""


def run(*command: str, **options: Any) -> str:
    """Its standard output; `AssertionError` with all it said if it fails."""
    options = {"capture_output": True, "check": False, "timeout": 900, **options}
    done = subprocess.run(command, **options)
    said = (done.stdout or b"").decode(errors="replace")
    assert done.returncode == 0, (
        f"{' '.join(command)} ended with {done.returncode}:\n{said[-2000:]}"
        f"{(done.stderr or b'').decode(errors='replace')[-2000:]}"
    )
    return said.strip()


def _says_ok(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=3.0) as answer:
        return bool(answer.status == 200)
    return False


def compose_command() -> list[str]:
    """`docker compose` where the engine's command line has it, else `docker-compose`."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with suppress(OSError):
            if not subprocess.run([*command, "version"], capture_output=True).returncode:
                return command
    raise Missing("neither `docker compose` nor `docker-compose` is here")


def base_image() -> str:
    """As `make compose-up` chooses it; BASE_IMAGE names another one."""
    with suppress(OSError):
        command = ["sh", str(FOLDER / "base.sh"), os.environ.get("BASE_IMAGE", "")]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            raise Missing(done.stderr.decode().strip())
        return done.stdout.decode().strip()
    raise Missing("no `sh` here")


class Project:
    def __init__(self, name: str, base: str) -> None:
        self.name, self.base, self.image = name, base, name
        self.files = ["compose.yaml"]
        self._compose = compose_command()
        self._ports = {node: _FIRST_PORT + n for n, node in enumerate(ALL)}
        ports = {f"DKV_PORT_{n.upper()}": str(port) for n, port in self._ports.items()}
        names = {"COMPOSE_PROJECT_NAME": name, "DKV_IMAGE": name, "DKV_BASE_IMAGE": base}
        others = {"DKV_DASHBOARD_PORT": str(DASHBOARD_PORT), "DKV_CHAOS_SECONDS": "20"}
        self._environment = {**os.environ, **names, **ports, **others}
        self._certs = tempfile.TemporaryDirectory(prefix="dkv-compose-")

    # -- the engine ------------------------------------------------------------------------------
    def compose(self, *words: str, **options: Any) -> str:
        files = [word for file in self.files for word in ("-f", file)]
        return run(*self._compose, *files, *words, cwd=FOLDER, env=self._environment, **options)

    def ctl(self, *words: str) -> str:
        return self.compose("run", "--rm", "-T", "ctl", *words)

    def container(self, node: str) -> str:
        return self.compose("ps", "-a", "-q", node)

    def inspect(self, node: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("docker", "inspect", self.container(node)))[0]
        return found

    def address(self, node: str) -> str:
        return str(self.inspect(node)["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    @property
    def network(self) -> str:
        return f"{self.name}_default"

    def start(self, node: str) -> float:
        """By the engine itself; how long its process took until `/readyz` said that it is ready."""
        container = self.container(node)
        run("docker", "start", container)
        url = f"http://{self.address(node)}:{_METRICS_PORT}/readyz"
        while not _says_ok(url):
            time.sleep(_LOOK_S)
        ready = datetime.now(UTC)
        began = datetime.fromisoformat(self.inspect(node)["State"]["StartedAt"])
        return (ready - began).total_seconds()

    def fetch_certificates(self) -> None:
        """What a client on this machine needs, as the documentation says it is fetched."""
        tar = ("run", "--rm", "-T", "--entrypoint", "tar", "ctl", "-c", "-C", "/certs", ".")
        command = [*self._compose, *tar]
        done = subprocess.run(command, cwd=FOLDER, env=self._environment, capture_output=True)
        with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
            known = hasattr(tarfile, "data_filter")  # not by 3.11.2, Debian's
            archive.extractall(self._certs.name, **({"filter": "data"} if known else {}))

    def close(self) -> None:
        self.files = ["compose.yaml", "five.yaml"]
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
        run("docker", "image", "rm", "--force", self.image)
        self._certs.cleanup()

    # -- the cluster from outside ----------------------------------------------------------------
    def endpoints(self, *nodes: str) -> list[str]:
        return [f"127.0.0.1:{self._ports[node]}" for node in nodes or FOUNDERS]

    def client(self, *nodes: str, timeout: float = 10.0) -> Client:
        """To these nodes (the three) alone: their names mean nothing outside of their network."""
        certs = Path(self._certs.name)
        pair = {"cert": certs / "admin.cert", "key": certs / "admin.key", "cacert": certs / "trust"}
        return Client(self.endpoints(*nodes), pin=True, timeout=timeout, **pair)

    def wait_ready(self, *nodes: str) -> float:
        """Until each answers a linearizable read; how many seconds that took."""
        began = time.monotonic()
        for node in nodes or FOUNDERS:
            while True:
                with suppress(DkvError), self.client(node, timeout=1.0) as kv:
                    kv.get("never")
                    break
                assert time.monotonic() - began < PATIENCE_S, f"{node} is not ready"
                time.sleep(_LOOK_S)
        return time.monotonic() - began

    def leader(self, *asked: str) -> tuple[str, int]:
        """Its name and term, as a majority confirms it."""
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            with suppress(DkvError), self.client(*asked, timeout=2.0) as kv:
                kv.get("never")
                known = kv.members()
                if known["leader"]:
                    return str(known["leader"]), int(known["term"])
            time.sleep(_LOOK_S)
        raise AssertionError(f"no leader within {PATIENCE_S:.0f} s")

    def wait_voters(self, *nodes: str) -> None:
        """Until these are all who vote."""
        give_up = time.monotonic() + PATIENCE_S
        voters: tuple[str, ...] = ()
        while voters != nodes:
            assert time.monotonic() < give_up, f"voters are {', '.join(voters) or 'not known'}"
            with suppress(DkvError), self.client() as kv:
                found = kv.ask("member_list")["members"]
                voters = tuple(m["name"] for m in found if m["role"] in ("leader", "voter"))
            time.sleep(_LOOK_S)
