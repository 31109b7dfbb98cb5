"""The figures of `dkvctl bench`: as a record for programs, as tables and bars for people.

Owns: names, units and rounding; how a histogram looks on a terminal. Must never know how anything
was measured.
"""

from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from cli.output import Record
from dkv.load.costs import STAGES, Cost, Status, cost_of, revision_of
from dkv.load.generator import Result
from dkv.load.latency import Latencies

_BARS = 16
_BAR_CELLS = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
_ACTORS = ("gateway", "consensus", "log", "machine")


class Measured(NamedTuple):
    """A run, and what each node said of itself before and after it."""

    result: Result
    before: dict[str, Status]
    after: dict[str, Status]
    interrupted: bool

    @property
    def costs(self) -> dict[str, Cost | None]:
        """Of every node that was asked at least once."""
        operations = self.result.puts_all + self.result.gets_all
        return {
            name: cost_of(self.before.get(name), self.after.get(name), operations)
            for name in sorted(self.before.keys() | self.after.keys())
        }


# -- for programs --------------------------------------------------------------------------------
def record(plan: dict[str, Any], measured: Measured) -> Record:
    """Everything; times in microseconds, rates a second. `all` is warm-up and last answers too."""
    result = measured.result
    done = result.puts.count + result.gets.count
    return {
        "plan": plan,
        "seconds": round(result.seconds, 6),
        "interrupted": measured.interrupted,
        "operations": done,
        "per_second": _rate(done, result.seconds),
        "puts": _latencies(result.puts, result.seconds),
        "gets": _latencies(result.gets, result.seconds),
        "errors": result.errors,
        "unknown_puts": result.unknown,
        "late_answers": result.late,
        "moved_connections": result.moved,
        "all": {"puts": result.puts_all, "gets": result.gets_all},
        "revision": {
            "before": revision_of(measured.before),
            "after": revision_of(measured.after),
        },
        "client_us": {
            "thread": _each(result.thread_us, done),
            "process": _each(result.process_us, done),
        },
        "nodes": {n: None if c is None else _cost(c) for n, c in measured.costs.items()},
    }


def _latencies(found: Latencies, seconds: float) -> Record:
    shares = {f"{name}_us": found.percentile_us(share) for name, share in _SHARES}
    return {
        "count": found.count,
        "per_second": _rate(found.count, seconds),
        "mean_us": round(found.mean_us, 1),
        **shares,
        "max_us": found.max_us,
        "histogram": {str(start): count for start, _end, count in found.counts()},
    }


def _cost(cost: Cost) -> Record:
    fields = cost._asdict()
    for name in ("us", "turns_per_entry"):
        if fields[name]:
            fields[name] = {k: round(v, 2) for k, v in fields[name].items()}
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in fields.items()}


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _each(us: int, count: int) -> float | None:
    return round(us / count, 2) if count else None


# -- for people ----------------------------------------------------------------------------------
def words(found: Record, measured: Measured, *, stages: bool) -> str:
    """The same on a terminal."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    with console.capture() as captured:
        console.print(_summary(found))
        console.print(_timing(found))
        for name, latencies in (("put", measured.result.puts), ("get", measured.result.gets)):
            if latencies.count:
                console.print(f"\n{name}: how many took how long")
                for line in bars(latencies):
                    console.print(line)
        console.print()
        console.print(_processor(found))
        if stages:
            console.print()
            console.print(_stages(found))
        for line in _troubles(found):
            console.print(line)
    return captured.get().rstrip()


def _summary(found: Record) -> str:
    plan = found["plan"]
    how = f"{plan['outstanding']} under way on {plan['clients']} connection"
    how += "s" if plan["clients"] > 1 else ""
    if plan["pipeline"] > 1:
        how += f", {plan['pipeline']} in a message"
    return (
        f"{found['operations']:,} operations in {found['seconds']:.2f} s: "
        f"{found['per_second']:,.0f} a second ({how})"
    )


def _timing(found: Record) -> Table:
    table = _table("", "a second", "mean", *(name for name, _share in _SHARES), "max")
    for kind in ("puts", "gets"):
        one = found[kind]
        if one["count"]:
            shares = (time_words(one[f"{name}_us"]) for name, _share in _SHARES)
            mean, longest = time_words(one["mean_us"]), time_words(one["max_us"])
            table.add_row(kind, f"{one['per_second']:,.0f}", mean, *shares, longest)
    return table


def bars(found: Latencies) -> list[str]:
    """A histogram: each bar is some times longer in time than the one before."""
    heights = found.bars(_BARS)
    most = max((height for _from, _to, height in heights), default=1)
    return [
        f"{time_words(start):>9} – {time_words(end):<9} {count:>9,}  {_bar(count / most)}".rstrip()
        for start, end, count in heights
    ]


def _bar(share: float) -> str:
    """What is there is seen, however small."""
    eighths = max(round(share * _BAR_CELLS * 8), 1 if share else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def time_words(us: float) -> str:
    if us < 1_000:
        return f"{us:.0f} us"
    if us < 1_000_000:
        return f"{us / 1_000:.{2 if us < 100_000 else 0}f} ms"
    return f"{us / 1_000_000:.2f} s"


def _processor(found: Record) -> Table:
    """Microseconds an operation."""
    table = _table("processor, us an operation", "all", *STAGES)
    client = found["client_us"]
    if client["thread"] is not None:
        rest = client["process"] - client["thread"]
        thread = f"{client['thread']:.1f}"
        table.add_row("this client", f"{client['process']:.1f}", thread, "", "", f"{rest:.1f}")
    for name, cost in found["nodes"].items():
        us = cost and cost["us"]
        cells = [f"{us[s]:.1f}" for s in ("process", *STAGES)] if us else ["?"] * 5
        table.add_row(f"{name} {cost['role']}" if cost else name, *cells)
    return table


def _stages(found: Record) -> Table:
    """A node a column: how the work was cut."""
    costs = {name: cost for name, cost in found["nodes"].items() if cost is not None}
    table = _table("stages", *(f"{name} {cost['role']}" for name, cost in costs.items()))
    rows: list[tuple[str, list[float | None]]] = [
        ("entries", [c["entries"] for c in costs.values()]),
        ("commands an entry", [c["commands_per_entry"] for c in costs.values()]),
        ("syncs an entry", [c["syncs_per_entry"] for c in costs.values()]),
        ("us a sync", [c["us_per_sync"] for c in costs.values()]),
    ]
    for actor in _ACTORS:
        turns = [(c["turns_per_entry"] or {}).get(actor) for c in costs.values()]
        rows.append((f"turns of {actor} an entry", turns))
    for head, figures in rows:
        table.add_row(head, *map(_figure, figures))
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"


def _troubles(found: Record) -> list[str]:
    lines = []
    if found["errors"]:
        named = ", ".join(f"{code} {count:,}" for code, count in found["errors"].items())
        lines.append(f"errors: {named}")
    if found["unknown_puts"]:
        lines.append(f"{found['unknown_puts']:,} puts may or may not have happened")
    if found["late_answers"]:
        lines.append(f"{found['late_answers']:,} answers came after they had been given up")
    if found["moved_connections"]:
        lines.append(f"connections moved to another node: {found['moved_connections']:,}")
    unknown = [name for name, cost in found["nodes"].items() if cost is None]
    if unknown:
        lines.append(f"no costs of {', '.join(unknown)}: away, or started again meanwhile")
    return ["", *lines] if lines else []


def _table(*heads: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    return table
