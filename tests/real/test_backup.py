"""Backups of real nodes: saved under load, restored into a new cluster, refused when damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cli.endings import Exit
from dkv.client import Client
from dkv.errors import DkvError, Ending
from tests.real.cluster import Cluster
from tests.real.test_checks import Ctl


class Load:
    """A client that puts until it is told to stop; what it was promised."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._enough = threading.Event()
        self.acknowledged = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        with self._cluster.client() as kv:
            while not self._enough.is_set():
                kv.put(b"load/%d" % (self.acknowledged % 50), b"%d" % self.acknowledged)
                self.acknowledged += 1


def fill(kv: Client, count: int, size: int) -> None:
    with kv.pipeline() as many:
        for number in range(count):
            many.put(b"key/%05d" % number, os.urandom(size))


def restore(cluster: Cluster, file: Path, name: str, *more: str, folder: Path | None = None) -> Any:
    """`dkv restore`, as for a node of this cluster; what it said."""
    flags = [f for f in cluster.flags(name) if f.startswith(_ALSO_OF_A_RESTORE)]
    if folder is not None:
        flags = [f for f in flags if not f.startswith("--data-dir")] + [f"--data-dir={folder}"]
    command = [sys.executable, "-m", "cli.server", "restore", str(file), *flags, *more]
    env = {k: v for k, v in os.environ.items() if not k.startswith("DKV_")}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


_ALSO_OF_A_RESTORE = ("--name", "--data-dir", "--initial-cluster=", "--peer-trusted-ca-file")


def restore_all(cluster: Cluster, file: Path) -> None:
    salt: list[str] = []
    for name in cluster.names:
        made = restore(cluster, file, name, *salt)
        assert made.returncode == 0, made.stderr
        salt = ["--salt", made.stdout.split("salt ")[1].split()[0]]


