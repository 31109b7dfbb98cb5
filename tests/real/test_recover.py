"""Two of three disks are gone: what the third holds goes on as another cluster, by the manual."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dkv.client import Client
from dkv.errors import DkvError, Ending
from tests.real.cluster import Cluster
from tests.real.test_backup import _wait, restore


def recover(cluster: Cluster, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli.server", "recover", *map(str, words)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("DKV_")}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def items(kv: Client) -> list[Any]:
    return [i[:3] for i in kv.list(b"")]


def test_from_one_directory_of_three_a_new_cluster_with_all_it_held(
    cluster: Cluster, tmp_path: Path
) -> None:
    in_use = recover(cluster, cluster.data_dir("n3"))
    assert in_use.returncode == Ending.LOCKED, in_use.stderr
    with cluster.client() as kv:  # the last of them are in no state.db yet when all are killed
        for number in range(200):
            kv.put(b"key/%d" % (number % 90), b"%d" % number)
        expected = items(kv)
    with cluster.client("n3", read_level="serializable") as kv:
        _wait(lambda: items(kv) == expected)  # what was acknowledged is in its log too
    for name in cluster.names:
        cluster.kill(name)
    for name in ("n1", "n2"):
        shutil.rmtree(cluster.data_dir(name))
    old, file = tmp_path / "old", tmp_path / "recovered.dkv"
    shutil.move(cluster.data_dir("n3"), old)
    told = [f for f in cluster.flags("n1") if f.startswith(("--initial-cluster=", "--peer-trus"))]
    made = recover(
        cluster, old, "--save", file, "--make", cluster.data_dir("n1"), "--name=n1", *told
    )
    assert made.returncode == 0, made.stderr
    assert f"The furthest: {old}" in made.stdout
    salt = made.stdout.split("--salt ")[1].split()[0]
    for name in ("n2", "n3"):
        assert restore(cluster, file, name, "--salt", salt).returncode == 0
    new = tmp_path / "new"
    shutil.move(cluster.data_dir("n3"), new)
    shutil.copytree(old, cluster.data_dir("n3"))  # the survivor, started beside the new ones
    cluster.start()
    _wait(lambda: "was told another cluster" in cluster.lines("n1"))
    with cluster.client("n1", timeout=2) as kv, pytest.raises(DkvError):
        kv.get(b"key/1")
    cluster.kill("n3")
    shutil.rmtree(cluster.data_dir("n3"))
    shutil.move(new, cluster.data_dir("n3"))
    cluster.start("n3")
    cluster.wait_serving()
    for name in cluster.names:
        with cluster.client(name) as kv:
            assert items(kv) == expected
    with cluster.client() as kv:
        assert kv.put(b"new", b"v").revision == 201
