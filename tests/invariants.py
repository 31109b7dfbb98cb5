"""What must be true in every simulated world, after everything that happens.

    election safety       one leader a term; one sender of Append a term; one vote a disk and term,
                          over restarts
    log matching          an index and a term name one entry, on whichever disk it ever was
    leader completeness   what any state machine was handed is in the log of every leader of a later
                          term, and is never dropped from a disk
    state machine safety  an index is the same entry, and leaves the same state, on every node
    majority              what is first handed to a state machine is on a majority of the disks
    disk before word      an entry is in the node's own log before its state machine has it; a vote,
                          a candidacy, an acknowledgement are on the disk before they leave the node
    only forward          term, commit and applied of a life; term and applied of a disk

Owns: what was seen so far. Must never know why something is said, nor how a world runs. A letter
may be older than its node's term: the disk has then gone on, as if the network had been slow. A
disk that was tampered with (`distrusted`) is asked nothing; what it says still counts.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgpack

from dkv.address import Local
from dkv.codec import TAGS
from dkv.entries import CONFIGURING, Entry, Kind, read_batch
from dkv.kv.state import Command
from dkv.messages import Append, Appended, Commit, Heartbeat, RequestVote, Voted, Write
from dkv.raft.configuration import Configuration, after, founders

_SPOKEN_BY_LEADERS = {TAGS[x]: x for x in (Append, Heartbeat, Commit)}
_NAME, _DISK, _BOOT, _TO_DISK = 2, 3, 4, 5  # places in an envelope


class Invariants:
    def __init__(self, seed: int, nodes: Mapping[str, Any]) -> None:
        self._seed = seed
        self._nodes = nodes
        self.distrusted: set[str] = set()  # nodes whose disks were tampered with
        self.leaders: dict[int, str] = {}  # term -> who led it
        self._config = founders(nodes)  # as applied by anybody
        self.applied: dict[int, bytes] = {}  # index -> check, as handed to any state machine
        self.retried = 0  # commands of a session that came in more than one entry
        self._known: dict[tuple[int, int], bytes] = {}  # (index, term) -> check
        self._states: dict[int, tuple[Any, ...]] = {}  # index -> what the state then is
        self._senders: dict[int, tuple[str, int, int]] = {}  # term -> name, disk, boot
        self._votes: dict[tuple[int, int], int] = {}  # (disk, term) -> chosen disk
        self._reached: dict[int, int] = {}  # term of who was handed it first -> highest index
        self._forward: dict[tuple[Any, ...], int] = {}
        self._places: set[tuple[int, int]] = set()  # (session, sequence) executed
        self._checks: dict[int, Callable[[Any, Any, tuple[Any, ...]], None]] = {
            TAGS[Appended]: self._acknowledges,
            TAGS[RequestVote]: self._asks_for_votes,
            TAGS[Voted]: self._votes_for,
            **dict.fromkeys(_SPOKEN_BY_LEADERS, self._speaks_as_leader),
        }

    def _hold(self, holds: bool, *words: object) -> None:
        if not holds:
            raise AssertionError(f"seed {self._seed}: {' '.join(map(str, words))}")

    def _never_back(self, what: tuple[Any, ...], value: int) -> None:
        """`what` begins with a node's name."""
        before = self._forward.get(what, 0)
        if value != before:
            self._hold(value > before, *what, "went back from", before, "to", value)
            self._forward[what] = value

    def forget(self, name: str) -> None:
        """Its disk went back on purpose, to what is sound all the same."""
        self._forward = {what: v for what, v in self._forward.items() if what[0] != name}

    # -- after a turn ----------------------------------------------------------------------------
    def turned(self, node: Any, which: Local) -> None:
        name = node.plan.name
        if which is Local.CONSENSUS:
            self._never_back((name, node.life, "term"), node.raft.term)
            self._never_back((name, node.life, "commit"), node.raft.commit)
            if node.leads:
                self.leads(node)
        elif which is Local.MACHINE and name not in self.distrusted:
            self._is_like_others(node)

    def synced(self, node: Any, part: str) -> None:
        """A keeper's turn is on its disk."""
        name = node.plan.name
        if name in self.distrusted:
            return
        if part == "log":
            self._never_back((name, node.actors.disk, "durable term"), node.disk.term)
        else:
            self._never_back((name, node.actors.disk, "durable applied"), node.disk.meta.applied)

    def leads(self, node: Any) -> None:
        name, term = node.plan.name, node.raft.term
        other = self.leaders.get(term)
        if other == name:
            return
        self._hold(other is None, "two leaders of term", term, other, name)
        self.leaders[term] = name
        index = max((i for t, i in self._reached.items() if t < term), default=0)
        self._has(node, index)

    def _has(self, leader: Any, index: int) -> None:
        """The chain of checks makes one comparison one of everything before it."""
        tail = leader.raft.tail
        if index <= tail.base.index:
            return
        term, name = leader.raft.term, leader.plan.name
        self._hold(index <= tail.last.index, name, "leads", term, "without entry", index)
        check = tail.check_at(index)
        self._hold(check in (None, self.applied[index]), name, "leads with another entry", index)

    def _is_like_others(self, node: Any) -> None:
        state = node.state
        now = state.check, state.revision, state.written, state.sessions.given
        known = self._states.setdefault(state.applied, now)
        self._hold(known == now, node.plan.name, "differs at", state.applied, known, now)
        self._never_back((node.plan.name, node.life, "applied"), state.applied)

    # -- letters inside a node -------------------------------------------------------------------
    def applies(self, node: Any, entries: Iterable[Entry]) -> None:
        name = node.plan.name
        for entry in entries:
            if entry.index not in self.applied:
                self._first_applied(node, entry)
            check = self.applied[entry.index]
            self._hold(check == entry.check, name, "applies another entry", entry.index)
            if name not in self.distrusted:
                if entry.kind in CONFIGURING and entry.index > self._config.index:
                    self._config = after(entry, self._config)
                held = node.disk.holds(entry.index, entry.check)
                self._hold(held, name, "has not saved", entry.index)

    def _first_applied(self, node: Any, entry: Entry) -> None:
        index, term = entry.index, node.raft.term
        self.applied[index] = entry.check
        self._reached[term] = max(self._reached.get(term, 0), index)
        is_of_this_history = node.plan.name not in self.distrusted
        enough = self._is_on_majority(self._config, entry) or any(
            self._is_on_majority(c, entry) for c in self._coming()
        )
        words = "is committed and not on a majority's disks"
        self._hold(enough or not is_of_this_history, "entry", index, words)
        for other in self._nodes.values():
            if other.leads and other.raft.term > term:
                self._has(other, index)
        if entry.kind == Kind.COMMANDS:
            self._count_retries(entry)

    def _is_on_majority(self, config: Configuration, entry: Entry) -> bool:
        """Of a configuration's voters; not by dkv's own count, which may be wrong."""
        disks = {x.disk.hard.disk: x.disk for x in self._nodes.values() if x.disk.hard}
        names = {name: x.disk for name, x in self._nodes.items()}  # before FORMED
        voting = [seat for seat in config.seats if seat.voting]
        holding = [
            seat
            for seat in voting
            if seat.name in self.distrusted
            or _holds(disks.get(seat.disk) if seat.disk else names.get(seat.name), entry)
        ]
        return 2 * len(holding) > len(voting)

    def _coming(self) -> Iterable[Configuration]:
        """What configurations in anybody's log, not applied yet, would make of the one in force."""
        for node in self._nodes.values():
            for index, entry in node.disk.entries.items():
                if index > self._config.index and entry.kind in CONFIGURING:
                    yield after(entry, self._config)

    def _count_retries(self, entry: Entry) -> None:
        for packed in read_batch(entry.payload).commands:
            command = Command(*msgpack.unpackb(packed))
            place = command.session, command.sequence
            if command.session and command.sequence:
                self.retried += place in self._places
                self._places.add(place)

    def writes(self, node: Any, letter: Write) -> None:
        for entry in letter.entries:
            check = self._known.setdefault((entry.index, entry.term), entry.check)
            self._hold(check == entry.check, "two entries", entry.index, "of term", entry.term)
        if letter.cut_from:
            for index, entry in node.disk.entries.items():
                kept = index < letter.cut_from or self.applied.get(index) != entry.check
                self._hold(kept, node.plan.name, "drops entry", index, "that was applied")

    # -- letters to other nodes ------------------------------------------------------------------
    def says(self, node: Any, frame: tuple[Any, ...]) -> None:
        """What a frame promises is on the disk. `frame` is as msgpack gives it."""
        for fields in frame[2]:
            check = self._checks.get(fields[0])
            if check is not None:
                check(node, frame[1], fields[1:])

    def _acknowledges(self, node: Any, _envelope: Any, fields: tuple[Any, ...]) -> None:
        term, index, check = fields
        if node.plan.name not in self.distrusted:
            held = node.disk.holds(index, check) or node.disk.term > term
            self._hold(held, node.plan.name, "acknowledges", index, "of term", term)

    def _asks_for_votes(self, node: Any, envelope: Any, fields: tuple[Any, ...]) -> None:
        self._promised(node, envelope[_DISK], fields[0], envelope[_DISK])

    def _votes_for(self, node: Any, envelope: Any, fields: tuple[Any, ...]) -> None:
        if fields[1]:
            self._promised(node, envelope[_DISK], fields[0], envelope[_TO_DISK])

    def _promised(self, node: Any, disk: int, term: int, chosen: int) -> None:
        """In the log and in the witness: the vote of that term for that disk, or a newer term."""
        before = self._votes.setdefault((disk, term), chosen)
        name = node.plan.name
        self._hold(before == chosen, name, "votes twice in term", term, before, chosen)
        if name in self.distrusted:
            return
        for place, (held, vote) in node.disk.promises().items():
            kept = held > term or (held, vote) == (term, chosen)
            self._hold(kept, name, "votes in term", term, "but its", place, "has", (held, vote))

    def _speaks_as_leader(self, _node: Any, envelope: Any, fields: tuple[Any, ...]) -> None:
        sender = envelope[_NAME], envelope[_DISK], envelope[_BOOT]
        before = self._senders.setdefault(fields[0], sender)
        self._hold(before == sender, "two who lead in term", fields[0], before, sender)


def _holds(disk: Any, entry: Entry) -> bool:
    return disk is not None and disk.holds(entry.index, entry.check)
