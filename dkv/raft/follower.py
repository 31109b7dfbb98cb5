"""Following: take the leader's entries, acknowledge by way of the log, vote, notice silence.

Owns: what dies with a follower: whom it follows, when it last heard, how far an Append of this term
has verified its log. Must never know how a leader decides.
"""

from typing import TYPE_CHECKING

from dkv.address import Local, Peer
from dkv.entries import Entry, follow
from dkv.errors import Code
from dkv.messages import (
    Append,
    Appended,
    Ask,
    AskChunk,
    Chunk,
    Commit,
    Heard,
    Heartbeat,
    HeartbeatAcked,
    Hello,
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
    RequestVote,
    Voted,
)
from dkv.raft import members

if TYPE_CHECKING:
    from dkv.raft.core import Raft

SPACE_CRITICAL = 2


class Follower:
    """`verified`: the last index that an Append of this term has matched with the leader's log.

    A commit index, in any letter, counts only up to there: a tick may overtake the Append that
    replaces junk (entries of a leader that lost its term before a majority had them).
    """

    def __init__(self, raft: "Raft", leader: str = "") -> None:
        self.leader = leader
        self.whom = raft.peer(leader)  # as it was heard: this log may not know of its disk yet
        self.heard_us: int | None = raft.now.us if leader else None
        self.verified = 0
        self.round = 0  # the leader's last one heard
        self.tidy_us = 0  # when a heartbeat is next a reason to look after log and gateway
        self.patience_us = draw_timeout(raft)  # one draw a term, not one a letter
        self.deadline = raft.now.us + self.patience_us

    def follow(self, raft: "Raft", peer: Peer) -> None:
        assert self.leader in ("", peer.name), (self.leader, peer.name, raft.term)
        self.leader, self.whom = peer.name, peer
        self.note_silence(raft)
        self.heard_us = raft.now.us
        self.deadline = raft.now.us + self.patience_us

    def note_silence(self, raft: "Raft") -> None:
        """For people: how near to an election this cluster has been."""
        if self.heard_us is not None:
            raft.counters.top("leader_silent_us_max", raft.now.us - self.heard_us)

    def hears_a_leader(self, raft: "Raft") -> bool:
        """Whether a leader spoke within the shortest election timeout (thesis §4.2.3)."""
        return (
            self.heard_us is not None and raft.now.us - self.heard_us < raft.timing.election_us_min
        )


def draw_timeout(raft: "Raft") -> int:
    return raft.rng.randint(raft.timing.election_us_min, raft.timing.election_us_max)


# -- entries (§5.3 of the Raft paper) ------------------------------------------------------------
def take_append(raft: "Raft", role: Follower, peer: Peer, letter: Append) -> None:
    role.follow(raft, peer)
    if raft.has_lost(letter.match):
        return
    if raft.space >= SPACE_CRITICAL and letter.rows:
        raft.counters.add("appends_refused_disk_critical")
        return
    if not _meets(raft, letter):
        _answer_mismatch(raft, peer, letter)
        return
    cut_from, entries = _take_rows(raft, letter)
    index = max(letter.prev_index + len(letter.rows), raft.tail.base.index)  # which is committed
    role.verified = max(role.verified, index)
    raft.commit_to(min(letter.commit, role.verified))
    raft.heard_everyone_has(letter.everyone_has)
    check = raft.tail.check_at(index) or letter.prev_check
    raft.write(
        cut_from=cut_from,
        entries=entries,
        sealed=((peer, Appended(raft.term, index, check)),),
    )


def _meets(raft: "Raft", letter: Append) -> bool:
    """Whether this log has the entry before the first row; another check there is divergence."""
    tail, prev = raft.tail, letter.prev_index
    if prev < tail.base.index:
        return True  # cut, hence committed, and in this node's state
    if prev > tail.last.index:
        return False
    if tail.term_at(prev) != letter.prev_term:
        if prev <= raft.commit:
            raft.diverged(f"entry {prev} is committed here with another term")
        return False
    check = tail.check_at(prev)
    if check is not None and check != letter.prev_check:
        raft.diverged(f"entry {prev} of term {letter.prev_term} has another check at the leader")
    return True


