"""What a seed was, in figures; and those of many together.

Owns: the sums, and what a run must have met at least, for a simulation that never elects or refuses
proves nothing. Must never know how a seed is played.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

RARE = 0.01  # each of MUST_OCCUR in at least this share of the seeds
MUST_OCCUR = (
    *("elections", "truncations", "retries", "installs", "refusals"),
    *("compactions", "lists_ended"),
)


class Report(NamedTuple):
    seed: int
    size: int
    seconds: float  # virtual
    operations: int  # with a definite answer
    unknown: int
    elections: int  # terms that had a leader, beside the first
    truncations: int
    retries: int  # answered from what a session remembers
    installs: int  # of snapshots
    refusals: int  # nodes that stopped, or did not start, for a reason with a name
    compactions: int  # acknowledged
    lists_ended: int  # lists that a compaction has passed, and that said so
    faults: dict[str, int]
    endings: dict[str, int]
    trace: str
    changes: dict[str, int] = {}  # of the membership, done


class Totals:
    def __init__(self) -> None:
        self.seeds = 0
        self.sums: Counter[str] = Counter()
        self.seen_in: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.sizes[report.size] += 1
        for name in ("seconds", "operations", "unknown", *MUST_OCCUR):
            self.sums[name] += getattr(report, name)
            self.seen_in[name] += getattr(report, name) > 0
        self.faults.update(report.faults)
        self.endings.update(report.endings)
        self.changes.update(report.changes)

    def missing(self) -> list[str]:
        """What occurred in too few seeds; of a few seeds nothing is asked."""
        if self.seeds < 1 / RARE:
            return []
        return [name for name in MUST_OCCUR if self.seen_in[name] < RARE * self.seeds]

    def lines(self) -> Iterator[str]:
        yield f"{self.seeds} seeds, {self.sums['seconds']:,.0f} virtual seconds"
        yield "nodes       " + ", ".join(f"{n}: {c}" for n, c in sorted(self.sizes.items()))
        yield f"operations  {self.sums['operations']:,}, outcome unknown {self.sums['unknown']:,}"
        for name in MUST_OCCUR:
            share = self.seen_in[name] / max(self.seeds, 1)
            yield f"{name:11s} {self.sums[name]:,} in {share:.0%} of the seeds"
        yield "faults      " + ", ".join(f"{n} {c:,}" for n, c in sorted(self.faults.items()))
        yield "changes     " + ", ".join(f"{n} {c:,}" for n, c in sorted(self.changes.items()))
        yield "endings     " + ", ".join(f"{n} {c:,}" for n, c in sorted(self.endings.items()))
