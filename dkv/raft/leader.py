"""Leading: append, replicate, count, confirm reads, notice when a majority is gone.

Owns: what dies with a leadership: each member's progress, the rounds of heartbeats, the cluster's
clock. Must never know a client, nor what a command means.

Everything that arrives in a turn is appended first and sent once, at the end of the turn, to the
members before the own log: the leader's log is just its nearest follower.
"""

from collections import deque
from typing import TYPE_CHECKING

from dkv.address import Local, Peer
from dkv.entries import Batch, Entry, Kind, entry_bytes, follow, pack_agreed, pack_batch
from dkv.errors import Code
from dkv.ids import UNKNOWN
from dkv.limits import (
    APPEND_BYTES_MAX,
    MS,
    UNAPPLIED_BYTES_MAX,
    UNCOMMITTED_BYTES_MAX,
    VERSION_LENGTH_MAX,
    first_within,
)
from dkv.messages import (
    Append,
    Appended,
    Ask,
    AskChunk,
    Chunk,
    Commit,
    Copied,
    Copy,
    Fetch,
    Fetched,
    Heard,
    Heartbeat,
    HeartbeatAcked,
    InstallSnapshot,
    Mismatched,
    Noted,
    PreVote,
    PreVoted,
    Propose,
    ReadAt,
    ReadIndex,
    Refused,
    Relay,
    RelayAsk,
    RelayRead,
    Suggest,
)
from dkv.raft import configuration, members
from dkv.raft.configuration import Seat, pack_members
from dkv.raft.notes import Notes
from dkv.raft.progress import Progress
from dkv.raft.quorum import majority, reached
from dkv.raft.reads import Asker, Reads
from dkv.release import Release

if TYPE_CHECKING:
    from dkv.raft.core import Raft


_ROUNDS_KEPT = 256


class Leader:
    def __init__(self, raft: "Raft", votes: dict[str, int]) -> None:
        now = raft.now.us
        first = raft.tail.last.index + 1
        self.first = first  # its first entry: nothing commits by counting before it (§5.4.2)
        self.progress: dict[str, Progress] = {}  # of every member that has a disk
        self.voters: list[Progress] = []
        self.learners: list[Progress] = []
        self.decides_alone = False
        self.heir = ""  # who is to lead next; no proposals meanwhile
        self.heir_told = False
        self.handover_until_us = 0
        self.cramped_us = 0  # since when its own disk has no room
        self.heir_askers: list[Asker] = []
        self.change_askers: list[Asker] = []
        self.seat(raft)
        self.reads = Reads()
        self.notes = Notes()
        self.round = 0
        self._round_began: deque[tuple[int, int]] = deque(maxlen=_ROUNDS_KEPT)
        self.heartbeat_us = now
        self.followed_until_us = 0  # a majority was heard of recently enough, at least until then
        self.commit_told = raft.commit
        self.commit_tick_us = 0
        self.awaiting: set[str] = set()  # members whose clients wait for what was just committed
        self.unwritten: list[Entry] = []
        self.uncommitted: list[tuple[int, int, str, int]] = []  # index, bytes, whose, since us
        self.uncommitted_bytes = 0
        self._clock_ms = float(raft.tick)
        self._clock_us = now
        if raft.config.is_formed:
            self.append(raft, Kind.NOOP, b"")
        else:
            self.append(raft, Kind.FORMED, pack_members(_seats(raft, votes)))

    @property
    def leader(self) -> str:
        return ""

    @property
    def deadline(self) -> int:
        return min(self.heartbeat_us, self.commit_tick_us or self.heartbeat_us)

    @property
    def furthest(self) -> int:
        """What the member that is furthest has acknowledged: a majority may wait for this node."""
        return max(p.match for p in self.voters)

    def seat(self, raft: "Raft") -> None:
        """Progress of exactly the members there are; another disk under a name begins anew."""
        config, known = raft.config, self.progress
        self.progress = {}
        for name, disk in config.members:
            if config.is_formed and not disk:
                continue  # invited: nobody has come
            progress = known.get(name)
            if progress is None or progress.disk not in (UNKNOWN, disk):
                progress = Progress(name, max(self.first, raft.tail.last.index), raft.now.us)
            self.progress[name] = progress
        self.voters = [self.progress[name] for name in config.voters]
        self.learners = [p for n, p in self.progress.items() if n not in config.voters]
        self.decides_alone = config.voters == (raft.name,)

    # -- the log ---------------------------------------------------------------------------------
    def tick(self, raft: "Raft") -> int:
        """Cluster time, ms: from the log's last tick on, by this node's monotonic clock; a turn
        adds at most one election timeout, so that an outage lengthens leases."""
        passed = min(raft.now.us - self._clock_us, raft.timing.election_us_min)
        self._clock_us = raft.now.us
        self._clock_ms += max(passed, 0) / MS
        return int(self._clock_ms)

    def append(self, raft: "Raft", kind: Kind, payload: bytes, origin: str = "") -> None:
        last = raft.tail.last
        row = (last.index + 1, raft.term, kind, self.tick(raft), raft.now.wall_ms, payload)
        entry = follow(last.check, row)
        before = raft.config
        raft.append(entry)
        if raft.config is not before:
            self.seat(raft)
        self.unwritten.append(entry)
        self.uncommitted.append((entry.index, entry_bytes(entry), origin, raft.now.us))
        self.uncommitted_bytes += entry_bytes(entry)

    def refusal(self, raft: "Raft", grows: bool) -> Code | None:
        """Why a proposal cannot be taken now; deletes are taken while the disk is merely low."""
        if not 0 < raft.config.opened_index <= raft.commit:
            return Code.FORMING
        if self.heir:
            return Code.NOT_LEADER
        if self.uncommitted_bytes > UNCOMMITTED_BYTES_MAX:
            return Code.BUSY
        if raft.unapplied_bytes > UNAPPLIED_BYTES_MAX:
            return Code.BUSY
        level = self.space(raft)
        if level > 1 or (level and grows):
            return Code.DISK_LOW
        return Code.QUOTA if grows and raft.quota_reached else None

    def space(self, raft: "Raft") -> int:
        """The level at which the cluster's disks are: the leader's own, or what a majority has
        left (one full disk of three must not stop the others)."""
        levels = sorted(p.space for p in self.voters if p.name != raft.name)
        best_majority = majority(len(self.voters)) - 2  # beside the leader itself
        others = levels[best_majority] if 0 <= best_majority < len(levels) else 0
        return max(raft.space, others)

    def next_round(self, raft: "Raft") -> int:
        self.round += 1
        self._round_began.append((self.round, raft.now.us))
        return self.round

    def age_us(self, raft: "Raft", last_heard: int) -> int:
        """How old a letter is at least, whose sender had not heard the round after `last_heard`.
        (A queue may hold it for long: this node may have been stopped meanwhile.)"""
        if last_heard >= self.round:
            return 0
        for number, began_us in self._round_began:
            if number > last_heard:
                return raft.now.us - began_us
        return 0

    def own_term_committed(self, raft: "Raft") -> bool:
        return raft.commit >= self.first


