"""What can go wrong in a simulated cluster, one method each, and how it passes.

Owns: the faults, and whose disk may be lost: never more than a minority at a time. Must never know
when they come; see `tests.sim.plan`. A method says whether it did anything. `who` is a member's
number, or LEADER.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random

from dkv.limits import MS
from tests.network import Link
from tests.sim.churn import Churn
from tests.stores import SimDisk
from tests.stores.rot import DAMAGES, NOTICED_WHILE_RUNNING
from tests.world import World

LEADER = -1
CALM = {"loss": 0.0, "duplication": 0.0, "delay_us": (30, 300)}
CALM_SYNC_US = (200, 3_000)


class Faults:
    def __init__(self, world: World, dice: Random) -> None:
        self.world, self.dice = world, dice
        self.counted: Counter[str] = Counter()
        self.lost: set[str] = set()  # disks that must not be used any more
        self.failed: set[str] = set()  # disks that refused a write, and are sound
        self.churn = Churn(world, Random(f"churn {world.seed}"), self.lost)
        self._cuts: dict[int, set[Link]] = {}
        self._number = 0
        self.over = False  # nothing passes by itself any more: the heal does

    @property
    def may_lose(self) -> int:
        return self.churn.may_lose()

    def do(self, name: str, arguments: Iterable[object]) -> None:
        if getattr(self, name)(*arguments):
            self.counted[name] += 1

    def _name(self, who: int) -> str:
        if who == LEADER:
            return self.world.leader() or self.world.names[0]
        return self.world.names[who]

    def _later(self, ms: int, do: object) -> None:
        self.world.after(ms * MS, lambda: None if self.over else do())  # type: ignore[operator]

    def start(self, name: str) -> None:
        if self.world.nodes[name].actors is None:
            self.world.start(name)

    # -- processes -------------------------------------------------------------------------------
    def crash(self, who: int, down_ms: int) -> bool:
        name = self._name(who)
        running = self.world.nodes[name].actors is not None
        self.world.crash(name)
        self._later(down_ms, lambda: self.start(name))
        return running

    def power_cut(self, down_ms: int) -> bool:
        for place, name in enumerate(self.world.names):
            self.world.crash(name)
            self._later(down_ms * (place + 1), lambda name=name: self.start(name))  # type: ignore[misc]
        return True

    def crash_inside(self, who: int, steps: int, after: bool, down_ms: int) -> bool:
        """A power cut in the middle of a turn, so many steps of its disk from now."""
        name = self._name(who)
        fuse = self.world.nodes[name].disk.fuse
        fuse.blow_at, fuse.after = len(fuse.steps) + steps, after
        self._later(down_ms, lambda: self.start(name))
        return True

    def pause(self, who: int, ms: int) -> bool:
        name = self._name(who)
        node = self.world.nodes[name]
        life = node.life
        self.world.pause(name)
        self._later(ms, lambda: node.life == life and self.world.resume(name))
        return node.paused

    def clock_rate(self, who: int, rate: float, ms: int) -> bool:
        name = self._name(who)
        self.world.set_clock_rate(name, rate)
        self._later(ms, lambda: self.world.set_clock_rate(name, 1.0))
        return True

    def wall_jump(self, who: int, ms: int) -> bool:
        self.world.nodes[self._name(who)].wall_offset_ms += ms
        return True

    # -- the network -----------------------------------------------------------------------------
    def _cut(self, links: set[Link], ms: int) -> None:
        self._number += 1
        number = self._number
        self._cuts[number] = links
        self._renew()
        self._later(ms, lambda: self._mend(number))

    def _mend(self, number: int) -> None:
        self._cuts.pop(number, None)
        self._renew()

    def _renew(self) -> None:
        self.world.blocked = set().union(*self._cuts.values())
        self.world.flush()

    def _between(self, side: set[str]) -> set[Link]:
        names = self.world.names
        return {(a, b) for a in names for b in names if (a in side) != (b in side)}

    def partition(self, whos: tuple[int, ...], direction: int, ms: int) -> bool:
        """direction: 0 both, 1 only what these nodes send is lost, 2 only what they are sent."""
        side = {self._name(who) for who in whos}
        links = self._between(side)
        if direction:
            links = {(a, b) for a, b in links if (a in side) == (direction == 1)}
        self._cut(links, ms)
        return bool(links)

    def swizzle(self, whos: tuple[int, ...], spread_ms: int) -> bool:
        """Connections of some nodes stop one by one, and come back in another order."""
        for name in sorted({self._name(who) for who in whos}):
            begin = self.dice.randint(0, spread_ms)
            end = self.dice.randint(spread_ms, 2 * spread_ms)
            links = self._between({name})
            self._later(begin, lambda links=links, ms=end - begin: self._cut(links, ms))  # type: ignore[misc]
        return len(self.world.names) > 1

    def weather(self, loss: float, duplication: float, delay_us: tuple[int, int], ms: int) -> bool:
        """Frames are lost, doubled, late and out of order, everywhere."""
        world = self.world
        world.loss, world.duplication, world.delay_us = loss, duplication, delay_us
        self._later(ms, self.calm)
        return len(world.names) > 1

    def calm(self) -> None:
        for name, value in CALM.items():
            setattr(self.world, name, value)

    # -- disks that come back --------------------------------------------------------------------
    def slow_disk(self, who: int, sync_us: tuple[int, int], ms: int) -> bool:
        node = self.world.nodes[self._name(who)]
        node.sync_us = sync_us
        self._later(ms, lambda: setattr(node, "sync_us", CALM_SYNC_US))
        return True

    def failing_sync(self, who: int, part: str, done: bool, down_ms: int) -> bool:
        """A sync fails: the node ends, for nobody knows what has reached the disk."""
        name = self._name(who)
        if self.world.nodes[name].actors is None:
            return False
        self.failed.add(name)
        self.world.nodes[name].disk.fail_sync(part, done=done)
        self._later(down_ms, lambda: self.start(name))
        return True

    def full_disk(self, who: int, ms: int) -> bool:
        """Every write fails; then somebody frees space, and starts the node again."""
        name = self._name(who)
        disk = self.world.nodes[name].disk
        self.failed.add(name)
        disk.full = True

        def freed() -> None:
            disk.full = False
            self.start(name)

        self._later(ms, freed)
        return True

    def low_space(self, whos: tuple[int, ...], level: int, ms: int) -> bool:
        """The margin is met, before the disk is full: what grows is refused."""
        for name in sorted({self._name(who) for who in whos}):
            disk = self.world.nodes[name].disk
            disk.space_level = level
            self._later(ms, lambda disk=disk: setattr(disk, "space_level", 0))  # type: ignore[misc]
        return True

    def older_files(self, who: int, part: str, ago_ms: int) -> bool:
        """One file of the directory, put back from a moment ago. An older state.db is caught up
        with, an older witness vouches for less; an older log is found by the witness."""
        name = self._name(who)
        disk = self.world.nodes[name].disk
        if name in self.lost or (part == "log" and not self.may_lose):
            return False
        image = disk.copy()
        self._later(ago_ms, lambda: self._put_back(name, disk, image, part))
        return True

    def _put_back(self, name: str, disk: SimDisk, image: SimDisk, part: str) -> None:
        if name in self.lost or self.world.nodes[name].disk is not disk:
            return
        self.world.crash(name)
        if part == "log":
            seen = max((slot[1].index for slot in disk.slots if slot), default=0)
            if not self.may_lose or seen <= max(image.entries, default=0):
                self.start(name)  # the witness would not tell (its lazy window): see Ending.whole
                return
            self.lose(name)
        elif part == "state" and _applied(image) < (disk.hard.base.index if disk.hard else 0):
            if not self.may_lose:
                self.start(name)
                return
            self.lose(name)  # the log has forgotten what would catch it up
        disk.roll_back(image, (part,))
        self.world.invariants.forget(name)
        self.start(name)

    # -- disks that do not come back -------------------------------------------------------------
    def lose(self, name: str) -> None:
        self.lost.add(name)
        self.world.invariants.distrusted.add(name)

    def rot(self, who: int, what: str, down: bool) -> bool:
        """Bits flip, under a running node or while it is down."""
        name = self._name(who)
        if name in self.lost or not self.may_lose:
            return False
        if down or what not in NOTICED_WHILE_RUNNING:
            self.world.crash(name)
        if not self.world.nodes[name].disk.rot(what, self.dice):
            self.start(name)
            return False
        self.lose(name)
        self.start(name)
        return True

    def wipe(self, who: int) -> bool:
        name = self._name(who)
        if name in self.lost or not self.may_lose:
            return False
        self.world.crash(name)
        self.lose(name)
        self.world.nodes[name].disk.wipe()
        self.start(name)
        return True

    # -- the membership --------------------------------------------------------------------------
    def change(self, what: str, who: int) -> bool:
        """No fault: what an operator does meanwhile, and counts apart (`Churn.made`)."""
        self.churn.do(what, who)
        return False

    # -- the end ---------------------------------------------------------------------------------
    def end(self) -> None:
        """Nothing that was begun goes on. What is down stays down."""
        self.over = self.churn.over = True
        self._cuts.clear()
        self.calm()
        for name, node in self.world.nodes.items():
            node.sync_us = CALM_SYNC_US
            node.disk.space_level, node.disk.full = 0, False
            node.disk.fuse.blow_at, node.disk.fuse.fail_next = None, ""
            self.world.set_clock_rate(name, 1.0)


def _applied(disk: SimDisk) -> int:
    return disk.meta.applied if disk.meta else 0


ROTS = tuple(DAMAGES)
