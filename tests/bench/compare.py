"""`make bench`: dkv beside etcd and ZooKeeper, in interleaved rounds, with the same guarantees.

    python -m tests.bench.compare [--rounds 5] [--seconds 5] [--only dkv etcd zookeeper]
                                  [--works put@64 …] [--route leader|spread] [--usual FILE]

Owns: the order of things. All systems are up; one is loaded at a time; each round goes through all
works, and each work through all contestants, so that a slow minute of the machine touches all of
them. Must never know a protocol, nor decide which figure is good.
"""

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from tests.bench import figures, machine, orderly
from tests.bench.dkv import Dkv
from tests.bench.etcd import Etcd
from tests.bench.machine import Unfit
from tests.bench.meter import Meter
from tests.bench.processes import NotStarted
from tests.bench.sockets import Broken
from tests.bench.work import KEYS, PER_MESSAGE, VALUE_BYTES, WORKS, Measured, Work
from tests.bench.zookeeper import ZooKeeper

_EXTRA_ROUNDS = 2  # at most, for the works whose rounds were void


class System(Protocol):
    """A contestant: three nodes in `folder`, filled with the keys."""

    name: str
    folder: Path

    @property
    def pids(self) -> list[int]: ...

    def clients(self) -> list[str]: ...
    def version(self) -> str: ...
    def start(self) -> None: ...
    def run(self, client: str, work: Work, seconds: float) -> Measured | None: ...
    def close(self) -> None: ...


KINDS: dict[str, Any] = {kind.name: kind for kind in (Dkv, Etcd, ZooKeeper)}


def one_run(system: System, client: str, work: Work, seconds: float) -> figures.Record | None:
    """A record with what the meter saw; None: not for this contestant."""
    with Meter(system.pids, system.folder) as meter:
        done = system.run(client, work, seconds)
    if done is None:
        return None
    spent = meter.spent(done.ended_s, done.seconds)
    return done.record() | {
        "cpu_us": round(spent.servers * 1e6 / done.per_second, 2),
        "client_cpu_us": round(spent.client * 1e6 / done.per_second, 2),
        "cores_servers": spent.servers,
        "cores_client": spent.client,
        "cores_others": spent.others,
        "flushes_per_second": None if spent.flushes is None else round(spent.flushes, 1),
    }


class Comparison:
    """Rounds of works over systems that are up."""

    def __init__(self, systems: list[System], seconds: float, known: figures.Known) -> None:
        self._systems, self._seconds, self._known = systems, seconds, known
        self.rounds: list[figures.Round] = []
        self.failures: list[str] = []

    def play(self, works: list[Work], rounds: int) -> None:
        for _ in range(rounds):
            self._round(works)
        for _ in range(_EXTRA_ROUNDS):
            done = [w for w in works if any(r.get(w.name) for r in self.rounds)]
            lacking = [w for w in done if self._valid(w) < rounds]
            if not lacking:
                return
            print(f"again, for void rounds: {', '.join(w.name for w in lacking)}")
            self._round(lacking)

    def _valid(self, work: Work) -> int:
        return len(figures.valid(self.rounds, work.name, self._known))

    def _round(self, works: list[Work]) -> None:
        number = len(self.rounds) + 1
        found: dict[str, dict[str, figures.Record]] = {}
        self.rounds.append(found)
        for work in works:
            for system in self._systems:
                for client in system.clients():
                    name = f"{system.name}/{client}"
                    try:
                        record = one_run(system, client, work, self._seconds)
                    except (Broken, ValueError, OSError) as error:
                        self.failures.append(f"round {number}, {work.name}, {name}: {error}")
                        print(self.failures[-1], file=sys.stderr)
                        continue
                    if record is not None:
                        found.setdefault(work.name, {})[name] = record
                        print(_said(number, work, name, record), flush=True)


def _said(number: int, work: Work, name: str, record: figures.Record) -> str:
    return (
        f"  {number}  {work.name:<20} {name:<20} {record['per_second']:>9,.0f}/s"
        f"  p50 {record['p50_ms']:.2f}  p99 {record['p99_ms']:.2f}"
    )


