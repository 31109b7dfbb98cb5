"""How a node ends: one clear line and an exit code of its own for each mistake."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dkv.errors import Ending
from tests.real.cluster import Cluster, issue


def ends(cluster: Cluster, name: str = "n1", **changes: str) -> tuple[int, str]:
    """Start it; (exit code, the last line it wrote)."""
    cluster.start(name, **changes)
    code = cluster.wait(name)
    lines = cluster.lines(name).strip().splitlines()
    assert "Traceback" not in cluster.lines(name)
    return code, lines[-1]


@pytest.fixture
def used(single: Cluster) -> Cluster:
    """A node that has stored something and stopped in order."""
    single.start()
    with single.client() as kv:
        kv.put("k", "v")
    assert single.stop() == {"n1": 0}
    return single


def test_a_restart_finds_its_data(used: Cluster) -> None:
    used.start()
    with used.client() as kv:
        item = kv.get("k")
        assert item is not None
        assert item.value == b"v"


def test_a_second_signal_stops_at_once(used: Cluster) -> None:
    used.start()
    used.wait_serving()
    with used.client() as kv:
        kv.put("k", "w")
        used.signal("n1", signal.SIGTERM)
        used.signal("n1", signal.SIGTERM)
    assert used.wait("n1") in (0, 128 + signal.SIGTERM)


def test_a_port_that_is_taken(single: Cluster) -> None:
    with socket.create_server(("127.0.0.1", single.clients["n1"])):
        code, line = ends(single)
    assert code == Ending.PORT_TAKEN
    assert str(single.clients["n1"]) in line


def test_a_directory_in_use(used: Cluster) -> None:
    used.start()
    used.wait_serving()
    other = subprocess.run(
        [sys.executable, "-m", "cli.server", *used.flags("n1")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == Ending.LOCKED
    assert "in use by another process" in other.stderr


def test_a_directory_of_another_node(used: Cluster) -> None:
    issue(used.authority, used.folder / "certs", "n9", "node")
    code, line = _as_n9(used, used.folder / "certs")
    assert code == Ending.WRONG_DIRECTORY
    assert "of n1, not of n9" in line


def _as_n9(used: Cluster, certs: Path) -> tuple[int, str]:
    flags = [f for f in used.flags("n1") if not f.startswith(("--name", "--initial-cluster"))]
    address = f"127.0.0.1:{used.peers['n1']}"
    flags += ["--name=n9", f"--initial-cluster=n9={address}", "--advertise-nodes="]
    flags += [f"--peer-cert-file={certs}/n9.cert", f"--peer-key-file={certs}/n9.key"]
    return run(flags)


def run(flags: list[str], **env: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.server", *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | env,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr else ""


def test_a_directory_of_another_cluster(used: Cluster) -> None:
    code, line = ends(used, initial_cluster_token="another")
    assert code == Ending.WRONG_DIRECTORY
    assert "token" in line


def test_another_member_list_makes_no_members(used: Cluster) -> None:
    """Once a cluster has formed, its log says who they are, and the command line only where."""
    issue(used.authority, used.folder / "certs", "n2", "node")
    both = f"n1=127.0.0.1:{used.peers['n1']},n2=127.0.0.1:9"
    used.start(initial_cluster=both)
    with used.client() as kv:
        assert [m["name"] for m in kv.ask("member_list")["members"]] == ["n1"]
        assert [m["name"] for m in kv.members()["members"]] == ["n1"]
        kv.put("k", "w")


def test_a_log_that_was_rolled_back(used: Cluster) -> None:
    """Yesterday's files under today's witness."""
    data = used.folder / "n1"
    shutil.copytree(data, used.folder / "yesterday")
    used.start()
    with used.client() as kv:
        for i in range(20):
            kv.put(f"k{i}", "v")
    used.stop()
    for name in ("log.db", "log.db-wal", "state.db", "state.db-wal"):
        (data / name).unlink(missing_ok=True)
        if (used.folder / "yesterday" / name).exists():
            shutil.copy(used.folder / "yesterday" / name, data / name)
    code, line = ends(used)
    assert code == Ending.STORAGE_FAULT
    assert "witness" in line


@pytest.mark.parametrize(
    "flag", ["peer_cert_file", "peer_key_file", "cert_file", "trusted_ca_file"]
)
def test_a_missing_certificate(single: Cluster, flag: str) -> None:
    code, line = ends(single, **{flag: str(single.folder / "nothing")})
    assert code == Ending.CERTIFICATE
    assert "does not exist" in line


def test_no_certificates_at_all(single: Cluster) -> None:
    flags = [f for f in single.flags("n1") if "-file=" not in f]
    code, line = run(flags)
    assert code == Ending.CERTIFICATE
    assert "--insecure" in line


def test_another_nodes_certificate(single: Cluster) -> None:
    issue(single.authority, single.folder / "certs", "n7", "node")
    certs = single.folder / "certs"
    files = {"peer_cert_file": str(certs / "n7.cert"), "peer_key_file": str(certs / "n7.key")}
    code, line = ends(single, **files)
    assert code == Ending.CERTIFICATE
    assert "n7" in line


def test_a_key_that_others_can_read(single: Cluster) -> None:
    (single.folder / "certs" / "n1.key").chmod(0o644)
    code, line = ends(single)
    assert code == Ending.CERTIFICATE
    assert "chmod 600" in line


@pytest.mark.parametrize(
    "text", ["n1", "n1=nowhere", "n1=host:99999", "n1=a:1,n1=b:2", "n2=a:1", "=a:1", "n1=a:1,,"]
)
def test_a_malformed_initial_cluster(single: Cluster, text: str) -> None:
    code, line = ends(single, initial_cluster=text)
    assert code == Ending.MISCONFIGURED
    assert "--initial-cluster" in line


def test_a_data_directory_that_cannot_be_made(single: Cluster) -> None:
    (single.folder / "file").write_text("")
    code, line = ends(single, data_dir=str(single.folder / "file" / "data"))
    assert code == Ending.DISK_UNWRITABLE
    assert "cannot be written" in line


def test_limits_that_contradict_each_other(single: Cluster) -> None:
    code, line = ends(single, request_bytes_max="1000")
    assert code == Ending.MISCONFIGURED
    assert "request-bytes-max" in line


def test_flags_can_come_from_the_environment_and_dotenv(single: Cluster, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DKV_INITIAL_CLUSTER=broken\nDKV_NAME=from-dotenv\n")
    done = subprocess.run(
        [sys.executable, "-m", "cli.server", "--insecure"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd(), "DKV_INITIAL_CLUSTER": "n1=also broken"},
    )
    assert done.returncode == Ending.MISCONFIGURED
    assert "also broken" in done.stderr  # the environment is over .env


def test_bare_dkv_shows_three_ways(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.server"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("DKV_")}
        | {"PYTHONPATH": os.getcwd()},
    )
    assert done.returncode == 0
    assert all(way in done.stdout for way in ("one node", "dkv local", "docker compose up"))
