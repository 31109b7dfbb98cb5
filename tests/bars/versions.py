"""A node of an earlier commit beside nodes of this one: do they serve together, whoever leads?

    python -m tests.bars.versions COMMIT

The commit is laid out in a temporary folder and run by this interpreter. n3 is the old one. For
each node in turn as leader: a write and a read through every node. Then n3 is started with this
code.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.real.cluster import Cluster

OLD = "n3"
ROOT = Path(__file__).resolve().parents[2]


class Mixed(Cluster):
    """n3 runs the code in `earlier`, until that is None."""

    earlier: Path | None = None

    def launcher(self, name: str) -> list[str]:
        command = super().launcher(name)
        if name != OLD or self.earlier is None:
            return command
        return ["env", f"PYTHONPATH={self.earlier}", "PYTHONSAFEPATH=1", *command]


def lay_out(commit: str, folder: Path) -> Path:
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit, "dkv", "actors", "cli"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def lead(cluster: Cluster, name: str) -> None:
    with cluster.client() as admin:
        admin.ask("leader_transfer", name=name)
        until(lambda: admin.members()["leader"] == name, f"{name} does not lead")


def exercise(cluster: Cluster, leader: str) -> None:
    for name in cluster.names:
        with cluster.client(name) as kv:
            value = f"{leader} {name}".encode()
            kv.put(b"k", value)
            item = kv.get(b"k")
            assert item is not None
            assert item.value == value
    with cluster.client() as admin:
        survey = admin.ask("member_list")
    told = {m["name"]: m.get("version") for m in survey["members"]}
    print(f"{leader} leads: written and read through all three; versions {told}", flush=True)


def run(commit: str) -> None:
    with tempfile.TemporaryDirectory() as folder, Mixed(Path(folder) / "nodes") as cluster:
        cluster.earlier = lay_out(commit, Path(folder) / "earlier")
        cluster.start()
        cluster.wait_serving()
        for leader in cluster.names:
            lead(cluster, leader)
            exercise(cluster, leader)
        cluster.stop(OLD)
        cluster.earlier = None
        cluster.start(OLD)
        cluster.wait_serving(OLD)
        lead(cluster, OLD)
        exercise(cluster, f"{OLD}, upgraded,")


if __name__ == "__main__":
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("commit")
    run(parser.parse_args().commit)
