"""Data directories as real nodes left them, and what those nodes had promised.

Owns: the lives that the directories come from, real stores and actors at work (`tests.crash`'s
workload), and their files. Must never know what will be damaged.

    stopped   in order: no WAL is left
    quiet     killed after a pause: the witness knows of everything
    hasty     killed at work: what was acknowledged last, the witness has not been told of yet
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import msgpack

from dkv.limits import MS, WITNESS_LAZY_US
from dkv.messages import Apply, Continue, Stop, Write
from tests.crash.history import History
from tests.crash.marks import Applying, unpack
from tests.crash.workload import Life

KINDS = ("stopped", "quiet", "hasty")
FILES = ("log.db", "log.db-wal", "state.db", "state.db-wal", "witness")
_TURNS = 14  # before the older image, and as many after it

Files = dict[str, bytes]


class Origin(NamedTuple):
    name: str
    files: Files
    older: Files  # the same directory, half a life before
    history: History
    handed: int  # the last entry that the state machine was given: it was committed


def make(place: Path, seed: int, kind: str) -> Origin:
    with tempfile.TemporaryDirectory(dir=place) as found:
        folder = Path(found)
        life = Life(folder, seed, 1, synchronous=True)
        life.begin()
        life.machine_turn(Continue())
        for _ in range(_TURNS):
            life.turn()
        older = read(folder)
        for _ in range(_TURNS):
            life.turn()
        if kind != "hasty":
            _settle(life)
        if kind == "stopped":
            life.machine_turn(Stop())
            life.log.handle([Stop()], life.instant())
        files = read(folder)
        history, handed = _history(folder / "marks")
        life.abandon()
    return Origin(f"{kind} {seed}", files, older, history, handed)


def _settle(life: Life) -> None:
    """All is committed and applied, and a pause long enough for the witness to hear of it."""
    entries = tuple(e for e in life.tail if e.index > life.handed)
    life.commit = life.handed = life.last.index
    if entries:
        life.mark(Applying(entries))
        life.machine_turn(Apply(entries))
    life.number += 1
    life.log_turn(Write(life.number, 0, (), life.term, life.vote, life.commit, ()))
    life.now_us += 2 * WITNESS_LAZY_US + 100 * MS
    life.log_turn()


def _history(marks: Path) -> tuple[History, int]:
    history, handed = History(), 0
    feed = msgpack.Unpacker(use_list=False)
    feed.feed(marks.read_bytes())
    for packed in feed:
        mark = unpack(msgpack.packb(packed))
        history.take(mark)
        if isinstance(mark, Applying):
            handed = mark.entries[-1].index
    return history, handed


def read(folder: Path) -> Files:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)
