"""(role, letter) → handler, total: what each role does with everything that can arrive.

Owns: dispatch, the gate that every term passes, and the changes of role. Must never know what a
handler does. A pair that needs nothing says `ignored`; a pair that is missing is a bug that a test
finds.
"""

from collections.abc import Callable
from typing import Any

from dkv.address import Local, Outbox, Peer
from dkv.entries import Position
from dkv.errors import Code
from dkv.limits import TERM_MAX
from dkv.messages import (
    Append,
    Appended,
    Ask,
    AskChunk,
    Chunk,
    Commit,
    Consumed,
    Copied,
    Due,
    Durable,
    Fetched,
    Filled,
    Heartbeat,
    HeartbeatAcked,
    Installed,
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
    Saved,
    Space,
    Suggest,
    TakeOver,
    Told,
    Trimmed,
    Voted,
)
from dkv.raft import candidate, follower, handover, leader, members
from dkv.raft.candidate import Candidate, Election, PreCandidate
from dkv.raft.core import Raft
from dkv.raft.follower import Follower
from dkv.raft.leader import Leader
from dkv.raft.quorum import Outcome

Role = Follower | PreCandidate | Candidate | Leader
Handler = Callable[[Raft, Any, Peer, Any], None]
ROLES = (Follower, PreCandidate, Candidate, Leader)


def ignored(_raft: Raft, _role: Role, _peer: Peer, _letter: Any) -> None:
    """This letter means nothing to this role; a late one, mostly."""


# == changes of role =============================================================================
def become_follower(raft: Raft, term: int) -> None:
    """Of `term`, following nobody yet. A leader lets go: its reads are refused, its entries stay
    as they are, committed or not."""
    if isinstance(raft.role, Leader):
        leader.write_unwritten(raft, raft.role)
        raft.counters.add("step_downs")
        for asker in raft.role.reads.abandon():
            leader.refuse(raft, asker, Code.NOT_LEADER)
        members.abandon(raft, raft.role, handed=raft.role.heir_told and term > raft.term)
    if term > raft.term:
        raft.adopt_term(term)
    raft.role = Follower(raft)


def pre_campaign(raft: Raft) -> None:
    if not follower.may_campaign(raft):
        raft.role = Follower(raft)
        follower.ask_why_nobody_speaks(raft)
        return
    if isinstance(raft.role, Follower):
        raft.role.note_silence(raft)
    role = PreCandidate(raft)
    raft.role = role
    candidate.ask_for_pre_votes(raft, role)
    if role.count(raft, raft.me, True) is Outcome.WON:
        campaign(raft)


def campaign(raft: Raft, *, handed: bool = False) -> None:
    raft.role = Candidate(raft, handed=handed)
    candidate.ask_for_votes(raft, raft.role)


def lead(raft: Raft, votes: dict[str, int]) -> None:
    raft.counters.add("elections_won")
    raft.role = Leader(raft, votes)
    leader.beat(raft, raft.role)


# == handlers that change the role ===============================================================
def obey(
    raft: Raft, role: Role, peer: Peer, letter: Append | Heartbeat | Commit | InstallSnapshot
) -> None:
    """A candidate hears the leader of its own term."""
    become_follower(raft, raft.term)
    HANDLERS[Follower, type(letter)](raft, raft.role, peer, letter)


def vote_as_follower(raft: Raft, _role: PreCandidate, peer: Peer, letter: RequestVote) -> None:
    """Merely pre-campaigning is no vote: another candidate of this term may have it."""
    become_follower(raft, raft.term)
    follower.answer_vote(raft, raft.role, peer, letter)  # type: ignore[arg-type]


def take_pre_vote(raft: Raft, role: PreCandidate, peer: Peer, letter: PreVoted) -> None:
    if candidate.count_pre_vote(raft, role, peer, letter) is Outcome.WON:
        campaign(raft)


def take_vote(raft: Raft, role: Candidate, peer: Peer, letter: Voted) -> None:
    if role.count(raft, peer, letter.granted) is Outcome.WON:
        lead(raft, role.granted)


