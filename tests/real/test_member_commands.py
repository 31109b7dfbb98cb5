"""`dkvctl member`, `leader` and `health` at real nodes: what is typed, mistyped and seen."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.endings import Exit
from dkv.errors import Ending
from tests.real.cluster import Cluster

_PATIENCE_S = 40.0
_BIG = 6 * 2**20  # more than a client's frame holds by default


class Desk:
    """An operator's, with an admin's certificate."""

    def __init__(self, cluster: Cluster) -> None:
        files = cluster.client_options()
        given = [f"--{option}={path}" for option, path in files.items() if option != "insecure"]
        self._cluster = cluster
        self._options = given or ["--insecure"]

    def command(self, *words: str) -> list[str]:
        running = [n for n in self._cluster.names if n in self._cluster.processes]
        endpoints = ",".join(self._cluster.endpoints(*running))
        shared = [f"--endpoint={endpoints}", *self._options, "--timeout=10", "-o", "json"]
        return [sys.executable, "-m", "cli.ctl", *shared, *words]

    def type(self, *words: str) -> tuple[int, Any, str]:
        """Exit code, what was printed, what was said."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def roles(self) -> dict[str, str]:
        code, members, _said = self.type("member", "list")
        assert code == Exit.DONE
        return {m["name"]: m["role"] for m in members}

    def with_newcomer(self, name: str, *words: str) -> tuple[int, str]:
        """Typed, and the node started as soon as it is invited; exit code, what was said."""
        typed = subprocess.Popen(self.command(*words), stderr=subprocess.PIPE, text=True)
        try:
            give_up = time.monotonic() + _PATIENCE_S
            while name not in self.roles():
                assert time.monotonic() < give_up
            self._cluster.newcomer(name)
            self._cluster.start(name)
            _out, said = typed.communicate(timeout=_PATIENCE_S)
            return typed.returncode, said
        finally:
            typed.kill()


