"""What a directory of a cluster without a majority holds, and which of several holds most.

Owns: bringing a state forward through the last entry of its log, the comparison, and the backup of
the result. Must never know flags, or how it is told; it works on a copy, for it writes.

No node may do this: an entry at a log's end may never have been committed. But whatever was
acknowledged stands in the logs of a majority, so of those that remain the log with the highest
(last term, last index) has all of it that any of them has (§5.4.1). What was acknowledged by lost
disks alone is gone, and nobody can say how much that is.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from actors import recovery
from actors.database import fault_of
from actors.directory import open_state
from actors.journal import SqliteJournal
from actors.keeping import Hard
from actors.scan import Scan
from actors.witness import FileWitness
from dkv.entries import Position, entry_bytes
from dkv.errors import Ending, Fault, Misconfigured
from dkv.kv.backup import Writer, origin_of
from dkv.kv.heads import is_live
from dkv.kv.rows import Rows
from dkv.kv.saving import facts_of
from dkv.kv.state import State
from dkv.limits import STATE_COMMIT_BYTES


class Survivor(NamedTuple):
    """What a sound directory holds. `committed`: the last entry that it knows to be; `applied`:
    what its state had; `revision` and `keys`: with its whole log applied. `checks` by index, from
    the base on; `revisions` by index, from `applied` on."""

    hard: Hard
    cluster: bytes
    last: Position
    witnessed: int
    committed: int
    applied: int
    revision: int
    keys: int
    checks: dict[int, bytes]
    revisions: dict[int, int]

    @property
    def unsure(self) -> int:
        """How many entries at the end were never known here to be committed."""
        return self.last.index - self.committed


class Loss(NamedTuple):
    """What choosing a survivor loses of the furthest: the entries behind `shared`, the last one
    that both are known to hold; and how many entries of its own are not the furthest's."""

    shared: int
    entries: int
    revisions: int
    strange: int


@contextmanager
def forwarded(folder: Path) -> Iterator[tuple[Survivor, State]]:
    """Believe a copy of a data directory as a start does, and apply the rest of its log. Raises
    `Fault` with what does not fit."""
    try:
        with ExitStack() as opened:
            yield _bring_forward(folder, opened)
    except SqliteJournal.errors as error:
        raise fault_of(folder, error) from error


def _bring_forward(folder: Path, opened: ExitStack) -> tuple[Survivor, State]:
    journal, witness = SqliteJournal(folder / "log.db"), FileWitness(folder / "witness")
    opened.callback(journal.close)
    opened.callback(witness.close)
    hard = journal.hard()
    if hard is None:
        raise Fault(Ending.STORAGE_FAULT, "its creation was never finished: it holds nothing")
    table, others = open_state(folder, hard.disk)
    for each in (table, *others):
        opened.callback(each.close, orderly=False)
    applied = table.meta().applied
    found = recovery.examine(journal, witness, table.meta())
    state = State(table, found.limits, found.founding.cluster_id())
    scan = Scan(table, state.heads) if applied else None
    while scan is not None and not scan.step():
        pass
    base = found.hard.base
    checks = {base.index: base.check}
    checks |= {e.index: e.check for e in journal.rows(base.index + 1, found.last.index)}
    revisions = _apply(state, journal, found.last.index)
    survivor = Survivor(
        found.hard,
        state.cluster,
        found.last,
        found.testimony.index,
        found.start.commit,
        applied,
        state.revision,
        sum(map(is_live, state.heads.values())),
        checks,
        revisions,
    )
    return survivor, state


def _apply(state: State, journal: SqliteJournal, last: int) -> dict[int, int]:
    size, revisions = 0, {state.applied: state.revision}
    for entry in journal.rows(state.applied + 1, last):
        state.apply(entry)
        revisions[entry.index] = state.revision
        size += entry_bytes(entry)
        if size >= STATE_COMMIT_BYTES:
            size = 0
            state.commit()
    state.commit()
    return revisions


# -- which one -----------------------------------------------------------------------------------
def furthest(survivors: Sequence[Survivor]) -> int:
    """The position of the one to go on with. Raises `Misconfigured` where they are not of one
    cluster."""
    if len({survivor.cluster for survivor in survivors}) > 1:
        raise Misconfigured(
            "the directories are of different clusters (`dkv inspect` tells the cluster id of "
            "each): give those of one"
        )
    lasts = [(survivor.last.term, survivor.last.index) for survivor in survivors]
    return lasts.index(max(lasts))


def loss(chosen: Survivor, best: Survivor) -> Loss:
    end = min(chosen.last.index, best.last.index)
    shared = next(
        (i for i in range(end, chosen.hard.base.index - 1, -1) if _both_hold(i, chosen, best)),
        chosen.committed,
    )
    revision = chosen.revisions.get(shared, chosen.revision)
    return Loss(
        shared,
        best.last.index - shared,
        max(best.revision - revision, 0),
        chosen.last.index - shared,
    )


def _both_hold(index: int, one: Survivor, other: Survivor) -> bool:
    return index in other.checks and one.checks[index] == other.checks[index]


# -- what is made of it --------------------------------------------------------------------------
def save(state: State, file: IO[bytes], wall: int) -> None:
    """Write the whole store as a backup; `wall` as in `Origin`. Raises `Misconfigured` where
    nothing was ever received."""
    if not state.applied:
        raise Misconfigured(
            "this node had joined, and received nothing yet: there is nothing to go on with. Take "
            "another directory"
        )
    writer = Writer(file, origin_of(facts_of(state), wall))
    rows = Rows(state.store, state.revision)
    while versions := rows.take():
        writer.add(versions)
    writer.finish()
