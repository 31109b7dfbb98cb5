"""A node is started on a damaged directory: what does it serve, or why does it refuse?

Owns: the verdict, by the real start-up code, the real state machine's reads and the leader's match.
Must never know what was damaged.

A damage that makes everything older at once (or takes what the witness has not been told of yet)
leaves files that fit each other. No start can see that; the first word of a leader does.
"""

import shutil
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from actors import recovery
from actors.assembly import assemble
from actors.directory import DataDirectory
from actors.table import SqliteTable
from dkv.address import Instant, Local, Peer
from dkv.counters import Counters
from dkv.entries import Entry, position_of
from dkv.errors import Fault, Misconfigured
from dkv.kv.reading import Reading
from dkv.kv.store import Store
from dkv.kv.sweep import Sweep
from dkv.kv.version import row_of_packed
from dkv.limits import Timing
from dkv.messages import Apply, Condemn, Continue, Found, Heartbeat, Lookup
from dkv.raft import table
from dkv.raft.core import Raft
from dkv.requests import pack_command
from tests.corruption.origin import Files, Origin, write
from tests.crash.marks import Promise
from tests.crash.workload import plan_of
from tests.stores import MemoryMargin, SimDisk

STARTED, REFUSED, REFUSED_BY_MATCH = "started", "refused", "refused by the leader's match"
_NOW = Instant(1_000_000, 0)
READS = (
    *(pack_command("get", key=b"key/%d" % n) for n in range(41)),
    pack_command("list", prefix=b""),
    pack_command("list", prefix=b"key/1", keys_only=True),
)


class Wrong(Exception):
    """A wrong or missing value was served, or a promise was forgotten and nobody noticed."""


def verdict(place: Path, origin: Origin, files: Files) -> tuple[str, str]:
    """How it went, and the node's words. Raises `Wrong`, and whatever escapes."""
    folder = place / "damaged"
    folder.mkdir()
    write(folder, files)
    try:
        with ExitStack() as open_files:
            vouched = files.get("witness") == origin.files["witness"]
            return _judge(folder, origin, open_files, vouched=vouched)
    finally:
        shutil.rmtree(folder)


def _judge(
    folder: Path, origin: Origin, open_files: ExitStack, *, vouched: bool
) -> tuple[str, str]:
    try:
        node = _Node(folder, open_files)
        node.serve(origin)
        node.sweep(origin)
    except (Fault, Misconfigured) as fault:
        return REFUSED, f"{fault.ending.name}: {fault}"
    short = node.compare_promise(origin)
    if short:
        if vouched:
            node.compare_witness(origin)
        return REFUSED_BY_MATCH, node.hear_of(origin, short)
    node.compare_state(origin)
    return STARTED, ""


