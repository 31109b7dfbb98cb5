"""Full disks: definite errors at once, reads go on, writes come back when space is given back.

    python -m tests.bars.disks [--mib 64]

As root: each of three nodes has a small tmpfs. A file fills the disk of a follower, of the leader,
of a majority; slowly (while puts go on, in steps of a sixteenth) and in one step. A node that ends
is started again after 1 s, as a supervisor would. A line each: how long the longest put took to be
answered while full, what the answers were, whether every node still reads, and after how long a put
was acknowledged again once the file was deleted.
"""

import argparse
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dkv.client import Client, RequestError, Uncertain
from tests.real.cluster import Cluster

STEPS = 16
FULL_S = 6.0


class Supervised(Cluster):
    """Whoever ends is started again after a second."""

    def watch(self, ended: Counter[str], over: threading.Event) -> None:
        while not over.wait(1.0):
            for name, process in list(self.processes.items()):
                if process.poll() is not None:
                    ended[f"{name} {process.returncode}"] += 1
                    self.start(name)


@contextmanager
def small_disks(folder: Path, names: list[str], mib: int) -> Iterator[None]:
    mounted: list[Path] = []
    try:
        for name in names:
            (folder / name).mkdir(parents=True)
            options = f"size={mib}m,mode=0700"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "none", folder / name], check=True
            )
            mounted.append(folder / name)
        yield
    finally:
        for place in mounted:
            subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path, size: int) -> None:
    """As far as there is room, so that not a page is left after the last step."""
    with (place / "filler").open("ab", buffering=0) as file, suppress(OSError):
        for _ in range(max(size // 65_536, 1)):
            file.write(bytes(65_536))


def fill_up(places: list[Path], kv: Client, seen: Counter[str], *, slowly: bool) -> None:
    for step in range(STEPS if slowly else 1):
        for place in places:
            disk = os.statvfs(place)
            free = disk.f_bavail * disk.f_frsize
            fill(place, free // (STEPS - step) if slowly else free + 65_536)
        put(kv, seen)


def put(kv: Client, seen: Counter[str]) -> float:
    """Seconds until it was answered."""
    began = time.monotonic()
    try:
        kv.put(b"k", os.urandom(20_000))
        seen["ok"] += 1
    except Uncertain as error:
        seen[f"unknown ({error.code.name.lower()})"] += 1
    except RequestError as error:
        seen[error.code.name.lower()] += 1
    return time.monotonic() - began


def reads(cluster: Cluster) -> str:
    """Who answers a serializable read."""
    found = []
    for name in cluster.names:
        with suppress(RequestError), cluster.client(name, timeout=1.0) as kv:
            kv.get(b"k", level="serializable")
            found.append(name)
    return " ".join(found)


def case(cluster: Cluster, ended: Counter[str], what: str, *, slowly: bool) -> None:
    leader = cluster.leader()
    others = [n for n in cluster.names if n != leader]
    names = {"follower": others[:1], "leader": [leader], "majority": [leader, others[0]]}[what]
    places = [cluster.data_dir(n) for n in names]
    seen: Counter[str] = Counter()
    ended.clear()
    with cluster.client(timeout=1.0) as kv:
        fill_up(places, kv, seen, slowly=slowly)
        until, longest = time.monotonic() + FULL_S, 0.0
        while time.monotonic() < until:
            longest = max(longest, put(kv, seen))
            time.sleep(0.05)
        who = reads(cluster)
        for place in places:
            (place / "filler").unlink()
        freed = time.monotonic()
        again: Counter[str] = Counter()
        while not again["ok"] and time.monotonic() < freed + 30:
            put(kv, again)
        back = time.monotonic() - freed
    print(
        f"{what:9} {'slowly' if slowly else 'at once':8} longest answer {longest:.2f} s  "
        f"back {back:.2f} s  reads {who}  ended {dict(ended)}  {dict(seen)}",
        flush=True,
    )
    cluster.wait_serving()


def run(mib: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Supervised(Path(folder) / "nodes")
        with small_disks(cluster.folder, cluster.names, mib), cluster:
            ended: Counter[str] = Counter()
            over = threading.Event()
            cluster.start()
            cluster.wait_serving()
            watcher = threading.Thread(target=cluster.watch, args=(ended, over))
            watcher.start()
            try:
                for slowly in (True, False):
                    for what in ("follower", "leader", "majority"):
                        case(cluster, ended, what, slowly=slowly)
            finally:
                over.set()
                watcher.join()


if __name__ == "__main__":
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--mib", type=int, default=64, help="of each node's disk")
    run(parser.parse_args().mib)
