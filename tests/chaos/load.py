"""The load: clients that read and write a few keys, and the history of what they were told.

Owns: the mixture, the pace, the history (lines as `dkv.history.operation` has them, times in
microseconds), the rate of acknowledgements. Values are unique. Must never know what is done to the
cluster meanwhile.
"""

import asyncio
import time
from collections import deque
from itertools import pairwise
from random import Random
from typing import Any

from dkv.client import AsyncClient, ConditionFailed, Rejected, Uncertain, Written
from tests.chaos.lab import CLIENTS, Lab, Unexpected

KEYS = 25
WORKERS = 6  # of each client
READERS = 2  # of these, only read: a node that is cut off holds writers up, and might answer reads
TIMEOUT_S = 2.5
RATE_MIN = 200  # acknowledged operations a second without which a fault proves nothing
_PACE_S = 0.045  # between the beginnings of two operations of a worker
_WINDOW_US = 1_000_000
_MIXTURE = ("get", "put", "cap", "delete"), (30, 33, 26, 11)

Line = dict[str, Any]


def now_us() -> int:
    return time.monotonic_ns() // 1_000


class Load:
    """Clients c1 and c2 know all nodes; each further one is pinned to a single node."""

    def __init__(self, lab: Lab, rng: Random) -> None:
        self._lab, self._rng = lab, rng
        self.history: list[Line] = []
        self.refused: list[Line] = []  # definitely did not happen
        self._done: deque[int] = deque()  # when the last operations were acknowledged
        self._seen: dict[str, int] = {}  # revision of a key as somebody saw it last
        self._values = 0
        self._running = True
        self._clients: list[AsyncClient] = []
        self._tasks: list[asyncio.Task[None]] = []

    # -- its life --------------------------------------------------------------------------------
    async def start(self) -> None:
        pins = self._rng.sample(self._lab.names, 3)
        for number in range(1, CLIENTS + 1):
            pinned = pins[number - 3 : number - 2] if number > 2 else []
            client = self._lab.async_client(*pinned, who=f"c{number}", timeout=TIMEOUT_S)
            self._clients.append(client)
            for worker in range(WORKERS):
                who = number * 100 + worker
                self._tasks.append(asyncio.create_task(self._work(client, who, worker < READERS)))

    async def stop(self) -> None:
        self._running = False
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    # -- how much of it there is -----------------------------------------------------------------
    def rate(self) -> int:
        """Acknowledged in the last second."""
        since = now_us() - _WINDOW_US
        while self._done and self._done[0] < since:
            self._done.popleft()
        return len(self._done)

    async def flows(self, patience_s: float = 60.0) -> int:
        """Wait until enough is acknowledged a second; how much that is."""
        give_up = time.monotonic() + patience_s
        while (rate := self.rate()) < RATE_MIN:
            for task in self._tasks:
                if task.done():
                    task.result()
            if time.monotonic() > give_up:
                raise Unexpected(
                    f"only {rate} operations a second are acknowledged, for {patience_s:.0f} s; a "
                    f"fault under less than {RATE_MIN} would prove nothing"
                )
            await asyncio.sleep(0.05)
        return rate

    def longest_silence(self, since_us: int) -> int:
        """Since then, the longest time without an acknowledged write, in microseconds."""
        ends = [
            line["ret"]
            for line in reversed(self.history)
            if line["op"] != "get" and line["ret"] is not None and line["ret"] >= since_us
        ]
        moments = sorted((since_us, *ends, now_us()))
        return max(later - before for before, later in pairwise(moments))

    # -- an operation ----------------------------------------------------------------------------
    async def _work(self, client: AsyncClient, who: int, only_reads: bool) -> None:
        await asyncio.sleep(self._rng.random() * _PACE_S)
        while self._running:
            began = time.monotonic()
            [op] = ("get",) if only_reads else self._rng.choices(*_MIXTURE)
            key = f"k{self._rng.randrange(KEYS)}"
            if await self._record(client, who, op, key):
                self._done.append(now_us())
            await asyncio.sleep(max(_PACE_S - (time.monotonic() - began), 0))

    async def _record(self, client: AsyncClient, who: int, op: str, key: str) -> bool:
        line: Line = {"client": who, "op": op, "key": key, "ok": True}
        if op in ("put", "cap"):
            self._values += 1
            line["value"] = f"{who}-{self._values}"
        if op == "cap":
            line["expected"] = self._seen.get(key, 0)
        line["call"] = now_us()
        try:
            await getattr(self, f"_{op}")(client, line)
        except ConditionFailed as failed:
            line |= {"ok": False, "revision": failed.key_revision}
            self._seen[key] = failed.key_revision
        except (Rejected, Uncertain) as error:
            self._without_answer(line, error)
            return False
        line["ret"] = now_us()
        self.history.append(line)
        return True

    def _without_answer(self, line: Line, error: Rejected | Uncertain) -> None:
        line |= {"ret": None, "code": error.code.name.lower()}
        if isinstance(error, Rejected):
            self.refused.append(line)
        elif line["op"] != "get":
            self.history.append(line)

    async def _get(self, client: AsyncClient, line: Line) -> None:
        item = await client.get(line["key"])
        line["out"] = item.value.decode() if item and item.value is not None else None
        line["revision"] = item.key_revision if item else 0
        self._seen[line["key"]] = line["revision"]

    async def _put(self, client: AsyncClient, line: Line) -> None:
        self._written(line, await client.put(line["key"], line["value"]))

    async def _cap(self, client: AsyncClient, line: Line) -> None:
        self._written(line, await client.put(line["key"], line["value"], expected=line["expected"]))

    def _written(self, line: Line, done: Written) -> None:
        line |= {"revision": done.key_revision, "store": done.revision}
        self._seen[line["key"]] = done.key_revision

    async def _delete(self, client: AsyncClient, line: Line) -> None:
        done = await client.delete(line["key"])
        line |= {"found": done.count > 0, "store": done.revision}
        if line["found"]:
            line["revision"] = done.revision
        self._seen[line["key"]] = 0
