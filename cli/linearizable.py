"""`dkvctl check linearizable`: a small recorded workload on one's own cluster, and its verdict.

Owns: the workload, its scratch keys and their removal, and the words that say what was proven. Must
never decide a verdict: `dkv/history` does.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any, NamedTuple

import click

from cli.endings import Ended, Exit
from cli.options import Choices, SharedOptions
from cli.output import counted, emit, note, shown
from dkv.client import AsyncClient, RequestError
from dkv.client.recording import AsyncRecorder, merged
from dkv.errors import Code, Misconfigured
from dkv.history import Operation, Report, Verdict, write_line
from dkv.history import check as judge

_PREFIX = b"dkvctl-check/"
_PAUSE_S = 0.004  # between two operations of a client, at most: a check is no flood


class Run(NamedTuple):
    history: list[Operation]
    refused: int
    errors: list[RequestError]
    silent: list[str]  # nodes that answered nothing


@click.command(cls=SharedOptions)
@click.option("--seconds", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True)
@click.option("--clients", type=click.IntRange(1, 64), default=6, show_default=True)
@click.option("--keys", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option(
    "--history",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the history is written.  [default: dkvctl-check-ID.jsonl]",
)
@click.pass_obj
def linearizable(
    run: Choices, seconds: float, clients: int, keys: int, history: Path | None
) -> None:
    """Read and write scratch keys on all nodes, and check every answer.

    The keys begin with dkvctl-check/ and are deleted at the end. Says what was proven; exits with 8
    if the answers cannot be explained.
    """
    number = token_hex(4)
    path = history or Path(f"dkvctl-check-{number}.jsonl")
    options = run.client_options()
    _make(path)
    work = _Workload(options, _PREFIX + number.encode() + b"/", clients, keys)
    try:
        done = asyncio.run(work.run(seconds))
    finally:
        _write(path, work.recorded())
    if not any(o.is_known for o in done.history):
        raise done.errors[-1] if done.errors else Ended("nothing was answered", Exit.UNAVAILABLE)
    report = judge(done.history)
    _say(run, path, done, report)
    if report.verdict is not Verdict.LINEARIZABLE:
        raise Ended(f"the history is {report.verdict.value}", Exit.UNHEALTHY)


def _make(path: Path) -> None:
    """Before anything is asked, not after all the work."""
    try:
        path.touch()
    except OSError as error:
        raise Misconfigured(f"--history {path}: {error.strerror}") from None


def _write(path: Path, history: Sequence[Operation]) -> None:
    """Nothing was recorded: then no empty file stays, which would look like a proof."""
    if not history and not path.stat().st_size:
        path.unlink()
        return
    path.write_text("".join(f"{write_line(o)}\n" for o in history))


# -- the workload --------------------------------------------------------------------------------
class _Workload:
    def __init__(self, options: dict[str, Any], prefix: bytes, clients: int, keys: int) -> None:
        self._options, self._prefix, self._clients = options, prefix, clients
        self._keys = [prefix + b"%d" % n for n in range(keys)]
        self._recorders: list[AsyncRecorder] = []

    def recorded(self) -> list[Operation]:
        return list(merged(*self._recorders))

    async def run(self, seconds: float) -> Run:
        addresses = await self._addresses()
        names = sorted(addresses)
        try:
            until = time.monotonic() + seconds
            places = (addresses[names[n % len(names)]] for n in range(self._clients))
            async with asyncio.TaskGroup() as group:
                for number, address in enumerate(places, 1):
                    group.create_task(self._client(number, address, until))
        finally:
            await self._clean_up()
        errors = [e for recorder in self._recorders for e in recorder.errors]
        history = self.recorded()
        spoke = {o.client for o in history if o.is_known}
        asked = {n: names[(n - 1) % len(names)] for n in range(1, self._clients + 1)}
        silent = sorted(set(asked.values()) - {asked[int(n)] for n in spoke})
        refused = sum(e.applied == "no" and e.code is not Code.CONDITION_FAILED for e in errors)
        return Run(history, refused, errors, silent)

    async def _addresses(self) -> dict[str, str]:
        """Where each node is; only those named, if pinned or if the members name no addresses."""
        named = {a: a for a in self._options["endpoints"]}
        if self._options["pin"]:
            return named
        async with AsyncClient(**self._options) as kv:
            known = await kv.members()
        found = {m["name"]: m["client_address"] for m in known["members"] if m["client_address"]}
        return found or named

    async def _client(self, number: int, address: str, until: float) -> None:
        rng = Random(number)
        async with AsyncClient(**{**self._options, "endpoints": [address], "pin": True}) as kv:
            recorder = AsyncRecorder(kv, number)
            self._recorders.append(recorder)
            count = 0
            while time.monotonic() < until:
                count += 1
                await _one(recorder, rng, rng.choice(self._keys), b"%d.%d" % (number, count))
                await asyncio.sleep(rng.uniform(0, _PAUSE_S))

    async def _clean_up(self) -> None:
        try:
            async with AsyncClient(**self._options) as kv:
                await kv.delete_prefix(self._prefix)
        except RequestError as error:
            note(f"warning: keys under {shown(self._prefix)} were left behind: {error}")


async def _one(recorder: AsyncRecorder, rng: Random, key: bytes, value: bytes) -> None:
    """A read, or a write, or a read and a write that depends on it. Each value is written once."""
    pick = rng.random()
    if pick < 0.3:
        await recorder.get(key)
    elif pick < 0.5:
        await recorder.put(key, value)
    elif pick < 0.6:
        await recorder.delete(key)
    else:
        seen = await recorder.get(key)
        if seen is None or seen.revision is None:
            return
        if pick < 0.7 and seen.revision:
            await recorder.delete(key, seen.revision)
        else:
            appended = pick > 0.85 and seen.out is not None and len(seen.out) < 200
            new = (seen.out or b"") + b"," + value if appended else value
            await recorder.put(key, new, seen.revision)


# -- in words ------------------------------------------------------------------------------------
def _say(run: Choices, path: Path, done: Run, report: Report) -> None:
    window = list(report.lines())
    words = [f"{shown(str(path))}: {report.verdict.value}", *window, _counted(done, report)]
    if done.silent:
        words.append(f"Nothing was answered by {', '.join(done.silent)}: they were not checked.")
    if report.verdict is Verdict.LINEARIZABLE:
        words += _PROVEN
    record = {
        "history": str(path),
        "verdict": report.verdict.name.lower(),
        "operations": report.operations,
        "unknown": report.unknown,
        "refused": done.refused,
        "nodes": dict(_nodes(done)),
        "silent": done.silent,
        "window": window,
    }
    emit(run.form, record, "\n".join(words))


def _counted(done: Run, report: Report) -> str:
    reads = sum(o.op == "get" for o in done.history)
    nodes = ", ".join(f"{name} {count:,}" for name, count in sorted(_nodes(done).items()))
    return (
        f"{report.operations:,} operations on {counted(report.keys, 'key')}: {reads:,} reads, "
        f"{report.operations - reads:,} writes; answered by {nodes}. {report.unknown} with an "
        f"unknown outcome (they may have happened), {done.refused} refused."
    )


def _nodes(done: Run) -> Counter[str]:
    return Counter(o.node for o in done.history if o.node)


_PROVEN = (
    "Proven: there is one order in which each of these operations takes effect at a moment between",
    "its call and its answer, and in which every answer is that of a single copy. No read was",
    "stale, no acknowledged write was lost or done twice; revisions agree with time across keys.",
    "Not proven: anything of other keys, other times, or faults that did not happen meanwhile. Run",
    "it while nodes are killed or cut off to learn more.",
)
