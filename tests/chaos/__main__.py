"""`python -m tests.chaos`: runs from the command line, each in an enclosure of its own."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos import enclosure
from tests.chaos.faults import KINDS

_OVERHEAD_S = 240  # start, verdict, and a machine that has other work
_OUT_OF_TIME = 124


def run(kind: str, seed: int, seconds: float, folder: Path) -> int:
    """One run; its exit code. A folder is left only by a failure."""
    line = enclosure.command("tests.chaos.run", kind, str(seed), str(seconds), str(folder))
    try:
        code = subprocess.run(line, check=False, timeout=seconds + _OVERHEAD_S).returncode
    except subprocess.TimeoutExpired:
        code = _OUT_OF_TIME
    if code:
        print(
            f"  {kind}, seed {seed}: exit {code}; lines, histories and data: {folder}", flush=True
        )
    else:
        shutil.rmtree(folder)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=len(KINDS))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="of the first run; the next has the next")
    parser.add_argument("--kind", choices=(*KINDS, "mix"), action="append", help="default: in turn")
    given = parser.parse_args()
    missing = enclosure.why_not()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    kinds = given.kind or KINDS
    first = given.seed if given.seed is not None else int.from_bytes(os.urandom(3))
    keep = Path(tempfile.mkdtemp(prefix="dkv-chaos-"))
    failed = 0
    for number in range(given.runs):
        kind, seed = kinds[number % len(kinds)], first + number
        failed += run(kind, seed, given.seconds, keep / f"{kind}-{seed}") != 0
    print(f"{given.runs} runs from seed {first}, {failed} failed")
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
