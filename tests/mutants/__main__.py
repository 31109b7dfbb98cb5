"""`make mutants`: look for every seeded bug, from seed 1 on, until the simulator finds it.

    python -m tests.mutants [NAME ...]            all of them, or these; a report at the end
    python -m tests.mutants --control 100         no bug: that many seeds of each profile stay quiet
    python -m tests.mutants --wide 100            by seeds of tests.sim, which lean to nothing
    python -m tests.mutants --show NAME           the seed that found it, shrunk, as a script

Owns: the search over seeds and cores, its report, and found.json. Must never know what a bug does.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tests.mutants import SEEDS_MAX, living
from tests.mutants.catalogue import BY_NAME
from tests.mutants.found import read_found, write_found
from tests.mutants.hunt import hunt, hunt_wide, objection
from tests.mutants.storm import Storm
from tests.scripts.explain import explain


class Find(NamedTuple):
    """`seed` 0: not found. `false`: what the simulator says of that seed without the bug."""

    name: str
    seed: int
    seconds: float
    words: str
    false: str | None


def search(name: str) -> Find:
    began = time.monotonic()
    bug = BY_NAME[name]
    for seed in range(1, SEEDS_MAX + 1):
        words = hunt(bug, seed)
        if words is not None:
            return Find(name, seed, time.monotonic() - began, words, objection(bug, seed))
    return Find(name, 0, time.monotonic() - began, "", None)


def search_wide(name: str, seeds: int) -> Find:
    began = time.monotonic()
    for seed in range(1, seeds + 1):
        words = hunt_wide(BY_NAME[name], seed)
        if words is not None:
            return Find(name, seed, time.monotonic() - began, words, None)
    return Find(name, 0, time.monotonic() - began, "", None)


def control(name: str, seeds: int) -> Find:
    """The bug is not there: whatever is said now is a false alarm, or a bug of dkv."""
    began = time.monotonic()
    bug = BY_NAME[name]
    for seed in range(1, seeds + 1):
        words = objection(bug, seed)
        if words is not None:
            return Find(name, seed, time.monotonic() - began, words, words)
    return Find(name, 0, time.monotonic() - began, "", None)


def show(name: str) -> str:
    bug = BY_NAME[name]
    with living(bug):
        return explain(Storm(bug.profile, read_found()[name]).story())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--control", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--wide", type=int, default=0, metavar="SEEDS")
    parser.add_argument("--show", metavar="NAME")
    asked = parser.parse_args()
    if asked.show:
        print(show(asked.show))
        return 0
    names = asked.names or (_one_a_profile() if asked.control else list(BY_NAME))
    work: Callable[[str], Find] = search
    if asked.control:
        work = partial(control, seeds=asked.control)
    elif asked.wide:
        work = partial(search_wide, seeds=asked.wide)
    finds = sorted(_run(work, names, asked.jobs), key=lambda f: names.index(f.name))
    _report(finds)
    if asked.control:
        return int(any(f.seed for f in finds))
    if not asked.wide:
        write_found({**read_found(), **{f.name: f.seed for f in finds if f.seed and not f.false}})
    return int(any(not f.seed or f.false for f in finds))


def _one_a_profile() -> list[str]:
    return list({bug.profile: bug.name for bug in BY_NAME.values()}.values())


def _run(work: Callable[[str], Find], names: list[str], jobs: int) -> list[Find]:
    finds: list[Find] = []
    with ProcessPoolExecutor(jobs) as pool, Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("searching", total=len(names))
        for done in as_completed([pool.submit(work, name) for name in names]):
            finds.append(done.result())
            bar.advance(task)
    return finds


def _report(finds: list[Find]) -> None:
    table = Table("bug", "seeds", "seconds", "found by", box=None)
    for find in finds:
        words = f"FALSE ALARM: {find.false}" if find.false else find.words
        words = " ".join(words.split())
        table.add_row(find.name, str(find.seed or "-"), f"{find.seconds:.1f}", escape(words[:100]))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    found = sum(bool(f.seed) for f in finds)
    console.print(f"{found} of {len(finds)} found something")


if __name__ == "__main__":
    sys.exit(main())
