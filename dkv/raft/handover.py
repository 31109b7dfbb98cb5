"""Leadership that is given away: at an operator's word, at an orderly stop, by who was removed, by
who has no room on its disk where others have.

Owns: the choice of an heir and the steps of thesis §3.10: take no proposals, wait until the heir
has the whole log, tell it to campaign at once; give up after an election timeout. Must never know
why.
"""

from typing import TYPE_CHECKING

from dkv.address import Peer
from dkv.limits import SECOND
from dkv.messages import Commit, TakeOver
from dkv.raft.quorum import majority

if TYPE_CHECKING:
    from dkv.raft.core import Raft
    from dkv.raft.leader import Leader

_NEWS_US = 1 * SECOND  # more than a round of heartbeats


def fitting(raft: "Raft", lead: "Leader") -> list[str]:
    """Voters that are up and replicating: those with most room first, of these the furthest."""
    found = [
        p
        for p in lead.voters
        if p.name != raft.name
        and not p.probing
        and raft.now.us - p.heard_us < raft.timing.election_us_min
    ]
    found.sort(key=lambda p: (p.space, -p.match, p.name))
    return [p.name for p in found]


def begin(raft: "Raft", lead: "Leader", heir: str) -> None:
    raft.counters.add("handovers_begun")
    lead.heir = heir
    lead.heir_told = False
    lead.handover_until_us = raft.now.us + raft.timing.election_us_min


def give_way(raft: "Raft", lead: "Leader") -> None:
    """A leader without room refuses for all. It need not where a majority beside it has more; for
    a moment it waits, since all disks may have been filled at once and not all have told."""
    if not raft.space or lead.heir:
        lead.cramped_us = 0
        return
    lead.cramped_us = lead.cramped_us or raft.now.us
    if raft.now.us - lead.cramped_us < _NEWS_US:
        return
    roomy = {
        p.name for p in lead.voters if p.round and p.space < raft.space and p.name != raft.name
    }
    heirs = [name for name in fitting(raft, lead) if name in roomy]
    if heirs and len(roomy) >= majority(len(lead.voters)):
        raft.counters.add("handovers_for_room")
        begin(raft, lead, heirs[0])


def go_on(raft: "Raft", lead: "Leader") -> None:
    """At each turn's end, while there is an heir."""
    progress = lead.progress.get(lead.heir)
    if progress is None or raft.now.us >= lead.handover_until_us:
        raft.counters.add("handovers_given_up")
        lead.heir = ""
    elif not lead.heir_told and progress.match == raft.tail.last.index:
        lead.heir_told = True
        raft.post(raft.peer(lead.heir), TakeOver(raft.term))


def abdicate(raft: "Raft", lead: "Leader") -> None:
    """The leader is no voter any more, and that is committed: everybody hears of the commit, the
    best of them campaigns at once."""
    for name in sorted(lead.progress):
        if name != raft.name:
            raft.post(raft.peer(name), Commit(raft.term, raft.commit))
    heirs = fitting(raft, lead)
    if heirs:
        raft.post(raft.peer(heirs[0]), TakeOver(raft.term))


def may_take_over(raft: "Raft", peer: Peer) -> bool:
    """Whether this node may campaign when the leader says so."""
    return raft.config.is_formed and raft.config.counts(raft.name, raft.disk) and peer != raft.me