def test_a_backup_under_load_is_restored_and_its_hash_is_the_same(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The node that it comes from is killed meanwhile."""
    ctl, file = Ctl(cluster, tmp_path), tmp_path / "a.dkv"
    with cluster.client() as kv:
        fill(kv, 3_000, 4_000)
    with Load(cluster) as load:
        with ctl.start("snapshot", "save", "a.dkv", "--timeout=30") as saving:
            partial = tmp_path / "a.dkv.partial"
            _wait(lambda: partial.exists() and partial.stat().st_size > 1_000_000)
            cluster.kill("n3")
            assert saving.poll() is None
            out, err = saving.communicate(timeout=60)
        assert saving.returncode == Exit.DONE, err
        _wait(lambda n=load.acknowledged: load.acknowledged > n + 20)
    assert "hash " in out
    assert not partial.exists()
    assert file.stat().st_mode & 0o777 == 0o600
    code, said = ctl.run("snapshot", "inspect", "a.dkv", "-o", "json")
    assert code == Exit.DONE, said
    found = json.loads(said)
    assert 3_000 <= found["keys"] <= 3_050
    cluster.start("n3")
    cluster.wait_serving("n3")
    with cluster.client() as kv:  # the old cluster still remembers the entry, and says the same
        assert kv.state_hash(found["entry"])["hash"] == found["state_hash"]
        expected = [i[:5] for i in kv.list(b"key/")]
        assert kv.page(b"load/", limit=1).revision > found["revision"]
        then = [i[:5] for i in kv.list(b"", revision=found["revision"])]
    with Cluster(tmp_path / "new") as new:
        restore_all(new, file)
        new.start()
        new.wait_serving()
        for name in new.names:
            with new.client(name) as kv:
                assert kv.state_hash(found["entry"])["hash"] == found["state_hash"]
                assert [i[:5] for i in kv.list(b"key/")] == expected
                assert [i[:5] for i in kv.list(b"")] == then
        with new.client() as kv:
            assert kv.put(b"new", b"v").revision == found["revision"] + 1
        assert Ctl(new, tmp_path).run("check", "hash")[0] == Exit.DONE
        new.stop("n2")
        new.start("n2")
        new.wait_serving("n2")


def _wait(holds: Any) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.002)


def test_a_backup_with_one_flipped_bit_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    ctl, file = Ctl(cluster, tmp_path), tmp_path / "a.dkv"
    with cluster.client() as kv:
        fill(kv, 200, 2_000)
    assert ctl.run("snapshot", "save", "a.dkv")[0] == Exit.DONE
    sound = file.read_bytes()
    for place in (3, 40, len(sound) // 2, len(sound) - 5):
        damaged = bytearray(sound)
        damaged[place] ^= 8
        (tmp_path / "b.dkv").write_bytes(damaged)
        code, said = ctl.run("snapshot", "inspect", "b.dkv")
        assert (code, "b.dkv" in said) == (Exit.USAGE, True), said
        made = restore(cluster, tmp_path / "b.dkv", "n1", folder=tmp_path / "new")
        assert made.returncode == Ending.MISCONFIGURED
        assert "b.dkv" in made.stderr
        assert not (tmp_path / "new").exists()
    assert "Traceback" not in said + made.stderr
    assert restore(cluster, file, "n1", folder=tmp_path / "new").returncode == 0
    assert restore(cluster, file, "n1", folder=tmp_path / "new").returncode == Ending.MISCONFIGURED


def test_a_save_asks_before_it_replaces_and_needs_an_admin(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl, file = Ctl(cluster, tmp_path), tmp_path / "a.dkv"
    file.write_text("precious")
    code, said = ctl.run("snapshot", "save", "a.dkv")
    assert (code, "--force" in said) == (Exit.USAGE, True)
    assert file.read_text() == "precious"
    assert ctl.run("snapshot", "save", "a.dkv", "--force")[0] == Exit.DONE
    assert ctl.run("snapshot", "inspect", "a.dkv")[0] == Exit.DONE
    certs = cluster.folder / "certs"
    writer = [f"--cert={certs / 'writer.cert'}", f"--key={certs / 'writer.key'}"]
    assert ctl.run("snapshot", "save", "b.dkv", *writer)[0] == Exit.DENIED
    assert ctl.run("snapshot", "save", "none/b.dkv")[0] == Exit.USAGE
    cluster.stop()
    assert ctl.run("snapshot", "save", "b.dkv", "--timeout=1")[0] == Exit.UNAVAILABLE
    assert [p.name for p in tmp_path.glob("b.dkv*")] == []


def test_a_save_that_is_interrupted_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.client() as kv:
        fill(kv, 3_000, 4_000)
    with Ctl(cluster, tmp_path).start("snapshot", "save", "a.dkv") as saving:
        _wait((tmp_path / "a.dkv.partial").exists)
        saving.send_signal(signal.SIGINT)
        assert saving.wait(30) == Exit.INTERRUPTED
    assert [p.name for p in tmp_path.glob("a.dkv*")] == []


def test_nodes_of_the_old_cluster_and_of_the_new_one_do_not_meet(
    cluster: Cluster, tmp_path: Path
) -> None:
    ctl, file = Ctl(cluster, tmp_path), tmp_path / "a.dkv"
    with cluster.client() as kv:
        kv.put(b"k", b"v")
    assert ctl.run("snapshot", "save", "a.dkv")[0] == Exit.DONE
    cluster.stop()
    shutil.move(cluster.data_dir("n1"), tmp_path / "old")
    assert restore(cluster, file, "n1").returncode == 0
    cluster.start()
    cluster.wait_serving("n2", "n3")
    with cluster.client("n1", timeout=2) as kv, pytest.raises(DkvError, match="waits for"):
        kv.get(b"k")
    _wait(lambda: "was told another cluster" in cluster.lines("n1"))
    assert "restored from a backup" in cluster.lines("n1")


def test_what_is_exported_is_imported_again(cluster: Cluster, tmp_path: Path) -> None:
    ctl = Ctl(cluster, tmp_path)
    pairs = {b"a/text": "жа".encode(), b"a/\xff": b"\0\xff", b"a/empty": b"", b"b": b'"\n\x1b'}
    with cluster.client() as kv:
        for key, value in pairs.items():
            revision = kv.put(key, value).revision
        kv.put(b"a/text", b"later")
    assert ctl.run("export", "all.jsonl", f"--revision={revision}")[0] == Exit.DONE
    assert ctl.run("export", "all.jsonl")[0] == Exit.USAGE
    code, said = ctl.run("export", "-", "--prefix=a/", "-o", "table")
    assert (code, said.count('"key"'), "later" in said) == (Exit.DONE, 3, True)
    code, said = ctl.run("export", "-", "--revision=99999")
    assert (code, "does not exist here yet" in said) == (Exit.UNMET, True), said
    with cluster.client() as kv:
        kv.delete_prefix(b"")
    assert ctl.run("import", "all.jsonl")[0] == Exit.DONE
    with cluster.client() as kv:
        assert {i.key: i.value for i in kv.list(b"")} == pairs