def _seats(raft: "Raft", votes: dict[str, int]) -> list[Seat]:
    """The first configuration: the disks that voted, where this node was told that they are."""
    found = []
    for name, disk in votes.items():
        _name, peer, key, client = raft.introductions.of(name)
        since = raft.now.wall_ms
        found.append(Seat(name, disk, peer=peer, client=client, key=key, since=since))
    return found


# -- gateways ------------------------------------------------------------------------------------
def propose(raft: "Raft", lead: Leader, peer: Peer, letter: Propose | Relay) -> None:
    """A batch of commands becomes one entry, whose origin will answer for it."""
    code = lead.refusal(raft, letter.grows)
    if isinstance(letter, Relay) and lead.age_us(raft, letter.round) > letter.ttl_ms * MS:
        raft.counters.add("proposals_expired")
        code = Code.TIMEOUT
    if code is not None:
        refuse(raft, (None if peer == raft.me else peer, letter.batch), code)
        return
    batch = Batch(peer.name, peer.boot, letter.batch, letter.commands)
    lead.append(raft, Kind.COMMANDS, pack_batch(batch), peer.name)


def take_ask(raft: "Raft", lead: Leader, peer: Peer, letter: Ask | RelayAsk) -> None:
    members.ask(raft, lead, (None if peer == raft.me else peer, letter.batch), letter)


def take_suggestion(raft: "Raft", lead: Leader, _peer: Peer, letter: Suggest) -> None:
    """Of nobody's origin: nobody waits for its results. If it cannot be taken now, or is lost with
    this leadership, the policy says it again."""
    if lead.refusal(raft, grows=False) is None:
        lead.append(raft, Kind.COMMANDS, pack_batch(Batch("", 0, 0, letter.commands)))


def read(raft: "Raft", lead: Leader, peer: Peer, letter: ReadIndex | RelayRead) -> None:
    lead.reads.waiting.append((None if peer == raft.me else peer, letter.batch))


