"""The state of Raft's Figure 2, and what every role does alike.

Owns: term, vote, log tail, configuration, commit index, the current role; numbering Writes; what
may be handed to the state machine. Must never know how a letter travels, nor a role's own rules:
those are in `follower`, `candidate` and `leader`, reached through `table`.

Three indexes, always applied <= handed <= min(commit, saved):
  commit   a majority has it
  saved    this node's own log has it on disk; a truncating Write lowers it at once
  handed   given to the state machine, in order, each entry once
"""

from collections import deque
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from dkv.address import Destination, Instant, Local, Outbox, Peer
from dkv.counters import Counters, Histogram
from dkv.entries import CONFIGURING, Entry, Position, entry_bytes
from dkv.errors import Ending, Fault
from dkv.limits import (
    MACHINE_WINDOW_BYTES,
    MS,
    RETENTION,
    TAIL_BYTES_MAX,
    Retention,
    Timing,
)
from dkv.messages import (
    Apply,
    Condemn,
    Cut,
    Fetch,
    Fetched,
    Installed,
    Led,
    Member,
    Rebase,
    Write,
)
from dkv.raft import configuration
from dkv.raft.configuration import Configuration, Reigns
from dkv.raft.introductions import Introductions
from dkv.raft.patience import Patience
from dkv.raft.tail import Tail
from dkv.raft.weight import Stretch, Weight
from dkv.release import THIS, Release
from dkv.timeline import Timeline

if TYPE_CHECKING:
    from dkv.raft.table import Role


class Start(NamedTuple):
    """What a node's disk holds when consensus begins."""

    name: str
    disk: int
    joining: bool
    term: int
    vote: int
    base: Position
    runs: tuple[tuple[int, int], ...]  # (first index, term) of the whole log
    entries: tuple[Entry, ...]  # the last ones: everything that may be uncommitted
    reigns: tuple[Configuration, ...]  # the last is in force; see `configuration`
    commit: int  # known to be committed: what the witness or the state machine holds
    applied: int
    tick: int  # cluster time of the last entry
    stretches: tuple[Stretch, ...] = ()  # what the log weighs