class _Node:
    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        directory = DataDirectory(folder)
        open_files.callback(directory.close)
        self.journal = directory.journal()
        open_files.callback(self.journal._db.connection.close)
        self.witness = directory.witness()
        open_files.callback(self.witness.close)
        self._directory, self._open_files = directory, open_files
        margin = MemoryMargin(SimDisk())
        self.actors = assemble(
            plan_of(folder), self.journal, self.witness, margin, self._stores(), Random(1)
        )

    def _stores(self) -> Any:
        return SimpleNamespace(table=self._open_table, staged=self._directory.staged)

    def _open_table(self, disk: int) -> SqliteTable:
        self.table = self._directory.table(disk)
        self._open_files.callback(self.table._db.connection.close)
        return self.table

    def _rows(self) -> list[Entry]:
        return list(self.journal.rows(0, 2**62))

    # -- what it serves ----------------------------------------------------------------------------
    def serve(self, origin: Origin) -> None:
        """Everything committed that it holds is applied, and everything is read."""
        applied = self.actors.machine._state.applied
        entries = [e for e in self._rows() if applied < e.index <= origin.handed]
        reached = entries[-1].index if entries else applied
        asked: list[Any] = [Apply(tuple(entries))] if entries else []
        batch = [*asked, Lookup(1, reached, 60_000, READS), Continue()]
        while batch:
            out = self.actors.machine.handle(batch, _NOW)
            for _to, letter in out:
                if isinstance(letter, Found) and reached >= origin.handed:
                    self._compare_answer(origin, letter)
            batch = [letter for _to, letter in out if isinstance(letter, Continue)]

    @staticmethod
    def _compare_answer(origin: Origin, found: Found) -> None:
        for position, answer in enumerate(found.answers, found.position):
            reading = Reading(origin.history.model, READS[position])
            expected = next(x for x in iter(reading.step, 0) if x is not None)
            if answer != expected:
                raise Wrong(f"read {position}: {answer!r:.300}, not {expected!r:.300}")

    def sweep(self, origin: Origin) -> None:
        """To the end, here and there: how far deletion has come is nobody's promise."""
        for state in (self.actors.machine._state, origin.history.model):
            sweep = Sweep(state)
            try:
                while sweep.is_due:
                    sweep.step()
            except state.store.errors as error:  # as the state machine does
                raise state.store.fault(error) from error

    def compare_state(self, origin: Origin) -> None:
        state, model = self.actors.machine._state, origin.history.model
        if state.meta()._replace(disk=1) != model.meta():
            raise Wrong(f"the state says {state.meta()}, and should say {model.meta()}")
        found, expected = _sessions(state), _sessions(model)
        if found != expected:
            raise Wrong(f"sessions {found!r:.300}, and they should be {expected!r:.300}")
        if state.heads != model.heads:
            raise Wrong("a key's newest version is another than was written")
        for what, rows in (("versions", _versions), ("keys", _keys)):
            if rows(self.table) != rows(model.store):
                raise Wrong(f"{what}: rows are missing, or others than were written")

    # -- what it had promised ----------------------------------------------------------------------
    def compare_promise(self, origin: Origin) -> str:
        """What is missing of it; empty if nothing is."""
        promised = origin.history.promised
        assert promised is not None
        hard, rows = self.journal.hard(), self._rows()
        assert hard is not None
        last = position_of(rows[-1]) if rows else hard.base
        found = Promise(last.index, last.check, hard.term, hard.vote, hard.base.index)
        return "" if found == promised else f"{found}, and {promised} was promised"

    def compare_witness(self, origin: Origin) -> None:
        """What the witness has been told of, a start must miss."""
        seen, hard, rows = origin.history.witnessed, self.journal.hard(), self._rows()
        assert hard is not None
        last = rows[-1].index if rows else hard.base.index
        if last < seen.index or hard.term < seen.hard_term:
            raise Wrong(f"started with entry {last} and {hard.term}, and the witness saw {seen}")

    def hear_of(self, origin: Origin, short: str) -> str:
        """The leader to whom it had promised says so in its next heartbeat."""
        promised = origin.history.promised
        assert promised is not None
        start = recovery.examine(self.journal, self.witness, self.table.meta()).start
        leader = Peer("n2", 7, 102)
        raft = Raft(start, 101, Timing(), Random(1), Counters())
        raft.peers = {"n2": leader}
        table.begin(raft)
        heartbeat = Heartbeat(promised.term, 1, 0, match=promised.index, everyone_has=0)
        table.receive(raft, leader, heartbeat)
        out = table.end_turn(raft)
        letters = [x for to, x in out if to == Local.LOG and isinstance(x, Condemn)]
        if not letters:
            raise Wrong(f"the log has {short}, and the leader's match does not tell")
        try:
            self.actors.log.handle(letters, _NOW)
        except Fault as fault:
            return f"{fault.ending.name}: {fault}"
        raise Wrong("a condemned log goes on")


def _versions(store: Store) -> list[bytes]:
    """Every revision of every key, not only what is read today."""
    found: list[bytes] = []
    while slice_ := store.scan(row_of_packed(found[-1]) if found else -1):
        found += slice_
    return found


def _keys(store: Store) -> list[bytes]:
    return store.keys(b"", b"", 2**31)


def _sessions(state: Any) -> dict[int, bytes]:
    return {number: s.pack() for number, s in state.sessions._sessions.items()}
