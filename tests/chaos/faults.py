"""What is done to a cluster, drawn from a seed.

Owns: the kinds of faults, whom they hit (leaders first), how long they last, and their undoing. A
fault comes only while enough is acknowledged. Must never know what is checked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from tests.chaos.disk import STORES
from tests.chaos.lab import Lab
from tests.chaos.load import Load, now_us

KINDS = ("kill", "pause", "partition", "disk", "corruption")
_MIXED = ("kill", "pause", "partition", "disk")


class Faults:
    """`told`: a line for each fault, for people. `rates`: acknowledged a second before each."""

    def __init__(self, lab: Lab, load: Load, rng: Random, seconds: float) -> None:
        self._lab, self._load, self._rng = lab, load, rng
        self._end = asyncio.get_running_loop().time() + seconds
        self._began = now_us()
        self._led = ""  # who led before the fault
        self.told: list[str] = []
        self.rates: list[int] = []
        self._do: dict[str, Callable[[], Awaitable[str]]] = {
            "kill": self._kill,
            "pause": self._pause,
            "partition": self._partition,
            "disk": self._fill,
            "corruption": self._damage,
        }

    async def run(self, kind: str) -> None:
        while not self.rates or self._left() > 0:
            rate = await self._load.flows()
            self.rates.append(rate)
            begun = now_us()
            which = self._rng.choice(_MIXED) if kind == "mix" else kind
            words = await self._do[which]()
            await self._settle()
            await self._load.flows()
            self._tell(begun, rate, words)
        await self._start_damaged_again()

    # -- time ------------------------------------------------------------------------------------
    def _left(self) -> float:
        return self._end - asyncio.get_running_loop().time()

    async def _hold(self, least_s: float, most_s: float) -> float:
        """Let it last; no longer than a third of the run, so that more than one fault comes."""
        longest = max(least_s, min(most_s, self._left() / 2))
        span = self._rng.uniform(least_s, longest)
        await asyncio.sleep(span)
        return span

    async def _settle(self) -> None:
        """Whoever a full disk ended is started; others must not have ended."""
        for name in self._lab.account():
            self._lab.start(name)
        await asyncio.sleep(self._rng.uniform(0.2, 0.8))

    def _tell(self, begun: int, rate: int, words: str) -> None:
        silence = self._load.longest_silence(begun) / 1e6
        at = (begun - self._began) / 1e6
        led = f" (led by {self._led})" if self._led else ""
        self._led = ""
        self.told.append(f"{at:6.1f} s, {rate:4d}/s{led}: {words}; no write for {silence:.2f} s")

    # -- whom ------------------------------------------------------------------------------------
    async def _victim(self) -> str:
        """Every second time the leader."""
        self._led = leader = await asyncio.to_thread(self._lab.leader)
        if self._rng.random() < 0.5:
            return leader
        return self._rng.choice([n for n in self._lab.processes if n != leader] or [leader])

    # -- kinds -----------------------------------------------------------------------------------
    async def _kill(self) -> str:
        """kill -9: one, two, or all at once."""
        rng, up = self._rng, sorted(self._lab.processes)
        victims = [await self._victim()]
        more = rng.choice((0, 0, 0, 1, len(up)))
        victims += rng.sample([n for n in up if n not in victims], min(more, len(up) - 1))
        for name in victims:
            self._lab.kill(name)
        span = await self._hold(0.0, 3.0)
        self._lab.start(*victims)
        return f"{' '.join(victims)} killed, started after {span:.1f} s"

    async def _pause(self) -> str:
        """SIGSTOP, SIGCONT: its clock goes on, and it does not know."""
        victims = [await self._victim()]
        if self._rng.random() < 0.2:
            victims.append(self._rng.choice([n for n in self._lab.processes if n not in victims]))
        for name in victims:
            self._lab.pause(name)
        span = await self._hold(0.1, 10.0)
        for name in victims:
            self._lab.resume(name)
        return f"{' '.join(victims)} paused for {span:.1f} s"

    async def _partition(self) -> str:
        styles = (*[self._isolate] * 3, self._one_way, self._bridge, self._ring)
        style = self._rng.choice(styles)
        words = style(await self._victim())
        span = await self._hold(0.3, 6.0)
        self._lab.network.heal()
        return f"{words} for {span:.1f} s"

    def _others(self, name: str) -> list[str]:
        return [other for other in self._lab.names if other != name]

    def _isolate(self, name: str) -> str:
        """From the others; its clients may still ask it."""
        for other in self._others(name):
            self._lab.network.cut(name, other)
        if self._rng.random() < 0.3:
            self._lab.network.deafen(name, "clients")
            return f"{name} alone, deaf to clients too,"
        return f"{name} alone"

    def _one_way(self, name: str) -> str:
        hears = self._rng.random() < 0.5
        for other in self._others(name):
            self._lab.network.deafen(*((other, name) if hears else (name, other)))
        return f"{name} {'not heard' if hears else 'deaf'}"

    def _bridge(self, name: str) -> str:
        """Two halves that only one node sees both of."""
        rest = self._others(name)
        self._rng.shuffle(rest)
        half = len(rest) // 2
        for one in rest[:half]:
            for two in rest[half:]:
                self._lab.network.cut(one, two)
        return f"{' '.join(rest[:half])} from {' '.join(rest[half:])}, {name} sees both,"

    def _ring(self, _name: str) -> str:
        """Each node sees two neighbours: with five, no two see the same majority. With three, each
        is deaf to one other."""
        names = list(self._lab.names)
        self._rng.shuffle(names)
        for i, name in enumerate(names):
            if len(names) > 3:
                for j in range(2, len(names) - 1):
                    self._lab.network.deafen(name, names[(i + j) % len(names)])
            else:
                self._lab.network.deafen(name, names[(i + 1) % 3])
        return f"a ring of {' '.join(names)}"

    async def _fill(self) -> str:
        """One disk or two; to the last byte, or so that it is merely low or critical."""
        victims = [await self._victim()]
        if self._rng.random() < 0.3:
            victims.append(self._rng.choice(self._others(victims[0])))
        disks = [self._lab.disks[name] for name in victims]
        leave = self._rng.choice((0, 4096, disks[0].size // 120, disks[0].size // 30))
        self._lab.filled.update(victims)
        for disk in disks:
            disk.fill(leave)
        span = await self._hold(0.5, 4.0)
        for disk in disks:
            disk.free()
        ended = self._lab.account()
        self._lab.start(*ended) if ended else None
        words = f", which ended {' '.join(ended)}" if ended else ""
        return f"disk of {' '.join(victims)} full but {leave} bytes for {span:.1f} s{words}"

    async def _damage(self) -> str:
        """One store of a node, of at most two nodes in a run (a majority of five stays sound); in
        between, sound nodes are killed."""
        lab, rng = self._lab, self._rng
        able = [n for n in sorted(lab.processes) if n in lab.damaged or len(lab.damaged) < 2]
        name = rng.choice(able) if able else ""
        if not name or (lab.damaged and rng.random() < 0.5):
            return await self._kill_sound()
        running = rng.random() < 0.5
        if not running:
            lab.kill(name)
        store = lab.damaged.setdefault(name, rng.choice(STORES))
        done = lab.disks[name].damage(store, rng)
        words = f"{name}, {'running' if running else 'killed'}: {done}"
        if not running:
            lab.start(name)
        await self._hold(1.0, 4.0)
        return f"{words}; {await self._again(name, restart=running)}"

    async def _again(self, name: str, *, restart: bool) -> str:
        """A damaged node that ran on is started anew, every second time."""
        self._lab.account()
        if restart and name in self._lab.processes and self._rng.random() < 0.5:
            self._lab.kill(name)
            self._lab.start(name)
            await self._hold(1.0, 3.0)
            self._lab.account()
        return self._lab.out.get(name, "it runs")

    async def _start_damaged_again(self) -> None:
        """So that each has had to believe its files once more."""
        again = [name for name in self._lab.damaged if name in self._lab.processes]
        for name in again:
            self._lab.kill(name)
        self._lab.account()
        self._lab.start(*again) if again else None

    async def _kill_sound(self) -> str:
        name = self._rng.choice([n for n in self._lab.names if n not in self._lab.damaged])
        self._lab.kill(name)
        span = await self._hold(0.0, 2.0)
        self._lab.start(name)
        return f"{name} killed, started after {span:.1f} s"
