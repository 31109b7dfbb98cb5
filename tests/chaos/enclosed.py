"""One run as a process of its own: started in an enclosure, waited for, its folder kept or not.

Owns: the folder of a run, which stays only after a failure, and the time that a run may take. Must
never know what happens in it.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.chaos.enclosure import command

OVERHEAD_S = 240  # start, verdict, and a machine that has other work
OUT_OF_TIME = 124


def run_enclosed(kind: str, seed: int, seconds: float, folder: Path) -> int:
    """Its exit code; what it says goes where this process speaks."""
    line = command("tests.chaos.run", kind, str(seed), str(seconds), str(folder))
    try:
        code = subprocess.run(line, check=False, timeout=seconds + OVERHEAD_S).returncode
    except subprocess.TimeoutExpired:
        code = OUT_OF_TIME
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if code:
        words = f"exit {code}; histories, lines and data of the nodes: {folder}"
        print(f"  {kind}, seed {seed}: {words}", flush=True)
    else:
        shutil.rmtree(folder)
    return code


def draw_seed() -> int:
    return int.from_bytes(os.urandom(3))
