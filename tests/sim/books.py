"""What the simulated clients were told, and whether one cluster could have said all of it.

Owns: the history of operations, and their comparison with the versions that there ever were,
deleted ones too: every answer names revisions. Must never know how a client came to it.
"""

from bisect import bisect_right
from typing import NamedTuple

from dkv.history import Operation, Verdict, check
from tests.stores import SimDisk


class Glance(NamedTuple):
    """A serializable read: the key as of a revision of the store, whenever that was."""

    key: bytes
    out: bytes | None
    revision: int
    store: int


class Books:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.history: list[Operation] = []
        self.glances: list[Glance] = []
        self.refused: set[bytes] = set()  # values of writes that surely were not done
        self.done = 0  # operations with a definite answer
        self.unknown = 0
        self.compactions = 0
        self.lists_ended = 0  # by a compaction

    def record(self, operation: Operation) -> None:
        self.history.append(operation)
        if operation.is_known:
            self.done += 1
        else:
            self.unknown += 1

    def _hold(self, holds: bool, *words: object) -> None:
        if not holds:
            raise AssertionError(f"seed {self._seed}: {' '.join(map(str, words))}")

    def settle(self, disk: SimDisk) -> None:
        """After everything has come to rest: `disk` is a replica's that all agree with."""
        self._compare(disk)
        report = check(self.history)
        words = "\n".join(report.lines())
        self._hold(report.verdict is Verdict.LINEARIZABLE, f"{report.verdict.name}\n{words}")

    # -- answers and versions --------------------------------------------------------------------
    def _compare(self, disk: SimDisk) -> None:
        kept: dict[bytes, list[tuple[int, bytes | None]]] = {}
        values: set[bytes] = set()
        for _row, version in sorted(disk.ever.items()):
            kept.setdefault(version.key, []).append((version.revision, version.value))
            if version.value:  # those of clients are never empty
                self._hold(version.value not in values, version.value, "was written twice")
                values.add(version.value)
        newest = {version.key: row for row, version in sorted(disk.ever.items())}
        for key, row in newest.items():
            there = disk.ever[row].value is None or row in disk.versions
            self._hold(there, key, "is no longer there")
        self._hold(not values & self.refused, "refused, and done:", values & self.refused)
        for glance in self.glances:
            self._fits(kept.get(glance.key, []), glance)
        for operation in self.history:
            if operation.op == "get":
                revision, store = operation.revision or 0, operation.store or 0
                glance = Glance(operation.key, operation.out, revision, store)
                self._fits(kept.get(operation.key, []), glance)
            elif operation.is_known and operation.value is not None and operation.ok:
                row = (operation.revision or 0, operation.value)
                self._hold(row in kept.get(operation.key, []), "acknowledged and lost:", operation)

    def _fits(self, rows: list[tuple[int, bytes | None]], glance: Glance) -> None:
        place = bisect_right(rows, glance.store, key=lambda row: row[0])
        revision, value = rows[place - 1] if place else (0, None)
        there = (revision, value) if value is not None else (0, None)
        self._hold((glance.revision, glance.out) == there, glance, "but there was", there)
