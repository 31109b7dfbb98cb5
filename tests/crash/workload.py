"""The process whose power will be cut: a node's two keepers at work, on real files.

Owns: one life of a data directory, from its start-up code to an orderly stop or a kill. It plays
consensus: it tells the real log what to write, replace, promise and cut, and the real state machine
what to apply, all drawn from a seed. What it promises and what it is about to do goes as marks
into a file of the same folder, so that the recorder puts both into one order. Must never know what
a power cut leaves behind.

    python -m tests.crash.workload FOLDER SEED LIFE (full | normal)
"""

import os
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from actors.assembly import Plan, assemble
from actors.directory import DataDirectory
from dkv.address import Instant
from dkv.entries import Batch, Entry, Kind, Position, follow, pack_batch, position_of
from dkv.errors import Fault
from dkv.ids import Founding
from dkv.kv.state import Command, pack_command_of
from dkv.limits import LOG_CHECKPOINT_PAGES, MS, STATE_CHECKPOINT_PAGES, ClusterLimits, Timing
from dkv.messages import Apply, Continue, Cut, Durable, Roster, Stop, Write
from dkv.raft.configuration import pack_members
from dkv.requests import pack_command
from tests.crash.marks import (
    Applying,
    Faulted,
    Intended,
    Kept,
    Mark,
    Promise,
    Promised,
    handed,
    pack,
)
from tests.stores import MemoryMargin, SimDisk

NAMES = ("n1", "n2", "n3")
TURNS = 25
_SMALL = (0, 60, 700, 6_000)


def plan_of(folder: Path) -> Plan:
    roster = Roster(tuple((name, f"{name}:2380", b"", f"{name}:3000") for name in NAMES))
    founding = Founding(b"", "crash", NAMES)
    return Plan("n1", founding, ClusterLimits(), Timing(), roster, str(folder))


