"""`dkvctl check` on a cluster that runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cli.endings import Exit
from dkv.client.recording import Recorder
from dkv.history import Verdict, check, read_history, write_line
from tests.real.cluster import PATIENCE_S, Cluster


class Ctl:
    """`dkvctl`, in a folder of the test's own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        files = [f"--{name}={path}" for name, path in cluster.client_options().items()]
        self._options = [f"--endpoint={','.join(cluster.endpoints())}", *files]
        self._how: dict[str, Any] = {
            "cwd": folder,
            "env": {**os.environ, "PYTHONPATH": os.getcwd(), "XDG_CONFIG_HOME": str(folder)},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cli.ctl", *self._options, *words]
        return subprocess.Popen(command, **self._how)

    def run(self, *words: str) -> tuple[int, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=4 * PATIENCE_S)
        return process.returncode, out + err


def test_a_cluster_is_checked_and_left_as_it_was(cluster: Cluster, tmp_path: Path) -> None:
    ctl = Ctl(cluster, tmp_path)
    code, said = ctl.run("check", "linearizable", "--seconds=2", "--history=h.jsonl")
    assert code == Exit.DONE, said
    assert "h.jsonl: linearizable" in said
    assert all(f"{name} " in said for name in cluster.names)
    history = read_history((tmp_path / "h.jsonl").read_text().splitlines())
    assert len(history) > 50
    assert {o.node for o in history} >= set(cluster.names)
    assert {o.op for o in history} == {"get", "put", "cap", "delete"}
    assert check(history).verdict is Verdict.LINEARIZABLE
    with cluster.client() as kv:
        assert kv.count(b"dkvctl-check/") == 0


def test_an_interrupted_check_cleans_up_too(cluster: Cluster, tmp_path: Path) -> None:
    process = Ctl(cluster, tmp_path).start("check", "linearizable", "--seconds=600")
    with process, cluster.client() as kv:
        give_up = time.monotonic() + PATIENCE_S
        while not kv.count(b"dkvctl-check/"):
            assert time.monotonic() < give_up
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == Exit.INTERRUPTED
        assert kv.count(b"dkvctl-check/") == 0
    (written,) = tmp_path.glob("dkvctl-check-*.jsonl")
    assert read_history(written.read_text().splitlines())


def test_hashes_are_compared_and_who_is_away_is_named(cluster: Cluster, tmp_path: Path) -> None:
    ctl = Ctl(cluster, tmp_path)
    with cluster.client() as kv:
        for n in range(10):
            kv.put(b"k%d" % n, b"v")
    code, said = ctl.run("check", "hash", "-o", "json")
    assert code == Exit.DONE
    rows = json.loads(said)
    assert [r["node"] for r in rows] == cluster.names
    assert {r["verdict"] for r in rows} == {"equal"}
    assert len({(r["index"], r["hash"]) for r in rows}) == 1
    cluster.kill("n2")
    code, said = ctl.run("check", "hash", "--timeout=3")
    assert code == Exit.UNAVAILABLE
    assert said.count("equal") == 2
    assert "n2: " in said


def test_without_a_cluster_it_says_so_and_leaves_no_file(tmp_path: Path) -> None:
    ctl = Ctl(Cluster(tmp_path / "cluster"), tmp_path)
    assert ctl.run("check", "hash", "--timeout=0.5")[0] == Exit.UNAVAILABLE
    assert ctl.run("check", "linearizable", "--timeout=0.5")[0] == Exit.UNAVAILABLE
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_recorder_makes_a_history_of_what_a_client_is_told(cluster: Cluster) -> None:
    with cluster.client() as kv:
        recorder = Recorder(kv, "one")
        assert recorder.get(b"k") is not None
        put = recorder.put(b"k", b"\xff")
        assert put is not None
        refused = recorder.put(b"k", b"w", put.revision + 1 if put.revision else 0)
        deleted = recorder.delete(b"k", put.revision)
        again = recorder.delete(b"k")
    assert refused is not None
    assert deleted is not None
    assert again is not None
    assert (refused.ok, refused.revision) == (False, put.revision)
    assert (deleted.found, deleted.revision) == (True, (put.revision or 0) + 1)
    assert (again.found, again.revision) == (False, None)
    assert len(recorder.history) == 5
    lines = [write_line(o) for o in recorder.history]
    assert read_history(lines) == recorder.history
    assert check(recorder.history).verdict is Verdict.LINEARIZABLE
