"""`dkv local` and `dkvctl`, as a stranger would use them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cluster import PATIENCE_S, free_ports


class Local:
    """The supervisor in a folder of its own, its contexts too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DKV")}
        self.environment |= {"PYTHONPATH": os.getcwd(), "XDG_CONFIG_HOME": str(folder / "config")}
        peer, client = (min(p, 65_000) for p in free_ports(2))
        self.ports = [f"--peer-port={peer}", f"--client-port={client}"]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def start(self) -> None:
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.server", "local", *self.ports],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=said,
            )
        self.wait_for("The cluster is up")

    def wait_for(self, words: str) -> None:
        give_up = time.monotonic() + 2 * PATIENCE_S
        while words not in self.said:
            assert time.monotonic() < give_up, self.said
            time.sleep(0.05)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        code, self.process = self.process.wait(2 * PATIENCE_S), None
        return code

    def ctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.ctl", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def pids(self) -> dict[str, int]:
        found = re.findall(r"^  (n\d)  .*pid (\d+)$", self.said, re.MULTILINE)
        return {name: int(pid) for name, pid in found}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path)
    yield made
    if made.process is not None:
        made.process.send_signal(signal.SIGINT)
        made.process.wait(2 * PATIENCE_S)


def test_the_first_five_minutes(local: Local) -> None:
    local.start()
    assert local.ctl("put", "greeting", "hello").returncode == 0
    assert local.ctl("get", "greeting").stdout.strip() == "hello"
    members = json.loads(local.ctl("member", "list", "-o", "json").stdout)
    leader = next(m["name"] for m in members if m["leader"])
    os.kill(local.pids()[leader], signal.SIGKILL)
    assert local.ctl("get", "greeting", "--timeout", "20").stdout.strip() == "hello"
    local.wait_for("starting it again")
    assert local.stop() == 0
    local.start()
    assert local.ctl("get", "greeting", "--timeout", "20").stdout.strip() == "hello"
    assert local.stop() == 0


def test_a_node_that_was_removed_is_not_started_again_and_the_others_go_on(local: Local) -> None:
    local.start()
    gone = next(n for n in local.pids() if n != local.ctl("leader", "show").stdout.strip())
    assert local.ctl("member", "remove", gone).returncode == 0
    local.wait_for(f"{gone} was removed from the cluster; the others go on")
    assert local.ctl("put", "greeting", "hello").returncode == 0
    assert local.stop() == 0
    local.start()
    local.wait_for(f"{gone} was removed from the cluster; the others go on")
    assert local.ctl("get", "greeting", "--timeout", "20").stdout.strip() == "hello"
    assert local.stop() == 0
