"""Leadership that is given away: at an operator's word, at an orderly stop, by who was removed.

Owns: the choice of an heir and the steps of thesis §3.10: take no proposals, wait until the heir
has the whole log, tell it to campaign at once; give up after an election timeout. Must never know
why.
"""

from typing import TYPE_CHECKING

from dkv.address import Peer
from dkv.messages import Commit, TakeOver

if TYPE_CHECKING:
    from dkv.raft.core import Raft
    from dkv.raft.leader import Leader


def fitting(raft: "Raft", lead: "Leader") -> list[str]:
    """Voters that are up and replicating, the furthest first."""
    found = [
        p
        for p in lead.voters
        if p.name != raft.name
        and not p.probing
        and raft.now.us - p.heard_us < raft.timing.election_us_min
    ]
    found.sort(key=lambda p: (-p.match, p.name))
    return [p.name for p in found]


def begin(raft: "Raft", lead: "Leader", heir: str) -> None:
    raft.counters.add("handovers_begun")
    lead.heir = heir
    lead.heir_told = False
    lead.handover_until_us = raft.now.us + raft.timing.election_us_min


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
