"""One contract for the real stores and those of the simulated world, with crashes in it.

What the simulator proves of the actors holds for a node only if the stores in memory behave as
SQLite and the witness's file do. More than 100,000 random steps, everything that can be seen
compared after each. A failure prints its seed and the fewest steps that still differ:

    DKV_SEED=71 pytest tests/contract
"""

import os
from functools import partial
from multiprocessing import Pool

import pytest

from actors.journal import SqliteJournal
from actors.keeping import Hard
from actors.table import SqliteTable
from dkv.kv.version import Version, unpack_version
from tests.contract.log import LogPair
from tests.contract.play import Make, differs
from tests.contract.state import StatePair
from tests.sim.pool import cores
from tests.stores import MemoryJournal, MemoryTable

LENGTH = 100
SEEDS = 520 * (20 if os.environ.get("DKV_LONG") else 1)  # of each pair


def seeds() -> range:
    one = int(os.environ.get("DKV_SEED", 0))
    return range(one, one + 1) if one else range(1, SEEDS + 1)


def play(pair: type[LogPair | StatePair], seed: int) -> str:
    return differs(pair, seed, pair.weights, LENGTH)


def first_difference(make: Make, weights: dict[str, int], found: range) -> str:
    return next((words for seed in found if (words := differs(make, seed, weights, LENGTH))), "")


def test_the_steps_are_enough() -> None:
    assert 2 * SEEDS * LENGTH >= 100_000


@pytest.mark.parametrize("pair", [LogPair, StatePair], ids=["journal and witness", "table"])
def test_a_store_in_memory_is_as_the_real_one(pair: type[LogPair | StatePair]) -> None:
    with Pool(cores()) as pool:
        for words in pool.imap_unordered(partial(play, pair), seeds(), chunksize=8):
            assert words == ""


# -- it finds what differs -------------------------------------------------------------------------
class _LaterJournal(MemoryJournal):
    """A vote is kept only with the next but one."""

    def keep(self, hard: Hard) -> None:
        super().keep(hard._replace(vote=self.disk.hard.vote if self.disk.hard else 0))


class _LooseJournal(MemoryJournal):
    """What is not committed survives."""

    def cut(self, through: int) -> None:
        super().cut(through)
        self.disk.undo.clear()


class _EarlyJournal(SqliteJournal):
    """A commit that is not one."""

    def commit(self) -> None:
        pass


class _LooseTable(MemoryTable):
    def _add(self, row: int, packed: bytes, new: bytes | None) -> None:
        super()._add(row, packed, new)
        if unpack_version(packed).value == b"":
            self.disk.undo_table.clear()


class _HastyTable(SqliteTable):
    """Something is committed that was only added."""

    def add(self, row: int, packed: bytes, new: bytes | None) -> None:
        super().add(row, packed, new)
        if unpack_version(packed).value is None:
            self._write_chunk()
            self._db.execute("COMMIT")
            self._begin()


class _BlindTable(SqliteTable):
    """What is not written yet cannot be read."""

    def version(self, row: int) -> Version:
        return unpack_version(self._find(row))


class _HoardingTable(SqliteTable):
    """A chunk of which something is left stays as it was."""

    def _replace_chunk(self, first: int, content: list[bytes]) -> None:
        if not content:
            super()._replace_chunk(first, content)


class _LastingTable(MemoryTable):
    """What was deleted and not committed stays deleted."""

    def drop(self, rows: list[int]) -> tuple[int, int]:
        found = super().drop(rows)
        self.disk.undo_table.clear()
        return found


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (lambda place: LogPair(place, memory=_LaterJournal), LogPair.weights),
        (lambda place: LogPair(place, memory=_LooseJournal), LogPair.weights),
        (lambda place: LogPair(place, real=_EarlyJournal), LogPair.weights),
        (lambda place: StatePair(place, memory=_LooseTable), StatePair.weights),
        (lambda place: StatePair(place, real=_HastyTable), StatePair.weights),
        (lambda place: StatePair(place, real=_BlindTable), StatePair.weights),
        (lambda place: StatePair(place, real=_HoardingTable), StatePair.weights),
        (lambda place: StatePair(place, memory=_LastingTable), StatePair.weights),
    ],
    ids=[
        "later vote",
        "loose cut",
        "no commit",
        "loose add",
        "hasty commit",
        "blind",
        "hoarding",
        "lasting",
    ],
)
def test_a_difference_on_either_side_is_found_and_shrunk(
    make: Make, weights: dict[str, int]
) -> None:
    words = first_difference(make, weights, range(1, 30))
    assert "DKV_SEED=" in words
    assert 1 <= words.count("Step(") <= 12, words
