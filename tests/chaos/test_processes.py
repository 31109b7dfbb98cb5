"""Real nodes under each kind of fault: a short run of each, or thirty long ones (DKV_LONG)."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.chaos.enclosed import draw_seed, run_enclosed
from tests.chaos.enclosure import why_not
from tests.chaos.faults import KINDS

LONG = bool(os.environ.get("DKV_LONG"))
RUNS = 30 if LONG else len(KINDS)
SECONDS = 30.0 if LONG else 7.0
FIRST = int(os.environ.get("DKV_SEED", 0)) or draw_seed()


@pytest.fixture(scope="module", autouse=True)
def _enclosure() -> None:
    missing = why_not()
    if missing:
        pytest.skip(missing)


@pytest.mark.parametrize("number", range(RUNS))
def test_nothing_acknowledged_is_lost_or_out_of_order(number: int) -> None:
    """What it says names the seed and, after a failure, the folder with all that is known."""
    seed = FIRST + number
    folder = Path(tempfile.mkdtemp(prefix="dkv-chaos-"))
    assert run_enclosed(KINDS[seed % len(KINDS)], seed, SECONDS, folder) == 0