def refuse(raft: "Raft", asker: Asker, code: Code) -> None:
    peer, batch = asker
    raft.post(peer or Local.GATEWAY, Refused(batch, code))


# -- acknowledgements ----------------------------------------------------------------------------
def take_appended(raft: "Raft", lead: Leader, peer: Peer, letter: Appended) -> None:
    progress = _progress_of(raft, lead, peer)
    if progress is None or letter.index > raft.tail.last.index:
        return
    check = raft.tail.check_at(letter.index)
    if check is not None and check != letter.check:
        # The next Append names this leader's check at that place: who differs sees it and stops.
        raft.counters.add("acknowledgements_diverged")
        progress.probe_from(letter.index + 1)
        return
    progress.heard_us = raft.now.us
    sent_us = progress.sent_us(letter.index)
    if sent_us is not None:
        raft.appends.add(raft.now.us - sent_us)
    if progress.acknowledged(peer.disk, letter.index):
        _count(raft, lead)


def _progress_of(raft: "Raft", lead: Leader, peer: Peer) -> Progress | None:
    """The member's progress, if this disk counts."""
    if not raft.config.holds(peer.name, peer.disk):
        return None
    return lead.progress.get(peer.name)


def _count(raft: "Raft", lead: Leader) -> None:
    """Commit what a majority holds, if it is of this term (thesis §3.6.2, Figure 8)."""
    index = reached([p.match for p in lead.voters])
    if index < lead.first or index <= raft.commit:
        return
    config = raft.reigns.settled
    raft.commit_to(index)
    passed = 0
    while passed < len(lead.uncommitted) and lead.uncommitted[passed][0] <= index:
        _index, size, origin, since_us = lead.uncommitted[passed]
        lead.uncommitted_bytes -= size
        raft.commits.add(raft.now.us - since_us)
        if origin not in ("", raft.name):
            lead.awaiting.add(origin)
        passed += 1
    del lead.uncommitted[:passed]
    if raft.reigns.settled is not config:
        members.settled(raft, lead)


def take_mismatch(raft: "Raft", lead: Leader, peer: Peer, letter: Mismatched) -> None:
    """The logs part before what was sent: go back a term a round trip (§5.3)."""
    progress = _progress_of(raft, lead, peer)
    if progress is None:
        return
    progress.heard_us = raft.now.us
    if letter.prev_index <= progress.match or letter.prev_index >= progress.next:
        raft.counters.add("mismatches_stale")
        return
    base = raft.tail.base.index
    place = max(raft.tail.find(letter.hint_index, letter.hint_term), base)
    progress.probe_from(min(place, letter.last_index, letter.prev_index - 1) + 1)


def take_heartbeat_ack(raft: "Raft", lead: Leader, peer: Peer, letter: HeartbeatAcked) -> None:
    progress = _progress_of(raft, lead, peer)
    if progress is None:
        return
    progress.heard_us = raft.now.us
    if progress.match >= raft.commit:
        progress.level_us = raft.now.us
    progress.space = letter.space
    progress.release = Release(letter.level, letter.version[:VERSION_LENGTH_MAX])
    progress.round = max(progress.round, min(letter.round, lead.round))
    _confirm_reads(raft, lead)


def _confirm_reads(raft: "Raft", lead: Leader) -> None:
    if raft.name in lead.progress:
        lead.progress[raft.name].round = lead.round
    confirmed = reached([p.round for p in lead.voters])
    for (peer, batch), index in lead.reads.confirm(confirmed):
        raft.post(peer or Local.GATEWAY, ReadAt(batch, index))


def take_note(raft: "Raft", lead: Leader, peer: Peer, letter: Noted) -> None:
    """Replicas' sums at an index: what a majority gave becomes an entry that all compare with."""
    if raft.config.counts(peer.name, peer.disk):
        lead.notes.take(letter.index, peer.name, letter.written)
        agreed = lead.notes.agreed(letter.index, len(lead.voters))
        if agreed is not None:
            lead.append(raft, Kind.AGREED, pack_agreed(letter.index, agreed))
        elif lead.notes.is_split(letter.index, len(lead.voters)):
            raft.counters.add("state_hash_without_majority")


def refuse_pre_vote(raft: "Raft", _lead: Leader, peer: Peer, letter: PreVote) -> None:
    raft.post(peer, PreVoted(raft.term, letter.term, False))


