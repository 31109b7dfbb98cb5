"""From rounds to what is printed: medians, void rounds, ratios, the table, the line at the end.

Owns: the rule for void rounds, the rule for who does not sync, which of etcd's clients counts.
Pure: must never know processes or files.

`rounds` everywhere: a list of rounds, each a mapping from work to contestant to record, where a
contestant is "system/client" and a record is `Measured.record()` with what the meter added.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Record = dict[str, Any]
Round = Mapping[str, Mapping[str, Record]]
Known = Mapping[str, Mapping[str, float]]  # work → contestant → usual operations a second

VOID_BELOW = 0.8  # of etcd's usual figure
YARDSTICK = "etcd"
FLUSHES_A_PUT_MIN = 1.0  # at one outstanding: the least that a put on a majority of disks can need

# In the order of the line at the end: (its name, dkv's work, the others' work).
RATIOS = (
    ("put@1", "put@1", "put@1"),
    ("put@64", "put@64", "put@64"),
    ("put@256", "put@256", "put@256"),
    ("get@1", "get@1", "get@1"),
    ("get@64", "get@64", "get@64"),
    ("get@256", "get@256", "get@256"),
    ("pipelined", "pipelined put@256", "put@256"),
    ("pipelined-get", "pipelined get@256", "get@256"),
)


def system_of(contestant: str) -> str:
    return contestant.partition("/")[0]


def usual(rounds: Sequence[Round], work: str) -> dict[str, float]:
    """Operations a second of each of etcd's clients at a work: the median of all its rounds."""
    found: dict[str, list[float]] = {}
    for each in rounds:
        for contestant, record in each.get(work, {}).items():
            if system_of(contestant) == YARDSTICK:
                found.setdefault(contestant, []).append(record["per_second"])
    return {contestant: median(rates) for contestant, rates in found.items()}


def is_void(each: Round, work: str, usually: Mapping[str, float]) -> bool:
    """Whether etcd, by any of its clients, was so slow at this work in this round that the machine
    must have been busy with something else: then nobody's figure counts."""
    return any(
        each[work][contestant]["per_second"] < VOID_BELOW * rate
        for contestant, rate in usually.items()
        if contestant in each.get(work, {})
    )


def valid(rounds: Sequence[Round], work: str, known: Known | None = None) -> list[Round]:
    """The rounds in which this work was done and that are not void. What is usual comes from
    these rounds, unless it is `known` from earlier ones."""
    usually = usual(rounds, work)
    earlier = (known or {}).get(work, {})
    usually |= {c: rate for c, rate in earlier.items() if c in usually}
    return [r for r in rounds if r.get(work) and not is_void(r, work, usually)]


def medians(rounds: Sequence[Round], known: Known | None = None) -> dict[str, dict[str, Record]]:
    """By work and contestant: of each figure, the median of the valid rounds; `rounds`: how many
    those were; `range`: the least and the most operations a second."""
    works = dict.fromkeys(work for each in rounds for work in each)
    found: dict[str, dict[str, Record]] = {}
    for work in works:
        good = valid(rounds, work, known)
        for contestant in dict.fromkeys(c for each in good for c in each[work]):
            records = [each[work][contestant] for each in good if contestant in each[work]]
            found.setdefault(work, {})[contestant] = _fold(records)
    return found


def _fold(records: Sequence[Record]) -> Record:
    folded: Record = {}
    for name in records[0]:
        values = [r[name] for r in records if r.get(name) is not None]
        numbers = [v for v in values if isinstance(v, int | float)]
        folded[name] = median(numbers) if numbers else (values[0] if values else None)
    rates = [r["per_second"] for r in records]
    return folded | {"rounds": len(records), "range": [min(rates), max(rates)]}


def unsynced(middle: Mapping[str, Mapping[str, Record]]) -> list[str]:
    """Systems whose puts, one at a time, made fewer flushes of the disk than puts: they answer
    before the disk has it, and do not count. Without counted flushes nothing is known: none."""
    found = []
    for contestant, record in middle.get("put@1", {}).items():
        flushes = record.get("flushes_per_second")
        if flushes is not None and flushes < FLUSHES_A_PUT_MIN * record["per_second"]:
            found.append(system_of(contestant))
    return sorted(set(found))


def best(middle: Mapping[str, Mapping[str, Record]], system: str, work: str) -> Record | None:
    """A system's record at a work; of several clients the one that makes it look best: the shorter
    wait at one outstanding, otherwise the more operations."""
    records = [r for c, r in middle.get(work, {}).items() if system_of(c) == system]
    if not records:
        return None
    if work.endswith("@1"):
        return min(records, key=lambda r: float(r["p50_ms"]))
    return max(records, key=lambda r: float(r["per_second"]))


def ratio(
    middle: Mapping[str, Mapping[str, Record]], ours: str, other: str, theirs: str
) -> float | None:
    """dkv over the other: of the median waits at one outstanding (less is better), otherwise of
    the operations a second (more is better). None: one of them was not measured, or does not
    sync."""
    mine, its = best(middle, "dkv", ours), best(middle, other, theirs)
    if mine is None or its is None or {"dkv", other} & set(unsynced(middle)):
        return None
    name = "p50_ms" if ours.endswith("@1") else "per_second"
    return float(mine[name]) / float(its[name])


def ratios(middle: Mapping[str, Mapping[str, Record]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {other: ratio(middle, ours, other, theirs) for other in ("etcd", "zookeeper")}
        for name, ours, theirs in RATIOS
    }


def line(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """`ratios put@1 1.30/1.71 …`: over etcd, then over ZooKeeper; `-`: not measured."""

    def words(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    parts = (f"{n} {words(r['etcd'])}/{words(r['zookeeper'])}" for n, r in found.items())
    return " ".join(("ratios", *parts))


_COLUMNS = (
    *("work", "who", "ops/s", "least..most", "p50 ms", "p99 ms", "max ms"),
    *("CPU us/op", "client", "flushes/s", "errors", "rounds"),
)


def table(middle: Mapping[str, Mapping[str, Record]]) -> str:
    rows = [
        (
            work,
            contestant,
            f"{r['per_second']:,.0f}",
            f"{r['range'][0]:,.0f}..{r['range'][1]:,.0f}",
            f"{r['p50_ms']:.2f}",
            f"{r['p99_ms']:.2f}",
            f"{r['max_ms']:.1f}",
            f"{r['cpu_us']:.0f}",
            f"{r['client_cpu_us']:.0f}",
            "-" if r.get("flushes_per_second") is None else f"{r['flushes_per_second']:,.0f}",
            f"{r['errors']:.0f}",
            f"{r['rounds']}",
        )
        for work, contestants in middle.items()
        for contestant, r in contestants.items()
    ]
    return columns((_COLUMNS, *rows), left=2)


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Text in columns; the first `left` are flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
