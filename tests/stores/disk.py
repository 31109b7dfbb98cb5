"""One data directory in memory: what is on it, what a crash leaves of it, and how it goes wrong.

Owns: the content behind all ports; what is not committed, and what is committed by a turn that has
not ended yet; images of the whole. A crash leaves whole transactions only, as SQLite does; a slot
of the witness may be torn. Must never know who reads it.
"""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

from sortedcontainers import SortedList

from actors.keeping import Hard, Testimony
from dkv.entries import Entry
from dkv.kv.store import Meta
from dkv.kv.version import Version
from tests.stores import rot
from tests.stores.fuse import DiskError, Fuse

LOG, STATE, WITNESS = "log", "state", "witness"
PARTS = (LOG, STATE, WITNESS)
_SYNCS = {LOG: "journal.commit", STATE: "table.commit", WITNESS: "witness.write"}


class Change(NamedTuple):
    """What was there before a step: enough to undo it."""

    what: str  # entry, hard, slot; version, key, no key, session, meta; adopted
    number: int
    before: Any
    shelf: Any = None  # where it was, if in a state.db; of "adopted", the one before


class Shelf:
    """One state.db: committed and not."""

    def __init__(self) -> None:
        self.meta: Meta | None = None
        self.sessions: dict[int, bytes] = {}
        self.versions: dict[int, tuple[Version, int]] = {}
        self.keys: SortedList[bytes] = SortedList()
        self.undo: list[Change] = []

    def copy(self) -> "Shelf":
        twin = Shelf()
        twin.meta, twin.sessions = self.meta, {**self.sessions}
        twin.versions, twin.keys = {**self.versions}, SortedList(self.keys)
        twin.undo = [change._replace(shelf=twin) for change in self.undo]
        return twin

    def undo_one(self, what: str, number: int, before: Any) -> None:
        match what:
            case "meta":
                self.meta = before
            case "session":
                _put_back(self.sessions, number, before)
            case "version":
                _put_back(self.versions, number, before)  # rot may have got there first
            case "key":
                self.keys.discard(before)
            case "no key":
                self.keys.add(before)


def _of_state(name: str) -> Any:
    """What is asked of a disk about its state.db."""
    return property(
        lambda disk: getattr(disk.state, name), lambda disk, value: setattr(disk.state, name, value)
    )


