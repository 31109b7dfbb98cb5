"""Members that come and go while everything else goes wrong.

Owns: one change after another, each asked of any node until it is done or refused, as an operator
would; who was ever removed. Must never know when a change is due (`tests.sim.plan`), nor decide how
it is made: a voter is only removed while the others have a majority that may be trusted.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

from dkv.errors import Code
from dkv.limits import MS
from dkv.messages import Told
from dkv.raft.configuration import Configuration, founders
from tests.world import World

_LOOK_US = 50 * MS
_LOOKS = 40  # at an answer, before it is asked again
_TRIES = 8
_SIZE_MAX = 7
_DONE = {  # what an attempt before, whose answer was lost, has done
    "member_add": Code.ALREADY_MEMBER,
    "member_remove": Code.NO_SUCH_MEMBER,
}
_FINAL = frozenset((Code.HEIR_UNFIT, Code.QUORUM_AT_RISK, Code.NOT_INVITED, Code.ANOTHER_DISK))


class Churn:
    def __init__(self, world: World, dice: Random, lost: set[str]) -> None:
        self.world, self.dice, self.lost = world, dice, lost
        self.size = len(world.names)
        self.made: Counter[str] = Counter()
        self.ever_removed: set[str] = set()
        self.removing = False
        self.doubtful: set[str] = set()  # asked to be removed, and nobody knows whether they were
        self.busy = False
        self.over = False
        self._given = self.size
        self._last = founders(world.names)

    # -- what is so ------------------------------------------------------------------------------
    def config(self) -> Configuration:
        """The newest that any node ever knew to be committed."""
        nodes = [self.world.nodes[n] for n in self.world.running()]
        known = [n.raft.reigns.settled for n in nodes if hasattr(n.raft, "role")]
        self._last = max([self._last, *known], key=lambda c: (c.is_formed, c.index))
        return self._last

    def seated(self) -> list[str]:
        """Members whose node has the member's disk."""
        found = []
        for seat in self.config().seats:
            hard = self.world.nodes[seat.name].disk.hard if seat.name in self.world.nodes else None
            if hard is not None and hard.disk == seat.disk:
                found.append(seat.name)
        return found

    def may_lose(self) -> int:
        """How many more voters may lose their disks."""
        if self.removing or self.doubtful:
            return 0
        least = min(len(self.config().voters), self.size)
        return (least - 1) // 2 - len(self.lost)

    # -- changes ---------------------------------------------------------------------------------
    def do(self, change: str, who: int) -> None:
        if not self.busy and not self.over and self.world.running():
            getattr(self, f"_{change}")(who)

    def _voter(self, who: int) -> str | None:
        leader = self.world.leader()
        if who < 0:
            return leader
        voters = sorted(self.config().voters)
        return voters[who % len(voters)] if voters else None

    def _grow(self, who: int) -> None:
        if len(self.config().names) < _SIZE_MAX:
            self._given += 1
            self._invite(f"n{self._given}", "grown", learner=who % 4 == 0)

    def _invite(self, name: str, what: str, *, learner: bool) -> None:
        self.busy = True

        def invited() -> None:
            if name not in self.world.nodes:
                self.world.newcomer(name)
            if self.world.nodes[name].actors is None:
                self.world.start(name)
            self._ask("join", self._where(name), lambda: self._end(what))

        self._ask("member_add", {"name": name, "learner": learner}, invited)

    def _where(self, name: str) -> dict[str, Any]:
        hard = self.world.nodes[name].disk.hard
        disk = hard.disk if hard else 0
        return {
            "name": name,
            "disk": disk,
            "peer_address": f"{name}:2380",
            "client_address": f"{name}:3000",
        }

    def _shrink(self, who: int) -> None:
        name = self._voter(who)
        if name is None or len(self.config().voters) <= self.size or self.lost - {name}:
            return
        what = "removed_leader" if name == self.world.leader() else "removed"
        self._remove(name, lambda: self._end(what))

    def _remove(self, name: str, then: Callable[[], None]) -> None:
        self.busy = self.removing = True
        self.ever_removed.add(name)
        self.doubtful.add(name)

        def removed() -> None:
            self.doubtful.discard(name)
            then()

        self._ask("member_remove", {"name": name}, removed)

    def _replace(self, who: int) -> None:
        """A member's disk is given up, and its name begins anew: one that was lost, if there is."""
        name = sorted(self.lost)[0] if self.lost else self._voter(who)
        config = self.config()
        if name is None or name not in config.names or self.lost - {name}:
            return
        if len(config.voters) < 3 and name in config.voters:
            return

        def removed() -> None:
            world = self.world
            world.crash(name)
            world.wipe(name)
            world.newcomer(name)
            self.lost.discard(name)
            world.invariants.distrusted.discard(name)
            self._invite(name, "replaced", learner=False)

        self._remove(name, removed)

    def _transfer(self, who: int) -> None:
        name = self._voter(abs(who))
        if name is not None and name != self.world.leader():
            self.busy = True
            self._ask("leader_transfer", {"name": name}, lambda: self._end("transferred"))

    def _end(self, what: str = "") -> None:
        self.busy = self.removing = False
        if what:
            self.made[what] += 1

    # -- asking ----------------------------------------------------------------------------------
    def _ask(
        self,
        op: str,
        fields: dict[str, Any],
        then: Callable[[], None],
        tries: int = _TRIES,
    ) -> None:
        seated = [n for n in self.seated() if n in self.world.running()] if self._lives() else []
        if self.over or not tries or not seated:
            self._end()
            return
        number = self.world.question(self.dice.choice(seated), op, **fields)

        def again() -> None:
            self._ask(op, fields, then, tries - 1)

        def look(looks: int) -> None:
            told = self.world.told.get(number)
            if told is None and looks:
                self.world.after(_LOOK_US, lambda: look(looks - 1))
            elif told is None or not self._settles(op, told, then):
                self.world.after(_LOOK_US, again)

        look(_LOOKS)

    def _lives(self) -> bool:
        return any(hasattr(self.world.nodes[n].raft, "role") for n in self.world.running())

    def _settles(self, op: str, told: Told, then: Callable[[], None]) -> bool:
        if told.code in (Code.OK, _DONE.get(op)):
            assert told.code != Code.OK or isinstance(msgpack.unpackb(told.answer), dict)
            then()
            return True
        if told.code in _FINAL:
            self._end()
            return True
        return False
