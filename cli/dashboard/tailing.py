"""A node's log, as it grows: asked by one long poll after the other, each answer put in the ring.

Owns: from where the next question begins, and what an item of an answer means. Must never know a
page.

An entry is asked for again until it is applied at that node, for then alone its times and revisions
are all known: the next question begins behind the last one that is. No more than that has to be
remembered. What is in the entries, one node tells for all, the leader while there is one (the
*teller*); the others are asked for times only.
"""

import asyncio
import time
from typing import Any

from cli.dashboard.hub import Hub, Node
from cli.dashboard.ring import Command, Entry, Sight
from dkv.client import AsyncClient, Denied, RequestError

_ITEMS = 256  # an answer
_WAIT_MS = 1_500  # for something new; less than the client's patience
_PACE_S = 0.05  # between questions while something is under way
_STALLED_S = 0.25  # while nothing moves, as without a leader
_AGAIN_S = 1.0  # after a node that did not answer
_UNDER_WAY_MAX = 128  # entries that are asked for again
_HISTORY = 500  # entries from before the start
_FAR = 4_096  # entries that a dashboard may be behind before it leaves some out

# Entries of the cluster's own, in a word.
_KINDS = {
    "noop": "new leader",
    "tick": "time",
    "genesis": "founded",
    "formed": "formed",
    "opened": "opened",
    "agreed": "sums agree",
    "members": "members",
}
_OPS = {"open_session": "session", "close_session": "session end", "keep_alive": "session"}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Tail:
    def __init__(self, hub: Hub, node: Node) -> None:
        self._hub, self._node = hub, node
        self._after = 0
        self._place = (0, 0)  # last and applied, as they were told before

    async def run(self, kv: AsyncClient) -> None:
        while True:
            try:
                pause_s = await self.ask(kv)
            except RequestError as error:
                if isinstance(error, Denied):
                    self._hub.denied(self._node, str(error))
                else:
                    self._hub.silent(self._node, str(error), _now_ms())
                pause_s = _AGAIN_S
            await asyncio.sleep(pause_s)

    async def ask(self, kv: AsyncClient) -> float:
        """One question and its answer; the seconds until the next. Raises `RequestError`."""
        tells = self._hub.teller is self._node
        if tells:
            self._join()
        page = await kv.ask(
            "tail", after=self._after, limit=_ITEMS, wait_ms=_WAIT_MS, brief=not tells
        )
        facts = ("role", "term", "leader", "saved", "commit", "applied")
        self._hub.heard(self._node, _now_ms(), denied="", **{f: page[f] for f in facts})
        for item in page["items"]:
            self._take(item, page, tells)
        return self._go_on(page)

    # -- where to go on --------------------------------------------------------------------------
    def _join(self) -> None:
        """Another has told until now: begin where it ended, unless that is far back."""
        last = self._hub.ring.last
        if last and 0 < self._after - last <= _FAR:
            self._after = last

    def _go_on(self, page: dict[str, Any]) -> float:
        """Set where the next question begins; the seconds until then."""
        begun = self._after > 0
        place, self._place = self._place, (page["last"], page["applied"])
        if not begun or page["last"] - page["after"] > _FAR:
            self._after = max(page["last"] - _HISTORY, 1)
            return 0.0
        under_way = [i["index"] for i in page["items"] if i["index"] > page["applied"]]
        behind = page["after"] < page["last"]
        self._after = page["after"]
        if under_way:
            self._after = max(under_way[0] - 1, page["after"] - _UNDER_WAY_MAX)
        if not under_way or behind:
            return 0.0  # the question itself waits for what is new
        return _STALLED_S if place == self._place else _PACE_S

    # -- what an item means ----------------------------------------------------------------------
    def _take(self, item: dict[str, Any], page: dict[str, Any], tells: bool) -> None:
        ring = self._hub.ring
        index, term = item["index"], item["term"]
        times = (_ms(item[f"{what}_us"]) for what in ("saved", "committed", "applied"))
        sight = Sight(item["received"], *times)
        if tells:
            entry = ring.find(index, term)
            commands = _commands(item)
            if entry is None:
                entry = Entry(index, term, item["proposed"], commands)
                if not ring.add(entry):
                    return
            if index <= page["applied"] and not entry.settled:
                led = page["role"] == "leader" and page["term"] == term
                self._settle(entry, commands, sight.applied if led else None)
        ring.see(index, term, self._node.name, sight)

    def _settle(self, entry: Entry, commands: list[Command], latency: float | None) -> None:
        """The leader's time from proposed to applied is what those who asked have waited."""
        self._hub.ring.settle(entry, commands, latency)
        asked = sum(c.key is not None for c in commands)
        if latency is not None and asked:
            self._hub.took(latency, asked)


def _ms(microseconds: int | None) -> float | None:
    return None if microseconds is None else round(microseconds / 1_000, 2)


def _commands(item: dict[str, Any]) -> list[Command]:
    kind = item["kind"]
    if kind != "commands":
        return [Command(_KINDS.get(kind, kind), None, "", 0, None, "")]
    return [
        Command(
            _OPS.get(op, op.replace("_", " ") or "?"),
            key or None,
            author,
            revision or 0,
            size if op == "put" else None,
            "" if code in (None, "ok") else code,
        )
        for op, key, author, revision, size, _session, code in item["commands"]
    ]
