"""What the dashboard knows of the cluster, gathered from every node's own words.

Owns: a page's facts about each node, and the moments at which they are sampled; the ring of the
log and the terms beside them. Must never know how a node is asked, nor who reads: a page is a
cursor that remembers what it has had (`feed`), so that none can hold the hub or another page.

Everything in here has a bound: nodes by the members, entries by the ring, samples by their count.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from cli.dashboard.ring import Ring
from cli.dashboard.terms import Terms

ACTORS = ("gateway", "consensus", "log", "machine")  # the way of a write
SAMPLES_MAX = 300
_LATENCIES_MAX = 20_000


@dataclass(slots=True)
class Node:
    """A node by its client address. What it does not say itself, `behind` and `role` of a learner,
    the leader says of it."""

    address: str
    name: str
    up: bool = False
    why: str = ""  # it is silent, or not well
    denied: str = ""  # why it refuses this certificate
    role: str = ""
    term: int = 0
    leader: str = ""
    saved: int = 0
    commit: int = 0
    applied: int = 0
    behind: int | None = None
    rate: float = 0.0  # commands applied a second
    actors: list[tuple[int, float]] = field(default_factory=lambda: [(0, 0.0)] * len(ACTORS))
    log_bytes: int | None = None
    state_bytes: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        names = (
            *("name", "address", "up", "denied", "why", "role", "term", "applied", "behind"),
            *("log_bytes", "state_bytes"),
        )
        actors = [(depth, round(busy, 3)) for depth, busy in self.actors]
        return {name: getattr(self, name) for name in names} | {"actors": actors}


class Hub:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.ring, self.terms = Ring(), Terms()
        self.version = 0  # of the nodes' facts
        self.samples: deque[list[Any]] = deque(maxlen=SAMPLES_MAX)
        self.sampled = 0  # how many there ever were
        self._latencies: deque[float] = deque(maxlen=_LATENCIES_MAX)

    @property
    def named(self) -> list[Node]:
        return sorted(self.nodes.values(), key=lambda n: (n.name, n.address))

    @property
    def teller(self) -> Node | None:
        """Who tells what is in the log: the leader, else one that answers."""
        up = [n for n in self.named if n.up]
        leaders = [n for n in up if n.role == "leader"]
        return max(leaders, key=lambda n: n.term, default=up[0] if up else None)

    @property
    def marks(self) -> dict[str, tuple[int, int]]:
        """Up to which entry each node has saved and applied."""
        return {node.name: (node.saved, node.applied) for node in self.nodes.values()}

    # -- what nodes tell -------------------------------------------------------------------------
    def silent(self, node: Node, why: str, now_ms: int) -> None:
        node.up, node.why, node.denied, node.rate = False, why, "", 0.0
        self._changed(now_ms)

    def denied(self, node: Node, why: str) -> None:
        """It answers, and refuses this certificate: its log is not told, perhaps nothing is."""
        node.denied = why
        self.version += 1

    def heard(self, node: Node, now_ms: int, **facts: Any) -> None:
        """A node's own word for some of its fields."""
        for name, value in facts.items():
            setattr(node, name, value)
        node.up = True
        self._changed(now_ms)

    def surveyed(self, lags: dict[str, int | None]) -> None:
        """How many entries each member lacks, as the leader knows; None: that it does not know."""
        for node in self.nodes.values():
            lag = lags.get(node.name)
            node.behind = None if lag is None else lag + max(node.commit - node.applied, 0)
        self.version += 1

    def took(self, latency: float, commands: int) -> None:
        self._latencies.extend([latency] * commands)

    def forget(self, address: str) -> None:
        del self.nodes[address]
        self.version += 1

    def _changed(self, now_ms: int) -> None:
        self.version += 1
        self.terms.tell(((n.term, n.leader) for n in self.nodes.values() if n.up), now_ms)

    # -- time ------------------------------------------------------------------------------------
    def sample(self, now_s: int) -> None:
        """Once a second: [at, commands a second, median, p99 (ms), entries the furthest lacks]."""
        teller = self.teller  # not the busiest, which may only be catching up
        rate = None if teller is None else round(teller.rate)
        lag = max((n.behind for n in self.nodes.values() if n.behind is not None), default=None)
        median, tail = _middle_and_tail(self._latencies)
        self._latencies.clear()
        self.samples.append([now_s, rate, median, tail, lag])
        self.sampled += 1


def _middle_and_tail(latencies: Iterable[float]) -> tuple[float | None, float | None]:
    found = sorted(latencies)
    if len(found) < 2:
        return (found[0], found[0]) if found else (None, None)
    cuts = quantiles(found, n=100, method="inclusive")
    return round(cuts[49], 2), round(cuts[98], 2)
