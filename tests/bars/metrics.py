"""What metrics cost a put: CPU of all nodes, with a metrics port that is scraped and without.

    python -m tests.bars.metrics [--rounds 9] [--seconds 3] [--every 5] [--base COMMIT]

Two clusters of three, in turn under the same load (64 puts under way), so many pairs; the one of
each pair that comes first changes. Every node of the one is scraped each `--every` seconds. The
other has no metrics port; with `--base` it runs that commit's code instead, so that what metrics
cost where nobody asks for them counts too. Prints each pair and the median of their ratios. Must
never decide whether that is good.
"""

import argparse
import threading
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from urllib.request import urlopen

from tests.bench import machine, orderly
from tests.bench.check import checked_out
from tests.bench.compare import one_run
from tests.bench.dkv import Dkv
from tests.bench.work import Work
from tests.real.cluster import free_ports

_WORK = Work("put", 64)


class Scraper:
    """A context: asks each port for its metrics, again and again while it is open."""

    def __init__(self, ports: list[int], every_s: float) -> None:
        self._ports, self._every_s = ports, every_s
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._scrape, daemon=True)

    def __enter__(self) -> "Scraper":
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._enough.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._enough.wait(self._every_s):
            for port in self._ports:
                with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    assert b"dkv_raft_term" in answer.read()


class Watched(Dkv):
    """Each node with a metrics port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        cluster = self.cluster
        self.ports = dict(zip(cluster.names, free_ports(len(cluster.names)), strict=True))
        flags = cluster.flags
        cluster.flags = lambda name, **changes: flags(  # type: ignore[method-assign]
            name, metrics_address=f"127.0.0.1:{self.ports[name]}", **changes
        )


def started(nodes: Dkv, stack: ExitStack) -> Dkv:
    stack.callback(nodes.close)
    nodes.start()
    return nodes


def cost_us(nodes: Dkv, seconds: float, every_s: float) -> float:
    ports = list(nodes.ports.values()) if isinstance(nodes, Watched) else []
    with Scraper(ports, every_s):
        record = one_run(nodes, nodes.clients()[0], _WORK, seconds)
    assert record is not None
    assert not record["errors"], record
    return float(record["cpu_us"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.metrics")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run, after 1 s")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two scrapes")
    parser.add_argument("--base", default="", help="a commit")
    given = parser.parse_args()
    ratios = []
    with ExitStack() as stack:
        folder = orderly.scratch(stack)
        source = checked_out(given.base, folder, stack) if given.base else machine.ROOT
        without = started(Dkv(folder / "without", source=source), stack)
        watched = started(Watched(folder / "with"), stack)
        for number in range(given.rounds):
            order = [without, watched] if number % 2 == 0 else [watched, without]
            spent = {nodes: cost_us(nodes, given.seconds, given.every) for nodes in order}
            ratios.append(spent[watched] / spent[without])
            print(
                f"{number + 1:>3}  without {spent[without]:7.1f} us a put, "
                f"with {spent[watched]:7.1f}, ratio {ratios[-1]:.3f}",
                flush=True,
            )
    print(f"median ratio of {len(ratios)} pairs: {median(ratios):.4f}")


if __name__ == "__main__":
    orderly.run(main)
