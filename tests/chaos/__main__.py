"""`python -m tests.chaos`: runs from the command line, each in an enclosure of its own."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos.enclosed import draw_seed, run_enclosed
from tests.chaos.enclosure import why_not
from tests.chaos.faults import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=len(KINDS))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="of the first run; the next has the next")
    parser.add_argument(
        "--kind", choices=(*KINDS, "mix"), action="append", help="default: each in turn"
    )
    given = parser.parse_args()
    missing = why_not()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    kinds = given.kind or KINDS
    first = draw_seed() if given.seed is None else given.seed
    keep = Path(tempfile.mkdtemp(prefix="dkv-chaos-"))
    failed = 0
    try:
        for number in range(given.runs):
            seed = first + number
            kind = kinds[seed % len(kinds)]  # so that a seed alone names a run again
            failed += run_enclosed(kind, seed, given.seconds, keep / f"{kind}-{seed}") != 0
        print(f"{given.runs} runs from seed {first}, {failed} failed")
    finally:
        if not failed:
            keep.rmdir()
    return 1 if failed else 0


def _terminated(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
