"""One run, from its seed: a cluster, a load, faults, a verdict, and what is kept of a failure.

Owns: the order of these. Must never know how any of them works.
"""

import asyncio
import json
import shutil
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.chaos.faults import Faults
from tests.chaos.lab import Lab, Unexpected
from tests.chaos.load import Load
from tests.chaos.verdict import Verdict, judge


class Run(NamedTuple):
    kind: str
    seed: int
    seconds: float


class Story(NamedTuple):
    """What came of a run."""

    run: Run
    size: int
    told: list[str]
    rates: list[int]
    operations: int
    problems: list[str]
    summary: str


def size_of(kind: str, rng: Random) -> int:
    """Five where some stay away for good."""
    return {"corruption": 5, "partition": rng.choice((3, 5))}.get(kind, 3)


def play(run: Run, folder: Path) -> Story:
    rng = Random(f"real chaos {run.kind} {run.seed}")
    with Lab(folder, size_of(run.kind, rng)) as lab:
        lab.start()
        lab.wait_serving()
        load = Load(lab, rng)
        told: list[str] = []
        rates: list[int] = []
        problems: list[str] = []
        try:
            asyncio.run(_trouble(lab, load, rng, run, (told, rates)))
            verdict = judge(lab, load.history, load.refused)
        except Exception as failed:  # whatever it is, what is known of the run is kept
            said = isinstance(failed, Unexpected)
            problems.append(str(failed) if said else "".join(traceback.format_exception(failed)))
            verdict = Verdict([], load.history, 0, 0)
        problems += verdict.problems
        if problems:
            _keep(lab, load, verdict, [*told, *problems])
        return Story(
            run, len(lab.names), told, rates, len(load.history), problems, _sum(load, verdict, lab)
        )


async def _trouble(
    lab: Lab, load: Load, rng: Random, run: Run, notes: tuple[list[str], list[int]]
) -> None:
    """Load, and faults while it flows; then everything is healed, and some load more."""
    await load.start()
    faults = Faults(lab, load, rng, run.seconds)
    try:
        await faults.run(run.kind)
        await load.flows()
        for name in lab.account():
            lab.start(name)
    finally:
        notes[0].extend(faults.told)
        notes[1].extend(faults.rates)
        await load.stop()


def _sum(load: Load, verdict: Verdict, lab: Lab) -> str:
    acknowledged = sum(1 for line in load.history if line["ret"] is not None)
    out = "".join(f"; {name} out, {words}" for name, words in lab.out.items())
    return (
        f"{acknowledged} operations acknowledged, {verdict.unknown} writes unknown "
        f"({verdict.happened} happened), {len(load.refused)} refused{out}"
    )


def _keep(lab: Lab, load: Load, verdict: Verdict, words: list[str]) -> None:
    """Histories and what is on the disks, for whoever looks into it; nodes' lines are there."""
    for name, lines in (
        ("history", load.history),
        ("refused", load.refused),
        ("settled", verdict.settled),
    ):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (lab.folder / f"{name}.jsonl").write_text(text)
    (lab.folder / "story.txt").write_text("\n".join(words) + "\n")
    for name in list(lab.processes):
        lab.kill(name)
    for name in lab.names:
        shutil.copytree(lab.data_dir(name), lab.folder / "data" / name)


def tell(story: Story, took_s: float) -> None:
    run = story.run
    verdict = "FAILED" if story.problems else "passed"
    print(f"{run.kind}, seed {run.seed}, {story.size} nodes, {run.seconds:g} s: {verdict}")
    for line in story.told:
        print(f"  {line}")
    least = f"{len(story.rates)} faults, before each at least {min(story.rates, default=0)}/s"
    print(f"  {least}; {story.summary}; {took_s:.0f} s in all")
    for problem in story.problems[:10]:
        print(f"  PROBLEM {problem}")
    sys.stdout.flush()


def main(kind: str, seed: str, seconds: str, folder: str) -> int:
    began = time.monotonic()
    story = play(Run(kind, int(seed), float(seconds)), Path(folder))
    tell(story, time.monotonic() - began)
    return 1 if story.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