class Life:
    def __init__(self, folder: Path, seed: int, life: int, *, synchronous: bool) -> None:
        self.rng = Random(f"{seed}/{life}")
        self.life = life
        self.now_us = 1_000_000 * (life + 1)
        self._marks = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._folder = folder
        self._directory = directory = DataDirectory(folder)
        self.journal, witness = directory.journal(), directory.witness()
        if not synchronous:  # the control: what a forgotten pragma would do
            self.journal._db.execute("PRAGMA synchronous=NORMAL")
        self.witness = witness
        actors = assemble(
            plan_of(folder),
            self.journal,
            witness,
            MemoryMargin(SimDisk()),
            self._stores(directory),
            Random(f"{seed}/disk"),
        )
        self.log, self.machine = actors.log, actors.machine
        self._believe()

    def _stores(self, directory: DataDirectory) -> Any:
        def open_table(disk: int) -> Any:
            self.table = directory.table(disk)
            return self.table

        return SimpleNamespace(table=open_table, staged=directory.staged)

    def abandon(self) -> None:
        """Without an orderly end."""
        self.journal._db.connection.close()
        self.table._db.connection.close()
        self._directory.close()
        os.close(self._marks)

    def _believe(self) -> None:
        """What the start-up code found is what this life goes on from, and vouches for."""
        hard, testimony, meta = self.journal.hard(), self.witness.read(), self.table.meta()
        assert hard is not None
        assert testimony is not None
        self.base, self.term, self.vote = hard.base, hard.term, hard.vote
        self.tail: list[Entry] = list(self.journal.rows(self.base.index + 1, 2**62))
        self.commit = max(testimony.index, meta.applied, handed(self._folder / "marks"))
        self.handed = meta.applied
        self.durable = meta.applied
        self.number = 0

    # -- marks -----------------------------------------------------------------------------------
    def mark(self, mark: Mark) -> None:
        os.write(self._marks, pack(mark))

    def promise(self) -> Promise:
        last = self.last
        return Promise(last.index, last.check, self.term, self.vote, self.base.index)

    # -- the log ---------------------------------------------------------------------------------
    @property
    def last(self) -> Position:
        return position_of(self.tail[-1]) if self.tail else self.base

    def write(self) -> Write:
        """What consensus may ask for: more entries, others than before, a promise, or nothing."""
        draw = self.rng.random()
        cut_from = 0
        if draw < 0.2:
            self.term += self.rng.randint(1, 2)
            self.vote = self.rng.choice((0, 7, 8))
        elif draw < 0.4 and self.last.index > self.commit:
            cut_from = self.rng.randint(self.commit + 1, self.last.index)
            del self.tail[cut_from - self.last.index - 1 :]
            self.term += 1
            self.vote = 0
        entries = tuple(self._entry() for _ in range(self.rng.choice((0, 1, 1, 2, 5))))
        self.number += 1
        return Write(self.number, cut_from, entries, self.term, self.vote, self.commit, ())

    def _entry(self) -> Entry:
        index, rng = self.last.index + 1, self.rng
        kind, payload = Kind.COMMANDS, b""
        if index == 2:
            kind, payload = Kind.FORMED, pack_members((name, 7) for name in NAMES)
        elif index == 3:
            kind = Kind.OPENED
        else:
            payload = self._commands(index)
        row = (index, max(self.term, 1), int(kind), index, rng.getrandbits(40), payload)
        self.tail.append(follow(self.last.check, row))
        return self.tail[-1]

    def _commands(self, index: int) -> bytes:
        commands = tuple(self._command(index, n) for n in range(self.rng.randint(1, 4)))
        return pack_batch(Batch("n1", 1, index, commands))

    def _command(self, index: int, number: int) -> bytes:
        rng = self.rng
        key = b"key/%d" % rng.randrange(40)
        draw = rng.random()
        if draw < 0.1:
            command = pack_command("open_session")
        elif draw < 0.3:
            command = pack_command("delete", key=key)
        elif draw < 0.33:
            command = pack_command("compact", keep=rng.choice((0, 0, 5)))
        else:
            size = rng.choice(_SMALL) if rng.random() < 0.98 else 40_000
            command = pack_command("put", key=key, value=rng.randbytes(size))
        session = rng.choice((0, 1, 2)) if draw >= 0.1 else 0
        sequence = 4 * index + number if session else 0
        return pack_command_of(Command("", session, sequence, sequence, 0, command))

    def cut(self) -> Cut | None:
        """The head may go as far as state.db holds it."""
        through = self.durable - self.rng.randint(0, 20)
        if through <= max(self.base.index, 1):  # the first configuration goes with it
            return None
        place = through - self.base.index
        self.base = position_of(self.tail[place - 1])
        del self.tail[:place]
        return Cut(through)

    def log_turn(self, *letters: Any) -> None:
        """One batch, one transaction; what it promises is marked when `handle` has returned."""
        self.mark(Intended(self.promise()))
        self.log.handle(list(letters), self.instant())
        self.mark(Promised(self.promise(), *(self.witness.read() or ())))

    def begin(self) -> None:
        """A sealed letter about what the last life left needs nothing to be written any more."""
        self.number += 1
        self.log_turn(Write(self.number, 0, (), self.term, self.vote, self.commit, ()))

    # -- the state machine -----------------------------------------------------------------------
    def apply(self) -> None:
        self.commit = self.rng.randint(self.commit, self.last.index)
        entries = tuple(e for e in self.tail if self.handed < e.index <= self.commit)
        if entries:
            self.mark(Applying(entries))
            self.handed = self.commit
        self.machine_turn(*([Apply(entries)] if entries else []))

    def machine_turn(self, *letters: Any) -> None:
        batch = list(letters)
        while True:
            out = self.machine.handle(batch, self.instant())
            for _to, letter in out:
                if isinstance(letter, Durable):
                    self.durable = letter.index
                    self.mark(Kept(letter.index))
            batch = [letter for _to, letter in out if isinstance(letter, Continue)]
            if not batch:
                return

    # -- a life ----------------------------------------------------------------------------------
    def instant(self) -> Instant:
        return Instant(self.now_us, 0)

    def turn(self) -> None:
        self.now_us += self.rng.choice((1, 5, 50, 400)) * MS
        letters: list[Any] = [self.write() for _ in range(self.rng.randint(1, 3))]
        if self.rng.random() < 0.3:
            letters += filter(None, [self.cut()])
        self._make_tidy()
        self.log_turn(*letters)
        self.apply()
        for _ in range(3):  # deletion goes a step a turn, with time between
            self.now_us += 20 * MS
            self.machine_turn()

    def _make_tidy(self) -> None:
        """A checkpoint is due after thousands of pages; the keepers are made to think so sooner."""
        if self.rng.random() < 0.1:
            self.journal._dirty_pages = LOG_CHECKPOINT_PAGES + 1
        if self.rng.random() < 0.3:
            self.table._dirty_pages = STATE_CHECKPOINT_PAGES + 1
        if self.rng.random() < 0.05:
            self.journal._db.vacuum(4)

    def live(self) -> None:
        """Orderly to the end, unless the recorder kills this process before."""
        self.begin()
        self.machine_turn(Continue())
        for _ in range(TURNS):
            self.turn()
        self.machine_turn(Stop())
        self.log.handle([Stop()], self.instant())


def main(folder: str, seed: str, life: str, mode: str) -> None:
    try:
        lived = Life(Path(folder), int(seed), int(life), synchronous=mode == "full")
        lived.live()
    except Fault as fault:
        handle = os.open(Path(folder) / "marks", os.O_WRONLY | os.O_APPEND)
        os.write(handle, pack(Faulted(str(fault))))
        sys.exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