# -- older entries, for a member that is far behind ----------------------------------------------
def take_fetched(raft: "Raft", lead: Leader, letter: Fetched) -> None:
    for progress in lead.progress.values():
        if progress.fetching != letter.first:
            continue
        progress.fetching = 0
        held = [e for e in letter.entries if _is_mine(raft, e)]
        prev = progress.next - 1
        check = raft.tail.check_at(prev)
        if check is None and held and held[0].index == prev:
            check = held[0].check
        rows = [e for e in held if e.index > prev]
        if check is not None and rows and rows[0].index == progress.next:
            _send(raft, progress, check, first_within(APPEND_BYTES_MAX, rows, entry_bytes))


def _is_mine(raft: "Raft", entry: Entry) -> bool:
    """A reply made before a truncation may hold what is gone: same index and term, same entry."""
    tail = raft.tail
    return (
        tail.base.index < entry.index <= tail.last.index and tail.term_at(entry.index) == entry.term
    )


# -- the state, for a member that is behind the log ----------------------------------------------
def _offer_state(raft: "Raft", progress: Progress) -> None:
    if not progress.installing:
        raft.counters.add("members_behind_the_log")
    progress.install(raft.now.us)
    raft.post(raft.peer(progress.name), InstallSnapshot(raft.term, raft.tail.base.index))


def copy_state(raft: "Raft", lead: Leader, peer: Peer, letter: AskChunk) -> None:
    """Only for whom this leader has found behind its log: another one's questions are old."""
    progress = _progress_of(raft, lead, peer)
    if progress is not None and progress.installing:
        progress.heard_us = progress.asked_us = raft.now.us
        packed = configuration.pack(raft.reigns.settled)
        raft.post(Local.MACHINE, Copy(peer.name, packed, *letter))


def send_copied(raft: "Raft", lead: Leader, _me: Peer, letter: Copied) -> None:
    progress = lead.progress.get(letter.member)
    if progress is not None and progress.installing:
        progress.asked_us = raft.now.us
        raft.counters.add("snapshot_chunk_bytes", sum(map(len, letter.versions)))
        raft.post(raft.peer(letter.member), Chunk(*letter[1:]))


# -- the end of a turn ---------------------------------------------------------------------------
def open_when_all_have_formed(raft: "Raft", lead: Leader) -> None:
    """OPENED follows when every member has acknowledged FORMED: from here on clients are served."""
    config = raft.config
    if config.opened_index or not lead.own_term_committed(raft):
        return
    if all(p.match >= config.formed_index for p in lead.progress.values()):
        lead.append(raft, Kind.OPENED, b"")


def missing(raft: "Raft", lead: Leader) -> tuple[str, ...]:
    """Who has not acknowledged FORMED, before the cluster opens."""
    config = raft.config
    if 0 < config.opened_index <= raft.commit:
        return ()
    return tuple(n for n, p in lead.progress.items() if p.match < max(config.formed_index, 1))


def expire_what_is_due(raft: "Raft", lead: Leader) -> None:
    """An idle leader writes the passing of time down, once something depends on it."""
    if raft.due and lead.own_term_committed(raft) and lead.tick(raft) >= raft.due:
        raft.due = 0
        lead.append(raft, Kind.TICK, b"")


def replicate(raft: "Raft", lead: Leader) -> None:
    for name, progress in lead.progress.items():
        if name != raft.name:
            _send_what_is_new(raft, progress)
    write_unwritten(raft, lead)


def _send_what_is_new(raft: "Raft", progress: Progress) -> None:
    tail = raft.tail
    if progress.next <= tail.base.index and not progress.installing:
        _offer_state(raft, progress)
    while progress.next <= tail.last.index and progress.open:
        prev = progress.next - 1
        check = tail.check_at(prev)
        if check is None or tail.get(progress.next) is None:
            progress.fetching = progress.next if check is not None else prev
            raft.post(Local.LOG, Fetch(progress.fetching, tail.last.index))
            return
        entries = tail.slice(progress.next, tail.last.index, APPEND_BYTES_MAX)
        _send(raft, progress, check, entries)


def _send(raft: "Raft", progress: Progress, prev_check: bytes, entries: tuple[Entry, ...]) -> None:
    raft.post(raft.peer(progress.name), _letter(raft, progress, prev_check, entries))
    last = progress.next - 1 + len(entries)
    progress.sent(last, sum(map(entry_bytes, entries)), raft.now.us)


def _letter(
    raft: "Raft", progress: Progress, prev_check: bytes, entries: tuple[Entry, ...]
) -> Append:
    prev = progress.next - 1
    return Append(
        raft.term,
        prev,
        raft.tail.term_at(prev),
        prev_check,
        tuple(entry[1:6] for entry in entries),
        raft.commit,
        progress.match,
        raft.everyone_has,
    )


