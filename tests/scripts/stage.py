"""The stage on which a script plays: a simulated world, and rules for single letters.

Owns: what is held back or dropped, what was said since the stanza began, what clients asked and
when they were answered, and what must hold at every turn of a watched world. Must never know how a
script is written (see `verbs`), nor what it wants to show.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dkv.address import Local
from dkv.codec import seal, unseal
from dkv.limits import RETENTION, ClusterLimits, Retention, Timing
from dkv.messages import CATALOGUE, FromPeer, PreVote, Saved, Write
from tests.world import Reply, World

KINDS = {kind.__name__: kind for kind in CATALOGUE.values()}


class Spoken(NamedTuple):
    sender: str
    receiver: str
    letter: Any


class Rule(NamedTuple):
    """`holds`: the letters may be released later; else they are lost. No names: everybody."""

    holds: bool
    kinds: tuple[type, ...]
    senders: frozenset[str]
    receivers: frozenset[str]

    def meets(self, sender: str, receiver: str, letter: Any) -> bool:
        return (
            (not self.kinds or isinstance(letter, self.kinds))
            and (not self.senders or sender in self.senders)
            and (not self.receivers or receiver in self.receivers)
        )


class Asked(NamedTuple):
    """One request of a client, as the books keep it."""

    request_id: bytes
    called_us: int
    node: str
    op: str
    fields: dict[str, Any]
    place: tuple[int, int]
    level: str


class Answers(dict[bytes, Reply]):
    """Replies, and when each came."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.when: dict[bytes, int] = {}

    def __setitem__(self, request_id: bytes, reply: Reply) -> None:
        super().__setitem__(request_id, reply)
        self.when.setdefault(request_id, self.world.now_us)


class WatchedWorld(World):
    """A world in which, besides all invariants, what a leader knows of a member never shrinks."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.replies = Answers(self)
        self._match: dict[tuple[str, int, str, int], int] = {}  # leader, term, member, its disk

    def _turn(self, node: Any, desk: Any) -> None:
        super()._turn(node, desk)
        if node.leads:
            self._watch(node.plan.name, node.raft)

    def _watch(self, name: str, raft: Any) -> None:
        for member, progress in raft.role.progress.items():
            place = (name, raft.term, member, progress.disk)
            before = self._match.get(place, 0)
            assert progress.match >= before, f"{name}: match of {member} fell from {before}"
            self._match[place] = progress.match


class Stage:
    def __init__(
        self,
        names: tuple[str, ...],
        seed: int,
        *,
        timing: Timing | None = None,
        limits: ClusterLimits | None = None,
        retention: Retention = RETENTION,
    ) -> None:
        self.world = WatchedWorld(seed, names, timing=timing, limits=limits, retention=retention)
        self.world.peer_filter = self._passes
        self.world.letter_filter = self._reaches
        self.rules: list[Rule] = []
        self.spoken: list[Spoken] = []
        self.candidates: frozenset[str] = frozenset(names)
        self.stuck: dict[tuple[str, Local], list[Any]] = {}  # (node, actor) -> letters held inside
        self.asked: dict[str, Asked] = {}
        self.questions: dict[str, int] = {}  # about the cluster, by name
        self.before: dict[str, dict[str, Any]] = {}  # what a script has remembered
        self.damaged: set[str] = set()  # whose disk was harmed: these may refuse to go on
        self.must_refuse: set[str] = set()  # and these must
        self.unique: dict[bytes, list[Asked]] = {}  # value -> every attempt to write it
        self.walks: list[tuple[int, list[bytes]]] = []  # lists that came to their end
        self.once: set[bytes] = set()  # values that were written in a session
        self._lost: list[Spoken] = []
        self._letting = False

    # -- letters between nodes -------------------------------------------------------------------
    def _passes(self, sender: str, receiver: str, letter: Any) -> bool:
        spoken = Spoken(sender, receiver, letter)
        self.spoken.append(spoken)
        if isinstance(letter, PreVote) and sender not in self.candidates:
            self._lost.append(spoken)
            return False
        for rule in self.rules:
            if rule.meets(*spoken):
                if not rule.holds:
                    self._lost.append(spoken)
                return False
        return True

    def take_held(self, rule: Rule) -> list[tuple[str, str, bytes]]:
        """The held letters that a rule meets, a frame each, out of what the world has kept."""
        taken, left = [], []
        for sender, receiver, frame in self.world.held:
            envelope, letters = unseal(frame)
            for letter in letters:
                one = (sender, receiver, seal(envelope, [letter]))
                if Spoken(sender, receiver, letter) in self._lost:
                    continue
                (taken if rule.meets(sender, receiver, letter) else left).append(one)
        self.world.held[:] = left
        self._lost.clear()
        return taken

    def release(self, frames: list[tuple[str, str, bytes]]) -> None:
        """They arrive now, in this order, whatever is cut."""
        for sender, receiver, frame in frames:
            self.world.deliver(receiver, Local.CONSENSUS, FromPeer(sender, frame))

    # -- letters inside a node -------------------------------------------------------------------
    def _reaches(self, name: str, actor: Local, letter: Any) -> bool:
        held = self.stuck.get((name, actor))
        if (
            held is None
            or self._letting
            or (actor is Local.CONSENSUS and type(letter) is not Saved)
        ):
            return True
        held.append(letter)
        return False

    def stick(self, name: str, actor: Local) -> None:
        """Everything for this log (or every Saved for this consensus) waits from now on."""
        self.stuck.setdefault((name, actor), [])

    def loosen(self, name: str, actor: Local, writes: int | None) -> None:
        """The first so many arrive (None: all, and nothing waits any more)."""
        held = self.stuck.get((name, actor), [])
        self._letting = True
        while held and writes != 0:
            letter = held.pop(0)
            if writes is not None and isinstance(letter, Write | Saved):
                writes -= 1
            self.world.deliver(name, actor, letter)
        self._letting = False
        if writes is None:
            self.stuck.pop((name, actor), None)

    def forget_stuck(self, name: str) -> None:
        for (node, _actor), held in self.stuck.items():
            if node == name:
                held.clear()

    # -- time ------------------------------------------------------------------------------------
    def turn_now(self, name: str) -> None:
        node = self.world.nodes[name]
        if node.actors is not None:
            self.world._wake(node, node.desks[Local.CONSENSUS], self.world.now_us)

    def until(self, holds: Callable[[], bool], within_us: int) -> bool:
        """Whether it came true in time. (An invariant that breaks meanwhile is another matter.)"""
        end_us = self.world.now_us + within_us
        self.world.run_until(lambda: holds() or self.world.now_us >= end_us, 2 * within_us)
        return holds()

    # -- nodes, as facts name them ---------------------------------------------------------------
    def name_of_disk(self, disk: int) -> str:
        if not disk:
            return "nobody"
        for name, node in self.world.nodes.items():
            if node.disk.hard is not None and node.disk.hard.disk == disk:
                return name
        return "an unknown disk"