def start_all(wanted: list[str], folder: Path, route: str, stack: ExitStack) -> list[System]:
    """Those that can run, up; by name what is absent, and who goes without."""
    systems: list[System] = []
    for name in wanted:
        kind = KINDS[name]
        missing = kind.absent()
        if missing:
            without = "" if kind.can_run() else f"; {name} is left out"
            print(f"absent: {', '.join(missing)} (apt-get install {' '.join(missing)}){without}")
        if not kind.can_run():
            continue
        system: System = kind(folder / name, route)
        stack.callback(system.close)
        try:
            system.start()
        except (NotStarted, Broken, OSError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            system.close()
            continue
        print(f"{name} {system.version()} is up", flush=True)
        systems.append(system)
    return systems


def known_from(file: Path | None) -> figures.Known:
    """What etcd usually does, from an earlier report. Unfit: it is none."""
    if file is None:
        return {}
    try:
        middle = json.loads(file.read_text())["medians"]
        return {
            work: {c: r["per_second"] for c, r in found.items()} for work, found in middle.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unfit(f"{file}: no report of `make bench` ({error!r})") from error


def report(played: Comparison, known: figures.Known, facts: dict[str, Any]) -> dict[str, Any]:
    middle = figures.medians(played.rounds, known)
    found = figures.ratios(middle)
    works = dict.fromkeys(work for each in played.rounds for work in each)
    counted = {w: len(figures.valid(played.rounds, w, known)) for w in works}
    void = {w: sum(w in r for r in played.rounds) - n for w, n in counted.items()}
    return facts | {
        "kind": "compare",
        "void_rounds": {work: count for work, count in void.items() if count},
        "unsynced": figures.unsynced(middle),
        "medians": middle,
        "ratios": found,
        "line": figures.line(found),
        "failures": played.failures,
        "rounds": played.rounds,
    }


def print_report(told: dict[str, Any]) -> None:
    print("\n" + figures.table(told["medians"]) + "\n")
    if not told["machine"]["flushes_counted"]:
        print("this disk's flushes are not counted here: nobody is known to sync")
    for name in told["unsynced"]:
        print(f"{name} answers puts before the disk has them: it does not count")
    for work, count in told["void_rounds"].items():
        print(f"void (etcd below {figures.VOID_BELOW:.0%} of its usual): {count} of {work}")
    for failure in told["failures"]:
        print(f"failed: {failure}")
    print("dkv over etcd / over ZooKeeper; @1: of the median waits (less is better), others: of")
    print("operations a second (more is better)")
    print(told["line"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run, after 1 s")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    names = [work.name for work in WORKS]
    parser.add_argument("--works", nargs="+", choices=names, default=names, metavar="WORK")
    parser.add_argument("--route", choices=("leader", "spread"), default="leader")
    parser.add_argument("--usual", type=Path, help="an earlier report: what etcd usually does")
    parser.add_argument("--out", type=Path, default=machine.ROOT / "build" / "bench.json")
    given = parser.parse_args()
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    return given


def main() -> None:
    given = arguments()
    try:
        known = known_from(given.usual)
        with ExitStack() as stack:
            folder = orderly.scratch(stack)
            facts: dict[str, Any] = {
                "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": machine.commit(),
                "machine": machine.facts(folder),
                "settings": {
                    "rounds": given.rounds,
                    "seconds": given.seconds,
                    "route": given.route,
                    "keys": KEYS,
                    "value_bytes": VALUE_BYTES,
                    "pipelined_commands_a_message": PER_MESSAGE,
                },
            }
            systems = start_all(given.only, folder, given.route, stack)
            if not systems:
                raise Unfit("no system is up: nothing to measure")
            facts["versions"] = {s.name: s.version() for s in systems}
            played = Comparison(systems, given.seconds, known)
            played.play([w for w in WORKS if w.name in given.works], given.rounds)
            told = report(played, known, facts)
    except Unfit as error:
        sys.exit(str(error))
    machine.save(given.out, told)
    print_report(told)


if __name__ == "__main__":
    orderly.run(main)
