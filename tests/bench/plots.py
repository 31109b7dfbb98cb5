"""`make bench-plots`: pictures of what was measured, into docs/plots/.

    python -m tests.bench.plots [FILE …]

Owns: how a report looks as a picture. Without FILE: build/bench.json, bench-scale.json and
bench-tail.json, those that exist. Must never measure. Needs matplotlib, the extra `bench`.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from tests.bench import figures, machine

_OUT = machine.ROOT / "docs" / "plots"
_COLOURS = {"dkv": "#1f6f8b", "etcd": "#c97b2e", "zookeeper": "#7a7a7a"}
_SERIES = {
    "keys": "keys in the store",
    "values": "bytes a value",
    "nodes": "nodes",
    "connections": "connections",
}
Told = dict[str, Any]


def compare(told: Told) -> list[Path]:
    return [
        _bars(told, "throughput", "operations a second", "per_second", alone=False),
        _bars(told, "wait", "median wait of one client, ms", "p50_ms", alone=True),
        _bars(told, "cpu", "CPU of all nodes, us an operation", "cpu_us", alone=False),
    ]


def _bars(told: Told, name: str, words: str, figure: str, *, alone: bool) -> Path:
    """Groups of bars, one a system; works with one outstanding alone, or all others."""
    middle = told["medians"]
    works = [w for w in middle if w.endswith("@1") == alone]
    systems = [s for s in _COLOURS if any(figures.best(middle, s, w) for w in works)]
    axes = _axes(7.5, 3.5)
    width = 0.8 / max(len(systems), 1)
    for place, system in enumerate(systems):
        found = [(x, figures.best(middle, system, work)) for x, work in enumerate(works)]
        shown = [(x + place * width, r) for x, r in found if r is not None]
        ranges = None
        if figure == "per_second":
            below = [r[figure] - r["range"][0] for _, r in shown]
            ranges = [below, [r["range"][1] - r[figure] for _, r in shown]]
        axes.bar(
            [x for x, _ in shown],
            [r[figure] for _, r in shown],
            width,
            yerr=ranges,
            label=f"{system} {told['versions'][system]}",
            color=_COLOURS[system],
            error_kw={"linewidth": 0.8},
        )
    middle_of_group = 0.4 - width / 2
    axes.set_xticks([x + middle_of_group for x in range(len(works))], works, rotation=20)
    axes.set_ylabel(words)
    axes.legend(frameon=False)
    return _save(told, f"compare-{name}")


def scale(told: Told) -> list[Path]:
    return [
        _lines(told, series, words)
        for series, words in _SERIES.items()
        if any(p["series"] == series and "cpu_us" in p for p in told["points"])
    ]


def _lines(told: Told, series: str, words: str) -> Path:
    axes = _axes(5.0, 3.5)
    points = [p for p in told["points"] if p["series"] == series and "cpu_us" in p]
    for what, outstanding in dict.fromkeys((p["what"], p["outstanding"] == 1) for p in points):
        chosen = [p for p in points if (p["what"], p["outstanding"] == 1) == (what, outstanding)]
        label = f"{what}, one at a time" if outstanding else what
        axes.plot([p["at"] for p in chosen], [p["cpu_us"] for p in chosen], "o-", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = sorted({p["at"] for p in points})
    axes.set_xticks(ticks, [f"{t:,}" for t in ticks], minor=False)
    axes.minorticks_off()
    axes.set_xlabel(words)
    axes.set_ylabel("CPU of all nodes, us an operation")
    axes.legend(frameon=False)
    return _save(told, f"scale-{series}")


def tail(told: Told) -> list[Path]:
    axes = _axes(7.5, 3.0)
    seconds = range(len(told["steady_by_second"]))
    axes.plot(seconds, [longest for _, longest in told["steady_by_second"]], linewidth=0.8)
    axes.set_xlabel("second")
    axes.set_ylabel("longest wait in it, ms")
    axes.set_ylim(bottom=0)
    return [_save(told, "tail-waits")]


def _axes(width: float, height: float) -> Axes:
    axes: Axes = pyplot.subplots(figsize=(width, height))[1]
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _save(told: Told, name: str) -> Path:
    """The machine and the commit stand below the picture: without them figures mean nothing."""
    where = told["machine"]
    pyplot.figtext(
        0.01,
        0.005,
        f"{told['commit']}, {told['when'][:10]}, {where['cores']} cores {where['cpu']}",
        fontsize=6,
        color="#555555",
    )
    pyplot.tight_layout(rect=(0, 0.03, 1, 1))
    path = _OUT / f"{name}.svg"
    _OUT.mkdir(parents=True, exist_ok=True)
    pyplot.savefig(path, metadata={"Date": None})
    pyplot.close()
    return path


_DRAWN: dict[str, Callable[[Told], list[Path]]] = {
    "compare": compare,
    "scale": scale,
    "tail": tail,
}


def main() -> None:
    usual = [machine.ROOT / "build" / f"bench{part}.json" for part in ("", "-scale", "-tail")]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plots")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files = parser.parse_args().files or [f for f in usual if f.exists()]
    if not files:
        sys.exit("nothing to draw: run make bench, bench-scale or bench-tail first")
    matplotlib.rcParams["svg.hashsalt"] = "dkv"  # the same figures, the same bytes
    for file in files:
        try:
            told = json.loads(file.read_text())
            draw = _DRAWN[told["kind"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.exit(f"{file}: no report of a measurement ({error!r})")
        for path in draw(told):
            print(path.relative_to(machine.ROOT))


if __name__ == "__main__":
    main()
