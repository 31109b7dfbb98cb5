"""A few seeds of everything at once, and the proof that a seed says it all.

A failure prints its seed: `DKV_SEED=n pytest tests/scenarios/test_chaos.py` plays it again, event
by event; `DKV_SEEDS=1000` plays a thousand others.
"""

import os
import subprocess
import sys

import pytest

from tests.scenarios.chaos import Chaos
from tests.scenarios.seeds import seeds


@pytest.mark.parametrize("seed", seeds(20))
def test_nothing_acknowledged_is_lost_and_the_cluster_lives_again(seed: int) -> None:
    world = Chaos(seed).run()
    assert world.invariants.leaders
    assert len(world.invariants.applied) > 50


def test_the_same_seed_plays_the_same_world_again() -> None:
    first, second, other = (Chaos(seed).run(seconds=3).trace for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_no_trace_depends_on_the_order_of_a_set() -> None:
    """The one randomness that no seed of ours reaches: how this interpreter hashes strings."""
    program = "from tests.scenarios.chaos import Chaos; print(Chaos(3).run(seconds=3).trace)"
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1
