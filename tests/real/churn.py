"""Members of a cluster of real processes come and go, by what an operator would do.

Owns: invitation, start, the wait until it votes; removal and the wait until the process has ended.
Must never know why. Names are n4, n5, … as they come.
"""

import shutil
import time

from dkv.client import Client, RequestError
from dkv.errors import Code, Ending
from tests.real.cluster import Cluster

_LOOK_S = 0.02
_PATIENCE_S = 30.0
_PASSING = (
    *(Code.TIMEOUT, Code.LOST, Code.NO_LEADER, Code.NOT_LEADER, Code.CHANGE_PENDING),
    *(Code.STOPPING, Code.HEIR_UNFIT),
)
_DONE = {"member_add": Code.ALREADY_MEMBER, "member_remove": Code.NO_SUCH_MEMBER}  # before


class Operator:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.made = 0
        self.patience_s = _PATIENCE_S
        self._given = len(cluster.names)

    def client(self) -> Client:
        running = [n for n in self.cluster.names if n in self.cluster.processes]
        options = self.cluster.client_options()
        return Client(self.cluster.endpoints(*running), timeout=10.0, **options)

    def survey(self) -> dict[str, dict[str, object]]:
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            with self.client() as kv:
                try:
                    return {m["name"]: m for m in kv.ask("member_list")["members"]}
                except RequestError:
                    if time.monotonic() > give_up:
                        raise

    def leader(self) -> str:
        return next(n for n, m in self.survey().items() if m["role"] == "leader")

    def _ask(self, op: str, **fields: object) -> None:
        """Again until it is done: an answer may be lost with a leader that was killed."""
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            with self.client() as kv:
                try:
                    kv.ask(op, **fields)
                    return
                except RequestError as error:
                    if error.code == _DONE.get(op):
                        return
                    if error.code not in _PASSING or time.monotonic() > give_up:
                        raise
            time.sleep(_LOOK_S)

    def _await(self, name: str, *roles: str) -> None:
        give_up = time.monotonic() + self.patience_s
        while time.monotonic() < give_up:
            try:
                if self.survey().get(name, {}).get("role") in roles:
                    return
            except RequestError:
                pass
            time.sleep(_LOOK_S)
        raise AssertionError(f"{name} is not {roles}: {self.survey().get(name)}")

    def grow(self) -> str:
        self._given += 1
        name = f"n{self._given}"
        self.invite(name)
        return name

    def invite(self, name: str, *, learner: bool = False) -> None:
        """Invited, started, and waited for until it votes, if it shall."""
        self._ask("member_add", name=name, learner=learner)
        self.cluster.newcomer(name)
        self.cluster.start(name)
        self._await(name, *(("learner",) if learner else ("voter", "leader")))
        self.made += 2

    def remove(self, name: str) -> None:
        """Removed, and waited for until it has ended by itself, if it ran."""
        self._ask("member_remove", name=name)
        if name in self.cluster.processes:
            code = self.cluster.wait(name)
            assert code == Ending.REMOVED, (name, code, self.cluster.lines(name)[-500:])
        self.made += 1

    def replace(self, name: str) -> None:
        """Its disk is lost, and it begins anew under its name."""
        if name in self.cluster.processes:
            self.cluster.kill(name)
        shutil.rmtree(self.cluster.data_dir(name))
        self.remove(name)
        self.invite(name)

    def transfer(self, name: str = "") -> None:
        self._ask("leader_transfer", name=name)
        self.made += 1
