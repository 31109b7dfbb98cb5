"""A cluster as a collector and a prober see it, over real ports."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from dkv.errors import Ending
from tests.real.cluster import Cluster, free_ports


class Watched(Cluster):
    """Each node with a metrics port."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        super().__init__(folder, size)
        self.metrics = dict(zip(self.names, free_ports(size), strict=True))

    def flags(self, name: str, **changes: str) -> list[str]:
        return super().flags(name, metrics_address=f"127.0.0.1:{self.metrics[name]}", **changes)

    def ask(self, name: str, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.metrics[name], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def until(self, name: str, path: str, status: int) -> str:
        """The first answer with this status."""
        give_up = time.monotonic() + self.patience_s
        while time.monotonic() < give_up:
            found, body = self.ask(name, path)
            if found == status:
                return body
        raise AssertionError(f"{path} of {name}: {found} {body}")

    def value(self, name: str, metric: str) -> float:
        lines = self.ask(name, "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("metrics") / "cluster") as cluster:
        cluster.start()
        cluster.wait_serving()
        yield cluster


class Told(Watched):
    """One node, which says what it imports."""

    def launcher(self, name: str) -> list[str]:
        return [sys.executable, "-X", "importtime", "-m", "cli.server"]

    def loaded(self) -> set[str]:
        """The packages of its process so far."""
        lines = re.findall(r"^import time:.*\| +(\w+)", self.lines("n1"), re.MULTILINE)
        return set(lines)


def test_a_node_is_ready_before_it_loads_what_it_can_start_without(tmp_path: Path) -> None:
    """Imports are most of a start: the collectors' library is loaded by who first wants metrics."""
    with Told(tmp_path, 1) as told:
        told.start()
        told.wait_serving()
        told.until("n1", "/readyz", 200)
        assert told.loaded() >= {"actors", "zmq", "click", "nacl"}
        needless = {"asyncio", "aiohttp", "rich", "dotenv", "prometheus_client"}
        assert told.loaded().isdisjoint(needless)
        assert "dkv_raft_term" in told.ask("n1", "/metrics")[1]
        assert "prometheus_client" in told.loaded()


def test_three_nodes_tell_one_story(watched: Watched) -> None:
    leader = watched.leader()
    with watched.client(leader) as kv:
        for _ in range(20):
            kv.put(b"never-told", b"nor-this")
    assert watched.value(leader, 'dkv_gateway_requests_total{op="put",outcome="ok"}') >= 20
    assert watched.value(leader, "dkv_raft_commit_seconds_count") >= 20
    assert watched.value(leader, "dkv_raft_append_seconds_count") >= 20
    assert sum(watched.value(n, "dkv_raft_is_leader ") for n in watched.names) == 1
    assert {watched.value(n, "dkv_raft_has_leader ") for n in watched.names} == {1}
    for name in watched.names:
        told = watched.ask(name, "/metrics")[1]
        assert "never-told" not in told
        assert "nor-this" not in told
        assert watched.value(name, "dkv_log_sync_seconds_count") > 0
        assert watched.value(name, 'dkv_actor_mailbox_letters{actor="log"}') >= 0


def test_promtool_has_nothing_to_say(watched: Watched) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    for name in watched.names:
        told = watched.ask(name, "/metrics")[1]
        run = subprocess.run(
            (promtool, "check", "metrics"), input=told, capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_strangers_at_the_port_keep_nobody_from_it(watched: Watched) -> None:
    address = ("127.0.0.1", watched.metrics["n1"])
    idle = [socket.create_connection(address) for _ in range(20)]
    for garbage in (
        b"\x00" * 50_000,
        b"GET /metrics HTTP/9\r\n\r\n",
        b"\xff\r\n\r\n",
        b"PUT / x\r\n",
    ):
        with socket.create_connection(address) as stranger:
            stranger.sendall(garbage)
    assert watched.ask("n1", "/livez") == (200, "ok\n")  # when the idle ones have had their time
    with watched.client("n1") as kv:
        kv.put(b"k", b"v")
    for connection in idle:
        connection.close()


def test_a_node_without_a_majority_is_alive_and_not_ready(watched: Watched) -> None:
    assert watched.until("n1", "/readyz", 200) == "ok\n"
    for name in ("n2", "n3"):
        watched.pause(name)
    try:
        body = watched.until("n1", "/readyz", 503)
        assert "[-] read: " in body
        assert watched.ask("n1", "/livez") == (200, "ok\n")
    finally:
        for name in ("n2", "n3"):
            watched.resume(name)
    checks = watched.until("n1", "/readyz?verbose", 200).splitlines()
    assert checks[-2:] == ["[+] read: ok", "readyz: ok"]


def test_a_port_in_use_ends_the_start_with_its_code(tmp_path: Path) -> None:
    with Watched(tmp_path / "cluster", 1) as cluster, socket.socket() as taken:
        taken.bind(("127.0.0.1", cluster.metrics["n1"]))
        taken.listen()
        cluster.start()
        assert cluster.wait("n1") == Ending.PORT_TAKEN
        assert "for metrics: Address already in use" in cluster.lines("n1")
        cluster.start(log_format="json")
        assert cluster.wait("n1") == Ending.PORT_TAKEN
        last = json.loads(cluster.lines("n1").splitlines()[-1])
        assert (last["reason"], last["level"]) == ("ended", "error")
        assert "for metrics: Address already in use" in last["message"]


@pytest.mark.parametrize("address", ["here", "127.0.0.1:99999", "127.0.0.1:x"])
def test_a_bad_address_is_refused_in_words(tmp_path: Path, address: str) -> None:
    with Cluster(tmp_path / "cluster", 1) as cluster:
        cluster.start(metrics_address=address)
        assert cluster.wait("n1") == Ending.MISCONFIGURED
        assert f"--metrics-address '{address}'" in cluster.lines("n1")
