"""A simulated world: the real actors and the real codec, on a network, disks and a clock that are
only numbers. One thread; everything follows from one seed.

    world = World(seed=7)                 # n1, n2, n3, their disks empty
    world.start()
    world.run_until(world.is_serving)
    reply = world.put("n2", b"k", b"v")   # through any node
    world.crash("n1"); world.restart("n1")
    world.cut("n1", "n2"); world.heal()

An actor's turn begins when something has arrived and the actor is free; what it did to its disk is
done at once, what it says comes out after the time that the turn took, so that consensus goes on
while a log is syncing, and a crash in between loses what was not synced.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random
from typing import Any, NamedTuple

import msgpack

from actors.assembly import Actors, Plan, assemble
from dkv.address import Client, Instant, Local, Member
from dkv.codec import TAGS, decode, encode, seal, unseal
from dkv.errors import DkvError, Fault, Misconfigured
from dkv.ids import Founding
from dkv.limits import MS, RETENTION, SECOND, ClusterLimits, Retention, Timing
from dkv.messages import (
    QUIET,
    Apply,
    FromClient,
    FromPeer,
    Relay,
    Roster,
    Say,
    Stop,
    Stopped,
    Told,
    Write,
)
from dkv.raft.leader import Leader
from dkv.requests import PROTOCOL, pack_command
from tests.invariants import Invariants
from tests.members import QUESTIONS, Members
from tests.network import Network
from tests.stores import Crash, MemoryJournal, MemoryMargin, MemoryStores, MemoryWitness, SimDisk

ACTORS = (Local.CONSENSUS, Local.LOG, Local.MACHINE, Local.GATEWAY)
_PARTS = {Local.LOG: "log", Local.MACHINE: "state"}  # what a keeper's turn writes to
_RELAY = TAGS[Relay]


def everything(*_: Any) -> bool:
    return True


class Reply(NamedTuple):
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        return "result" in self.body

    @property
    def code(self) -> str:
        return "ok" if self.ok else self.body["error"]["code"]

    @property
    def applied(self) -> str:
        return "yes" if self.ok else self.body["error"]["applied"]

    @property
    def result(self) -> dict[str, Any]:
        assert self.ok, self.body
        return self.body["result"]

    @property
    def revision(self) -> int:
        return self.body["revision"]


class Desk:
    """Where an actor works: what waits there, until when it is busy, when it is woken next."""

    def __init__(self, which: Local, actor: Any) -> None:
        self.which, self.actor = which, actor
        self.part = _PARTS.get(which)
        self.box: list[Any] = []
        self.busy_until = 0
        self.woken: int | None = None


class Node:
    """A node: its disk, and the actors that run on it, if they do."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.disk = SimDisk()
        self.life = 0  # grows at each start and crash: events of an earlier life are void
        self.actors: Actors | None = None
        self.desks: dict[Local, Desk] = {}
        self.ended: DkvError | None = None
        self.stopped: set[str] = set()
        self.paused = False
        self.said: list[Say] = []
        self.clock_rate = 1.0  # see World.set_clock_rate
        self.clock_offset_us = 0
        self.wall_offset_ms = 0
        self.sync_us = (200, 3_000)

    @property
    def raft(self) -> Any:
        return self.actors.consensus._raft  # type: ignore[union-attr]

    @property
    def state(self) -> Any:
        return self.actors.machine._state  # type: ignore[union-attr]

    @property
    def leads(self) -> bool:
        role = getattr(self.raft, "role", None) if self.actors else None  # none before a first turn
        return isinstance(role, Leader)