def _answer_mismatch(raft: "Raft", peer: Peer, letter: Append) -> None:
    place = raft.tail.find(letter.prev_index, letter.prev_term)
    hint = Mismatched(
        raft.term, letter.prev_index, raft.tail.last.index, raft.tail.term_at(place), place
    )
    raft.post(peer, hint)


def _take_rows(raft: "Raft", letter: Append) -> tuple[int, list[Entry]]:
    """Add what is new. Delete only where a term really differs: an Append that is old, repeated
    or shorter than the log is no truncation."""
    tail, index, cut_from = raft.tail, letter.prev_index, 0
    added: list[Entry] = []
    for row in letter.rows:
        index += 1
        if index <= tail.last.index:
            if _same(raft, index, row):
                continue
            cut_from = index
            raft.truncate(index)
        entry = follow(tail.last.check, (index, *row))
        raft.append(entry)
        added.append(entry)
    return cut_from, added


def _same(raft: "Raft", index: int, row: tuple[int, int, int, int, bytes]) -> bool:
    if index <= raft.tail.base.index:
        return True
    if raft.tail.term_at(index) != row[0]:
        return False
    held = raft.tail.get(index)
    if held is not None and held[1:6] != row:
        raft.diverged(f"entry {index} of term {row[0]} has other content at the leader")
    return True


def take_heartbeat(raft: "Raft", role: Follower, peer: Peer, letter: Heartbeat) -> None:
    role.follow(raft, peer)
    role.round = letter.round
    if raft.has_lost(letter.match):
        return
    raft.commit_to(min(letter.commit, role.verified))
    raft.heard_everyone_has(letter.everyone_has)
    if raft.now.us >= role.tidy_us:  # rounds for reads may come a thousand times a second
        role.tidy_us = raft.now.us + raft.timing.heartbeat_us // 2
        raft.keep_witness_near()
        raft.post(Local.GATEWAY, Heard(raft.commit))
    raft.post(peer, HeartbeatAcked(raft.term, letter.round, raft.space, *raft.release))


def take_commit(raft: "Raft", role: Follower, peer: Peer, letter: Commit) -> None:
    role.follow(raft, peer)
    raft.commit_to(min(letter.commit, role.verified))


# -- the state, where the leader's log does not reach back far enough ----------------------------
def take_install(raft: "Raft", role: Follower, peer: Peer, letter: InstallSnapshot) -> None:
    """The state machine knows what it has, and what it asked for last. A leader may not have heard
    yet that this node has what it needs."""
    role.follow(raft, peer)
    if min(raft.commit, raft.saved, raft.handed) < letter.base:
        raft.post(Local.MACHINE, letter)
    else:
        acknowledge_committed(raft, role)


def pass_ask(raft: "Raft", role: Follower, peer: Peer, letter: AskChunk) -> None:
    if peer == raft.me and role.leader:
        raft.post(role.whom, letter)


def pass_chunk(raft: "Raft", role: Follower, peer: Peer, letter: Chunk) -> None:
    """From whoever leads: another one's answer comes too late."""
    if peer.name != role.leader:
        return
    if raft.space >= SPACE_CRITICAL:
        raft.counters.add("chunks_refused_disk_critical")
        return
    raft.post(Local.MACHINE, letter)


def acknowledge_committed(raft: "Raft", role: Follower) -> None:
    """Tell the leader what this node is known to share with it, though no Append has asked: what is
    committed, saved and handed on. (It is in memory, but for a moment after a start.)"""
    index = min(raft.commit, raft.saved, raft.handed)
    check = raft.tail.check_at(index) if index >= raft.tail.base.index else None
    if role.leader and check is not None:
        role.verified = max(role.verified, index)
        raft.write(sealed=((role.whom, Appended(raft.term, index, check)),))


# -- votes (thesis §3.4, §9.6) -------------------------------------------------------------------
def is_as_new(raft: "Raft", last_index: int, last_term: int) -> bool:
    """Whether a candidate's log has everything that this one may have acknowledged (§5.4.1)."""
    return (last_term, last_index) >= (raft.tail.last.term, raft.tail.last.index)


def may_campaign(raft: "Raft") -> bool:
    """Voters do; a learner, a newcomer and who was removed only vote when asked. Who is not in the
    newest configuration of its log goes on until that is committed: it may be the only one whose
    log allows it to lead (thesis §4.2.2)."""
    if not may_choose(raft) or raft.leaving_us:
        return False
    config, settled = raft.config, raft.reigns.settled
    if not config.is_formed:
        return True
    return any(c.counts(raft.name, raft.disk) for c in (config, settled))


