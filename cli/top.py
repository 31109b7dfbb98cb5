"""`dkvctl top`: the nodes at work, again and again.

Owns: which figures of two statuses are shown, and how a frame looks. Must never know how a node
counts: what is shown is what its counters grew by, over the time between.
"""

import asyncio
import time
from itertools import zip_longest
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.everyone import Roll, alone
from cli.figures import time_words
from cli.options import Choices, SharedOptions
from cli.output import Record, json_text
from dkv.client import AsyncClient, Denied, RequestError
from dkv.counters import percentile_us

ACTORS = ("gateway", "consensus", "log", "machine")
_TIMEOUT_S = 1.0
_BAR_CELLS = 10
_PIPE_CELLS = 120  # where there is no terminal, nothing is cut
_EIGHTHS = " ▏▎▍▌▋▊▉█"
Status = dict[str, Any]


@click.command(cls=SharedOptions)
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only this node.")
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How often to ask.",
)
@click.option("--once", is_flag=True, help="One frame, of one interval.")
@click.pass_obj
def top(run: Choices, nodes: tuple[str, ...], interval: float, once: bool) -> None:
    """Show what every node does: how far it is, how busy its actors are, how fast it applies.

    Of each actor: the share of the time in which it worked, its turns a second, how long one took
    on average, how many letters it had, and how long one can have waited at most since the start.
    Ends with Ctrl-C. With -o json or jsonl: a record of all nodes a line.
    """
    if run.form == "raw":
        raise click.UsageError("-o raw is not for `top`: take table, json or jsonl")
    asyncio.run(_top(run, nodes, interval, once))


async def _top(run: Choices, nodes: tuple[str, ...], interval: float, once: bool) -> None:
    options = run.client_options()
    async with Roll(options, nodes) as roll:
        watch = Watch(options, roll, max(_TIMEOUT_S, interval))
        try:
            await watch.ask()
            if run.form != "table" or once:
                await _print(run.form, watch, interval, once)
            else:
                await _show(watch, interval)
        finally:
            await watch.close()


async def _show(watch: "Watch", interval: float) -> None:
    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(interval)
            live.update(frame(await watch.ask()), refresh=True)