def take_over(raft: Raft, role: Follower, peer: Peer, _letter: TakeOver) -> None:
    """The leader of this term gives up its place to this node."""
    if role.leader in ("", peer.name) and handover.may_take_over(raft, peer):
        raft.counters.add("takeovers")
        campaign(raft, handed=True)


# == handlers that every role shares =============================================================
def take_saved(raft: Raft, _role: Role, _peer: Peer, letter: Saved) -> None:
    raft.write_saved(letter.number)


def take_fetched(raft: Raft, role: Role, _peer: Peer, letter: Fetched) -> None:
    raft.fetched(letter)
    if isinstance(role, Leader):
        leader.take_fetched(raft, role, letter)


def take_trimmed(raft: Raft, _role: Role, _peer: Peer, letter: Trimmed) -> None:
    raft.trimmed(Position(*letter))


def take_space(raft: Raft, _role: Role, _peer: Peer, letter: Space) -> None:
    raft.space = letter.level


def take_consumed(raft: Raft, _role: Role, _peer: Peer, letter: Consumed) -> None:
    raft.consumed(letter.index)


def take_durable(raft: Raft, _role: Role, _peer: Peer, letter: Durable) -> None:
    raft.durable = max(raft.durable, letter.index)
    raft.consumed(letter.index)


def take_filled(raft: Raft, _role: Role, _peer: Peer, letter: Filled) -> None:
    raft.quota_reached = letter.full


def take_due(raft: Raft, _role: Role, _peer: Peer, letter: Due) -> None:
    raft.due = letter.tick


def take_installed(raft: Raft, role: Role, _peer: Peer, letter: Installed) -> None:
    raft.installed(letter)
    if isinstance(role, Follower):
        follower.acknowledge_committed(raft, role)


def pass_to_gateway(raft: Raft, _role: Role, _peer: Peer, letter: Refused | Told) -> None:
    """The way back of what this node relayed (batch 0: what consensus itself had asked)."""
    if letter.batch:
        raft.post(Local.GATEWAY, letter)


_EVERY_ROLE: dict[type, Handler] = {
    Saved: take_saved,
    Fetched: take_fetched,
    Trimmed: take_trimmed,
    Space: take_space,
    Consumed: take_consumed,
    Durable: take_durable,
    Due: take_due,
    Installed: take_installed,
    Filled: take_filled,
    Refused: pass_to_gateway,
    ReadAt: follower.take_read_at,
    Told: pass_to_gateway,
}

_BY_ROLE: dict[type, tuple[Handler, Handler, Handler, Handler]] = {
    #            Follower                  PreCandidate        Candidate                  Leader
    PreVote: (
        follower.answer_pre_vote,
        candidate.answer_pre_vote,
        candidate.answer_pre_vote,
        leader.refuse_pre_vote,
    ),
    PreVoted: (ignored, take_pre_vote, ignored, ignored),
    RequestVote: (
        follower.answer_vote,
        vote_as_follower,
        candidate.refuse_vote,
        candidate.refuse_vote,
    ),
    Voted: (ignored, ignored, take_vote, ignored),
    Append: (follower.take_append, obey, obey, ignored),
    Heartbeat: (follower.take_heartbeat, obey, obey, ignored),
    Commit: (follower.take_commit, obey, obey, ignored),
    Appended: (ignored, ignored, ignored, leader.take_appended),
    Mismatched: (ignored, ignored, ignored, leader.take_mismatch),
    HeartbeatAcked: (ignored, ignored, ignored, leader.take_heartbeat_ack),
    TakeOver: (take_over, ignored, ignored, ignored),
    InstallSnapshot: (follower.take_install, obey, obey, ignored),
    AskChunk: (follower.pass_ask, ignored, ignored, leader.copy_state),
    Copied: (ignored, ignored, ignored, leader.send_copied),
    Chunk: (follower.pass_chunk, ignored, ignored, ignored),
    Noted: (follower.pass_note, ignored, ignored, leader.take_note),
    Suggest: (ignored, ignored, ignored, leader.take_suggestion),
    Propose: (
        follower.relay_proposal,
        candidate.refuse_proposal,
        candidate.refuse_proposal,
        leader.propose,
    ),
    Ask: (
        follower.relay_ask,
        candidate.refuse_ask,
        candidate.refuse_ask,
        leader.take_ask,
    ),
    RelayAsk: (
        follower.refuse_relayed_ask,
        follower.refuse_relayed_ask,
        follower.refuse_relayed_ask,
        leader.take_ask,
    ),
    ReadIndex: (
        follower.relay_read,
        candidate.refuse_proposal,
        candidate.refuse_proposal,
        leader.read,
    ),
    Relay: (
        follower.refuse_relayed,
        follower.refuse_relayed,
        follower.refuse_relayed,
        leader.propose,
    ),
    RelayRead: (
        follower.refuse_relayed,
        follower.refuse_relayed,
        follower.refuse_relayed,
        leader.read,
    ),
}

