"""Every client in another language against the kit, and against a cluster whose nodes are killed.

Owns nothing but the question: bindings/run.sh builds and tries each. A binding whose toolchain is
absent is skipped by name. Builds are long, so this is no part of `make test`.
"""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 900


@pytest.mark.parametrize("name", ["cpp", "ruby", "rust"])
def test_a_binding_keeps_the_rules_and_loses_nothing(name: str) -> None:
    command = ["sh", str(ROOT / "bindings" / "run.sh"), name]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    if "skipped, its toolchain" in run.stdout:
        pytest.skip(run.stdout.strip())
    assert run.returncode == 0, run.stdout + run.stderr
