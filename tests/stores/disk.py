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

    what: str  # entry, hard, slot; version, key, no key, session, meta
    number: int
    before: Any


class SimDisk:
    def __init__(self) -> None:
        self.fuse = Fuse()
        self.space_level = 0
        self.full = False  # every write fails; the margin should have been met before
        self.undo: list[Change] = []  # of the journal: not committed
        self.undo_table: list[Change] = []
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
            self.meta: Meta | None = None
            self.sessions: dict[int, bytes] = {}
            self.versions: dict[int, tuple[Version, int]] = {}
            self.keys: SortedList[bytes] = SortedList()
            self.ever: dict[int, Version] = {}  # deleted ones too, for who checks answers
        self.rotten = {place for place in self.rotten if place.part not in parts}

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

    # -- a crash ---------------------------------------------------------------------------------
    def lose_unsynced(self, dice: Random | None = None) -> None:
        """The power goes. Of a turn under way, with `dice`, the first few commits are found, and
        a witness slot that was being written is torn; without, all of them."""
        self._undo([*self.undo, *self.undo_table])
        self.undo.clear()
        self.undo_table.clear()
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

    def forget_table(self) -> None:
        """A rollback of what the table has not committed."""
        self._undo(self.undo_table)
        self.undo_table.clear()

    def _undo(self, changes: list[Change]) -> None:
        for what, number, before in reversed(changes):
            match what:
                case "hard":
                    self.hard = before
                case "meta":
                    self.meta = before
                case "slot":
                    self.slots[number] = before
                case "entry":
                    _put_back(self.entries, number, before)
                case "session":
                    _put_back(self.sessions, number, before)
                case "version":
                    _put_back(self.versions, number, before)  # rot may have got there first
                case "key":
                    self.keys.discard(before)
                case "no key":
                    self.keys.add(before)

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
        twin.undo, twin.undo_table = [*self.undo], [*self.undo_table]
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
            self.meta, self.sessions = other.meta, {**other.sessions}
            self.versions = {**other.versions}
            self.keys = SortedList(other.keys)
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
