"""Nodes of dkv, with Curve and certificates, and the load on them.

Owns: where the load on dkv comes from, which is decided in `Dkv.load` and nowhere else: `dkvctl
bench` if this tree has it, otherwise `AsyncClient` in this process. Must never know other stores.
The nodes may be another tree's (`source`); the load is always this tree's.
"""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cli.ctl import cli as commands
from dkv.client import AsyncClient
from dkv.errors import DkvError, RequestError
from tests.bench import machine
from tests.bench.processes import NotStarted
from tests.bench.sockets import Broken
from tests.bench.work import KEYS, PER_MESSAGE, VALUE_BYTES, Measured, Work, key, measured
from tests.real.cluster import Cluster

_CONNECTIONS = 8
_WARMUP_S = 1.0
_FILLING = 256  # puts under way
_PATIENCE_S = 300.0  # of `dkvctl bench`, beside its time: it puts up to a million keys first
_LOAD_BEGINS = "measuring"  # its note once all is put
_COMMAND_LINES_MAX = 256
_COMMAND_KEYS_MAX = 1_000_000


class Load(NamedTuple):
    """A work and what else matters to dkv alone."""

    work: Work
    keys: int = KEYS
    value_bytes: int = VALUE_BYTES
    connections: int = 0  # 0: as all contestants, 8, or 1 for fewer than 8 outstanding

    @property
    def lines(self) -> int:
        return self.connections or (1 if self.work.outstanding < _CONNECTIONS else _CONNECTIONS)


class Nodes(Cluster):
    """A cluster whose nodes run the code of the tree `source`."""

    def __init__(self, folder: Path, source: Path, size: int) -> None:
        super().__init__(folder, size)
        self._source = source

    def launcher(self, name: str) -> list[str]:
        return ["env", "-C", str(self._source), *super().launcher(name)]


