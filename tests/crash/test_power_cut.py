"""A power cut at any moment: whatever reached the disk, the node starts and has what it promised.

The two real stores work under a recorder of their system calls; from its trace, thousands of
directories are made as a power cut could have left them, and the real start-up code opens each.

    DKV_SEED=7 DKV_IMAGES=100000 pytest tests/crash
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash.disk import CUTS, Disk
from tests.crash.history import History
from tests.crash.marks import Promised, unpack
from tests.crash.recording import Event, Recording, build_recorder, compiler
from tests.crash.replay import judge_image, take

SEED = int(os.environ.get("DKV_SEED") or 0) or Random().randrange(1, 2**32)
IMAGES = int(os.environ.get("DKV_IMAGES") or 5_000)
CONTROL_IMAGES = 200
DIRECTORIES = 4  # each with its own history, from its own seed
LIVES = 6

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler to build the recorder")


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory where that exists: what is durable is decided here, not by this machine's disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder).resolve()


def record(place: Path, seed: int, mode: str) -> list[Event]:
    """Some lives of one directory, most of them ended by a kill in the middle of a turn."""
    recording = Recording(build_recorder(place), place, seed)
    rng = Random(seed)
    for _ in range(LIVES):
        recording.live(mode, kill_sync=rng.randint(1, 80))
    return recording.events()


def moments(events: list[Event], seed: int, images: int) -> list[int]:
    """After which events the power goes: any, and as often when a promise has just been made, by
    a node that has just started above all, for it speaks of what another life has written."""
    rng = Random(seed)
    promised, first = [], []
    fresh = True
    for number, event in enumerate(events):
        fresh |= event.name == "lock"
        if (event.kind, event.name) == ("W", "marks") and type(unpack(event.content)) is Promised:
            promised.append(number)
            first += [number] * fresh
            fresh = False
    return sorted(rng.choice((range(len(events)), promised, first)[n % 3]) for n in range(images))


def judge(events: list[Event], place: Path, seed: int, images: int) -> list[str]:
    """Cut the power so many times; what was wrong afterwards."""
    disk, history, wrong = Disk(), History(), []
    at = 0
    for number, moment in enumerate(moments(events, seed, images)):
        for event in events[at : moment + 1]:
            take(event, disk, history)
        at = moment + 1
        how = CUTS[number % len(CUTS)]
        found = judge_image(place / "image", disk, history, how, Random(f"{seed}/{number}"))
        if found:
            wrong.append(f"seed {seed}, after event {moment} ({how}): {found}")
    return wrong


@pytest.mark.parametrize("seed", range(SEED, SEED + DIRECTORIES), ids=range(DIRECTORIES))
def test_whatever_a_power_cut_leaves_the_node_starts_and_has_all_that_it_promised(
    place: Path, seed: int
) -> None:
    images = -(-IMAGES // DIRECTORIES)
    wrong = judge(record(place, seed, "full"), place, seed, images)
    assert not wrong, f"{len(wrong)} of {images} images:\n" + "\n".join(wrong[:10])


def test_the_recorder_sees_what_is_lost_where_a_commit_does_not_sync(place: Path) -> None:
    wrong = judge(record(place, SEED, "normal"), place, SEED, CONTROL_IMAGES)
    assert any("promised" in words or "acknowledged" in words for words in wrong), f"seed {SEED}"
