"""A recording played again, on a disk that can lose its power.

Owns: which events are the disk's and which are marks, and the directory made for one image. Must
never know when the power goes.
"""

import shutil
from pathlib import Path
from random import Random

from tests.crash.disk import Disk
from tests.crash.history import History
from tests.crash.inspection import verdict
from tests.crash.marks import unpack
from tests.crash.recording import Event


def take(event: Event, disk: Disk, history: History) -> None:
    if event.name == "marks":
        if event.kind == "W":
            history.take(unpack(event.content))
    elif not event.name.endswith("-shm"):
        disk.take(event)


def judge_image(folder: Path, disk: Disk, history: History, how: str, rng: Random) -> str:
    folder.mkdir()
    disk.leave(folder, how, rng)
    found = verdict(folder, history)
    shutil.rmtree(folder)
    return found
