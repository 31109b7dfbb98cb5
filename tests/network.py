"""The simulated network, and the events that everything simulated is made of.

Owns: virtual time and its events; what is lost, doubled, delayed, reordered, stopped, or kept in a
queue and delivered late. Must never know what a frame says, nor what a node is.

    world.loss, duplication, delay_us     what happens to each frame
    world.blocked                         pairs (sender, receiver) between which nothing passes
    world.queues                          a stopped pair, or a node that is down, is sent to all the
                                          same: a queue holds frames and delivers them afterwards,
                                          as a ZeroMQ pipe does
"""

import heapq
from collections.abc import Callable, Iterable
from random import Random

from dkv.limits import PEER_HWM

Link = tuple[str, str]  # sender, receiver


class Network:
    def __init__(self, seed: int, names: Iterable[str]) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.names = tuple(names)
        self.now_us = 1_000_000
        self.events: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        self.blocked: set[Link] = set()
        self.loss = 0.0
        self.duplication = 0.0
        self.delay_us = (30, 300)
        self.queues = False
        self._queued: dict[Link, list[bytes]] = {}

    # -- events ----------------------------------------------------------------------------------
    def at(self, when_us: int, do: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self.events, (max(when_us, self.now_us), self._count, do))

    def after(self, us: int, do: Callable[[], object]) -> None:
        self.at(self.now_us + us, do)

    def run(self, for_us: int) -> None:
        end = self.now_us + for_us
        events = self.events
        while events and events[0][0] <= end:
            self.now_us, _count, do = heapq.heappop(events)
            do()
        self.now_us = end

    def between(self, low: int, high: int) -> int:
        """What randint gives, in a third of its time."""
        return low + int(self.rng.random() * (high - low + 1))

    # -- frames ----------------------------------------------------------------------------------
    def receive(self, sender: str, receiver: str, frame: bytes) -> None:
        raise NotImplementedError  # the world has nodes

    def hears(self, name: str) -> bool:
        raise NotImplementedError

    def travel(self, sender: str, receiver: str, frame: bytes, *, once: bool = False) -> None:
        """`once`: never doubled."""
        copies = 1 + (self.rng.random() < self.duplication and not once)
        for _ in range(copies):
            if self.rng.random() >= self.loss:
                self.at(
                    self.now_us + self.between(*self.delay_us),
                    lambda: self._arrive(sender, receiver, frame),
                )

    def _arrive(self, sender: str, receiver: str, frame: bytes) -> None:
        link = sender, receiver
        if link not in self.blocked and self.hears(receiver):
            self.receive(sender, receiver, frame)
        elif self.queues:
            waiting = self._queued.setdefault(link, [])
            if len(waiting) < PEER_HWM:
                waiting.append(frame)

    def flush(self) -> None:
        """What was queued for who can hear again comes through, in order."""
        for link in [x for x in self._queued if x not in self.blocked and self.hears(x[1])]:
            for place, frame in enumerate(self._queued.pop(link)):
                arrives = self.now_us + self.delay_us[0] + place * 10
                self.at(arrives, lambda link=link, frame=frame: self._arrive(*link, frame))  # type: ignore[misc]

    # -- cuts ------------------------------------------------------------------------------------
    def cut(self, *names: str) -> None:
        """Nothing passes between these nodes and the others, in either direction."""
        for a in names:
            for b in self.names:
                if b not in names:
                    self.blocked |= {(a, b), (b, a)}

    def heal(self) -> None:
        self.blocked.clear()
        self.flush()