HANDLERS: dict[tuple[type, type], Handler] = {
    **{(role, letter): handler for letter, handler in _EVERY_ROLE.items() for role in ROLES},
    **{
        (role, letter): handler
        for letter, handlers in _BY_ROLE.items()
        for role, handler in zip(ROLES, handlers, strict=True)
    },
}

# Letters that state a term, for which the receiver's own must be the same or move.
TERMED: frozenset[type] = frozenset(
    (
        RequestVote,
        Voted,
        Append,
        Appended,
        Mismatched,
        Heartbeat,
        HeartbeatAcked,
        Commit,
        TakeOver,
        InstallSnapshot,
    )
)


def receive(raft: Raft, peer: Peer, letter: Any) -> None:
    """One letter: through the gate of terms, then to the role's handler."""
    kind = type(letter)
    if kind is Append and not _is_coherent(letter):
        raft.counters.add("appends_incoherent")
        return
    if kind in TERMED and letter.term != raft.term and not _pass_term(raft, peer, letter):
        return
    if kind is PreVoted and raft.term < letter.term <= TERM_MAX:
        become_follower(raft, letter.term)
    HANDLERS[type(raft.role), kind](raft, raft.role, peer, letter)


def _pass_term(raft: Raft, peer: Peer, letter: Any) -> bool:
    if letter.term > TERM_MAX:
        raft.counters.add("terms_absurd")
        return False
    if letter.term < raft.term:
        _answer_the_past(raft, peer, letter)
        return False
    if letter.term > raft.term:
        if isinstance(letter, RequestVote) and not letter.handed and _hears_a_leader(raft):
            raft.counters.add("votes_ignored_under_a_leader")
            return False
        become_follower(raft, letter.term)
    return True


def _hears_a_leader(raft: Raft) -> bool:
    """Nobody is deposed by a vote while its followers hear it (thesis §4.2.3)."""
    role = raft.role
    if isinstance(role, Leader):
        return not leader.has_lost_its_majority(raft, role)
    return isinstance(role, Follower) and role.hears_a_leader(raft)


def _answer_the_past(raft: Raft, peer: Peer, letter: Any) -> None:
    """Whoever asks with an old term learns the new one; an old answer is dropped."""
    if isinstance(letter, RequestVote):
        raft.post(peer, Voted(raft.term, False))
    elif isinstance(letter, Append):
        last = raft.tail.last.index
        raft.post(peer, Mismatched(raft.term, letter.prev_index, last, 0, 0))
    elif isinstance(letter, Heartbeat):
        raft.post(peer, HeartbeatAcked(raft.term, letter.round, raft.space, *raft.release))
    else:
        raft.counters.add("letters_of_older_terms")


def _is_coherent(letter: Append) -> bool:
    """Terms never fall along a log, nor exceed the leader's; the first entry is everyone's."""
    terms = [letter.prev_term, *[row[0] for row in letter.rows], letter.term]
    return letter.prev_index >= 1 and sorted(terms) == terms


