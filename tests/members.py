"""What an operator does with a simulated cluster's members: invite, join, remove, transfer.

Owns: questions to consensus as a gateway would ask them, and newcomers. Must never know how a world
runs: it is a part of one (`tests.world`).
"""

from typing import Any

import msgpack

from dkv.address import Local
from dkv.errors import Code
from dkv.limits import MS, SECOND
from dkv.messages import Ask, Roster, Told
from dkv.raft.questions import Question
from dkv.raft.questions import pack as pack_question

QUESTIONS = 1 << 40  # batches of questions that no gateway has asked
_DEFAULTS: dict[str, dict[str, Any]] = {
    "member_add": {"peer_address": "", "client_address": "", "learner": False},
    "member_remove": {"force": False},
    "member_promote": {"force": False},
    "member_update": {"peer_address": "", "client_address": "", "certificate": b""},
    "leader_transfer": {"name": ""},
}


class Members:
    """Of a `World`, which has the rest."""

    names: tuple[str, ...]
    nodes: dict[str, Any]
    told: dict[int, Told]
    _asked: int
    deliver: Any
    run: Any
    run_until: Any
    start_node: Any
    leader: Any

    def newcomer(self, name: str) -> None:
        """A node with an empty disk, which knows where the others are, and is no member."""
        roster = Roster(tuple((n, f"{n}:2380", b"", f"{n}:3000") for n in (*self.names, name)))
        plan = next(iter(self.nodes.values())).plan
        plan = plan._replace(name=name, roster=roster, folder=f"/data/{name}", joining=True)
        before = self.nodes.get(name)
        self.nodes[name] = type(next(iter(self.nodes.values())))(plan)
        if before is not None:
            self.nodes[name].life = before.life
        if name not in self.names:
            self.names = (*self.names, name)

    def question(self, node: str, op: str, **fields: Any) -> int:
        """Ask what a gateway would; the number under which the answer will be found."""
        self._asked += 1
        number = QUESTIONS + self._asked
        question = pack_question(Question(op, {**_DEFAULTS.get(op, {}), **fields}, ""))
        self.deliver(node, Local.CONSENSUS, Ask(number, 5_000, question))
        return number

    def answer(self, number: int, within_us: int = 20 * SECOND) -> Told:
        self.run_until(lambda: number in self.told, within_us)
        return self.told[number]

    def manage(self, node: str, op: str, **fields: Any) -> Any:
        """The answer: a map, or the code of the refusal. Asked again while it may pass."""
        while True:
            told = self.answer(self.question(node, op, **fields))
            if told.code not in (Code.NO_LEADER, Code.NOT_LEADER, Code.CHANGE_PENDING):
                break
            self.run(50 * MS)
        return msgpack.unpackb(told.answer) if told.code == Code.OK else Code(told.code)

    def join(self, name: str, by: str, *, learner: bool = False) -> Any:
        """Invited by `by`, started, and seated as a learner."""
        invited = self.manage(by, "member_add", name=name, learner=learner)
        if isinstance(invited, Code):
            return invited
        self.newcomer(name)
        self.start_node(name)
        return self.come(name, by)

    def come(self, name: str, by: str) -> Any:
        """A newcomer that runs says which disk it has."""
        actors = self.nodes[name].actors
        assert actors is not None
        where = {"peer_address": f"{name}:2380", "client_address": f"{name}:3000"}
        level = self.nodes[name].plan.release.level
        return self.manage(by, "join", name=name, disk=actors.disk, level=level, **where)

    def voters(self) -> list[str]:
        """As the leader knows them."""
        leader = self.leader()
        return sorted(self.nodes[leader].raft.config.voters) if leader else []
