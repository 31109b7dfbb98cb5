"""Seeking leadership: first ask whether one would win, then ask for votes.

Owns: the votes of one term, which die with it. Must never know what a leader does with them.

    Follower ──silence──▶ PreCandidate ──enough would vote──▶ Candidate ──votes──▶ Leader
                             (no term moves, thesis §9.6)     (own term and vote on disk first)

Until the cluster has formed, all initial members must vote (see `configuration`).
"""

from typing import TYPE_CHECKING

from dkv.address import Local, Peer
from dkv.errors import Code
from dkv.messages import Ask, PreVote, PreVoted, Propose, ReadIndex, Refused, RequestVote, Voted
from dkv.raft import members
from dkv.raft.follower import draw_timeout, is_as_new, may_choose
from dkv.raft.quorum import Outcome, tally

if TYPE_CHECKING:
    from dkv.raft.core import Raft


class Election:
    """Who answered, by name; a name that comes with another disk has been replaced and counts
    anew (only before FORMED: afterwards other disks are not heard at all)."""

    def __init__(self, raft: "Raft") -> None:
        self.deadline = raft.now.us + draw_timeout(raft)
        self.granted: dict[str, int] = {}
        self.refused: set[str] = set()

    def count(self, raft: "Raft", peer: Peer, granted: bool) -> Outcome:
        if raft.config.counts(peer.name, peer.disk):
            if granted:
                self.granted[peer.name] = peer.disk
                self.refused.discard(peer.name)
            elif peer.name not in self.granted:
                self.refused.add(peer.name)
        config = raft.config
        size = len(config.voters)
        return tally(len(self.granted), len(self.refused), size, config.votes_needed)


class PreCandidate(Election):
    """Asks; its own answer is yes. It has not voted for itself, and may still vote for another."""

    leader = ""


class Candidate(Election):
    """Asks with its own vote on disk; that vote too comes back as a sealed letter. `handed`: the
    leader said so."""

    def __init__(self, raft: "Raft", *, handed: bool = False) -> None:
        super().__init__(raft)
        self.handed = handed


def ask_for_pre_votes(raft: "Raft", role: PreCandidate) -> None:
    raft.counters.add("pre_elections")
    last = raft.tail.last
    for peer in raft.other_voters:
        raft.post(peer, PreVote(raft.term + 1, last.index, last.term))


def ask_for_votes(raft: "Raft", role: Candidate) -> None:
    """A new term, with this node's vote: sealed, so that nobody hears of it before the disk."""
    raft.counters.add("elections")
    raft.adopt_term(raft.term + 1)
    raft.vote = raft.disk
    last = raft.tail.last
    request = RequestVote(raft.term, last.index, last.term, role.handed)
    sealed = [(peer, request) for peer in raft.other_voters]
    raft.write(sealed=[*sealed, (raft.me, Voted(raft.term, True))])


def refuse_vote(raft: "Raft", _role: object, peer: Peer, _letter: RequestVote) -> None:
    """In this term this node has voted for itself, or leads."""
    raft.post(peer, Voted(raft.term, False))


def answer_pre_vote(raft: "Raft", _role: Election, peer: Peer, letter: PreVote) -> None:
    """Whoever campaigns hears no leader: it may prefer another's newer or equal log."""
    granted = (
        letter.term > raft.term
        and is_as_new(raft, letter.last_index, letter.last_term)
        and may_choose(raft)
    )
    raft.post(peer, PreVoted(raft.term, letter.term, granted))


def count_pre_vote(raft: "Raft", role: PreCandidate, peer: Peer, letter: PreVoted) -> Outcome:
    if letter.asked != raft.term + 1:
        return Outcome.PENDING
    return role.count(raft, peer, letter.granted)


def refuse_ask(raft: "Raft", _role: object, _peer: Peer, letter: Ask) -> None:
    members.refuse_ask(raft, (None, letter.batch), Code.NO_LEADER)


def refuse_proposal(raft: "Raft", _role: object, _peer: Peer, letter: Propose | ReadIndex) -> None:
    raft.post(Local.GATEWAY, Refused(letter.batch, Code.NO_LEADER))