class Raft:
    def __init__(
        self,
        start: Start,
        boot: int,
        timing: Timing,
        rng: Random,
        counters: Counters,
        *,
        retention: Retention | None = RETENTION,
        told: Iterable[Member] = (),
        certificate: bytes = b"",
        release: Release = THIS,
    ) -> None:
        self.name, self.disk, self.boot = start.name, start.disk, boot
        self.joining, self.release = start.joining, release
        self.timing, self.rng, self.counters = timing, rng, counters
        self.appends, self.commits = Histogram(), Histogram()  # as leader: how long each took
        self.now = Instant(0, 0)
        self.term, self.vote = start.term, start.vote
        self.tail = Tail(start.base, start.runs, start.entries)
        self.weight = Weight(start.stretches)
        self._begin_membership(start, tuple(told), certificate)
        self.commit = start.commit
        self.saved = self.tail.last.index
        self.handed = self._consumed = start.applied
        self.patience = Patience(timing.commit_tick_us)
        self.everyone_has = self.durable = 0
        self.due, self.tick = 0, start.tick  # when something expires; the log's last
        self.space, self.quota_reached = 0, False  # of the disk; of what the state machine keeps
        self.me = Peer(start.name, start.disk, boot)
        self.peers: dict[str, Peer] = {}  # the latest disk and boot heard of each member
        self.out: Outbox = []
        self._writes, self._write_commit = 0, start.commit
        self._written_hard = (start.term, start.vote)
        self._unsaved: deque[tuple[int, int, int]] = deque()  # (Write, last index, posted_us)
        self._window: deque[tuple[int, int]] = deque()  # handed to the machine: (index, bytes)
        self._window_bytes = 0
        self._fetching = 0  # first index asked of the log for the machine
        self._cut, self.retention = start.base.index, retention
        self._led = Led(0, "", False, ())
        self.received, self.committed = Timeline(self.tail.last.index), Timeline(start.commit)
        self.role: Role

    def _begin_membership(self, start: Start, told: tuple[Member, ...], certificate: bytes) -> None:
        self.reigns = Reigns(start.reigns)
        self.reigns.settle(start.commit)
        self.config = self.reigns.now
        self._require_level()
        self.introductions = Introductions(told, self.config)
        self.own = next((m for m in told if m[0] == start.name), None)  # as this node was told
        self.certificate = certificate
        self.announce_us = 0  # when to look again whether the leader knows where this node is
        self.leaving_us = 0  # when this node ends, for it was removed

    # -- letters out -----------------------------------------------------------------------------
    def post(self, to: Destination, letter: Any) -> None:
        self.out.append((to, letter))

    def peer(self, name: str) -> Peer:
        """A member's address: its disk is the configuration's, or the last one heard of."""
        heard = self.peers.get(name, Peer(name, 0, 0))
        disk = self.config.disk_of(name)
        return heard if disk in (0, heard.disk) else Peer(name, disk, 0)

    @property
    def other_voters(self) -> tuple[Peer, ...]:
        """Whose votes are asked for."""
        return tuple(self.peer(name) for name in self.config.voters if name != self.name)

    def write(
        self,
        *,
        cut_from: int = 0,
        entries: Iterable[Entry] = (),
        sealed: Iterable[tuple[Peer, Any]] = (),
        quiet: bool = False,
    ) -> None:
        """Hand the log what must be on disk, and the letters that then become true."""
        self._writes += 1
        self._unsaved.append((self._writes, self.tail.last.index, self.now.us))
        self._write_commit = self.commit
        self._written_hard = (self.term, self.vote)
        write = Write(
            self._writes,
            cut_from,
            tuple(entries),
            self.term,
            self.vote,
            self.commit,
            tuple(sealed),  # type: ignore[arg-type]  # sealed by the actor, which has the envelope
            quiet,
        )
        self.post(Local.LOG, write)

    def truncate(self, index: int) -> None:
        """Replace the log from `index` on: nothing from there counts as saved any more."""
        if index <= self.commit:
            self.diverged(f"the leader replaces entry {index}, which is committed here")
        self.tail.truncate(index)
        self.received.back_to(index - 1)
        self._configure(self.reigns.truncate(index))
        self.saved = min(self.saved, index - 1)
        self._unsaved = deque((n, min(last, index - 1), us) for n, last, us in self._unsaved)
        self.counters.add("truncations")

    def append(self, entry: Entry) -> None:
        """Add an entry to the log in memory; a configuration holds from here on."""
        self.tail.append(entry)
        self.weight.add(entry.index, entry_bytes(entry))
        self.tick = max(self.tick, entry.tick)
        if entry.kind in CONFIGURING:
            self._configure(self.reigns.take(entry))

    def _configure(self, now: Configuration) -> None:
        before, self.config = self.config, now
        if now is not before:
            self._require_level()
            self.introductions.follow(before, now)

    def _require_level(self) -> None:
        """Before anything of that level is written or applied here."""
        level, (known, version) = self.config.level, self.release
        if level > known:
            raise Fault(
                Ending.NEWER_NEEDED,
                f"this cluster is at level {level}, and this dkv ({version}) knows level {known} "
                "only: install the version that the other members run; the data stays as it is",
            )

    # -- letters in ------------------------------------------------------------------------------
    def write_saved(self, number: int) -> None:
        while self._unsaved and self._unsaved[0][0] <= number:
            self.saved = max(self.saved, self._unsaved.popleft()[1])

    @property
    def unsaved_since_us(self) -> int:
        """When the oldest Write that the log has not answered was posted (now: none)."""
        return self._unsaved[0][2] if self._unsaved else self.now.us

    def look_us(self, needed: int) -> int | None:
        """When to look whether the log has answered: what it says wakes nobody, and the entry
        `needed` waits for it. (A slow disk is looked at less often.)"""
        if self.saved >= needed or not self._unsaved:
            return None
        return self.now.us + max(MS, (self.now.us - self.unsaved_since_us) // 4)

    def commit_to(self, index: int) -> None:
        """The commit index never falls; the caller has verified the log up to `index`."""
        index = min(index, self.tail.last.index)
        if index > self.commit:
            self.commit = index
            self.reigns.settle(index)

    def adopt_term(self, term: int) -> None:
        assert term > self.term, (term, self.term)
        self.term, self.vote = term, 0

    # -- the state machine -----------------------------------------------------------------------
    def consumed(self, index: int) -> None:
        self._consumed = max(self._consumed, index)
        while self._window and self._window[0][0] <= index:
            self._window_bytes -= self._window.popleft()[1]

    @property
    def unapplied_bytes(self) -> int:
        return self._window_bytes

    @property
    def unapplied_entries(self) -> int:
        return self.commit - self._consumed

    def hand_over(self, *, follows: bool) -> None:
        """Pass on what is committed and saved, within the machine's window, in order."""
        limit = min(self.commit, self.saved)
        if self.patience.holds(limit - self.handed if follows else 0, self.now.us):
            return
        while self.handed < limit and self._window_bytes < MACHINE_WINDOW_BYTES:
            room = MACHINE_WINDOW_BYTES - self._window_bytes
            entries = self.tail.slice(self.handed + 1, limit, room)
            if not entries:
                self._fetch_for_machine(limit)
                return
            self._apply(entries)

    def _apply(self, entries: tuple[Entry, ...]) -> None:
        assert entries[0].index == self.handed + 1, (entries[0].index, self.handed)
        self.handed = entries[-1].index
        size = sum(map(entry_bytes, entries))
        self._window.append((self.handed, size))
        self._window_bytes += size
        self.post(Local.MACHINE, Apply(entries))

    def _fetch_for_machine(self, limit: int) -> None:
        if not self._fetching:
            self._fetching = self.handed + 1
            self.post(Local.LOG, Fetch(self.handed + 1, limit))

    def fetched(self, letter: Fetched) -> None:
        """Older entries from the log. What is committed here is handed on; see also `leader`."""
        if self._fetching and letter.first == self._fetching:
            self._fetching = 0
            limit = min(self.commit, self.saved)
            entries = tuple(e for e in letter.entries if self.handed < e.index <= limit)
            if entries and entries[0].index == self.handed + 1:
                self._apply(entries)

    # -- a snapshot ------------------------------------------------------------------------------
    def installed(self, letter: Installed) -> None:
        """The state machine has another's state at `letter.index`. The log keeps what follows that
        entry, if it holds it; else it is emptied."""
        position = Position(letter.index, letter.term, letter.check)
        tail = self.tail
        self.counters.add("snapshots_installed")
        held = tail.base.index <= position.index <= tail.last.index
        if not held or tail.term_at(position.index) != position.term:
            self._rebase(position, letter)
        self.commit = max(self.commit, position.index)
        self.reigns.settle(self.commit)
        self.handed = max(self.handed, position.index)
        self.durable = max(self.durable, position.index)
        self.consumed(position.index)

    def _rebase(self, position: Position, letter: Installed) -> None:
        assert position.index > self.handed, (position, self.handed)
        self.tail, self.weight = Tail(position, (), ()), Weight()
        self.received.begin(position.index)
        self.reigns = Reigns((configuration.unpack(letter.configuration),))
        self._configure(self.reigns.now)
        self.tick = max(self.tick, letter.tick)
        self.saved = self._cut = position.index
        self._unsaved = deque((n, min(i, position.index), us) for n, i, us in self._unsaved)
        self._fetching = 0
        self.post(Local.LOG, Rebase(*letter))

    # -- the log's head --------------------------------------------------------------------------
    def cut_head(self) -> None:
        """What every member's disk and this node's state.db have, the log may forget; and, behind a
        bound, what only a slow member lacks: it is sent the state."""
        keep = self.retention
        if keep is None:
            return
        bound = max(self.tail.last.index - keep.entries, self.weight.excess(keep.bytes))
        through = max(self.everyone_has - keep.tail, bound)
        through = min(through, self.durable - keep.tail, self.handed)
        if not 0 < self.config.opened_index <= through:
            return  # a head without the first configuration could not be begun behind
        if through - self._cut >= keep.step:
            self._cut = through
            self.post(Local.LOG, Cut(through))

    def trimmed(self, base: Position) -> None:
        if base.index > self.tail.base.index:  # a snapshot may have come between
            self.tail.rebase(base)
            self.weight.cut(base.index)

    def heard_everyone_has(self, index: int) -> None:
        self.everyone_has = max(self.everyone_has, min(index, self.commit))

    # -- what must never be ----------------------------------------------------------------------
    def has_lost(self, match: int) -> bool:
        """Whether this disk lost entries it acknowledged in this very term; then it is condemned.

        Within one term a last index never falls below an acknowledged match, so this is no false
        alarm; it covers what the witness's lazy window leaves open.
        """
        if match <= self.tail.last.index:
            return False
        words = (
            f"this disk lost entries it had acknowledged: the leader of term {self.term} has an "
            f"acknowledgement of entry {match}, and the log ends at {self.tail.last.index}"
        )
        self.post(Local.LOG, Condemn(match, words))
        return True

    def diverged(self, words: str) -> None:
        raise Fault(
            Ending.DIVERGED,
            f"{words}: two histories of one log. This node stops and must not vote; "
            "keep its data directory for inspection",
        )

    # -- the end of a turn -----------------------------------------------------------------------
    def close_turn(self, leader: str, waiting: tuple[str, ...]) -> None:
        """What every turn ends with, whatever came: hand over, cut, shed, tell the gateway."""
        self.received.reach(self.tail.last.index, self.now.us)
        self.committed.reach(self.commit, self.now.us)
        self.hand_over(follows=leader not in ("", self.name))
        self.cut_head()
        self.tail.shed(TAIL_BYTES_MAX, min(self.commit, self.handed, self.saved))
        led = (self.term, leader, 0 < self.config.opened_index <= self.commit, waiting)
        if led != self._led:
            self._led = Led(*led)
            self.post(Local.GATEWAY, self._led)

    def keep_witness_near(self) -> None:
        """Let the log know of a commit that no later Write has carried (an empty one is free)."""
        if self.commit > self._write_commit:
            self.write()

    def keep_hard_state(self) -> None:
        """A term that nothing else carried to the disk in this turn."""
        if (self.term, self.vote) != self._written_hard:
            self.write()
