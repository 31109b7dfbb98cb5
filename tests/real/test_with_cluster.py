"""bindings/with_cluster.sh: a cluster for a command, and many of them side by side."""

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.real.cluster import PATIENCE_S

_SCRIPT = Path(__file__).parents[2] / "bindings" / "with_cluster.sh"
_PORT = 30_000


def _run(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", str(_SCRIPT), *command],
        env={**os.environ, "DKV_TEST_PORT": str(_PORT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _supervisor(run: subprocess.Popen[str]) -> int:
    """The pid of the cluster that a run has started."""
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    words = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    (found,) = (int(pid) for pid, said in words.items() if b"local" in said)
    return found


def test_runs_at_once_have_ports_of_their_own_and_leave_a_strangers() -> None:
    with socket.create_server(("127.0.0.1", _PORT)):
        runs = [_run("sh", "-c", 'echo "$DKV_ENDPOINTS"; read -r _') for _ in range(2)]
        said = []
        for run in runs:  # both are up before the first is let go
            assert run.stdout is not None
            said.append(run.stdout.readline())
        ended = [(run.communicate("\n", 2 * PATIENCE_S)[1], run.returncode) for run in runs]
    assert ended == [("", 0), ("", 0)]
    ports = [int(address.rpartition(":")[2]) for line in said for address in line.split(",")]
    assert len(set(ports)) == 6
    assert min(ports) > _PORT


def test_a_command_does_not_outlive_its_cluster() -> None:
    run = _run("sh", "-c", "echo begun; exec sleep 60")
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    os.kill(_supervisor(run), signal.SIGTERM)
    _out, words = run.communicate(timeout=2 * PATIENCE_S)  # its output ends with the command
    assert "the cluster ended before sh did" in words
    assert run.returncode == 1
