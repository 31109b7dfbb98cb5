"""What a data directory says at start, before any actor runs.

Owns: the rules by which log, witness and state are believed, and the creation of a new directory.
Must never know letters or time. What does not fit is a storage fault: the node does not vote,
campaign or acknowledge, for it may have lost what it promised.

    witness   the log holds the witness's entry (or was cut at or beyond it); term and vote are no
              older than the witness's
    chain     every row of the log fits the row before it; the last one too, for SQLite has removed
              what was not committed, and what it shows was perhaps acknowledged
    state     the log, or its base, holds the entry that state.db has applied last; where state.db
              was just installed from a snapshot, the log is emptied and begins behind it
"""

from typing import NamedTuple

from actors.keeping import Hard, Journal, Testimony, Witness, rebased
from dkv.entries import (
    CONFIGURING,
    NO_CHECK,
    Entry,
    Position,
    entry_bytes,
    is_sound,
    position_of,
    read_genesis,
)
from dkv.errors import Ending, Fault
from dkv.ids import Founding
from dkv.kv.store import Meta
from dkv.limits import ClusterLimits
from dkv.raft import configuration
from dkv.raft.configuration import founders
from dkv.raft.core import Start
from dkv.raft.weight import Weight

NOTHING = Testimony(0, 0, NO_CHECK, 0, 0)


class Found(NamedTuple):
    """A directory that can be believed."""

    hard: Hard
    testimony: Testimony
    last: Position
    recent: tuple[Position, ...]  # behind the witness's entry
    start: Start
    founding: Founding
    limits: ClusterLimits


def create(journal: Journal, witness: Witness, hard: Hard, first: Entry) -> None:
    """A new directory: its disk id, hard state and first entry in one transaction.

    The witness comes first. Until it has seen an entry or a promise, a log that was never finished
    may be begun anew, for nothing had left this node.
    """
    testimony = witness.read()
    if testimony not in (None, NOTHING):
        raise _fault("the log is gone, and the witness saw entries in it")
    witness.write(NOTHING)
    journal.create(hard, (first,))


def examine(journal: Journal, witness: Witness, meta: Meta) -> Found:
    """Believe the directory, or raise `Fault` with what does not fit."""
    hard = journal.hard()
    assert hard is not None, "a directory is created before it is examined"
    testimony = witness.read()
    if testimony is None:
        raise _fault("the witness file is missing or damaged, so nothing vouches for the log")
    _compare_promises(hard, testimony)
    reader = _read(journal, hard, testimony, meta)
    if _is_behind_its_state(reader, meta):
        hard = _begin_behind(journal, hard, meta)
        reader = _read(journal, hard, testimony, meta)
    _check_state(hard, meta, reader.at_applied)
    founding, limits = read_genesis(_genesis_of(hard))
    return Found(
        hard,
        testimony,
        reader.last,
        tuple(position_of(e) for e in reader.entries if e.index > testimony.index),
        reader.start(meta, founding),
        founding,
        limits,
    )


def _read(journal: Journal, hard: Hard, testimony: Testimony, meta: Meta) -> "_LogReader":
    reader = _LogReader(hard, testimony, meta.applied)
    for entry in journal.rows(hard.base.index + 1, 2**62):
        reader.read(entry)
    reader.check_witness()
    return reader


def _is_behind_its_state(reader: "_LogReader", meta: Meta) -> bool:
    """state.db was installed, and the log had not heard of it when the node ended. (What a witness
    has seen is committed: nothing beyond the state can have been, or the log held its entry.)"""
    if not meta.installed or meta.installed != meta.applied or meta.disk != reader.hard.disk:
        return False
    held = reader.at_applied == (meta.applied, meta.term, meta.check)
    newer = meta.applied > max(reader.hard.base.index, reader.testimony.index)
    return newer and not held


def _begin_behind(journal: Journal, hard: Hard, meta: Meta) -> Hard:
    base = Position(meta.applied, meta.term, meta.check)
    hard = rebased(hard, base, meta.tick, meta.configuration)
    journal.replace(1, ())
    journal.keep(hard)
    journal.commit()
    return hard


