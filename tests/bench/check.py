"""`make bench-check`: does this tree's node cost more CPU an operation than an earlier commit's?

    python -m tests.bench.check BASE [--rounds 5] [--seconds 3] [--allow 10]

Owns: the earlier commit's worktree, the verdict. Throughput on a shared machine says little; the
CPU that the nodes spend on an operation says most, so that alone is judged: of all node processes,
in interleaved rounds, under the load generator of this tree. Exits 0: not worse; 1: worse; 2: could
not be measured.
"""

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench import figures, machine, orderly
from tests.bench.compare import one_run
from tests.bench.dkv import Dkv
from tests.bench.machine import Unfit
from tests.bench.processes import NotStarted
from tests.bench.sockets import Broken
from tests.bench.work import Work

WORKS = (Work("put", 64), Work("put", 256), Work("get", 64))
_WORSE, _UNFIT = 1, 2
_PACKAGES = ("dkv", "actors", "cli")


def checked_out(base: str, folder: Path, stack: ExitStack) -> Path:
    """The base commit's tree, removed when the stack closes. Unfit: there is no such commit."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=machine.ROOT, capture_output=True, text=True)

    if git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}").returncode:
        raise Unfit(f"BASE={base}: this repository has no such commit")
    tree = folder / "base"
    stack.callback(git, "worktree", "prune")
    stack.callback(git, "worktree", "remove", "--force", str(tree))
    made = git("worktree", "add", "--detach", str(tree), base)
    if made.returncode:
        raise Unfit(f"BASE={base} could not be checked out: {made.stderr.strip()}")
    lacking = [name for name in _PACKAGES if not (tree / name).is_dir()]
    if lacking:  # Python would quietly take the ones that are installed: those of this tree
        raise Unfit(f"BASE={base} has no {', '.join(lacking)}: it has no nodes to start")
    return tree


def started(name: str, folder: Path, source: Path, stack: ExitStack) -> Dkv:
    """Unfit: its cluster does not serve."""
    nodes = Dkv(folder, source=source)
    stack.callback(nodes.close)
    try:
        nodes.start()
    except (NotStarted, Broken) as error:
        raise Unfit(f"the cluster of {name} does not start: {error}") from error
    return nodes


class Pairs:
    """CPU microseconds an operation, of the base and of this tree, round by round."""

    def __init__(self, base: Dkv, this: Dkv, seconds: float) -> None:
        self._trees, self._seconds = {"base": base, "this": this}, seconds
        self.found: dict[str, list[tuple[float, float]]] = {w.name: [] for w in WORKS}

    def play(self, rounds: int) -> None:
        """Broken: a cluster did not answer."""
        done = len(self.found[WORKS[0].name])
        for number in range(done, done + rounds):
            order = ["base", "this"] if number % 2 == 0 else ["this", "base"]
            for work in WORKS:
                spent = {tree: self._cost_us(tree, work) for tree in order}
                self.found[work.name].append((spent["base"], spent["this"]))
                print(
                    f"  {number + 1}  {work.name:<8} {spent['base']:8.1f} {spent['this']:8.1f} us",
                    flush=True,
                )

    def _cost_us(self, tree: str, work: Work) -> float:
        nodes = self._trees[tree]
        record = one_run(nodes, nodes.clients()[0], work, self._seconds)
        assert record is not None
        if record["errors"]:
            raise Broken(f"{tree}: {record['errors']} errors at {work.name}")
        return float(record["cpu_us"])


def growth(pairs: list[tuple[float, float]]) -> float:
    """How much more this tree costs, as a share of the base: the median over the rounds, so that a
    disturbed round does not decide."""
    return median(this / base for base, this in pairs) - 1


def verdict(found: dict[str, list[tuple[float, float]]], allow: float) -> tuple[str, bool]:
    """A table, and whether any work costs more than `allow` (a share) more."""
    rows = [("work", "base us/op", "this us/op", "change", "")]
    worse = False
    for work, pairs in found.items():
        grown = growth(pairs)
        worse |= grown > allow
        base, this = median(b for b, _ in pairs), median(t for _, t in pairs)
        mark = "WORSE" if grown > allow else ""
        rows.append((work, f"{base:.1f}", f"{this:.1f}", f"{grown:+.1%}", mark))
    return figures.columns(rows), worse


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.check")
    parser.add_argument("base", help="a commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run, after 1 s")
    parser.add_argument("--allow", type=float, default=10.0, help="per cent")
    given = parser.parse_args()
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    try:
        with ExitStack() as stack:
            folder = orderly.scratch(stack)
            source = checked_out(given.base, folder, stack)
            base = started(given.base, folder / "base-nodes", source, stack)
            this = started("this tree", folder / "this-nodes", machine.ROOT, stack)
            pairs = Pairs(base, this, given.seconds)
            pairs.play(given.rounds)
            if verdict(pairs.found, given.allow / 100)[1]:
                print("worse: as many rounds again, to be sure")
                pairs.play(given.rounds)
    except (Unfit, Broken, ValueError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(_UNFIT)
    told, worse = verdict(pairs.found, given.allow / 100)
    print(f"\nCPU of all nodes an operation, {given.base} and this tree:\n{told}")
    if worse:
        sys.exit(_WORSE)


if __name__ == "__main__":
    orderly.run(main)