class Dkv:
    name = "dkv"

    def __init__(
        self,
        folder: Path,
        route: str = "leader",
        *,
        source: Path = machine.ROOT,
        size: int = 3,
    ) -> None:
        self.folder, self._route = folder, route
        self.cluster = Nodes(folder, source, size)

    @staticmethod
    def absent() -> list[str]:
        return []

    @staticmethod
    def can_run() -> bool:
        return True

    @staticmethod
    def clients() -> list[str]:
        return ["dkvctl bench" if has_command() else "AsyncClient"]

    @property
    def pids(self) -> list[int]:
        return [p.pid for p in self.cluster.processes.values()]

    def version(self) -> str:
        return machine.commit()

    def start(self) -> None:
        """Until it serves, with all keys put. NotStarted: it does not, with what it printed."""
        self.boot()
        self.fill(Load(Work("put", _FILLING)))

    def boot(self) -> None:
        """Until every node serves."""
        self.cluster.start()
        try:
            self.cluster.wait_serving()
            self.cluster.leader()
        except (DkvError, AssertionError) as error:
            last = {n: self.cluster.lines(n).splitlines()[-3:] for n in self.cluster.names}
            self.close()
            raise NotStarted(f"dkv does not serve ({error}). Last lines: {last}") from error

    def run(self, _client: str, work: Work, seconds: float) -> Measured | None:
        """None: this work needs `dkvctl bench`."""
        return self.load(Load(work), seconds)

    def load(self, load: Load, seconds: float) -> Measured | None:
        """The one place that decides who makes the load. None: this needs `dkvctl bench`. Broken:
        the cluster does not answer."""
        try:
            if commands_load(load):
                return self._by_command(load, seconds)
            if load.work.pipelined:
                return None
            return asyncio.run(self._by_client(load, seconds))
        except (DkvError, AssertionError) as error:  # the latter: the cluster has no leader
            raise Broken(f"dkv, at {load.work.name}: {error}") from error

    def close(self) -> None:
        for name in list(self.cluster.processes):
            self.cluster.kill(name)

    def fill(self, load: Load) -> None:
        """Every key of the load put once."""
        asyncio.run(self._fill(load))

    # -- by AsyncClient --------------------------------------------------------------------------
    async def _fill(self, load: Load) -> None:
        value = bytes(load.value_bytes)
        numbers = iter(range(load.keys))
        async with self.clients_of(load.lines) as clients:

            async def work(client: AsyncClient) -> None:
                for number in numbers:
                    await client.put(key(number), value)

            try:
                each = max(load.work.outstanding // len(clients), 1)
                await asyncio.gather(*[work(c) for c in clients for _ in range(each)])
            except RequestError as error:
                raise Broken(f"dkv, while keys were put: {error}") from error

    async def _by_client(self, load: Load, seconds: float) -> Measured:
        waits: list[float] = []
        errors = turns = 0
        value = bytes(load.value_bytes)
        is_put, level = load.work.operation == "put", load.work.level
        async with self.clients_of(load.lines) as clients:
            from_s = time.perf_counter() + _WARMUP_S
            to_s = from_s + seconds

            async def work(client: AsyncClient) -> None:
                nonlocal errors, turns
                while (began := time.perf_counter()) < to_s:
                    turns += 1
                    asked = key(turns * 7919 % load.keys)
                    try:
                        if is_put:
                            await client.put(asked, value)
                        else:
                            item = await client.get(asked, level=level)
                            if item is None or len(item.value or b"") != load.value_bytes:
                                raise Broken(f"dkv: not the value that was put at {asked!r}")
                    except RequestError:
                        errors += 1
                        continue
                    if from_s <= (now := time.perf_counter()) < to_s:
                        waits.append(now - began)

            gc.collect()
            gc.disable()  # a collection would be a wait of the client
            try:
                slots = range(load.work.outstanding)
                await asyncio.gather(*[work(clients[s % len(clients)]) for s in slots])
            finally:
                gc.enable()
        return measured("AsyncClient", waits, seconds, errors, to_s)

    @asynccontextmanager
    async def clients_of(self, count: int) -> AsyncIterator[list[AsyncClient]]:
        """Connected ones, to the leader alone, or to each node in turn."""
        names = self._target()
        async with AsyncExitStack() as stack:
            made = [self.cluster.async_client(names[i % len(names)]) for i in range(count)]
            for client in made:
                await stack.enter_async_context(client)
            await asyncio.gather(*[client.members() for client in made])
            yield made

    def _target(self) -> list[str]:
        return self.cluster.names if self._route == "spread" else [self.cluster.leader()]

    # -- by `dkvctl bench` -----------------------------------------------------------------------
    def _by_command(self, load: Load, seconds: float) -> Measured:
        """A process of its own, whose JSON says what it measured."""
        work, target = load.work, self._target()
        route = "spread" if len(target) > 1 else "leader"
        who = [f"--{name}={path}" for name, path in self.cluster.client_options().items()]
        argv = [
            *(sys.executable, "-m", "cli.ctl", "bench", work.operation),
            *(f"--endpoint={e}" for e in self.cluster.endpoints()),
            *who,
            *(f"--clients={load.lines}", f"--outstanding={work.outstanding}"),
            *(f"--keys={load.keys}", f"--value-size={load.value_bytes}"),
            *(f"--seconds={seconds:g}", f"--warmup={_WARMUP_S:g}", f"--route={route}"),
            f"--read-level={work.level}",
            f"--pipeline={PER_MESSAGE if work.pipelined else 1}",
            *("--keep", "--output=json"),
        ]
        printed = self.folder / "dkvctl.json"
        began_s, ended_s, words = _follow(argv, printed, seconds + _PATIENCE_S)
        if began_s:
            ended_s = began_s + _WARMUP_S + seconds
        return read_report(printed.read_text(), work.operation, ended_s, words)


def _follow(argv: list[str], printed: Path, patience_s: float) -> tuple[float, float, str]:
    """Run it: when it began to load (0: it did not say so), when it ended, its notes. Its keys are
    put before, which must not count as part of the load. Broken: it failed or hung."""
    began_s, notes = 0.0, []
    with printed.open("wb") as stdout:
        process = subprocess.Popen(
            argv, cwd=machine.ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True
        )
    patience = threading.Timer(patience_s, process.kill)
    patience.start()
    try:
        assert process.stderr is not None
        for line in process.stderr:
            notes.append(line.strip())
            if line.startswith(_LOAD_BEGINS):
                began_s = time.perf_counter()
        code = process.wait()
    finally:
        patience.cancel()
        process.kill()
        process.wait()
    if code:
        raise Broken(f"dkvctl bench ended with {code}: {' | '.join(notes)[-400:]}")
    return began_s, time.perf_counter(), " | ".join(notes)


def has_command() -> bool:
    """Whether this tree's `dkvctl` has `bench`."""
    return "bench" in commands.commands


def commands_load(load: Load) -> bool:
    """Whether `dkvctl bench` is there and takes so many connections and keys. It puts the keys of a
    get itself, under a prefix of its own."""
    within = load.lines <= _COMMAND_LINES_MAX and load.keys <= _COMMAND_KEYS_MAX
    return has_command() and within


def read_report(text: str, operation: str, ended_s: float, notes: str = "") -> Measured:
    """From the JSON of `dkvctl bench`. Broken: it has not what is needed, or nothing was answered;
    `notes` then say why."""
    try:
        found: dict[str, Any] = json.loads(text)
        done = found[f"{operation}s"]
        waits = [done[f"{name}_us"] / 1000 for name in ("p50", "p90", "p99", "max")]
        count, seconds = int(done["count"]), float(found["seconds"])
        errors = sum(found["errors"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(f"not a report of dkvctl bench ({error!r}): {text[:200]!r}") from error
    if not count or seconds <= 0:
        raise Broken(f"dkvctl bench: nothing was answered, {errors} errors. {notes}")
    p50_ms, p90_ms, p99_ms, max_ms = waits
    return Measured("dkvctl bench", count, seconds, p50_ms, p90_ms, p99_ms, max_ms, errors, ended_s)
