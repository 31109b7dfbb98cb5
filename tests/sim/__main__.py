"""`make sim SEEDS=1000 FROM=1`, or: python -m tests.sim --seeds 1000 --from 1 [--processes 2]

Plays seeds on all cores, shows how far it is, prints the figures, and for each seed that failed the
line that plays it again. Exit 1 if one failed, or if the run met too little; see `report`.
"""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.scripts.seeds import explain_seed
from tests.sim.pool import Failure, cores, play_all
from tests.sim.report import Totals

FAILURES_MAX = 20  # more say nothing new


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first one")
    parser.add_argument("--processes", type=int, default=cores())
    parser.add_argument("--failures", type=Path, help="a file for the seeds that failed")
    return parser.parse_args()


def _bar(console: Console) -> Progress:
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def main() -> int:
    wanted = _arguments()
    console = Console(highlight=False)
    totals, failures = Totals(), []
    began = time.monotonic()
    with _bar(console) as progress:
        task = progress.add_task("", total=wanted.seeds)
        seeds = range(wanted.first, wanted.first + wanted.seeds)
        for outcome in play_all(seeds, wanted.processes):
            progress.advance(task)
            if isinstance(outcome, Failure):
                failures.append(outcome)
                _tell(console, outcome)
                if len(failures) == FAILURES_MAX:
                    break
            else:
                totals.add(outcome)
    took = time.monotonic() - began
    for line in totals.lines():
        console.print(line, markup=False, soft_wrap=True)
    speed = totals.sums["seconds"] / max(took, 1e-9) / wanted.processes
    console.print(f"{took:.0f} s on {wanted.processes} cores: {speed:.0f} virtual s a core and s")
    if wanted.failures:
        wanted.failures.write_text("".join(f"{x.seed}\n" for x in failures))
    missing = totals.missing()
    if missing:
        console.print(f"FAILED: too few seeds had {', '.join(missing)}: this run proves nothing")
    if failures:
        _explain(console, failures[0])
    console.print(f"{len(failures)} seeds failed" if failures else "every seed passed")
    return 1 if failures or missing else 0


def _explain(console: Console, failure: Failure) -> None:
    """As a script, with the faults that it needs: what a person looks at first."""
    console.print(f"seed {failure.seed}, shrunk (it takes a minute or two):", markup=False)
    console.print(explain_seed(failure.seed), markup=False, soft_wrap=True)


def _tell(console: Console, failure: Failure) -> None:
    console.print(failure.words, markup=False, soft_wrap=True)
    again = f"{Path(sys.executable)} -m tests.sim --seeds 1 --from {failure.seed}"
    console.print(f"seed {failure.seed} failed. Again: {again}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