def may_choose(raft: "Raft") -> bool:
    """A disk made to join votes only once it has a configuration: before, it knows nobody."""
    return raft.config.is_formed or not raft.joining


def ask_why_nobody_speaks(raft: "Raft") -> None:
    """Of a node that does not campaign, and hears no leader. If it was removed, nobody writes to it
    any more: it is told so when it writes. (Voters are, by the answers to their campaigns.)"""
    for name in raft.config.names:
        if name != raft.name:
            raft.post(raft.peer(name), Hello())


def answer_pre_vote(raft: "Raft", role: Follower, peer: Peer, letter: PreVote) -> None:
    granted = (
        letter.term > raft.term
        and not role.hears_a_leader(raft)
        and is_as_new(raft, letter.last_index, letter.last_term)
        and may_choose(raft)
    )
    raft.post(peer, PreVoted(raft.term, letter.term, granted))


def answer_vote(raft: "Raft", role: Follower, peer: Peer, letter: RequestVote) -> None:
    """One vote a term, durable before it is heard of. (Also for who merely pre-campaigns.)"""
    granted = (
        raft.vote in (0, peer.disk)
        and not role.leader
        and is_as_new(raft, letter.last_index, letter.last_term)
        and may_choose(raft)
    )
    if not granted:
        raft.post(peer, Voted(raft.term, False))
        return
    raft.vote = peer.disk
    role.deadline = raft.now.us + draw_timeout(raft)
    raft.write(sealed=((peer, Voted(raft.term, True)),))


# -- what gateways ask ---------------------------------------------------------------------------
def relay_proposal(raft: "Raft", role: Follower, _peer: Peer, letter: Propose) -> None:
    """One hop to the leader's consensus; whoever knows no leader refuses, definitely. So does a
    node whose disk takes no entries: it would never learn what came of it."""
    raft.patience.asked(raft.now.us)
    if not role.leader or raft.space >= SPACE_CRITICAL:
        code = Code.DISK_LOW if role.leader else Code.NO_LEADER
        raft.post(Local.GATEWAY, Refused(letter.batch, code))
        return
    relay = Relay(letter.batch, letter.ttl_ms, role.round, letter.grows, letter.commands)
    raft.post(role.whom, relay)


def relay_read(raft: "Raft", role: Follower, _peer: Peer, letter: ReadIndex) -> None:
    raft.patience.asked(raft.now.us)
    if not role.leader:
        raft.post(Local.GATEWAY, Refused(letter.batch, Code.NO_LEADER))
        return
    raft.post(role.whom, RelayRead(letter.batch))


def take_read_at(raft: "Raft", _role: object, _peer: Peer, letter: ReadAt) -> None:
    """A node whose disk takes no entries will not come as far as that, if it has not: another one
    must be asked."""
    if raft.space >= SPACE_CRITICAL and letter.index > raft.tail.last.index:
        raft.post(Local.GATEWAY, Refused(letter.batch, Code.DISK_LOW))
    else:
        raft.post(Local.GATEWAY, letter)


def relay_ask(raft: "Raft", role: Follower, _peer: Peer, letter: Ask) -> None:
    if not role.leader:
        members.refuse_ask(raft, (None, letter.batch), Code.NO_LEADER)
        return
    relay = RelayAsk(letter.batch, letter.ttl_ms, role.round, letter.question)
    raft.post(role.whom, relay)


def refuse_relayed_ask(raft: "Raft", _role: object, peer: Peer, letter: RelayAsk) -> None:
    members.refuse_ask(raft, (peer, letter.batch), Code.NOT_LEADER)


def refuse_relayed(raft: "Raft", _role: object, peer: Peer, letter: Relay | RelayRead) -> None:
    raft.post(peer, Refused(letter.batch, Code.NOT_LEADER))


def pass_note(raft: "Raft", role: Follower, peer: Peer, letter: Noted) -> None:
    """This node's note goes to whoever leads; another's came too late to matter."""
    if peer == raft.me and role.leader:
        raft.post(role.whom, letter)
