"""The contract of journal and witness: SQLite and a file against memory, step by step.

Owns: what the steps of a log are, and how both sides crash. Must never know the log actor.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from actors.journal import SqliteJournal
from actors.keeping import Hard, Testimony
from actors.witness import FileWitness
from dkv.entries import Entry, Kind, Position, follow, genesis, position_of
from dkv.ids import Founding
from dkv.limits import LOG_CHECKPOINT_PAGES, ClusterLimits
from dkv.raft.configuration import pack_members
from tests.contract.play import Step, outcome, same
from tests.stores import MemoryJournal, MemoryWitness, SimDisk

FIRST = genesis(Founding(b"", "contract", ("n1",)), ClusterLimits())
HARD = Hard(1, "n1", 7, False, FIRST.payload, FIRST.check)
_ALL = 2**62
_SIZES = (0, 20, 20, 300, 300, 5_000)


def _commit(journal: Any) -> None:
    """How long it took is the one thing in which they differ."""
    journal.commit()


class LogPair:
    weights = {
        "append": 24,
        "truncate": 8,
        "cut": 6,
        "vote": 10,
        "sync": 20,
        "witness": 12,
        "rows": 8,
        "half_a_read": 4,
        "tidy": 4,
        "kill": 4,
        "close": 1,
    }

    def __init__(
        self,
        place: Path,
        memory: type[MemoryJournal] = MemoryJournal,
        real: type[SqliteJournal] = SqliteJournal,
    ) -> None:
        self._place, self._lives = place, 0
        self._kinds = memory, real
        self._disk = SimDisk()
        self._folder = place / "0"
        self._folder.mkdir()
        self._open()

    def _open(self) -> None:
        memory, real = self._kinds
        self.memory, self.real = memory(self._disk), real(self._folder / "log.db")
        self.witnesses = MemoryWitness(self._disk), FileWitness(self._folder / "witness")

    def end(self) -> None:
        self.real._db.connection.close()
        self.witnesses[1].close()

    def play(self, step: Step) -> None:
        dice = Random(step.number)
        if self._disk.hard is None and step.name not in ("kill", "close", "tidy", "witness"):
            self.both("create", lambda journal: journal.create(HARD, (FIRST,)))
        else:
            getattr(self, f"_{step.name}")(dice)
        self._observe()

    def both(self, what: str, call: Callable[[Any], Any]) -> Any:
        found = outcome(lambda: call(self.memory))
        same(what, found, outcome(lambda: call(self.real)))
        return found

    def _observe(self) -> None:
        hard = self.both("hard state", lambda journal: journal.hard())
        if hard is not None:
            self.both("rows", lambda journal: list(journal.rows(0, _ALL)))
            self.both("configurations", lambda journal: journal.configurations(_ALL))
        same("witness", *(witness.read() for witness in self.witnesses))

    # -- what is there -----------------------------------------------------------------------------
    @property
    def hard(self) -> Hard:
        assert self._disk.hard is not None
        return self._disk.hard

    @property
    def entries(self) -> list[Entry]:
        return list(self.memory.rows(0, _ALL))

    def _more(self, dice: Random, last: Position) -> list[Entry]:
        found: list[Entry] = []
        for _ in range(dice.choice((0, 1, 1, 2, 4))):
            kind = dice.choice(list(Kind))
            payload = dice.randbytes(dice.choice(_SIZES))
            if kind == Kind.FORMED:
                payload = pack_members([("n1", 7)])
            row = (last.index + 1, dice.randint(0, 2**40), kind, dice.randint(0, 2**50), 6, payload)
            found.append(follow(last.check, row))
            last = position_of(found[-1])
        return found

    # -- steps -------------------------------------------------------------------------------------
    def _append(self, dice: Random) -> None:
        held = self.entries
        more = self._more(dice, position_of(held[-1]) if held else self.hard.base)
        self.both("append", lambda journal: journal.replace(0, more))

    def _truncate(self, dice: Random) -> None:
        held = self.entries
        if held:
            place = dice.randrange(max(0, len(held) - 6), len(held))
            before = position_of(held[place - 1]) if place else self.hard.base
            more = self._more(dice, before)
            self.both("truncate", lambda journal: journal.replace(held[place].index, more))

    def _cut(self, dice: Random) -> None:
        held = self.entries
        if held:
            last = dice.choice(held[:6])
            hard = self.hard._replace(base=position_of(last), base_tick=last.tick)

            def cut(journal: Any) -> None:
                journal.cut(last.index)
                journal.keep(hard)

            self.both("cut", cut)

    def _vote(self, dice: Random) -> None:
        hard = self.hard._replace(term=dice.randint(0, 2**60), vote=dice.choice((0, 7, 2**62)))
        self.both("vote", lambda journal: journal.keep(hard))

    def _sync(self, _dice: Random) -> None:
        self.both("sync", _commit)

    def _witness(self, dice: Random) -> None:
        seen = Testimony(
            dice.randint(0, 2**60), dice.randint(0, 9), dice.randbytes(8), dice.randint(0, 9), 7
        )
        for witness in self.witnesses:
            witness.write(seen)

    def _rows(self, dice: Random) -> None:
        first, last = dice.randint(-1, 30), dice.randint(-1, 30)
        self.both(f"rows {first} to {last}", lambda journal: list(journal.rows(first, last)))
        self.both(f"configurations {last}", lambda journal: journal.configurations(last))

    def _half_a_read(self, dice: Random) -> None:
        """The log stops reading in the middle when it has enough."""
        first = dice.randint(0, 30)

        def read(journal: Any) -> Any:
            rows = journal.rows(first, _ALL)
            return next(rows, None), next(rows, None)

        self.both(f"two rows from {first}", read)

    def _tidy(self, dice: Random) -> None:
        """Between transactions, as the log does it; the real one is made to think it is due."""
        idle = dice.random() < 0.5
        self.both("sync", _commit)
        self.real._dirty_pages += dice.choice((0, LOG_CHECKPOINT_PAGES + 1))
        self.both("tidy", lambda journal: journal.tidy(idle=idle))

    def _kill(self, _dice: Random) -> None:
        """The files as a killed process leaves them, WAL and all."""
        self._lives += 1
        folder = self._place / str(self._lives)
        shutil.copytree(self._folder, folder)
        self.end()
        shutil.rmtree(self._folder)
        self._folder = folder
        self._disk.lose_unsynced()
        self._open()

    def _close(self, _dice: Random) -> None:
        self.both("close", lambda journal: journal.close())
        for witness in self.witnesses:
            witness.close()
        self._disk.lose_unsynced()
        self._open()