def _genesis_of(hard: Hard) -> Entry:
    return Entry(1, 0, 0, 0, 0, hard.genesis, hard.genesis_check)


def _compare_promises(hard: Hard, testimony: Testimony) -> None:
    if (hard.term, hard.vote) == (testimony.hard_term, testimony.vote):
        return
    if hard.term > testimony.hard_term:
        return  # the crash came between the commit and the witness: nothing had left this node
    if hard.term == testimony.hard_term and testimony.vote == 0:
        return
    raise _fault(
        f"the log's term and vote ({hard.term}) are older than those the witness saw "
        f"({testimony.hard_term}): the log was rolled back"
    )


class _LogReader:
    """One pass over the log: the chain verified, and what consensus must know of it."""

    def __init__(self, hard: Hard, testimony: Testimony, applied: int) -> None:
        self.hard, self.testimony = hard, testimony
        self.last = hard.base
        self.tick = hard.base_tick
        self.entries: list[Entry] = []  # from the witness's on
        self.runs: list[tuple[int, int]] = []
        self.reigns = [hard.configuration()]
        self.weight = Weight()
        self.at_applied = hard.base if applied == hard.base.index else None
        self._applied = applied
        self._witnessed = hard.base.index >= testimony.index

    def read(self, entry: Entry) -> None:
        if entry.index != self.last.index + 1 or not is_sound(entry, self.last.check):
            raise _fault(f"entry {self.last.index + 1} of the log is missing or damaged")
        if not self.runs or self.runs[-1][1] != entry.term:
            self.runs.append((entry.index, entry.term))
        if entry.index == self.testimony.index:
            claim = self.testimony[:3]
            if claim != (entry.index, entry.term, entry.check):
                raise _fault(f"entry {entry.index} of the log is not the one the witness saw")
            self._witnessed = True
        if entry.index >= self.testimony.index:
            self.entries.append(entry)
        if entry.kind in CONFIGURING:
            self.reigns.append(configuration.after(entry, self.reigns[-1]))
        self.weight.add(entry.index, entry_bytes(entry))
        self.last = position_of(entry)
        self.tick = entry.tick
        if entry.index == self._applied:
            self.at_applied = self.last

    def check_witness(self) -> None:
        if not self._witnessed:
            raise _fault(
                f"the log ends at entry {self.last.index}, and the witness saw entry "
                f"{self.testimony.index}: what was acknowledged has been lost"
            )

    def start(self, meta: Meta, founding: Founding) -> Start:
        hard = self.hard
        if not self.reigns[0].is_formed:
            self.reigns[0] = founders(founding.names)
        return Start(
            name=hard.name,
            disk=hard.disk,
            joining=hard.joining,
            term=hard.term,
            vote=hard.vote,
            base=hard.base,
            runs=tuple(self.runs),
            entries=tuple(self.entries),
            reigns=tuple(self.reigns),
            commit=max(self.testimony.index, meta.applied),
            applied=meta.applied,
            tick=self.tick,
            stretches=tuple(self.weight.stretches),
        )


def _check_state(hard: Hard, meta: Meta, held: Position | None) -> None:
    """`held`: what the log holds at the index that state.db has applied."""
    if meta.disk != hard.disk:
        raise _fault("state.db is of another data directory than log.db")
    if meta.diverged:
        raise Fault(
            Ending.DIVERGED,
            "this replica's state was found to differ from the majority's: it must not be used "
            "any more. Keep its data directory for inspection",
        )
    if meta.applied < hard.base.index:
        raise _fault(
            f"state.db ends at entry {meta.applied}, and the log begins behind "
            f"{hard.base.index}: what lies between is missing"
        )
    if meta.applied and held != (meta.applied, meta.term, meta.check):
        raise _fault(
            f"state.db has applied entry {meta.applied} of term {meta.term}, and the log does "
            "not hold it: the two files are not of one moment"
        )


def _fault(words: str) -> Fault:
    return Fault(
        Ending.STORAGE_FAULT,
        f"{words}. This disk may have lost what it acknowledged, so the node does not start; the "
        "others go on. Keep the data directory for inspection",
    )
