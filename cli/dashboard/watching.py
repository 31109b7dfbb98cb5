"""Every node watched by itself: how it is, once a second, and its log, as it grows.

Owns: who is asked what and how often, who is watched at all, and what a reply becomes in the hub.
Must never know a page. A node is asked over a connection of its own, with one question of each
kind under way, so that what a page does never reaches a node.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

from cli.dashboard.hub import ACTORS, Hub, Node
from cli.dashboard.tailing import Tail
from dkv.client import AsyncClient, Denied, RequestError

_STATUS_S = 1.0
_PATIENCE_S = 2.0
_NODES_MAX = 16


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Watch:
    """One node. `options` are those of a client, without endpoints."""

    def __init__(self, hub: Hub, node: Node, options: dict[str, Any]) -> None:
        self._hub, self._node = hub, node
        self._options = {**options, "endpoints": [node.address], "pin": True}
        self._counts: dict[str, Any] = {}
        self._counted_s = 0.0

    async def run(self) -> None:
        async with AsyncClient(**{**self._options, "timeout": _PATIENCE_S}) as kv:
            await asyncio.gather(self._ask_status(kv), Tail(self._hub, self._node).run(kv))

    # -- how it is -------------------------------------------------------------------------------
    async def _ask_status(self, kv: AsyncClient) -> None:
        while True:
            try:
                self._told(await kv.status(0))
            except Denied as error:
                self._hub.denied(self._node, str(error))
            except RequestError as error:
                self._counts = {}
                self._hub.silent(self._node, str(error), _now_ms())
            await asyncio.sleep(_STATUS_S)

    def _told(self, facts: dict[str, Any]) -> None:
        consensus, machine, log = facts["consensus"], facts["machine"], facts["log"]
        now_s = time.monotonic()
        before, passed_s = self._counts, now_s - self._counted_s
        self._counts = {actor: facts[actor]["counters"] for actor in ACTORS}
        self._counted_s = now_s
        self._hub.heard(
            self._node,
            _now_ms(),
            name=facts["node"]["name"],
            why=_complaint(facts),
            role=consensus["role"],
            term=consensus["term"],
            leader=consensus["leader"],
            saved=consensus["saved"],
            commit=consensus["commit"],
            applied=machine["applied"],
            log_bytes=log["log_bytes"],
            state_bytes=machine["state_bytes"],
            actors=[
                (
                    self._counts[a].get("depth", 0),
                    self._grown(before, a, "busy_us") / passed_s / 1e6,
                )
                for a in ACTORS
            ],
            rate=self._grown(before, "machine", "commands") / passed_s,
        )

    def _grown(self, before: dict[str, Any], actor: str, counter: str) -> float:
        """Since the last status; 0 after a restart, when counting began anew."""
        if actor not in before:
            return 0.0
        grown: int = self._counts[actor].get(counter, 0) - before[actor].get(counter, 0)
        return max(grown, 0)


def _complaint(facts: dict[str, Any]) -> str:
    if facts["machine"]["checking"]:
        return "it is still checking its data after a restart"
    if facts["log"]["space"]:
        return "its disk is nearly full" if facts["log"]["space"] == 1 else "its disk is full"
    if facts["machine"]["quota_reached"]:
        return "its quota is reached: delete keys, or raise --quota"
    return ""


def _lag(member: dict[str, Any]) -> int | None:
    """A new leader knows nothing of a member that it has never heard: its `match` is 0."""
    if member["role"] == "leader":
        return 0
    lag: int | None = member["lag_entries"]
    return lag if member["match"] else None


class Watching:
    """All nodes: those that were named, and those that the cluster says are its members."""

    def __init__(self, hub: Hub, options: dict[str, Any]) -> None:
        self._hub, self._options = hub, options
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for address in options["endpoints"]:
            self._watch(address, "")

    def _watch(self, address: str, name: str) -> None:
        if address in self._tasks or len(self._tasks) >= _NODES_MAX:
            return
        node = self._hub.nodes[address] = Node(address, name or address)
        self._tasks[address] = asyncio.create_task(Watch(self._hub, node, self._options).run())

    async def run(self, cluster: AsyncClient) -> None:
        """Until cancelled; or until a watch fails, which is a bug."""
        survey = asyncio.create_task(self._survey(cluster))
        try:
            while True:
                self._hub.sample(int(time.time()))
                for task in (survey, *self._tasks.values()):
                    if task.done():
                        task.result()
                await asyncio.sleep(_STATUS_S)
        finally:
            for task in (survey, *self._tasks.values()):
                task.cancel()

    async def _survey(self, cluster: AsyncClient) -> None:
        """The members, as the leader sees them; while there is none, they stay as they were."""
        while True:
            with suppress(RequestError):
                self._surveyed(await cluster.ask("member_list"))
            await asyncio.sleep(_STATUS_S)

    def _surveyed(self, survey: dict[str, Any]) -> None:
        members = {m["name"]: m for m in survey["members"]}
        self._hub.surveyed({name: _lag(m) for name, m in members.items()})
        if self._options["pin"]:
            return
        known = {node.name for node in self._hub.nodes.values()}
        for name, member in members.items():
            if name not in known and member["client_address"]:
                self._watch(member["client_address"], name)
        self._leave_removed(set(members))

    def _leave_removed(self, members: set[str]) -> None:
        for address, node in list(self._hub.nodes.items()):
            if node.name not in members and not node.up:
                self._tasks.pop(address).cancel()
                self._hub.forget(address)
