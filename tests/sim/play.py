"""One seed, played: faults for thirty seconds, then a majority must live, then everybody.

Owns: the phases, and what must be true at the end of each. Must never draw what the plan has drawn.

    safety     nothing wrong may happen: the invariants, after every event
    liveness   a majority is healed, and must commit and become equal within ten seconds; the others
               stay down or cut off. Then they too
    the end    what was lost stayed out by name; the clients' history is one a cluster can have
"""

from random import Random

from actors import copying
from dkv.errors import Ending
from dkv.limits import MS, SECOND
from tests.sim.books import Books
from tests.sim.clients import PREFIX, Client, patience_us
from tests.sim.faults import Faults
from tests.sim.plan import Plan, Step
from tests.sim.report import Report
from tests.world import World

LIVE_WITHIN_US = 10 * SECOND
OPERATIONS_MIN = 300
FAULTS_MIN = 5
QUIET_US_MAX = 60 * SECOND  # for operations that the faults have left no time for
REMOVED = Ending.REMOVED.name.lower()
STAYS_OUT = {Ending.STORAGE_FAULT.name.lower(), Ending.DISK_REPLACED.name.lower()}


class Game:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        names = [f"n{i + 1}" for i in range(plan.size)]
        self.world = World(plan.seed, names, limits=plan.limits, retention=plan.retention)
        self.world.queues = plan.queues
        self.dice = Random(f"game {plan.seed}")
        self.books = Books(plan.seed)
        self.faults = Faults(self.world, self.dice)
        self.clients = [
            Client(self.world, self.books, i, Random(f"client {plan.seed} {i}"), plan.compacts)
            for i in range(plan.clients)
        ]
        self.began_us = 0

    def _hold(self, holds: bool, *words: object) -> None:
        if not holds:
            raise AssertionError(f"seed {self.plan.seed}: {' '.join(map(str, words))}")

    def play(self) -> Report:
        before, copying.CHUNK_BYTES = copying.CHUNK_BYTES, self.plan.chunk_bytes
        try:
            return self._play()
        finally:
            copying.CHUNK_BYTES = before

    def _play(self) -> Report:
        world = self.world
        for node in world.nodes.values():
            node.sync_us = self.plan.sync_us
        world.start()
        world.run_until(world.is_serving, 60 * SECOND)
        self.began_us = world.now_us
        for client in self.clients:
            client.start()
        self._suffer()
        core = self._heal()
        self._live(core)
        self._heal_all()
        self._rest()
        return self._report()

    # -- safety ----------------------------------------------------------------------------------
    def _suffer(self) -> None:
        world = self.world
        for step in self.plan.steps:
            world.run(max(self.began_us + step.at_ms * MS - world.now_us, 0))
            self._do(step)
        world.run(max(self.began_us + 30 * SECOND - world.now_us, 0))
        while sum(self.faults.counted.values()) < FAULTS_MIN:
            self._do(Step(0, "crash", (self.dice.randrange(self.plan.size), 500)))
            world.run(SECOND)

    def _do(self, step: Step) -> None:
        self.faults.do(step.fault, step.arguments)

    # -- liveness --------------------------------------------------------------------------------
    @property
    def sound(self) -> list[str]:
        """Members with the disks that the cluster knows."""
        lost = self.faults.lost
        if not self.plan.churns:
            return [name for name in self.world.names if name not in lost]
        return [name for name in self.faults.churn.seated() if name not in lost]

    def _heal(self) -> list[str]:
        """A majority of sound nodes; the others are down or cut off."""
        world = self.world
        self.faults.end()
        world.heal()
        if self.plan.churns:
            self._settle_members()
        voters = self.faults.churn.config().voters if self.plan.churns else world.names
        sound = [name for name in voters if name in self.sound]
        least = len(voters) // 2 + 1
        core = sorted(self.dice.sample(sound, self.dice.randint(least, len(sound))))
        others = [name for name in world.names if name not in core]
        world.cut(*others)
        for name in others:
            if self.dice.random() < 0.5:
                world.crash(name)
        self._serve_at(core)
        self._bring_up(core)
        return core

    def _settle_members(self) -> None:
        """Everybody is up until the last change is done or undone: which majority must live depends
        on it."""
        world = self.world
        for name in world.names:
            if world.nodes[name].paused:
                world.resume(name)
            self.faults.start(name)

        def settled() -> bool:
            """No learner is on its way to vote, and all that can know the configuration do."""
            config = self.faults.churn.config()
            going = any(not s.voting and s.promote and s.name in self.sound for s in config.seats)
            known = {world.nodes[n].raft.config.index for n in self.sound if world.nodes[n].actors}
            leader = world.leader()
            return leader is not None and not going and known == {config.index}

        world.run_until(settled, LIVE_WITHIN_US)

    def _serve_at(self, names: list[str]) -> None:
        for client in self.clients:
            client.nodes = tuple(names)

    def _bring_up(self, names: list[str]) -> None:
        for name in names:
            node = self.world.nodes[name]
            if node.actors is None:
                self.world.start(name)
            elif node.paused:
                self.world.resume(name)
            self._hold(node.actors is not None, name, "does not start:", node.ended)

    def _live(self, names: list[str]) -> None:
        """They commit something new and become equal, within the time."""
        world = self.world
        end = world.now_us + LIVE_WITHIN_US

        def left() -> int:
            return max(end - world.now_us, 1)

        world.run_until(lambda: world.leader() in names and world.is_serving(*names), left())
        while not self._commits(names[0], left()):
            pass
        commit = max(world.nodes[n].raft.commit for n in names)
        world.run_until(lambda: self._applied(names) >= commit, left())

    def _commits(self, name: str, left_us: int) -> bool:
        """Without a session a write is proposed once, and may be lost with a leader."""
        asked = self.world.ask(name, "put", {"ttl_ms": 1_500}, key=b"alive", value=b"")
        return self.world.reply(asked, left_us).ok

    def _applied(self, names: list[str]) -> int:
        nodes = [self.world.nodes[name] for name in names]
        return min(int(n.state.applied) if n.actors else 0 for n in nodes)

    def _heal_all(self) -> None:
        world = self.world
        world.heal()
        self._bring_up(self.sound)
        self._live(self.sound)
        for name in self.world.names:
            if name in self.faults.lost and world.nodes[name].ended is None:
                world.restart(name)  # what it has lost, it must find, or be told
        if self.plan.rolls_back and self.faults.may_lose:
            self._roll_back()
        self._serve_at(self.sound)
        quiet = world.now_us + QUIET_US_MAX
        while self.books.done < OPERATIONS_MIN and world.now_us < quiet:
            world.run(SECOND)

    def _roll_back(self) -> None:
        """A whole directory of an earlier moment: its files fit one another, so it starts; the
        leader of the term in which it acknowledged more tells it. Nothing else may go wrong
        meanwhile: no other can know what such a disk has promised."""
        world, leader = self.world, self.world.leader()
        name = self.dice.choice([n for n in self.sound if n != leader])
        image = world.nodes[name].disk.copy()
        world.run(self.dice.randint(10, 3_000) * MS)
        if world.leader() != leader:
            return
        world.crash(name)
        self.faults.lose(name)
        self.faults.counted["roll_back"] += 1
        world.nodes[name].disk.roll_back(image)
        world.run_until(lambda: world.is_serving(*self.sound), LIVE_WITHIN_US)
        world.start(name)

    # -- the end ---------------------------------------------------------------------------------
    def _rest(self) -> None:
        world = self.world
        for client in self.clients:
            client.stopping = True
        world.run_until(lambda: all(c.is_idle for c in self.clients), patience_us())
        self._live(self.sound)
        world.run(SECOND)
        for name in self.sound:
            reply = world.call(name, "list", prefix=PREFIX)
            self._hold(reply.ok, name, "cannot be read:", reply.body)
        world.run_until(self._is_level, LIVE_WITHIN_US)  # a tick may be under way (seed 549)
        self._compare_replicas()
        for name, ending in world.endings:
            excused = ending == Ending.DISK_UNWRITABLE.name.lower() and name in self.faults.failed
            excused |= ending in STAYS_OUT and name in self.faults.lost
            excused |= self._was_replaced(name, ending)
            self._hold(excused, name, "ended:", ending)
        self.books.settle(world.nodes[self.sound[0]].disk)

    def _was_replaced(self, name: str, ending: str) -> bool:
        """It was removed, or its disk lost before it was."""
        return name in self.faults.churn.ever_removed and ending in (REMOVED, *STAYS_OUT)

    def _is_level(self) -> bool:
        """Everybody has applied what the leader has, and deleted what compaction lets go."""
        leader = self.world.leader()
        last = self.world.nodes[leader].raft.tail.last.index if leader else 0
        states = [self.world.nodes[name].state for name in self.sound]
        swept = all(state.swept == state.floor for state in states)
        return leader is not None and self._applied(self.sound) >= last and swept

    def _compare_replicas(self) -> None:
        states = {}
        sound = self.sound
        for name in self.world.names:
            node = self.world.nodes[name]
            known = name in sound or (name in self.faults.lost and node.actors is not None)
            if (
                known
                and node.actors is not None
                and not (name in self.faults.lost and node.state.applied < 2)
            ):
                state = node.state
                states[name] = (
                    state.applied,
                    state.check,
                    state.written,
                    state.held,
                    len(state.heads),
                )
        lagging = {n for n in states if n in self.faults.lost}
        different = len({v for n, v in states.items() if n not in lagging})
        self._hold(different == 1, "replicas differ:", states)

    def _report(self) -> Report:
        world = self.world
        counters = world.counters.copy()
        for name in world.running():
            counters.update(world.nodes[name].actors.consensus.counters.facts())  # type: ignore[union-attr]
        seconds = (world.now_us - self.began_us) / SECOND
        faults = dict(self.faults.counted)
        endings: dict[str, int] = {}
        for _name, ending in world.endings:
            endings[ending] = endings.get(ending, 0) + 1
        self._hold(self.books.done >= OPERATIONS_MIN, "only", self.books.done, "operations")
        self._hold(sum(faults.values()) >= FAULTS_MIN, "only these faults:", faults)
        self._hold(seconds >= 30, "only", seconds, "virtual seconds")
        return Report(
            self.plan.seed,
            self.plan.size,
            seconds,
            self.books.done,
            self.books.unknown,
            len(world.invariants.leaders) - 1,
            counters["truncations"],
            world.invariants.retried,
            counters["snapshots_installed"],
            len(world.endings),
            self.books.compactions,
            self.books.lists_ended,
            faults,
            endings,
            world.trace,
            dict(self.faults.churn.made),
        )