# == turns =======================================================================================
def end_turn(raft: Raft) -> Outbox:
    """Everything has been received: what time has brought, and what follows from both."""
    _pass_time(raft)
    role = raft.role
    if raft.now.us >= raft.announce_us:
        members.announce(raft, *_whom(raft))
    if isinstance(role, Leader):
        leader.open_when_all_have_formed(raft, role)
        members.promote_who_is_close(raft, role)
        members.raise_level(raft, role)
        leader.expire_what_is_due(raft, role)
        leader.replicate(raft, role)
        leader.start_round_for_reads(raft, role)
        leader.tell_commit(raft, role)
        _hand_over(raft, role)
    members.end_if_removed(raft)
    raft.keep_hard_state()
    raft.close_turn(*_news(raft))
    out, raft.out = raft.out, []
    return out


def _whom(raft: Raft) -> tuple[Peer | None, Leader | None]:
    """The leader, as far as this node knows, and whether that is itself."""
    role = raft.role
    if isinstance(role, Leader):
        return raft.me, role
    return (role.whom if isinstance(role, Follower) and role.leader else None), None


def _hand_over(raft: Raft, lead: Leader) -> None:
    """Who is to give up leading, and does; a leader that is no voter any more, once that is
    committed."""
    settled = raft.reigns.settled
    if settled.is_formed and not settled.counts(raft.name, raft.disk):
        handover.abdicate(raft, lead)
        become_follower(raft, raft.term)
    elif lead.heir:
        handover.go_on(raft, lead)
        if not lead.heir:
            members.give_up_handover(raft, lead)


def begin_handover(raft: Raft) -> None:
    """Before an orderly stop: the best voter shall lead, if there is one."""
    role = raft.role
    if isinstance(role, Leader) and not role.heir:
        fit = handover.fitting(raft, role)
        if fit:
            handover.begin(raft, role, fit[0])


def is_handing_over(raft: Raft) -> bool:
    return isinstance(raft.role, Leader) and bool(raft.role.heir)


def _pass_time(raft: Raft) -> None:
    role = raft.role
    if isinstance(role, Leader):
        lost, stalled = leader.has_lost_its_majority(raft, role), leader.has_stalled(raft)
        if lost or stalled:
            reason = "step_downs_majority_silent" if lost else "step_downs_disk_stalled"
            raft.counters.add(reason)
            become_follower(raft, raft.term)
        elif raft.now.us >= role.heartbeat_us:
            leader.beat(raft, role)
            handover.give_way(raft, role)
    elif raft.now.us >= role.deadline:
        pre_campaign(raft)


def _news(raft: Raft) -> tuple[str, tuple[str, ...]]:
    """Who leads, and who is missing before the cluster opens."""
    role = raft.role
    if isinstance(role, Leader):
        return raft.name, leader.missing(raft, role)
    waiting = () if raft.config.is_formed else _unheard(raft)
    return (role.leader if isinstance(role, Follower) else ""), waiting


def _unheard(raft: Raft) -> tuple[str, ...]:
    return tuple(n for n in raft.config.names if n != raft.name and n not in raft.peers)


def deadline(raft: Raft) -> int:
    """When, in monotonic microseconds, a turn must be had though nothing has arrived."""
    role = raft.role
    needed = max(raft.commit, role.furthest) if isinstance(role, Leader) else raft.commit
    due = [role.deadline]
    look_us = raft.look_us(needed)
    if look_us is not None:
        due.append(look_us)
    if raft.patience.due_us is not None:
        due.append(raft.patience.due_us)
    if raft.leaving_us:
        due.append(raft.leaving_us)
    return min(due)


def begin(raft: Raft) -> None:
    """At start: follow nobody, and listen for an election timeout."""
    raft.role = Follower(raft)


__all__ = [
    "HANDLERS",
    "ROLES",
    "Election",
    "Role",
    "begin",
    "begin_handover",
    "deadline",
    "end_turn",
    "is_handing_over",
    "receive",
]