class SimDisk:
    def __init__(self) -> None:
        self.fuse = Fuse()
        self.space_level = 0
        self.full = False  # every write fails; the margin should have been met before
        self.undo: list[Change] = []  # of the journal: not committed
        self._flying: dict[str, list[list[Change]]] = {}  # committed by a turn that has not ended
        self.rotten: set[rot.Place] = set()
        self._clear(PARTS)

    def _clear(self, parts: Iterable[str]) -> None:
        if LOG in parts:
            self.hard: Hard | None = None
            self.entries: dict[int, Entry] = {}
        if WITNESS in parts:
            self.slots: list[tuple[int, Testimony] | None] = [None, None]
        if STATE in parts:
            self.state = Shelf()
            self.staged: Shelf | None = None
            self.ever: dict[int, Version] = {}  # deleted ones too, for who checks answers
        self.rotten = {place for place in self.rotten if place.part not in parts}

    # -- the state's own shelf -------------------------------------------------------------------
    meta = _of_state("meta")
    sessions = _of_state("sessions")
    versions = _of_state("versions")
    keys = _of_state("keys")
    undo_table = _of_state("undo")

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        """Every change of anything durable is one."""
        if self.full:
            raise DiskError(f"database or disk is full at {name}")
        return self.fuse.step(name, do)

    # -- turns -----------------------------------------------------------------------------------
    def begin_turn(self, part: str) -> None:
        """What LOG (with the witness) or STATE commits from here on is being written until
        `end_turn`: a crash in between may find any of it, or nothing. Without this, a commit is
        durable when it returns."""
        self._flying[part] = []

    def end_turn(self, part: str) -> None:
        """The turn's letters leave: its commits are durable."""
        self._flying.pop(part, None)

    def committed(self, part: str, changes: list[Change]) -> None:
        """A port reports a transaction that it has committed."""
        if part in self._flying:
            self._flying[part].append([*changes])

    def adopt(self) -> None:
        """A snapshot was installed: what was staged is the state. (Which of the two it is follows
        from the commit before: a crash undoes both, or none.)"""
        assert self.staged is not None
        if STATE in self._flying:
            self._flying[STATE][-1].append(Change("adopted", 0, None, self.state))
        self.state, self.staged = self.staged, None

    # -- a crash ---------------------------------------------------------------------------------
    def lose_unsynced(self, dice: Random | None = None) -> None:
        """The power goes. Of a turn under way, with `dice`, the first few commits are found, and
        a witness slot that was being written is torn; without, all of them."""
        self._undo(self.undo)
        self.undo.clear()
        for shelf in (self.state, self.staged):
            self.forget(shelf)
        if dice is not None:
            for part in sorted(self._flying):
                self._tear(self._flying[part], dice)
        self._flying.clear()
        self.fuse = Fuse()

    def _tear(self, commits: list[list[Change]], dice: Random) -> None:
        found = dice.randint(0, len(commits))
        for changes in reversed(commits[found:]):
            self._undo(changes)
        begun = commits[found] if found < len(commits) else []
        if begun and begun[0].what == "slot" and dice.random() < 0.5:
            self.slots[begun[0].number] = None

    def forget(self, shelf: Shelf | None) -> None:
        """A rollback of what a table has not committed."""
        if shelf is not None:
            self._undo(shelf.undo)
            shelf.undo.clear()

    def _undo(self, changes: list[Change]) -> None:
        for what, number, before, shelf in reversed(changes):
            match what:
                case "hard":
                    self.hard = before
                case "adopted":
                    self.state, self.staged = shelf, self.state
                case "slot":
                    self.slots[number] = before
                case "entry":
                    _put_back(self.entries, number, before)
                case _:
                    shelf.undo_one(what, number, before)

    # -- what a crash would leave ----------------------------------------------------------------
    def holds(self, index: int, check: bytes) -> bool:
        """Whether the log on the disk has this entry (or has forgotten it, as everyone has it)."""
        hard = self._durable("hard", 0, self.hard)
        if self.undo or hard is None:
            return False
        entry = self._durable("entry", index, self.entries.get(index))
        return entry.check == check if entry else index <= hard.base.index

    def _durable(self, what: str, number: int, now: Any) -> Any:
        changes = (c for commit in self._flying.get(LOG, ()) for c in commit)
        return next((c.before for c in changes if c[:2] == (what, number)), now)

    @property
    def term(self) -> int:
        hard = self._durable("hard", 0, self.hard)
        return hard.term if hard and not self.undo else 0

    def promises(self) -> dict[str, tuple[int, int]]:
        """(term, vote) in the log and in the witness."""
        hard = self._durable("hard", 0, self.hard)
        slots = [self._durable("slot", n, slot) for n, slot in enumerate(self.slots)]
        seen = [slot for slot in slots if slot is not None]
        witness = max(seen)[1] if seen else None
        return {
            "log": (hard.term, hard.vote) if hard and not self.undo else (0, 0),
            "witness": (witness.hard_term, witness.vote) if witness else (0, 0),
        }

    # -- the whole directory ---------------------------------------------------------------------
    def copy(self) -> "SimDisk":
        """An image of the volume: what a power cut at this moment would leave."""
        twin = SimDisk()
        twin._take(self, PARTS)
        twin.undo = [*self.undo]
        twin.lose_unsynced()
        return twin

    def roll_back(self, image: "SimDisk", parts: Iterable[str] = PARTS) -> None:
        """The files of `parts` are those of an earlier image. The node must be down."""
        self.lose_unsynced()
        self._take(image.copy(), parts)

    def wipe(self, parts: Iterable[str] = PARTS) -> None:
        """An empty directory, or one without the files of `parts`. The node must be down."""
        self.lose_unsynced()
        self._clear(parts)

    def _take(self, other: "SimDisk", parts: Iterable[str]) -> None:
        if LOG in parts:
            self.hard, self.entries = other.hard, {**other.entries}
        if WITNESS in parts:
            self.slots = [*other.slots]
        if STATE in parts:
            self.state = other.state.copy()
            self.staged = other.staged.copy() if other.staged else None
            self.ever = {**other.ever}
        kept = {place for place in self.rotten if place.part not in parts}
        self.rotten = kept | {place for place in other.rotten if place.part in parts}

    # -- what goes wrong -------------------------------------------------------------------------
    def rot(self, what: str, dice: Random) -> str:
        """Flip bits under a row, slot or page: one of `rot.DAMAGES`. What was done, in words; empty
        if there is nothing of the kind to damage."""
        return rot.DAMAGES[what](self, dice)

    def fail_sync(self, part: str, *, done: bool = False) -> None:
        """The next commit of LOG or STATE, or write of WITNESS, is refused by the disk; with
        `done` it has reached the disk nevertheless, as the kernel does not say."""
        self.fuse.fail_next = _SYNCS[part]
        self.fuse.fail_done = done


def _put_back(rows: dict[int, Any], number: int, before: Any) -> None:
    if before is None:
        rows.pop(number, None)
    else:
        rows[number] = before
