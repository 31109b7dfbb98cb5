"""The contract of the state's table: SQLite against memory, step by step.

Owns: what the steps of a table are, and how both sides crash. Must never know the state machine.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from actors.table import SqliteTable
from dkv.kv.store import Meta
from dkv.kv.version import Version, pack_version, row_id, row_of_packed
from dkv.limits import STATE_CHECKPOINT_PAGES, SUB_MAX
from tests.contract.play import Step, outcome, same
from tests.stores import MemoryTable, SimDisk

DISK = 7
KEYS = (b"", b"\0", b"a", b"a\0", b"a\0b", b"ab", b"b", b"long" * 60, b"\x7f", b"\x80", b"\xff\xff")
_SIZES = (0, 0, 10, 10, 500, 6_000)


def _scanned(table: Any) -> list[bytes]:
    """The whole of it, by slices."""
    found: list[bytes] = []
    while slice_ := table.scan(row_of_packed(found[-1]) if found else -1):
        found += slice_
    return found


def _spanned(table: Any, after: int, through: int) -> list[bytes]:
    found: list[bytes] = []
    while slice_ := table.span(row_of_packed(found[-1]) if found else after, through):
        found += slice_
    return found


class StatePair:
    weights = {
        "add": 40,
        "again": 10,
        "commit": 14,
        "keys": 10,
        "version": 12,
        "span": 6,
        "tidy": 3,
        "kill": 4,
        "close": 1,
        "diverge": 1,
    }

    def __init__(
        self,
        place: Path,
        memory: type[MemoryTable] = MemoryTable,
        real: type[SqliteTable] = SqliteTable,
    ) -> None:
        self._place, self._lives = place, 0
        self._kinds = memory, real
        self._disk = SimDisk()
        self._folder = place / "0"
        self._folder.mkdir()
        self._open()

    def _open(self) -> None:
        memory, real = self._kinds
        self.memory, self.real = memory(self._disk, DISK), real(self._folder / "state.db", DISK)

    def end(self) -> None:
        self.real._db.connection.close()

    def play(self, step: Step) -> None:
        self._dice = Random(step.number)
        getattr(self, f"_{step.name}")(self._dice)
        self._observe()

    def both(self, what: str, call: Callable[[Any], Any]) -> Any:
        found = outcome(lambda: call(self.memory))
        same(what, found, outcome(lambda: call(self.real)))
        return found

    def _observe(self) -> None:
        self.both("meta", lambda table: table.meta())
        self.both("sessions", lambda table: list(table.sessions()))
        self.both("keys", lambda table: table.keys(b"", b"", 100))
        if self._dice.random() < 0.5:  # not always: a scan writes what is waiting
            self.both("scan", _scanned)

    # -- steps -------------------------------------------------------------------------------------
    def _last(self) -> tuple[int, int]:
        return divmod(max(self._disk.versions, default=0), SUB_MAX)

    def _add(self, dice: Random) -> None:
        revision, _sub = self._last()
        self._put(dice, revision + dice.choice((1, 1, 3)), 0)

    def _again(self, dice: Random) -> None:
        """One more version of the same revision."""
        revision, sub = self._last()
        if revision and sub + 1 < SUB_MAX:
            self._put(dice, revision, sub + 1)

    def _put(self, dice: Random, revision: int, sub: int) -> None:
        value = dice.choice((None, *(dice.randbytes(n) for n in _SIZES)))
        author = dice.choice(("", "anna", "жа", "n" * 90))
        numbers = [dice.choice((0, 1, dice.randint(0, 2**60))) for _ in range(5)]
        created, count, lease, tick, wall = numbers
        key = dice.choice(KEYS)
        before = [row for row, (v, _check) in self._disk.versions.items() if v.key == key]
        previous = max(before, default=0)
        version = Version(
            *(revision, sub, key, value, created, count, lease, author, tick, wall, previous)
        )
        row, packed, new = row_id(revision, sub), pack_version(version), None if before else key
        self.both("add", lambda table: table.add(row, packed, new))

    def _commit(self, dice: Random) -> None:
        numbers = [dice.randint(1, 6) for _ in range(dice.randint(0, 3))]
        changed = [(number, dice.randbytes(dice.choice((0, 9, 200)))) for number in numbers]
        ended = [dice.randint(1, 6) for _ in range(dice.choice((0, 0, 1, 2)))]
        meta = self._meta(dice)
        self.both("commit", lambda table: table.commit(meta, changed, ended))

    def _meta(self, dice: Random) -> Meta:
        sums = [dice.getrandbits(64) for _ in range(2)]
        applied, term, revision = (dice.randint(0, 2**40) for _ in range(3))
        return Meta(DISK, applied, term, dice.randbytes(8), revision, 0, *sums, dice.randint(0, 9))

    def _keys(self, dice: Random) -> None:
        start, end, count = dice.choice(KEYS), dice.choice(KEYS), dice.randint(1, 6)
        words = f"keys {start!r} {end!r}, {count}"
        self.both(words, lambda table: table.keys(start, end, count))

    def _version(self, dice: Random) -> None:
        """Neighbours too: they stand together in a chunk, and one may be missing between two."""
        row = dice.choice((0, 1, *self._disk.versions))
        for near in (row, row + 1, row + SUB_MAX, row - SUB_MAX):
            self.both(f"version {near}", lambda table: table.version(near))  # noqa: B023

    def _span(self, dice: Random) -> None:
        """Between any two places, in a chunk or in what waits."""
        rows = (0, 2**62, *self._disk.versions)
        after, through = (dice.choice(rows) + dice.choice((-1, 0, 1)) for _ in range(2))
        self.both(f"span {after} {through}", lambda table: _spanned(table, after, through))

    def _tidy(self, dice: Random) -> None:
        """After a commit, as the machine does it; the real one is made to think it is due."""
        self._commit(dice)
        self.real._dirty_pages += dice.choice((0, STATE_CHECKPOINT_PAGES + 1))
        idle = dice.random() < 0.5
        self.both("tidy", lambda table: table.tidy(idle=idle))

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
        self.both("close", lambda table: table.close())
        self._disk.lose_unsynced()
        self._open()

    def _diverge(self, dice: Random) -> None:
        """The node stops after it; whether in order or not is the same."""
        meta = self._meta(dice)._replace(diverged=True)
        self.both("diverge", lambda table: table.mark_diverged(meta))
        self._kill(dice)
