"""Damaged data directories: a node starts with everything it had acknowledged, or refuses by name.

Real directories, of real stores and actors; bits flipped, pages zeroed, swapped or of an older
moment, files cut off, gone or replaced by older copies. What is served is compared with what was
written; what may be missing must be told by the start or by the leader's first word. A failure
prints the variant's number:

    DKV_SEED=71 pytest tests/corruption
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.contract.play import folder
from tests.corruption.damage import damage
from tests.corruption.opening import REFUSED, REFUSED_BY_MATCH, STARTED, Wrong, verdict
from tests.corruption.origin import KINDS, Files, Origin, make

VARIANTS = 20_000 if os.environ.get("DKV_LONG") else 3_000
LIVES = 8  # of each kind
CONTROLS = 100
REASONS = {"STORAGE_FAULT", "WRONG_DIRECTORY", "NEWER_NEEDED", "DISK_UNWRITABLE", "MISCONFIGURED"}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with folder() as found:
        yield found


@pytest.fixture(scope="module")
def origins(place: Path) -> list[Origin]:
    return [make(place, seed, kind) for seed in range(1, LIVES + 1) for kind in KINDS]


def variant(origins: list[Origin], number: int) -> tuple[Origin, str, Files]:
    dice = Random(f"corruption {number}")
    origin = dice.choice(origins)
    return origin, *damage(origin, dice)


def numbers() -> range:
    if "DKV_SEED" in os.environ:
        one = int(os.environ["DKV_SEED"])
        return range(one, one + 1)
    return range(VARIANTS)


def test_every_damaged_directory_starts_with_everything_or_is_refused_with_a_reason(
    place: Path, origins: list[Origin]
) -> None:
    found: Counter[str] = Counter()
    for number in numbers():
        origin, done, files = variant(origins, number)
        try:
            how, words = verdict(place, origin, files)
        except Exception as error:
            raise AssertionError(f"DKV_SEED={number}: {origin.name}, {done}") from error
        assert how == STARTED or words.split(":")[0] in REASONS, (number, done, words)
        found[how] += 1
    print(f"\n{VARIANTS} damaged directories: {dict(found)}")
    if len(numbers()) > 1:  # the damage is real, and not all of it is fatal
        assert min(found[STARTED], found[REFUSED]) > VARIANTS // 5
        assert found[REFUSED_BY_MATCH] > VARIANTS // 100


def test_undamaged_directories_all_start(place: Path, origins: list[Origin]) -> None:
    for number in range(CONTROLS):
        origin = origins[number % len(origins)]
        assert verdict(place, origin, origin.files) == (STARTED, "")


# -- it sees what is wrong -------------------------------------------------------------------------
def test_a_value_that_is_not_the_one_written_is_seen(place: Path, origins: list[Origin]) -> None:
    """Another life's directory: sound, and not what this node had promised."""
    one, *_, other = sorted(origins[:: len(KINDS)], key=lambda origin: origin.handed)
    with pytest.raises(Wrong):
        verdict(place, one, other.files)


def test_a_promise_forgotten_without_a_trace_is_seen(place: Path, origins: list[Origin]) -> None:
    """Everything older, and a leader that has heard nothing of it: it stands for one that forgot to
    tell."""
    origin = origins[0]
    promised = origin.history.promised
    assert promised is not None
    assert verdict(place, origin, origin.older)[0] == REFUSED_BY_MATCH
    origin.history.promised = promised._replace(index=0)
    try:
        with pytest.raises(Wrong, match="does not tell"):
            verdict(place, origin, origin.older)
    finally:
        origin.history.promised = promised
