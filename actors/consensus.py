"""The consensus actor: Raft, at its desk.

Owns: what is not Raft but stands around it: frames from and to other nodes, what is sealed for the
log, the roster, the facts for `status`. Must never know a socket; the rules are in `dkv.raft`.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

import msgpack

from actors.observing import Observing
from dkv.address import Instant, Local, Member, Outbox, Peer
from dkv.codec import Garbled, seal, unseal
from dkv.counters import Counters, Histogram
from dkv.limits import RETENTION, Retention, Timing
from dkv.messages import (
    Append,
    Chunk,
    Describe,
    Described,
    FromPeer,
    Hello,
    Kept,
    Observe,
    Relay,
    Roster,
    Stop,
    Stopped,
    Write,
)
from dkv.raft import table
from dkv.raft.configuration import Configuration
from dkv.raft.core import Raft, Start
from dkv.raft.leader import Leader
from dkv.raft.post import Charter, PostOffice
from dkv.release import THIS, Release


class Consensus:
    name = Local.CONSENSUS

    def __init__(
        self,
        start: Start,
        boot: int,
        charter: Charter,
        timing: Timing,
        roster: Roster,
        rng: Random,
        counters: Counters,
        *,
        retention: Retention | None = RETENTION,
        certificate: bytes = b"",
        release: Release = THIS,
    ) -> None:
        self.counters = counters
        self._raft = Raft(
            start,
            boot,
            timing,
            rng,
            counters,
            retention=retention,
            told=roster.members,
            certificate=certificate,
            release=release,
        )
        self._office = PostOffice(self._raft, charter)
        self._roster = Roster(())  # as it was last said
        self._config: Configuration | None = None
        self._observing = Observing()
        self._stopping_us = 0  # until then leadership may be handed over
        self._begun = False

    @property
    def deadline(self) -> int | None:
        if not self._begun:
            return 0
        due = table.deadline(self._raft)
        if self._observing.due_us is not None:
            due = min(due, self._observing.due_us)
        return min(due, self._stopping_us) if self._stopping_us else due

    def handle(self, batch: list[Any], now: Instant) -> Outbox:
        raft = self._raft
        raft.now = now
        out: Outbox = [] if self._begun else self._begin()
        for letter in batch:
            kind = type(letter)
            if kind is FromPeer:
                self._read(letter)
            elif kind is Kept:
                self._read(FromPeer(raft.name, letter.frame))
            elif kind is Roster:
                self._told_anew(letter)
            elif kind is Describe:
                out.append((Local.GATEWAY, self._describe(letter)))
            elif kind is Observe:
                self._observing.add(raft, letter)
            elif kind is Stop:
                table.begin_handover(raft)
                self._stopping_us = now.us + raft.timing.election_us_min
            else:
                table.receive(raft, raft.me, letter)
        said = self._address(table.end_turn(raft))
        out.extend(self._introduce())
        out.extend(said)
        out.extend(self._observing.look(raft))
        if self._stopping_us and self._may_stop(now):
            self._stopping_us = 0
            out.append((Local.NODE, Stopped(self.name.value)))
        return out

    def _may_stop(self, now: Instant) -> bool:
        return now.us >= self._stopping_us or not table.is_handing_over(self._raft)

    # -- start -----------------------------------------------------------------------------------
    def _begin(self) -> Outbox:
        self._begun = True
        table.begin(self._raft)
        out = self._introduce()
        for name, *_where in self._roster.members:
            if name != self._raft.name:
                self._raft.post(self._raft.peer(name), Hello())
        return out

    def _told_anew(self, letter: Roster) -> None:
        """Certificates and keys were read again."""
        raft = self._raft
        raft.introductions.tell(letter.members)
        raft.own = next((m for m in letter.members if m[0] == raft.name), raft.own)
        self._config, self._roster = None, Roster(())  # also ports look at their keys again

    def _introduce(self) -> Outbox:
        """Whoever sends must know keys and addresses before the letters that need them."""
        raft = self._raft
        if raft.config is self._config:
            return []
        self._config = raft.config
        roster = raft.introductions.roster(raft.config, raft.name)
        if roster == self._roster:
            return []
        self._roster = roster
        return [(Local.SHELL, roster), (Local.LOG, roster), (Local.GATEWAY, roster)]

    # -- frames ----------------------------------------------------------------------------------
    def _read(self, letter: FromPeer) -> None:
        """One frame: its letters are read before the next frame is judged, for they may change
        who is a member."""
        try:
            envelope, letters = unseal(letter.frame)
        except Garbled as error:
            self.counters.add(str(error))
            return
        if letter.name and letter.name != envelope.name:
            self.counters.add("peer_name_forged")
            return
        sender = Peer(envelope.name, envelope.disk, envelope.boot)
        for admitted in self._office.admit(envelope, letters):
            table.receive(self._raft, sender, admitted)

    def _address(self, outbox: Outbox) -> Outbox:
        """Letters to peers become frames, and come first: a leader's Append leaves before its own
        log is asked to sync."""
        frames: Outbox = []
        local: Outbox = []
        groups: dict[Peer, list[Any]] = {}
        for to, letter in outbox:
            if isinstance(to, Peer):
                group = groups.setdefault(to, [])
                group.append(letter)
                if isinstance(letter, Append | Chunk | Relay):  # large ones: a frame has a limit
                    frames.append((Member(to.name), self._seal(to, group)))
                    group.clear()
            elif isinstance(letter, Write):
                local.append((to, letter._replace(sealed=self._sealed(letter.sealed))))
            else:
                local.append((to, letter))
        frames.extend((Member(to.name), self._seal(to, g)) for to, g in groups.items() if g)
        return frames + local

    def _sealed(self, letters: Iterable[Any]) -> tuple[tuple[str, bytes], ...]:
        return tuple((to.name, self._seal(to, [letter])) for to, letter in letters)

    def _seal(self, to: Peer, letters: list[Any]) -> bytes:
        return seal(self._office.envelope(to), letters)

    # -- facts -----------------------------------------------------------------------------------
    def gauges(self) -> dict[str, int]:
        """How it stands, from any thread: whole numbers that are there anyway. They may be of two
        moments, so that an index is a letter ahead of another."""
        raft = self._raft
        role = raft.role
        leads = isinstance(role, Leader)
        return {
            "term": raft.term,
            "is_leader": int(leads),
            "has_leader": int(leads or bool(getattr(role, "leader", ""))),
            "last_index": raft.tail.last.index,
            "saved_index": raft.saved,
            "commit_index": raft.commit,
            "members": len(raft.config.members),
        }

    @property
    def appends(self) -> Histogram:
        return self._raft.appends

    @property
    def commits(self) -> Histogram:
        return self._raft.commits

    def _describe(self, letter: Describe) -> Described:
        raft = self._raft
        role = raft.role
        facts: dict[str, Any] = {
            "role": type(role).__name__.lower(),
            "term": raft.term,
            "vote": raft.vote,
            "leader": raft.name if isinstance(role, Leader) else getattr(role, "leader", ""),
            "last": raft.tail.last.index,
            "commit": raft.commit,
            "saved": raft.saved,
            "handed": raft.handed,
            "everyone_has": raft.everyone_has,
            "disk": raft.disk,
            "boot": raft.boot,
            "formed": raft.config.is_formed,
            "opened": 0 < raft.config.opened_index <= raft.commit,
            "members": dict(raft.config.members),
            "level": raft.config.level,
            "version": raft.release.version,
            **self._office.facts(),
            "counters": self.counters.facts(),
        }
        if isinstance(role, Leader):
            facts["match"] = {name: p.match for name, p in role.progress.items()}
        return Described(letter.batch, self.name.value, msgpack.packb(facts))
