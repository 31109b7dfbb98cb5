"""The simulator itself: a seed says it all, a run that meets nothing fails, and lies are found.

The seeds themselves are a suite of their own: `make sim`, and two hundred in `make test`.
"""

import os
import subprocess
import sys

import pytest

from dkv.history import Operation
from tests.sim import draw, run_seed
from tests.sim.books import Books, Glance
from tests.sim.pool import Failure, play
from tests.sim.report import MUST_OCCUR, Report, Totals
from tests.stores import SimDisk
from tests.world import World

PLAYED = run_seed(3)


def test_a_seed_is_real_work() -> None:
    assert PLAYED.seconds >= 30
    assert PLAYED.operations >= 300
    assert sum(PLAYED.faults.values()) >= 5


def test_the_same_seed_plays_the_same_world_again() -> None:
    assert run_seed(3) == PLAYED
    assert run_seed(4).trace != PLAYED.trace


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_no_trace_depends_on_the_order_of_a_set(hash_seed: str) -> None:
    """The one randomness that no seed of ours reaches: how an interpreter hashes strings."""
    told = subprocess.run(
        [sys.executable, "-c", "from tests.sim import run_seed; print(run_seed(3).trace)"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
    )
    assert told.stdout.strip() == PLAYED.trace


def test_a_plan_with_fewer_steps_is_played_too() -> None:
    steps = draw(3).steps[:4]
    assert run_seed(3, steps).trace != PLAYED.trace


def test_every_seed_draws_a_mix_of_its_own() -> None:
    plans = [draw(seed) for seed in range(1, 301)]
    kinds = [frozenset(step.fault for step in plan.steps) for plan in plans]
    assert len(set(kinds)) > 200
    assert {plan.size for plan in plans} == {1, 2, 3, 5, 7}
    assert min(map(len, kinds)) < len(set().union(*kinds)) / 3


# -- the figures -----------------------------------------------------------------------------------
def _totals(**figures: int) -> Totals:
    totals = Totals()
    for _ in range(200):
        totals.add(PLAYED._replace(**{**dict.fromkeys(MUST_OCCUR, 0), **figures}))
    return totals


def test_a_run_that_met_too_little_proves_nothing() -> None:
    most = {**dict.fromkeys(MUST_OCCUR, 1), "refusals": 0}
    assert _totals(**most).missing() == ["refusals"]
    totals = _totals(**most)
    totals.add(PLAYED._replace(refusals=1))
    assert totals.missing() == ["refusals"]  # in one of 201 seeds: fewer than one in a hundred
    assert _totals(**dict.fromkeys(MUST_OCCUR, 1)).missing() == []


def test_a_seed_that_fails_says_so_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_seed: int) -> Report:
        raise AssertionError("two leaders")

    monkeypatch.setattr("tests.sim.pool.run_seed", fails)
    outcome = play(5)
    assert isinstance(outcome, Failure)
    assert (outcome.seed, "two leaders" in outcome.words) == (5, True)


# -- lies ------------------------------------------------------------------------------------------
def _disk() -> tuple[SimDisk, int]:
    """A store with k = 1, then 2, then nothing; the revision of the first."""
    world = World(seed=1, names=("n1",))
    world.serve()
    first = world.put("n1", b"k", b"1").revision
    world.put("n1", b"k", b"2")
    world.call("n1", "delete", key=b"k")
    world.put("n1", b"kept", b"3")
    return world.nodes["n1"].disk, first


def test_books_that_fit_are_believed() -> None:
    disk, first = _disk()
    books = Books(1)
    books.record(Operation("put", b"k", 1, 2, value=b"1", revision=first, store=first))
    books.record(Operation("put", b"k", 3, None, value=b"2"))
    books.record(Operation("delete", b"k", 5, 6, found=True, revision=first + 2, store=first + 2))
    books.record(Operation("get", b"k", 9, 10, out=None, revision=0, store=first + 2))
    books.glances.append(Glance(b"k", b"2", first + 1, first + 1))
    books.settle(disk)


@pytest.mark.parametrize("lie", ["lost", "twice", "gone", "refused", "glance", "history"])
def test_books_that_do_not_fit_are_a_failure(lie: str) -> None:
    disk, first = _disk()
    books = Books(1)
    match lie:
        case "lost":
            books.record(Operation("put", b"k", 1, 2, value=b"x", revision=first + 9, store=9))
        case "twice":
            row, version = max(disk.ever.items())
            disk.ever[row] = version._replace(value=b"1")
        case "gone":  # though nothing has followed it
            del disk.versions[max(disk.versions)]
        case "refused":
            books.refused.add(b"2")
        case "glance":
            books.glances.append(Glance(b"k", b"1", first, first + 1))
        case "history":  # read after it was overwritten, as of before
            books.record(Operation("put", b"k", 3, 4, value=b"2", revision=first + 1, store=9))
            books.record(Operation("get", b"k", 5, 6, out=b"1", revision=first, store=first))
    words = {
        "lost": "acknowledged and lost",
        "twice": "was written twice",
        "gone": "no longer there",
        "refused": "refused, and done",
        "glance": "but there was",
        "history": "NOT_LINEARIZABLE",
    }
    with pytest.raises(AssertionError, match=words[lie]):
        books.settle(disk)
