"""A node starts on what a power cut has left: is everything there that it promised?

Owns: the verdict on one directory, by the real start-up code. Must never know how the directory
came about.
"""

from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from actors.assembly import assemble
from actors.directory import DataDirectory
from actors.table import SqliteTable
from dkv.address import Instant
from dkv.entries import Entry, position_of
from dkv.errors import Fault
from dkv.messages import Continue
from tests.crash.history import History, alive
from tests.crash.marks import Promise
from tests.crash.workload import plan_of
from tests.stores import MemoryMargin, SimDisk

_NOW = Instant(1_000_000, 0)


def verdict(folder: Path, history: History) -> str:
    """What is wrong with the directory; empty if nothing is."""
    with ExitStack() as files:
        try:
            return _Found(folder, files).compare(history)
        except Fault as fault:
            return f"it does not start: {fault}"


class _Found:
    def __init__(self, folder: Path, files: ExitStack) -> None:
        directory = DataDirectory(folder)
        files.callback(directory.close)
        self.journal = directory.journal()
        files.callback(self.journal._db.connection.close)
        self.witness = directory.witness()
        files.callback(self.witness.close)
        self._directory, self._files = directory, files
        margin = MemoryMargin(SimDisk())
        self.actors = assemble(
            plan_of(folder), self.journal, self.witness, margin, self._stores(), Random(1)
        )
        self._scan()

    def _stores(self) -> Any:
        return SimpleNamespace(table=self._open_table, staged=self._directory.staged)

    def _open_table(self, disk: int) -> SqliteTable:
        self.table = self._directory.table(disk)
        self._files.callback(self.table._db.connection.close)
        return self.table

    def _scan(self) -> None:
        """The state machine reads all its rows before it does anything else."""
        batch: list[Any] = [Continue()]
        while batch:
            out = self.actors.machine.handle(batch, _NOW)
            batch = [letter for _to, letter in out if isinstance(letter, Continue)]

    def compare(self, history: History) -> str:
        if history.promised is None:
            return ""  # nothing had left this node: that it starts is all that is asked of it
        return (
            self._compare_log(history) or self._compare_witness(history) or self._compare(history)
        )

    def _compare_log(self, history: History) -> str:
        hard = self.journal.hard()
        assert hard is not None
        entries: list[Entry] = list(self.journal.rows(hard.base.index + 1, 2**62))
        last = position_of(entries[-1]) if entries else hard.base
        found = Promise(last.index, last.check, hard.term, hard.vote, hard.base.index)
        if found in history.possible:
            return ""
        return f"the log has {found}, and one of {history.possible} was promised"

    def _compare_witness(self, history: History) -> str:
        found, before = self.witness.read(), history.witnessed
        assert found is not None
        if found.index < before.index:
            return f"the witness says {found}, and it had said {before}"
        if (found.hard_term, found.vote) not in {(p.term, p.vote) for p in history.possible}:
            return f"the witness says {found}, and one of {history.possible} was promised"
        return ""

    def _compare(self, history: History) -> str:
        meta = self.table.meta()
        if meta.applied < history.kept:
            return f"state.db ends at {meta.applied}, and {history.kept} was reported durable"
        expected = history.metas.get(meta.applied)
        if not meta.applied or expected is None:
            return "" if not meta.applied else f"state.db says {meta}, which was never applied"
        # How much of what is superseded has been deleted is nobody's promise: the scan has compared
        # `held` with what is there, and no key may have come back by it.
        if expected != meta._replace(disk=1, held=expected.held, swept=expected.swept):
            return f"state.db says {meta}, and at this entry it should say {expected}"
        if alive(self.actors.machine._state) != history.alive[meta.applied]:
            return f"at {meta.applied} other keys exist than should"
        return ""
