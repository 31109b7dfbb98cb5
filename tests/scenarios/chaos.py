"""A world of misfortunes from one seed: crashes, cuts, pauses, power cuts of all, loss, doubles.

Two phases, as a cluster's life has: while it lasts, nothing wrong may happen (the invariants, after
everything that is said); once it is over, good things must happen, and soon.
"""

from collections.abc import Callable
from random import Random

from dkv.limits import MS, SECOND
from tests.load import LoadClient, settle
from tests.world import World

CLIENTS = 4
LIVE_WITHIN_US = 10 * SECOND


class Chaos:
    def __init__(self, seed: int) -> None:
        dice = Random(f"chaos {seed}")  # the world's own is for what is not misfortune
        self.dice = dice
        size = dice.choice((3, 3, 3, 5))
        self.world = World(seed, [f"n{i}" for i in range(1, size + 1)])
        self.world.loss = dice.uniform(0, 0.10)
        self.world.duplication = dice.uniform(0, 0.30)
        self.world.delay_us = dice.choice(((30, 300), (100, 5_000), (1_000, 40_000)))
        for node in self.world.nodes.values():
            node.sync_us = dice.choice(((200, 3_000), (2_000, 40_000)))
        self.clients = [LoadClient(self.world, number) for number in range(CLIENTS)]
        self._misfortunes: list[Callable[[], None]] = [
            *[self._crash_one] * 4,
            *[self._cut] * 4,
            *[self._pause] * 4,
            *[self._blow_a_fuse] * 2,
            self._power_cut,
        ]

    def run(self, seconds: int = 20) -> World:
        world = self.world
        world.start()
        world.run_until(world.is_serving, 60 * SECOND)
        for client in self.clients:
            client.start()
        end = world.now_us + seconds * SECOND
        while world.now_us < end:
            world.run(self.dice.randint(50, 1_500) * MS)
            self.dice.choice(self._misfortunes)()
        self.heal()
        self.live()
        settle(world, self.clients)
        return world

    # -- misfortunes -----------------------------------------------------------------------------
    def _one(self) -> str:
        return self.dice.choice(self.world.names)

    def _after(self, ms: int, do: Callable[[], None]) -> None:
        self.world.at(self.world.now_us + ms * MS, do)

    def _crash_one(self) -> None:
        name = self._one()
        self.world.crash(name)
        self._after(self.dice.randint(1, 2_000), lambda: self._start(name))

    def _start(self, name: str) -> None:
        if self.world.nodes[name].actors is None:
            self.world.start(name)

    def _blow_a_fuse(self) -> None:
        """A power cut in the middle of something, a few steps from now."""
        name = self._one()
        fuse = self.world.nodes[name].disk.fuse
        fuse.blow_at = len(fuse.steps) + self.dice.randint(0, 20)
        fuse.after = self.dice.random() < 0.5
        self._after(self.dice.randint(500, 3_000), lambda: self._start(name))

    def _power_cut(self) -> None:
        for name in self.world.names:
            self.world.crash(name)
            self._after(self.dice.randint(1, 1_000), lambda name=name: self._start(name))  # type: ignore[misc]

    def _cut(self) -> None:
        """One side of the network from the other, or only one direction of it."""
        names = self.dice.sample(self.world.names, self.dice.randint(1, len(self.world.names) // 2))
        self.world.cut(*names)
        if self.dice.random() < 0.3:
            self.world.blocked = {(a, b) for a, b in self.world.blocked if a in names}
        self._after(self.dice.randint(100, 4_000), self.world.heal)

    def _pause(self) -> None:
        name = self._one()
        life = self.world.nodes[name].life
        self.world.pause(name)
        self._after(self.dice.randint(10, 3_000), lambda: self._resume(name, life))

    def _resume(self, name: str, life: int) -> None:
        node = self.world.nodes[name]
        if node.paused and node.life == life:
            self.world.resume(name)

    # -- afterwards ------------------------------------------------------------------------------
    def heal(self) -> None:
        world = self.world
        world.heal()
        world.loss = world.duplication = 0.0
        world.delay_us = (30, 300)
        for name, node in world.nodes.items():
            node.sync_us = (200, 3_000)
            node.disk.fuse.blow_at = None
            assert node.ended is None, f"seed {world.seed}: {name} ended: {node.ended}"
            if node.actors is None:
                world.start(name)
            elif node.paused:
                world.resume(name)
            assert node.ended is None, f"seed {world.seed}: {name} does not start: {node.ended}"

    def live(self) -> None:
        """Commits within ten seconds; then every replica has the same, and goes on to have it."""
        world = self.world
        world.run_until(world.is_serving, LIVE_WITHIN_US)
        leader = world.leader() or ""
        assert world.put(leader, b"alive", b"", ttl_ms=LIVE_WITHIN_US // MS).ok, world.describe()
        commit = world.nodes[leader].raft.commit
        world.run_until(lambda: self._applied() >= commit, LIVE_WITHIN_US)
        for client in self.clients:
            client.finish()
        world.run(3 * SECOND)
        states = {(n.state.applied, n.state.check, n.state.written) for n in world.nodes.values()}
        assert len(states) == 1, f"seed {world.seed}: {states}"

    def _applied(self) -> int:
        return min(int(node.state.applied) for node in self.world.nodes.values())
