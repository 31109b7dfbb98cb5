"""`dkvctl tail`: what is written, as it is applied.

Owns: a line a command, from all nodes' logs together; who leads, who is away. Must never know how
a node keeps its log.

Every node is asked for what comes behind the last entry that was printed, as soon as it has applied
it. Whoever is first is printed: an entry that was applied is the same everywhere. So a node may end
or fall behind, and nothing is missing.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from cli.endings import Ended, Exit
from cli.everyone import LOOK_S, Roll, alone
from cli.figures import time_words
from cli.keys import BYTES
from cli.options import Choices, SharedOptions
from cli.output import Record, Table, json_text, note, shown
from dkv.client import AsyncClient, Denied, RequestError

_TIMEOUT_S = 2.5
_BACKOFF_S, _BACKOFF_S_MAX = 0.5, 5.0
_FOUNDING = 1  # the first entry: nobody did it
_COLUMNS = ("time", "index", "term", "op", "author", "revision", "size", "took", "key")


@click.command(cls=SharedOptions)
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only this node's log.")
@click.option("--prefix", type=BYTES, help="Only commands on keys that begin so.")
@click.option("--author", metavar="NAME", help="Only commands of this certificate.")
@click.option(
    "--from", "first", type=click.IntRange(1), metavar="INDEX", help="Begin with this entry."
)
@click.pass_obj
def tail(
    run: Choices,
    nodes: tuple[str, ...],
    prefix: bytes | None,
    author: str | None,
    first: int | None,
) -> None:
    """Print each command as it is applied: what was done to which key, by whom, how fast.

    Begins with what comes from now on, and ends with Ctrl-C. TOOK is from the leader's proposal
    until it was applied at the node that told of it first. Values are not told. Needs the role
    admin.
    """
    if run.form == "raw":
        raise click.UsageError("-o raw is not for `tail`: take table, json or jsonl")
    asked = {"prefix": prefix, "author": author, "committed": True}
    try:
        asyncio.run(_tail(run, nodes, first, {k: v for k, v in asked.items() if v}))
    except RequestError as error:
        if isinstance(error, Denied):
            raise
        raise Ended(f"no node could be asked: {error}", Exit.UNAVAILABLE) from error


async def _tail(
    run: Choices, nodes: tuple[str, ...], first: int | None, asked: dict[str, Any]
) -> None:
    options = run.client_options()
    printer = Printer(run.form, has_all=not asked.keys() & {"prefix", "author"})
    async with Roll(options, nodes) as roll:
        printer.through = max(first - 1, _FOUNDING) if first else await _end(options, roll.names)
        followers = Followers(options, printer, asked)
        try:
            followers.begin(roll.names)
            while True:
                await followers.watch(LOOK_S)
                await roll.look()
                followers.keep_up(roll.names)
        finally:
            followers.end()


class Followers:
    """A task a node, by its address: who comes is asked too, and who was removed no more."""

    def __init__(self, options: dict[str, Any], printer: "Printer", asked: dict[str, Any]) -> None:
        self._options, self._printer, self._asked = options, printer, asked
        self._names: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, names: dict[str, str]) -> None:
        self._names = names
        for address in names.keys() - self._tasks.keys():
            name = names[address] or address
            work = _follow(self._options, address, name, self._printer, self._asked)
            self._tasks[address] = asyncio.create_task(work)
        for address in self._tasks.keys() - names.keys():
            self._tasks.pop(address).cancel()

    def keep_up(self, names: dict[str, str]) -> None:
        """A node that is found at another address has neither come nor gone."""
        before, now = set(self._names.values()), set(names.values())
        self.begin(names)
        for name in sorted(now - before):
            self._printer.come(name)
        for name in sorted(before - now):
            self._printer.leave(name)

    async def watch(self, patience_s: float) -> None:
        """For so long; raises what one of them raised."""
        tasks = self._tasks.values()
        done, _ = await asyncio.wait(tasks, timeout=patience_s, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def end(self) -> None:
        for task in self._tasks.values():
            task.cancel()


async def _end(options: dict[str, Any], names: dict[str, str]) -> int:
    """The last entry that any node has applied. Raises what the last one said if none answers."""

    async def ask(address: str) -> int | RequestError:
        async with alone(options, address, _TIMEOUT_S) as kv:
            try:
                return int((await kv.tail(committed=True))["after"])
            except Denied:
                raise
            except RequestError as error:
                return error

    found = await asyncio.gather(*map(ask, names))
    known = [index for index in found if isinstance(index, int)]
    if not known:
        raise next(error for error in found if isinstance(error, RequestError))
    return max(known)


async def _follow(
    options: dict[str, Any], address: str, name: str, printer: "Printer", asked: dict[str, Any]
) -> None:
    """One node's log; a node that is away is asked again, by and by more seldom."""
    wait_s = _BACKOFF_S
    while True:
        try:
            async with alone(options, address, _TIMEOUT_S) as kv:
                async for page in _pages(kv, printer, asked):
                    printer.take(name, page)
                    wait_s = _BACKOFF_S
        except Denied:
            raise
        except RequestError as error:
            printer.miss(name, str(error))
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _BACKOFF_S_MAX)


