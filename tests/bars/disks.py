"""Full disks: what clients hear, and how soon they can write again.

    python -m tests.bars.disks [--rounds 1]

Three nodes, each on a small file system of its own in memory. The disk of a follower, of the
leader, and of a majority is filled by somebody else: up to the low-water mark, as it happens by
and by, and to the last byte in one step. A node that ends is started again a second later, as a
supervisor would. Printed of each: what puts and gets came to while it was full, and how long the
slowest of each took, and how long after space was given back the first
put was done. Needs root, for the mounts.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from dkv.client import RequestError
from tests.chaos.disk import Disk
from tests.real.cluster import Cluster

_DISK_MIB = 96
_FULL_S = 5.0
_PUT_DEADLINE_S = 5.0
_VALUE = bytes(2_000)


class Hall(Cluster):
    """A cluster whose nodes have disks of their own, and somebody who starts them again."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disks = {name: Disk(folder / "disks" / name, _DISK_MIB) for name in self.names}
        self.ended: Counter[str] = Counter()
        self._running = True
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def data_dir(self, name: str) -> Path:
        return self.disks[name].data

    def supervise(self) -> None:
        self._supervisor.start()

    def _supervise(self) -> None:
        while self._running:
            for name, process in list(self.processes.items()):
                code = process.poll()
                if code is not None:
                    self.ended[f"{name} {code}"] += 1
                    time.sleep(1.0)
                    self.start(name)
            time.sleep(0.02)

    def rest(self) -> None:
        self._running = False
        self._supervisor.join()


class Told:
    """What puts and gets came to, and the slowest of each outcome."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_s: dict[str, float] = {}

    def add(self, outcome: str, took_s: float) -> None:
        self.counts[outcome] += 1
        self.slowest_s[outcome] = max(self.slowest_s.get(outcome, 0.0), took_s)

    def __str__(self) -> str:
        each = (f"{n} {what} ({self.slowest_s[what]:.2f} s)" for what, n in self.counts.items())
        return ", ".join(each) or "none"


def put(cluster: Cluster, number: int) -> str:
    with cluster.client(timeout=_PUT_DEADLINE_S) as kv:
        try:
            kv.put(b"k%d" % (number % 50), _VALUE)
        except RequestError as error:
            return f"{error.code.name.lower()} applied={error.applied}"
    return "done"


def timed(told: Told, cluster: Cluster, number: int) -> str:
    began = time.monotonic()
    outcome = put(cluster, number)
    told.add(outcome, time.monotonic() - began)
    return outcome


def read(told: Told, cluster: Cluster) -> None:
    began = time.monotonic()
    try:
        with cluster.client(timeout=_PUT_DEADLINE_S) as kv:
            kv.get(b"k0")
        outcome = "done"
    except RequestError as error:
        outcome = error.code.name.lower()
    told.add(outcome, time.monotonic() - began)


def wait_serving(cluster: Cluster) -> None:
    """All of them, the one that looks each second whether there is room again too."""
    give_up = time.monotonic() + 60
    while True:
        try:
            return cluster.wait_serving()
        except RequestError:
            assert time.monotonic() < give_up, "a node does not serve again"


def play(hall: Hall, victims: list[str], leave: int) -> None:
    """One filling: said in a few lines."""
    hall.ended.clear()
    puts, gets = Told(), Told()
    for name in victims:
        hall.disks[name].fill(leave)
    began, number = time.monotonic(), 0
    while time.monotonic() - began < _FULL_S:
        number += 1
        timed(puts, hall, number)
        read(gets, hall)
    for name in victims:
        hall.disks[name].free()
    freed = time.monotonic()
    while put(hall, number) != "done":
        assert time.monotonic() - freed < 60, "writes did not come back"
    back = time.monotonic() - freed
    ended = ", ".join(f"{n} times {what}" for what, n in hall.ended.items()) or "nobody"
    print(f"    puts  {puts}\n    gets  {gets}\n    ended {ended}")
    print(f"    a put was done {back:.2f} s after space was given back", flush=True)
    wait_serving(hall)


def inside(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder, Hall(Path(folder)) as hall:
        hall.start()
        hall.wait_serving()
        hall.supervise()
        low = hall.disks["n1"].size // 20
        for _ in range(rounds):
            for how, leave in (("by and by", low * 3 // 4), ("critical", low // 8), ("at once", 0)):
                for who in ("follower", "leader", "majority"):
                    leader = hall.leader()
                    others = [name for name in hall.names if name != leader]
                    victims = {"follower": others[:1], "leader": [leader], "majority": others}[who]
                    print(f"  {who}, {how} ({', '.join(victims)}; {leader} leads)", flush=True)
                    play(hall, victims, leave)
        hall.rest()
        for name in list(hall.processes):
            hall.kill(name)
        for name in hall.names:
            with suppress(subprocess.CalledProcessError):
                subprocess.run(["umount", str(hall.disks[name].place)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.disks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help="already in a mount namespace")
    asked = parser.parse_args()
    if asked.inside:
        inside(asked.rounds)
        return
    if os.geteuid() != 0:
        sys.exit("This needs root: it mounts small file systems.")
    space = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    module = (sys.executable, "-m", "tests.bars.disks", "--inside", f"--rounds={asked.rounds}")
    sys.exit(subprocess.run([*space, *module]).returncode)


if __name__ == "__main__":
    main()