def write_unwritten(raft: "Raft", lead: Leader) -> None:
    """The leader's own acknowledgement comes back from its log like anybody else's; but it wakes
    nobody where others must acknowledge too, for it is mostly there before theirs."""
    if lead.unwritten:
        entries, lead.unwritten = lead.unwritten, []
        last = raft.tail.last
        sealed = ((raft.me, Appended(raft.term, last.index, last.check)),)
        raft.write(entries=entries, sealed=sealed, quiet=not lead.decides_alone)


def beat(raft: "Raft", lead: Leader) -> None:
    """A round: the leader lives; who waits for a read joins; what was lost is asked about."""
    now = raft.now.us
    lead.heartbeat_us = now + raft.timing.heartbeat_us
    raft.everyone_has = max(
        raft.everyone_has, min(min(p.match for p in lead.progress.values()), raft.commit)
    )
    start_round(raft, lead)
    for name, progress in lead.progress.items():
        timing = raft.timing
        patience = timing.heartbeat_us if progress.waiting else timing.election_us_min
        if name != raft.name and now - progress.asked_us >= patience:
            _ask_again(raft, progress)
    raft.keep_witness_near()
    raft.post(Local.GATEWAY, Heard(raft.commit))


def _ask_again(raft: "Raft", progress: Progress) -> None:
    """An Append or its acknowledgement may be lost with its connection: an empty Append asks.
    A member that restarted learns from it how far its log is verified (no commit index counts there
    before), so idle ones are asked too. A probe is simply sent again; and where memory no longer
    reaches, probing begins anew."""
    if progress.installing:
        _offer_state(raft, progress)
        return
    prev = progress.next - 1
    check = raft.tail.check_at(prev)
    if progress.probing or check is None:
        progress.probe_from(progress.next if progress.probing else progress.match + 1)
    else:
        progress.asked_us = raft.now.us
        raft.post(raft.peer(progress.name), _letter(raft, progress, check, ()))


def start_round(raft: "Raft", lead: Leader) -> None:
    lead.next_round(raft)
    if lead.own_term_committed(raft):
        lead.reads.join(lead.round, raft.commit)
    for name, progress in lead.progress.items():
        if name != raft.name:
            letter = Heartbeat(
                raft.term, lead.round, raft.commit, progress.match, raft.everyone_has
            )
            raft.post(raft.peer(name), letter)
    _told(raft, lead)
    _confirm_reads(raft, lead)


def start_round_for_reads(raft: "Raft", lead: Leader) -> None:
    """Reads start a round at once when none is under way; else they wait, a heartbeat at most."""
    if lead.reads.waiting and not lead.reads.under_way and lead.own_term_committed(raft):
        start_round(raft, lead)


def tell_commit(raft: "Raft", lead: Leader) -> None:
    """Followers learn the commit index from the next Append or heartbeat, else from a tick; at
    once where clients wait for it, for they are answered by the node that they asked."""
    if raft.commit <= lead.commit_told:
        lead.commit_tick_us = 0
        return
    told = {
        to.name
        for to, x in raft.out
        if isinstance(x, Append) and x.commit == raft.commit and isinstance(to, Peer)
    }
    for name in sorted(lead.awaiting - told):
        if name in lead.progress:
            raft.post(raft.peer(name), Commit(raft.term, raft.commit))
    lead.awaiting.clear()
    if told:
        _told(raft, lead)
    elif not lead.commit_tick_us:
        lead.commit_tick_us = raft.now.us + raft.timing.commit_tick_us
    elif raft.now.us >= lead.commit_tick_us:
        for name in lead.progress:
            if name != raft.name:
                raft.post(raft.peer(name), Commit(raft.term, raft.commit))
        _told(raft, lead)


def _told(raft: "Raft", lead: Leader) -> None:
    lead.commit_told = raft.commit
    lead.commit_tick_us = 0


def has_lost_its_majority(raft: "Raft", lead: Leader) -> bool:
    """CheckQuorum (thesis §6.2): nobody must wait for a leader that nobody follows."""
    if raft.now.us <= lead.followed_until_us:
        return False
    if raft.name in lead.progress:
        lead.progress[raft.name].heard_us = raft.now.us
    heard = reached([p.heard_us for p in lead.voters])
    lead.followed_until_us = heard + raft.timing.step_down_us
    return raft.now.us > lead.followed_until_us


def has_stalled(raft: "Raft") -> bool:
    """A disk that takes seconds for a sync: another node's is better."""
    return raft.now.us - raft.unsaved_since_us > raft.timing.stall_us