async def _pages(kv: AsyncClient, printer: "Printer", asked: dict[str, Any]) -> Any:
    """Behind what was printed: what another node has told already is not asked for."""
    while True:
        yield await kv.tail(**asked, after=printer.through, wait_ms=1_000)


class Printer:
    """`through`: the last entry that was printed, or left out. `has_all`: other entries than
    commands are printed too."""

    def __init__(self, form: str, *, has_all: bool) -> None:
        self.through = 0
        self._form, self._has_all = form, has_all
        self._table = Table(_COLUMNS)
        self._away: set[str] = set()
        self._led: tuple[int, str] = (0, "")

    def take(self, name: str, page: dict[str, Any]) -> None:
        """A page of a node: what is new of it."""
        if name in self._away:
            self._away.discard(name)
            self._event("back", f"{name} is back", node=name)
        led = page["term"], page["leader"]
        if page["leader"] and led > self._led:
            self._led = led
            self._event("leader", f"{led[1]} leads, term {led[0]}", leader=led[1], term=led[0])
        if page["first"] - 1 > self.through:
            gone = f"entries {self.through + 1} to {page['first'] - 1}"
            self._event("compacted", f"{gone} are no longer in the log of {name}", node=name)
        rows = [
            row
            for item in page["items"]
            if item["index"] > self.through
            for row in _rows(name, item, has_all=self._has_all)
        ]
        self.through = max(self.through, page["after"])
        self._print(rows)

    def miss(self, name: str, words: str) -> None:
        if name not in self._away:
            self._away.add(name)
            self._event("away", f"{name} is away, and asked again: {words}", node=name)

    def come(self, name: str) -> None:
        self._event("joined", f"{name} is a member now, and asked too", node=name)

    def leave(self, name: str) -> None:
        self._away.discard(name)
        self._event("left", f"{name} is no member any more", node=name)

    def _print(self, rows: list[Record]) -> None:
        if self._form != "table":
            for row in rows:
                click.echo(json_text(row))
        elif rows:
            self._table.add([_cells(row) for row in rows])
        sys.stdout.flush()

    def _event(self, what: str, words: str, **fields: Any) -> None:
        """Among the lines, for its place tells what was before and after; apart in a table."""
        if self._form == "table":
            note(click.style(f"-- {words}", bold=True))
        else:
            click.echo(json_text({"event": what, "words": words, **fields}))


def _took_us(item: dict[str, Any]) -> int | None:
    """From the leader's making it until it was applied at a node, by the clocks of both."""
    if item["applied_us"] is None:
        return None
    return int(max(item["received"] - item["proposed"], 0) * 1_000 + item["applied_us"])


def _rows(name: str, item: dict[str, Any], *, has_all: bool) -> Iterator[Record]:
    """A record a command; one of an entry that has none."""
    common = {"index": item["index"], "term": item["term"], "wall": item["proposed"]}
    last = {"took_us": _took_us(item), "origin": item["origin"], "told_by": name}
    fields = ("op", "key", "author", "revision", "size", "session", "code")
    for command in item["commands"]:
        yield {**common, **dict(zip(fields, command, strict=True)), **last}
    if not item["commands"] and has_all:
        nothing = dict.fromkeys(fields[1:])
        yield {**common, "op": item["kind"], **nothing, "size": item["bytes"], **last}


def _cells(row: Record) -> Record:
    """As a table shows it: a command that was refused says why, instead of a revision."""
    moment = time.localtime(row["wall"] / 1_000)
    refused = row["code"] not in (None, "ok")
    return {
        **row,
        "time": f"{time.strftime('%H:%M:%S', moment)}.{row['wall'] % 1_000:03}",
        "index": f"{row['index']:7}",
        "op": f"{row['op'] or '?':13}",
        "author": f"{shown(row['author'] or ''):8}",
        "size": f"{row['size']:5}",
        "revision": row["code"] if refused else f"{row['revision'] or '':>8}",
        "took": f"{'' if row['took_us'] is None else time_words(row['took_us']):>8}",
    }
