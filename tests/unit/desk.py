"""One node's Raft on a desk: letters in, letters out, no network around it."""

from random import Random
from typing import Any

from dkv.address import Instant, Local, Peer
from dkv.counters import Counters
from dkv.entries import Entry, Kind, Position, follow
from dkv.limits import MS, RETENTION, Retention, Timing
from dkv.messages import Append, PreVoted, Saved, Voted, Write
from dkv.raft import table
from dkv.raft.configuration import Configuration, Seat, founders
from dkv.raft.core import Raft, Start
from dkv.raft.leader import Leader

N1, N2, N3 = Peer("n1", 11, 101), Peer("n2", 12, 102), Peer("n3", 13, 103)
MEMBERS = (("n1", 11), ("n2", 12), ("n3", 13))
FORMED = bytes(7) + b"f"
CONFIGURED = Configuration(tuple(Seat(*m) for m in MEMBERS), 1, FORMED, 1)


def log_of(*terms: int) -> list[Entry]:
    """Entry 1 is everyone's; then one of each term."""
    entries = [follow(bytes(8), (1, 0, Kind.GENESIS, 0, 0, b""))]
    for term in terms:
        row = (len(entries) + 1, term, Kind.COMMANDS, 0, 0, b"of %d" % term)
        entries.append(follow(entries[-1].check, row))
    return entries


def row_of(term: int, payload: bytes = b"") -> tuple[int, int, int, int, bytes]:
    return (term, Kind.COMMANDS, 0, 0, payload or b"of %d" % term)


def start_of(*terms: int, term: int = 0, commit: int = 1, formed: bool = True) -> Start:
    """n1's disk, with a log of these terms."""
    entries = log_of(*terms)
    unformed = founders(name for name, _disk in MEMBERS)
    return Start(
        name="n1",
        disk=11,
        joining=False,
        term=term or max(terms, default=0),
        vote=0,
        base=Position(0, 0, bytes(8)),
        runs=tuple((e.index, e.term) for e in entries),
        entries=tuple(entries),
        reigns=(CONFIGURED if formed else unformed,),
        commit=commit,
        applied=1,
        tick=0,
    )


class Desk:
    """n1's Raft, and what it has posted."""

    def __init__(
        self,
        *terms: int,
        term: int = 0,
        commit: int = 1,
        formed: bool = True,
        retention: Retention | None = RETENTION,
    ) -> None:
        start = start_of(*terms, term=term, commit=commit, formed=formed)
        self.counters = Counters()
        self.raft = Raft(start, 101, Timing(), Random(1), self.counters, retention=retention)
        self.raft.peers = {"n2": N2, "n3": N3}  # heard of, as the post office keeps them
        table.begin(self.raft)
        self.end()

    def take(self, peer: Peer, *letters: Any) -> list[tuple[Any, Any]]:
        """What these letters of one turn lead to."""
        for letter in letters:
            table.receive(self.raft, peer, letter)
        return self.end()

    def end(self) -> list[tuple[Any, Any]]:
        return table.end_turn(self.raft)

    def wait(self, us: int) -> list[tuple[Any, Any]]:
        self.raft.now = Instant(self.raft.now.us + us, 0)
        return self.end()

    def save(self) -> list[tuple[Any, Any]]:
        """The log answers every Write so far."""
        return self.take(N1, Saved(self.raft._writes))

    def append(self, *terms: int, prev: int, term: int, commit: int = 0, match: int = 0) -> Append:
        """An Append whose previous entry is this node's own."""
        tail = self.raft.tail
        at = tail.get(prev)
        prev_check = at.check if at else bytes(8)
        prev_term = at.term if at else term
        return Append(
            term, prev, prev_term, prev_check, tuple(map(row_of, terms)), commit, match, 0
        )

    def lead(self) -> None:
        """Through an election, with n2's votes."""
        self.wait(2_000 * MS)
        self.take(N2, PreVoted(self.raft.term, self.raft.term + 1, True))
        self.take(N1, Voted(self.raft.term, True))
        self.take(N2, Voted(self.raft.term, True))
        assert isinstance(self.raft.role, Leader)


def to(peer: Any, out: list[tuple[Any, Any]]) -> list[Any]:
    return [letter for who, letter in out if who == peer]


def writes(out: list[tuple[Any, Any]]) -> list[Write]:
    return [letter for letter in to(Local.LOG, out) if isinstance(letter, Write)]


def sealed(out: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return [pair for write in writes(out) for pair in write.sealed]
