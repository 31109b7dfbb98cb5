"""A history in, a verdict out.

Owns: the order of the questions: each key by itself, then the counter across keys. Must never know
where a history comes from, or who reads the verdict.

Linearizability is local (Herlihy and Wing, 1990): a history is linearizable if it is so key by key.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dkv.history.operation import Operation
from dkv.history.revisions import clash
from dkv.history.search import STATES_MAX, Verdict, search
from dkv.history.window import Window, describe, shortest


class Report(NamedTuple):
    """What was found, and how much was looked at."""

    verdict: Verdict
    operations: int
    keys: int
    unknown: int
    states: int
    window: Window | None = None
    undecided: tuple[bytes, ...] = ()  # keys whose search gave up

    def lines(self) -> Iterator[str]:
        """The window in words; nothing where there is none."""
        if self.window is not None:
            yield from describe(self.window)


def check(
    operations: Sequence[Operation], states_max: int = STATES_MAX, explain: bool = True
) -> Report:
    """`states_max` bounds the search of each key; without `explain` no window is looked for. A
    failure anywhere outweighs a search that gave up; of several the earliest is told."""
    by_key: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    outcomes = {key: search(found, (), states_max) for key, found in by_key.items()}
    failed = {k: o for k, o in outcomes.items() if o.verdict is Verdict.NOT_LINEARIZABLE}
    undecided = tuple(k for k, o in outcomes.items() if o.verdict is Verdict.GAVE_UP)
    window = clash(operations)
    if explain and window is None and failed:
        key = min(failed, key=lambda k: failed[k].blocked_at)
        window = shortest(by_key[key], failed[key].blocked_at)
    verdict = Verdict.LINEARIZABLE
    if undecided:
        verdict = Verdict.GAVE_UP
    if failed or window is not None:
        verdict = Verdict.NOT_LINEARIZABLE
    unknown = sum(not o.is_known for o in operations)
    states = sum(o.states for o in outcomes.values())
    return Report(verdict, len(operations), len(by_key), unknown, states, window, undecided)