async def _print(form: str, watch: "Watch", interval: float, once: bool) -> None:
    while True:
        await asyncio.sleep(interval)
        found = await watch.ask()
        if form == "table":
            console = Console(highlight=False)
            if not console.is_terminal:
                console.width = _PIPE_CELLS
            console.print(frame(found))
        else:
            click.echo(json_text({"wall": time.time_ns() // 1_000_000, "nodes": found}))
        if once:
            return


# -- asking --------------------------------------------------------------------------------------
class Sample:
    """What the nodes said of themselves, by address, each with the second in which it came; or why
    one said nothing."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[float, Status]] = {}
        self.silent: dict[str, str] = {}


class Watch:
    """A client of each node that is on the roll, and what all said last."""

    def __init__(self, options: dict[str, Any], roll: Roll, timeout_s: float) -> None:
        self._options, self._roll, self._timeout_s = options, roll, timeout_s
        self._clients: dict[str, AsyncClient] = {}
        self._before = Sample()

    async def ask(self) -> list[Record]:
        """A record a node: what has grown since it was asked before."""
        names = self._roll.names
        for address in names.keys() - self._clients.keys():
            self._clients[address] = alone(self._options, address, self._timeout_s)
        for address in self._clients.keys() - names.keys():
            await self._clients.pop(address).close()
        now = Sample()
        await asyncio.gather(
            self._roll.look(), *(_ask(now, a, kv) for a, kv in self._clients.items())
        )
        found = records(self._before, now, names)
        self._before = now
        return found

    async def close(self) -> None:
        await asyncio.gather(*(kv.close() for kv in self._clients.values()))


async def _ask(sample: Sample, address: str, kv: AsyncClient) -> None:
    try:
        found = await kv.status(0)
        sample.known[address] = time.monotonic(), found
    except Denied:
        raise
    except RequestError as error:
        sample.silent[address] = str(error)


# -- figures -------------------------------------------------------------------------------------
def records(before: Sample, now: Sample, names: dict[str, str]) -> list[Record]:
    """A record a node; rates are None where it was not asked twice in one life of it."""
    furthest = max((s["consensus"]["commit"] for _at, s in now.known.values()), default=0)
    found = []
    for address, name in names.items():
        if address not in now.known:
            found.append({"node": name or address, "away": now.silent[address]})
            continue
        at_s, status = now.known[address]
        then_s, then = before.known.get(address, (at_s, status))
        seconds = at_s - then_s if then["node"]["pid"] == status["node"]["pid"] else 0.0
        found.append(_record(then, status, seconds, furthest))
    return sorted(found, key=lambda record: str(record["node"]))


def _record(then: Status, now: Status, seconds: float, furthest: int) -> Record:
    def rate(*path: str) -> float | None:
        return _grown(then, now, path) / seconds if seconds else None

    commands, entries = (rate("machine", "counters", name) for name in ("commands", "entries"))
    syncs, sync_us = rate("log", "syncs"), rate("log", "sync_us")
    cpu_us = rate("node", "cpu", "process_us")
    consensus, machine, log = now["consensus"], now["machine"], now["log"]
    return {
        "node": now["node"]["name"],
        **{name: consensus[name] for name in ("role", "leader", "term", "commit")},
        "applied": machine["applied"],
        "lag": furthest - machine["applied"],
        "commands_per_s": commands,
        "commands_per_entry": _share(commands, entries),
        **_took(then, now, seconds),
        "cpu": None if cpu_us is None else cpu_us / 1_000_000,
        "sync_us": _share(sync_us, syncs),
        "in_flight": now["gateway"]["in_flight"],
        "keys": machine["keys"],
        "log_bytes": log["log_bytes"],
        "state_bytes": machine["state_bytes"],
        "actors": {actor: _work(actor, then, now, seconds) for actor in ACTORS},
    }


def _took(then: Status, now: Status, seconds: float) -> Record:
    """Of the writes that it has answered meanwhile; an older node does not say."""
    before, after = (status["gateway"].get("took", {}).get("write", ()) for status in (then, now))
    grown = [late - early for early, late in zip_longest(before, after, fillvalue=0)]
    counts = grown if seconds else ()
    shares = (("p50", 0.5), ("p99", 0.99))
    return {f"write_{name}_us": percentile_us(counts, share) for name, share in shares}


def _work(actor: str, then: Status, now: Status, seconds: float) -> Record:
    turns, letters, busy_us = (
        _grown(then, now, (actor, "counters", name)) for name in ("turns", "letters", "busy_us")
    )
    counters = now[actor]["counters"]
    return {
        "busy": busy_us / 1_000_000 / seconds if seconds else None,
        "turns_per_s": turns / seconds if seconds else None,
        "turn_us": _share(busy_us, turns),
        "letters_per_turn": _share(letters, turns),
        "depth": counters.get("depth", 0),
        "depth_max": counters.get("depth_max", 0),
        "oldest_us_max": counters.get("oldest_us_max", 0),
    }


def _grown(then: Status, now: Status, path: tuple[str, ...]) -> int:
    return _at(now, path) - _at(then, path)


def _at(status: Any, path: tuple[str, ...]) -> int:
    for name in path:
        status = status.get(name) or {}
    return status if isinstance(status, int) else 0


def _share(amount: float | None, count: float | None) -> float | None:
    return amount / count if amount is not None and count else None


# -- a frame -------------------------------------------------------------------------------------
def frame(found: list[Record]) -> Group:
    """Two tables under a line that says how the cluster is."""
    present = [record for record in found if "away" not in record]
    lines = [Text(f"{r['node']} is away: {r['away']}", style="bold red") for r in _away(found)]
    return Group(_head(present), Text(), _nodes(present), Text(), _actors(present), *lines)


def _away(found: list[Record]) -> list[Record]:
    return [record for record in found if "away" in record]


def _head(present: list[Record]) -> Text:
    leading = max(present, key=lambda r: (r["role"] == "leader", r["term"]), default=None)
    if leading is None:
        return Text("no node answers", style="bold red")
    text = Text(f"{leading['leader']} leads" if leading["leader"] else "no leader", style="bold")
    text.append(f", term {leading['term']}", style="default")
    if leading["commands_per_s"] is not None:
        text.append(f"    {leading['commands_per_s']:,.0f} commands a second", style="default")
    text.append(f"    {time.strftime('%H:%M:%S')}", style="dim")
    return text


def _nodes(present: list[Record]) -> Table:
    heads = ("role", "commit", "lag", "cmd/s", "batch", "p50", "p99", "cpu", "sync", "keys")
    table = _table("node", *heads, "log", "state")
    table.padding = (0, 1, 0, 0)  # many columns, and a terminal has 80 cells
    for r in present:
        style = "bold" if r["role"] == "leader" else ""
        table.add_row(
            Text(r["node"], style=style),
            Text(r["role"], style=style),
            f"{r['commit']:,}",
            Text(f"{r['lag']:,}", style="red" if r["lag"] > 1_000 else ""),
            _figure(r["commands_per_s"]),
            "" if r["commands_per_entry"] is None else f"{r['commands_per_entry']:.1f}",
            *(_time(r[f"write_{share}_us"]) for share in ("p50", "p99")),
            "" if r["cpu"] is None else f"{r['cpu']:.0%}",
            _time(r["sync_us"]),
            _size(r["keys"]),
            _size(r["log_bytes"]),
            _size(r["state_bytes"]),
        )
    return table


def _actors(present: list[Record]) -> Table:
    table = _table("node", "actor", "busy", "", "turns/s", "a turn", "letters", "oldest, max")
    table.columns[1].justify = table.columns[3].justify = "left"
    for r in present:
        for actor, work in r["actors"].items():
            busy = work["busy"]
            table.add_row(
                r["node"] if actor == ACTORS[0] else "",
                actor,
                "" if busy is None else f"{busy:.0%}",
                Text(_bar(busy or 0), style="red" if (busy or 0) > 0.8 else "cyan"),
                _figure(work["turns_per_s"]),
                "" if work["turn_us"] is None else time_words(work["turn_us"]),
                "" if work["letters_per_turn"] is None else f"{work['letters_per_turn']:.1f}",
                time_words(work["oldest_us_max"]),
            )
    return table


def _bar(share: float) -> str:
    eighths = round(min(share, 1.0) * _BAR_CELLS * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(_BAR_CELLS)


def _size(count: int) -> str:
    """Three digits and a letter: many columns must fit a terminal."""
    number, unit = float(count), ""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5 or unit == "T":
            break
        number /= 1_000
    return f"{number:.1f}{unit}" if unit and number < 9.95 else f"{number:.0f}{unit}"


def _time(us: float | None) -> str:
    """Two or three digits: the columns are many."""
    if us is None:
        return ""
    return f"{us / 1_000:.{1 if us < 9_950 else 0}f}ms" if us < 999_500 else f"{us / 1e6:.1f}s"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    table.columns[1].justify = "left"
    return table