class World(Members, Network):
    def __init__(
        self,
        seed: int,
        names: Iterable[str] = ("n1", "n2", "n3"),
        *,
        limits: ClusterLimits | None = None,
        timing: Timing | None = None,
        retention: Retention = RETENTION,
        token: str = "",
    ) -> None:
        super().__init__(seed, names)
        self.limits = limits or ClusterLimits()
        self.timing = timing or Timing()
        roster = Roster(tuple((n, f"{n}:2380", b"", f"{n}:3000") for n in self.names))
        founding = Founding(b"", token, self.names)
        self.nodes = {
            name: Node(
                Plan(
                    name,
                    founding,
                    self.limits,
                    self.timing,
                    roster,
                    f"/data/{name}",
                    retention=retention,
                )
            )
            for name in self.names
        }
        self.told: dict[int, Told] = {}  # answers to questions about the cluster
        self.replies: dict[bytes, Reply] = {}
        self.listed: dict[tuple[bytes, int], Reply] = {}  # of a list of requests, by position
        self.waiters: dict[bytes, Callable[[Reply], None]] = {}  # called at a reply, once
        self._asked = 0
        self.counters: Counter[str] = Counter()  # of consensus, of lives that are over
        self.endings: list[tuple[str, str]] = []  # who ended or did not start, and why
        self.ever: dict[int, Any] = {}  # every version that any state had
        self.invariants = Invariants(seed, self.nodes)
        self._trace = blake2b(digest_size=16)
        self.letter_filter: Callable[[str, Local, Any], bool] = everything  # node, actor, letter
        self.peer_filter: Callable[[str, str, Any], bool] = everything  # sender, receiver, letter
        self.held: list[tuple[str, str, bytes]] = []  # what the peers' filter stopped

    # -- time ------------------------------------------------------------------------------------
    def run_until(self, holds: Callable[[], bool], within_us: int = 20 * SECOND) -> None:
        """Run until `holds`; a failure names the seed."""
        end = self.now_us + within_us
        while not holds():
            in_time = bool(self.events) and self.now_us < end
            assert in_time, (
                f"seed {self.seed}: not within {within_us / SECOND} s: {self.describe()}"
            )
            self.now_us, _count, do = heapq.heappop(self.events)
            do()

    def describe(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, node in self.nodes.items():
            if node.ended or node.actors is None:
                found[name] = str(node.ended)
            else:
                raft = node.raft
                role = type(raft.role).__name__
                found[name] = (role, raft.term, raft.tail.last.index, raft.commit, raft.handed)
        return found

    # -- nodes -----------------------------------------------------------------------------------
    def start(self, *names: str) -> None:
        for name in names or self.names:
            self.start_node(name)

    def start_node(self, name: str, plan: Plan | None = None) -> None:
        node = self.nodes[name]
        node.plan = plan or node.plan
        node.life += 1
        node.ended, node.stopped, node.said = None, set(), []
        disk = node.disk
        disk.ever = self.ever
        try:
            node.actors = assemble(
                node.plan,
                MemoryJournal(disk),
                MemoryWitness(disk),
                MemoryMargin(disk),
                MemoryStores(disk),
                Random(self.rng.getrandbits(64)),
            )
        except (Fault, Misconfigured) as fault:
            self._end(name, fault)
            return
        except Crash:
            self.crash(name)
            return
        node.desks = {which: Desk(which, getattr(node.actors, which.value)) for which in ACTORS}
        self._wake_all(node)
        self.flush()

    def crash(self, name: str) -> None:
        """kill -9 and power cut in one: unsynced writes are gone, and so is every letter inside."""
        node = self.nodes[name]
        if node.actors is not None:
            self.counters.update(node.actors.consensus.counters.facts())
        node.life += 1
        node.actors = None
        node.desks = {}
        node.paused = False
        node.disk.lose_unsynced(self.rng)

    def _end(self, name: str, fault: Fault | Misconfigured) -> None:
        """The node ends itself, for a reason that has a name."""
        self.crash(name)
        self.nodes[name].ended = fault
        self.endings.append((name, fault.ending.name.lower()))

    def restart(self, name: str) -> None:
        self.crash(name)
        self.start_node(name)

    def wipe(self, name: str) -> None:
        self.crash(name)
        self.nodes[name].disk = SimDisk()

    def new_era(self) -> None:
        """All disks were emptied on purpose: what comes is another history."""
        self.ever = {}
        self.invariants = Invariants(self.seed, self.nodes)

    def pause(self, name: str) -> None:
        self.nodes[name].paused = self.nodes[name].actors is not None

    def resume(self, name: str) -> None:
        node = self.nodes[name]
        node.paused = False
        if node.actors is not None:
            self._wake_all(node)

    def stop(self, name: str) -> None:
        """An orderly stop, in the order in which a node's supervisor asks for it."""
        for which in (Local.GATEWAY, Local.CONSENSUS, Local.MACHINE, Local.LOG):
            self.deliver(name, which, Stop())
            self.run_until(lambda which=which: which.value in self.nodes[name].stopped)
        self.crash(name)

    # -- turns -----------------------------------------------------------------------------------
    def deliver(self, name: str, which: Local, letter: Any) -> None:
        node = self.nodes[name]
        if which is Local.GATEWAY and type(letter) is Told and letter.batch >= QUESTIONS:
            self.told[letter.batch] = letter
            return
        if node.actors is not None and self.letter_filter(name, which, letter):
            if which is Local.MACHINE and isinstance(letter, Apply):
                self.invariants.applies(node, letter.entries)
            elif which is Local.LOG and isinstance(letter, Write):
                self.invariants.writes(node, letter)
            desk = node.desks[which]
            desk.box.append(letter)
            if which is Local.CONSENSUS and type(letter) in QUIET:
                return
            if desk.woken is None or desk.woken > self.now_us + 60:
                self._wake(node, desk, self.now_us + self.between(5, 60))

    def _wake_all(self, node: Node) -> None:
        for desk in node.desks.values():
            self._wake(node, desk, self.now_us)

    def _wake(self, node: Node, desk: Desk, when_us: int) -> None:
        when_us = max(when_us, desk.busy_until)
        if desk.woken is not None and desk.woken <= when_us:
            return
        desk.woken = when_us

        def turn() -> None:
            if desk.woken == when_us and node.desks.get(desk.which) is desk:
                desk.woken = None
                self._turn(node, desk)

        self.at(when_us, turn)

    def _turn(self, node: Node, desk: Desk) -> None:
        if node.paused:
            return
        batch, desk.box = desk.box, []
        syncs = len(node.disk.fuse.steps)
        if desk.part:
            node.disk.begin_turn(desk.part)
        try:
            outbox = desk.actor.handle(batch, self.instant(node))
        except Fault as fault:
            if desk.part:
                node.disk.end_turn(desk.part)  # a keeper says so after its syncs
            self._end(node.plan.name, fault)
            return
        except Crash:
            self.crash(node.plan.name)
            return
        took = self.between(10, 80)
        if desk.which is Local.LOG and len(node.disk.fuse.steps) > syncs:
            took = self.between(*node.sync_us)
        desk.busy_until = self.now_us + took
        self.invariants.turned(node, desk.which)
        self._post_after(node, desk, took, outbox)
        deadline = desk.actor.deadline
        if deadline is not None:
            self._wake(node, desk, self._virtual(node, deadline))

    def _post_after(self, node: Node, desk: Desk, took_us: int, outbox: Any) -> None:
        life, part = node.life, desk.part

        def post() -> None:
            if node.life == life:
                if part:
                    node.disk.end_turn(part)
                    self.invariants.synced(node, part)
                self._post(node, outbox)

        if outbox or part:
            self.after(took_us, post)

    def instant(self, node: Node) -> Instant:
        us = int(self.now_us * node.clock_rate) + node.clock_offset_us
        return Instant(us, 1_700_000_000_000 + self.now_us // MS + node.wall_offset_ms)

    def _virtual(self, node: Node, deadline_us: int) -> int:
        passed_us = deadline_us - node.clock_offset_us
        return max(int(passed_us / node.clock_rate) + 1, self.now_us + 1)

    def set_clock_rate(self, name: str, rate: float) -> None:
        """From here on; no time is skipped."""
        node = self.nodes[name]
        before = self.instant(node).us
        node.clock_rate = rate
        node.clock_offset_us = before - int(self.now_us * rate)
        if node.actors is not None:
            self._wake_all(node)

    def _post(self, node: Node, outbox: Any) -> None:
        for to, letter in outbox:
            match to:
                case Member():
                    self._note(node, to.name, letter)
                    self._send(node, to.name, letter)
                case Client():
                    self._note(node, "client", letter.frames[-1])
                    self._reply(letter)
                case Local.SHELL:
                    if isinstance(letter, Say):
                        node.said.append(letter)
                case Local.NODE:
                    assert isinstance(letter, Stopped)
                    node.stopped.add(letter.actor)
                case _:
                    said = encode([letter])
                    self._note(node, to.value, said)
                    self.deliver(node.plan.name, to, decode(said)[0])

    def _reply(self, letter: Any) -> None:
        request_id, reply = letter.frames[1], Reply(msgpack.unpackb(letter.frames[2]))
        waiter = self.waiters.pop(request_id, None)
        if waiter is not None:
            waiter(reply)
            return
        self.replies[request_id] = reply
        if "position" in reply.body:
            self.listed[request_id, reply.body["position"]] = reply

    def _note(self, node: Node, to: str, said: bytes) -> None:
        """The trace: everything that anybody says, and when. One seed, one trace."""
        self._trace.update(f"{self.now_us} {node.plan.name} {to};".encode())
        self._trace.update(said)

    @property
    def trace(self) -> str:
        return self._trace.hexdigest()

    # -- the network -----------------------------------------------------------------------------
    def hears(self, name: str) -> bool:
        return self.nodes[name].actors is not None

    def receive(self, sender: str, receiver: str, frame: bytes) -> None:
        self.deliver(receiver, Local.CONSENSUS, FromPeer(sender, frame))

    def _send(self, node: Node, receiver: str, frame: bytes) -> None:
        """A frame of a peer's own making is trusted here, and read without its checks."""
        sender = node.plan.name
        outer = msgpack.unpackb(frame, use_list=False)
        self.invariants.says(node, outer)
        if sender == receiver:
            self.receive(sender, receiver, frame)
            return
        if self.peer_filter is not everything:
            envelope, letters = unseal(frame)
            stopped = [x for x in letters if not self.peer_filter(sender, receiver, x)]
            if stopped:
                self.held.append((sender, receiver, seal(envelope, stopped)))
                letters = [x for x in letters if x not in stopped]
                frame = seal(envelope, letters)
            if not letters:
                return
        # TCP and CURVE count what a connection carries, so nothing comes twice. What Raft must bear
        # all the same is doubled; a relayed command is the one thing that would be executed twice.
        self.travel(sender, receiver, frame, once=any(x[0] == _RELAY for x in outer[2]))

    def release(self) -> None:
        """What the peers' filter has stopped arrives after all, even where a cut came between."""
        self.peer_filter = everything
        for sender, receiver, frame in self.held:
            self.receive(sender, receiver, frame)
        self.held.clear()

    # -- clients ---------------------------------------------------------------------------------
    def ask(self, node: str, op: str, header: dict[str, Any] | None = None, **fields: Any) -> bytes:
        """Send a request; the id under which its reply will be found."""
        request = {"command": pack_command(op, **fields), **(header or {})}
        return self.ask_raw(node, msgpack.packb(request))

    def ask_raw(self, node: str, body: bytes) -> bytes:
        self._asked += 1
        request_id = b"%08d" % self._asked
        message = FromClient(b"client", "insecure", (PROTOCOL, request_id, body))
        self.deliver(node, Local.GATEWAY, message)
        return request_id

    def ask_list(self, node: str, requests: list[dict[str, Any]]) -> list[Reply]:
        """Several requests in one message; their replies, in the order of the requests."""
        request_id = self.ask_raw(node, msgpack.packb(requests))
        places = [(request_id, position) for position in range(len(requests))]
        self.run_until(lambda: all(place in self.listed for place in places))
        return [self.listed[place] for place in places]

    def reply(self, request_id: bytes, within_us: int = 20 * SECOND) -> Reply:
        self.run_until(lambda: request_id in self.replies, within_us)
        return self.replies[request_id]

    def call(
        self, node: str, op: str, header: dict[str, Any] | None = None, **fields: Any
    ) -> Reply:
        return self.reply(self.ask(node, op, header, **fields))

    def put(self, node: str, key: bytes, value: bytes, **header: Any) -> Reply:
        return self.call(node, "put", header, key=key, value=value)

    def get(self, node: str, key: bytes, level: str = "linearizable") -> Reply:
        return self.call(node, "get", {"level": level}, key=key)

    # -- what is true of it ------------------------------------------------------------------------
    def running(self) -> list[str]:
        return [n for n, node in self.nodes.items() if node.actors is not None]

    def leader(self) -> str | None:
        """Who leads the highest term."""
        leading = [(self.nodes[n].raft.term, n) for n in self.running() if self.nodes[n].leads]
        return max(leading)[1] if leading else None

    def is_serving(self, *names: str) -> bool:
        """All (of these) running nodes follow the leader, and the cluster is open to them."""
        leader = self.leader()
        return leader is not None and all(
            node.actors is not None
            and node.actors.gateway._led.opened
            and node.actors.gateway._led.leader == leader
            for node in map(self.nodes.__getitem__, names or self.running())
        )

    def serve(self) -> str:
        """Start everybody and wait until they serve; the leader's name."""
        self.start()
        self.run_until(self.is_serving)
        leader = self.leader()
        assert leader is not None
        return leader
