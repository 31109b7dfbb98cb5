"""`make bench-scale`: what an operation of dkv costs against keys, value size, nodes, connections.

    python -m tests.bench.scale [--rounds 3] [--seconds 4] [--series keys values nodes connections]
                                [--most-keys 1000000]

Owns: the four series and their points. Each is measured on clusters of its own; a point that cannot
be measured is noted and the rest goes on. Must never know other stores.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import zmq

from dkv.errors import DkvError
from tests.bench import figures, machine, orderly
from tests.bench.dkv import Dkv, Load, commands_load
from tests.bench.machine import Unfit
from tests.bench.meter import Meter
from tests.bench.processes import NotStarted
from tests.bench.sockets import Broken
from tests.bench.work import KEYS, VALUE_BYTES, Work

PUTS, GETS = Work("put", 64), Work("get", 64)
KEY_COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
VALUE_SIZES = (16, 256, 4 * 1024, 64 * 1024, 1024 * 1024)
NODE_COUNTS = (1, 3, 5, 7)
CONNECTION_COUNTS = (1, 10, 100, 1_000)
_UNDER_WAY_BYTES = 4 * 2**20  # of large values, at once
_LIVE_BYTES = 64 * 2**20  # of large values, in all
_FAILURES = (Broken, NotStarted, DkvError, zmq.ZMQError, ValueError, OSError)
Record = dict[str, Any]


class Scale:
    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        self._folder, self._rounds, self._seconds = folder, rounds, seconds
        self._clusters = 0
        self.points: list[Record] = []
        self.failures: list[str] = []

    # -- the series ------------------------------------------------------------------------------
    def keys(self, most: int) -> None:
        """One cluster that grows; what it occupies and how long a node takes to start, too."""
        with self._cluster() as nodes:
            for count in (c for c in KEY_COUNTS if c <= most):
                gets = Load(GETS, keys=count)
                if commands_load(gets):  # it puts that many more each time: once
                    self._point(nodes, "keys", count, gets, rounds=1)
                else:
                    nodes.fill(Load(Work("put", 256), keys=count))
                    self._point(nodes, "keys", count, gets)
                self._point(nodes, "keys", count, Load(PUTS, keys=count))
                self._note("keys", count, "size", _sizes(nodes))

    def values(self) -> None:
        for size in VALUE_SIZES:
            outstanding = max(min(64, _UNDER_WAY_BYTES // size), 1)
            count = min(KEYS, _LIVE_BYTES // size)
            with self._cluster() as nodes:
                nodes.fill(Load(Work("put", outstanding), keys=count, value_bytes=size))
                for operation in ("put", "get"):
                    load = Load(Work(operation, outstanding), keys=count, value_bytes=size)
                    self._point(nodes, "values", size, load)

    def nodes(self) -> None:
        for count in NODE_COUNTS:
            with self._cluster(count) as nodes:
                nodes.fill(Load(PUTS))
                for work in (Work("put", 1), PUTS, GETS):
                    self._point(nodes, "nodes", count, Load(work))

    def connections(self) -> None:
        with self._cluster() as nodes:
            nodes.fill(Load(PUTS))
            for count in CONNECTION_COUNTS:
                for operation in ("put", "get"):
                    load = Load(Work(operation, max(64, count)), connections=count)
                    self._point(nodes, "connections", count, load)

    # -- a point ---------------------------------------------------------------------------------
    @contextmanager
    def _cluster(self, size: int = 3) -> Iterator[Dkv]:
        """Serving. A failure within ends the series, not the others."""
        self._clusters += 1
        nodes = Dkv(self._folder / f"cluster{self._clusters}", size=size)
        try:
            nodes.boot()
            yield nodes
        except _FAILURES as error:
            self._failed(f"a cluster of {size}", error)
        finally:
            nodes.close()

    def _point(self, nodes: Dkv, series: str, at: int, load: Load, rounds: int = 0) -> None:
        """`rounds` 0: as many as were asked for."""
        try:
            runs = [_run(nodes, load, self._seconds) for _ in range(rounds or self._rounds)]
        except _FAILURES as error:
            self._failed(f"{series} {at:,}, {load.work.name}", error)
            return
        middle = {name: median(r[name] for r in runs) for name in runs[0]}
        self._note(series, at, load.work.operation, middle | {"outstanding": load.work.outstanding})

    def _note(self, series: str, at: int, what: str, record: Record) -> None:
        self.points.append({"series": series, "at": at, "what": what, **record})
        words = "  ".join(f"{name} {value:,.4g}" for name, value in record.items())
        print(f"  {series} {at:>9,}  {what:<5} {words}", flush=True)

    def _failed(self, what: str, error: Exception) -> None:
        self.failures.append(f"{what}: {type(error).__name__}: {error}")
        print(self.failures[-1], file=sys.stderr)


def _run(nodes: Dkv, load: Load, seconds: float) -> dict[str, float]:
    with Meter(nodes.pids, nodes.folder) as meter:
        done = nodes.load(load, seconds)
    assert done is not None
    spent = meter.spent(done.ended_s, done.seconds)
    return {
        "per_second": round(done.per_second, 1),
        "mib_per_second": round(done.per_second * load.value_bytes / 2**20, 3),
        "p50_ms": done.p50_ms,
        "p99_ms": done.p99_ms,
        "cpu_us": round(spent.servers * 1e6 / done.per_second, 2),
        "errors": done.errors,
    }


def _sizes(nodes: Dkv) -> Record:
    """Of one node that is no leader: memory, directory, and its start after an orderly stop."""
    cluster = nodes.cluster
    leader = cluster.leader()
    name = next(n for n in cluster.names if n != leader)
    memory = machine.memory_mib([cluster.processes[name].pid])[0]
    cluster.stop(name)
    disk = machine.disk_mib(cluster.data_dir(name))
    began_s = time.monotonic()
    cluster.start(name)
    cluster.wait_serving(name)
    start_s = round(time.monotonic() - began_s, 2)
    return {"memory_mib": memory, "disk_mib": disk, "start_s": start_s}


def main() -> None:
    series = ("keys", "values", "nodes", "connections")
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run, after 1 s")
    parser.add_argument("--series", nargs="+", choices=series, default=series)
    parser.add_argument(
        "--most-keys", type=int, default=1_000_000, help="10000000 takes an hour and 20 GB"
    )
    parser.add_argument("--out", type=Path, default=machine.ROOT / "build" / "bench-scale.json")
    given = parser.parse_args()
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    with ExitStack() as stack:
        try:
            folder = orderly.scratch(stack)
        except Unfit as error:
            sys.exit(str(error))
        facts = machine.facts(folder)
        scale = Scale(folder, given.rounds, given.seconds)
        for name in given.series:
            print(name)
            scale.keys(given.most_keys) if name == "keys" else getattr(scale, name)()
    told = {
        "kind": "scale",
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": machine.commit(),
        "machine": facts,
        "settings": {
            "rounds": given.rounds,
            "seconds": given.seconds,
            "value_bytes": VALUE_BYTES,
            "client": Dkv.clients()[0],
        },
        "points": scale.points,
        "failures": scale.failures,
    }
    machine.save(given.out, told)
    if not scale.points:
        sys.exit("nothing could be measured")
    print(summary(scale.points))


def summary(points: list[Record]) -> str:
    rows = [("series", "at", "what", "ops/s", "MiB/s", "p50 ms", "p99 ms", "CPU us/op")]
    rows += [
        (
            p["series"],
            f"{p['at']:,}",
            p["what"],
            f"{p['per_second']:,.0f}",
            f"{p['mib_per_second']:.2f}",
            f"{p['p50_ms']:.2f}",
            f"{p['p99_ms']:.2f}",
            f"{p['cpu_us']:.0f}",
        )
        for p in points
        if "per_second" in p
    ]
    return figures.columns(rows)


if __name__ == "__main__":
    orderly.run(main)