@pytest.fixture(params=["secure", "insecure"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, secure=request.param == "secure") as cluster:
        cluster.start()
        cluster.wait_serving()
        yield cluster


def test_a_member_is_added_and_replaced_by_what_is_typed_also_after_an_interruption(
    either: Cluster,
) -> None:
    desk = Desk(either)
    code, said = desk.with_newcomer("n4", "member", "add", "n4")
    assert (code, desk.roles()["n4"]) == (Exit.DONE, "voter"), said
    assert "dkv --name n4 --join 127.0.0.1:" in said
    assert "n4 is a voter" in said

    code, _out, said = desk.type("member", "replace", "n4", "n5", "--wait", "0.5")
    assert (code, desk.roles()["n5"]) == (Exit.UNMET, "invited"), said
    assert desk.type("health")[0] == Exit.UNHEALTHY
    code, said = desk.with_newcomer("n5", "member", "replace", "n4", "n5")
    assert code == Exit.DONE, said
    assert either.wait("n4") == Ending.REMOVED
    assert sorted(desk.roles()) == ["n1", "n2", "n3", "n5"]
    code, found, said = desk.type("health")
    assert (code, found["voters"], found["survives"], found["matters"]) == (0, 4, 1, []), said


def test_who_is_killed_while_it_joins_goes_on_with_the_same_command(cluster: Cluster) -> None:
    """Once its directory is there, once it has its seat, once its notes are lost."""
    desk = Desk(cluster)
    assert desk.type("member", "add", "n4", "--wait", "0")[0] == Exit.DONE
    cluster.newcomer("n4")
    folder = cluster.data_dir("n4")
    for reached in (
        lambda: (folder / "log.db").exists(),
        lambda: "is a member now" in cluster.lines("n4"),
        lambda: "serves clients" in cluster.lines("n4"),
    ):
        cluster.start("n4")
        give_up = time.monotonic() + _PATIENCE_S
        while not reached():
            assert cluster.processes["n4"].poll() is None, cluster.lines("n4")
            assert time.monotonic() < give_up, cluster.lines("n4")
            time.sleep(0.001)
        cluster.kill("n4")
    (folder / "notebook.db").unlink()
    cluster.start("n4")
    cluster.wait_serving("n4")
    give_up = time.monotonic() + _PATIENCE_S
    while desk.roles()["n4"] != "voter":
        assert time.monotonic() < give_up
    assert sorted(desk.roles()) == ["n1", "n2", "n3", "n4"]


def test_a_dry_run_says_what_would_be_and_changes_nothing(cluster: Cluster) -> None:
    desk = Desk(cluster)
    before = desk.roles()
    code, steps, _said = desk.type("member", "replace", "n3", "n4", "--dry-run")
    numbers = [(s["voters"], s["majority"], s["survives"]) for s in steps]
    assert (code, numbers) == (Exit.DONE, [(3, 2, 1), (3, 2, 1), (4, 3, 1), (3, 2, 1)])
    for words in (
        "member remove n9",
        "member promote n1",
        "member promote n9",
        "member add n1",
        "member update n9 --peer-address h:1",
    ):
        code, _out, said = desk.type(*words.split(), "--dry-run")
        assert (code, "it would be refused" in said) == (Exit.UNMET, True), (words, said)
    assert desk.roles() == before


def test_what_is_mistyped_is_refused_and_hurts_nobody(cluster: Cluster) -> None:
    desk = Desk(cluster)
    pids = {name: process.pid for name, process in cluster.processes.items()}
    for words, expected in (
        ("member add n4 nonsense", Exit.USAGE),
        ("member add n4 10.0.0.4:2380 --client-address ::1:5", Exit.USAGE),
        ("member update n2 --peer-address 10.0.0.2:99999", Exit.USAGE),
        ("member update n2", Exit.USAGE),
        ("member replace n2 n4 --wait 0", Exit.USAGE),
        ("member replace n9 n9", Exit.NOT_FOUND),
        ("member replace n9 n4", Exit.NOT_FOUND),
        ("member remove n9", Exit.NOT_FOUND),
        ("member promote n9", Exit.NOT_FOUND),
        ("member add n1", Exit.UNMET),
        ("member promote n1", Exit.UNMET),
        ("leader transfer n9", Exit.NOT_FOUND),
        ("health --live --ready", Exit.USAGE),
    ):
        code, _out, said = desk.type(*words.split())
        assert code == expected, (words, said)
    cluster.wait_serving()
    assert {n: p.pid for n, p in cluster.processes.items() if p.poll() is None} == pids
    assert sorted(desk.roles()) == ["n1", "n2", "n3"]


def test_with_one_member_silent_health_names_it_and_another_may_not_go(cluster: Cluster) -> None:
    desk = Desk(cluster)
    leader = cluster.leader()
    lost, other = (n for n in cluster.names if n != leader)
    assert desk.type("health")[0] == Exit.DONE
    cluster.kill(lost)
    give_up = time.monotonic() + _PATIENCE_S
    while desk.type("health")[0] != Exit.UNHEALTHY:
        assert time.monotonic() < give_up
    _code, found, said = desk.type("health")
    assert (found["alive"], found["survives"]) == (2, 0)
    assert f"{lost} is silent" in said
    for words in (("--dry-run",), ()):
        code, _out, said = desk.type("member", "remove", other, *words)
        assert code == Exit.UNMET, said
    assert desk.type("health", "--ready")[0] == Exit.DONE
    cluster.kill(other)
    assert desk.type("health", "--live")[0] == Exit.DONE
    assert desk.type("health", "--ready")[0] == Exit.UNHEALTHY
    assert desk.type("health")[0] == Exit.UNHEALTHY


def test_leadership_is_shown_and_handed_over(cluster: Cluster) -> None:
    desk = Desk(cluster)
    leader = desk.type("leader", "show")[1]["leader"]
    heir = next(n for n in cluster.names if n != leader)
    code, found, said = desk.type("leader", "transfer", heir)
    assert (code, found["leader"]) == (Exit.DONE, heir), said
    assert desk.type("leader", "show")[1]["leader"] == heir


def test_who_joins_takes_what_its_cluster_takes_whatever_its_own_options_say(
    tmp_path: Path,
) -> None:
    wide = {"value_bytes_max": str(_BIG), "request_bytes_max": str(2 * _BIG)}
    with Cluster(tmp_path) as cluster:
        cluster.start(**wide)
        cluster.wait_serving()
        code, said = Desk(cluster).with_newcomer("n4", "member", "add", "n4")
        assert code == Exit.DONE, said
        with cluster.client("n4") as kv:
            kv.put(b"big", bytes(_BIG))
            item = kv.get(b"big")
        assert item is not None
        assert item.value == bytes(_BIG)
        cluster.kill("n4")
        cluster.start("n4", join="")
        with cluster.client("n4") as kv:
            kv.put(b"big", bytes(_BIG))
