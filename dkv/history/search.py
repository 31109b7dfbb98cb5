"""Is there an order of one key's operations that explains every answer?

Owns: the search of Wing and Gong (1993), with Lowe's memory of configurations (2017): an operation
may come next if no other that must still come had ended before it began. Must never know files,
other keys or how a failure is told.

Three things keep it short, none of which changes a verdict:

- An answer that fits and teaches nothing new is taken at once: the others lose nothing by it.
- What need not have happened (an unknown outcome) is taken only together with an operation behind
  it whose effect or fit it changes. Otherwise it might as well never have happened.
- Of two equal operations that need not have happened, the earlier comes first.

A search that has met `states_max` configurations gives up. That is no verdict.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from dkv.history.model import ABSENT, State, step
from dkv.history.operation import Operation

STATES_MAX = 2_000_000


class Verdict(Enum):
    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "NOT linearizable"
    GAVE_UP = "not decided"


class Outcome(NamedTuple):
    """`blocked_at`: the least `ret` by which it has failed, if it has."""

    verdict: Verdict
    states: int
    blocked_at: int = 0


class Configuration(NamedTuple):
    """What has been ordered: all of the first `low` that must come, of those behind them the bits
    of `window`; of those that may come the bits of `maybe`. `fresh`: the last one need not have
    happened, and must be looked at next."""

    low: int
    window: int
    maybe: int
    state: int
    fresh: bool


def search(
    operations: Sequence[Operation],
    loose: Sequence[Operation] = (),
    states_max: int = STATES_MAX,
) -> Outcome:
    """The operations of one key. `loose` ones may have happened at any time, before their call
    too, or never."""
    return _Search(operations, loose).run(states_max)


class _Search:
    def __init__(self, operations: Sequence[Operation], loose: Sequence[Operation]) -> None:
        everything = (*operations, *loose)
        self._counts = any(o.revision is not None or o.expected is not None for o in everything)
        must = sorted((o for o in operations if o.is_known), key=lambda o: o.call)
        may = sorted((o for o in operations if _may_matter(o)), key=lambda o: o.call)
        may = [o for o in loose if not o.observes] + may
        self._must = must
        self._ops = must + may
        self._calls = [o.call for o in must]
        self._rets = [o.ret or 0 for o in must]
        self._observes = [o.observes for o in must]
        self._blind = [o.is_blind for o in self._ops]
        self._wants = [_wanted(o) for o in self._ops]
        free = len(may) - sum(_may_matter(o) for o in operations)
        self._may_calls = [min(self._calls, default=0)] * free + [o.call for o in may[free:]]
        self._twins = _twins(may)
        self._ids: dict[State, int] = {ABSENT: 0}
        self._states = [ABSENT]
        self._steps: list[dict[int, int]] = [{} for _ in self._ops]  # state -> state, or -1

    def run(self, states_max: int) -> Outcome:
        """Depth first, over a stack of what is still to be tried."""
        seen: set[int] = set()
        stack = [Configuration(0, 0, 0, 0, False)]
        furthest = -1
        while stack:
            here, open_ids, ret = self._settle(stack.pop())
            if here.low == len(self._must):
                return Outcome(Verdict.LINEARIZABLE, len(seen))
            key = self._packed(here)
            if key in seen:
                continue
            seen.add(key)
            if len(seen) > states_max:
                return Outcome(Verdict.GAVE_UP, len(seen))
            furthest = max(furthest, ret)
            stack.extend(self._next(here, open_ids, ret))
        return Outcome(Verdict.NOT_LINEARIZABLE, len(seen), furthest)

    def _packed(self, here: Configuration) -> int:
        masks = ((here.window << len(self._may_calls)) | here.maybe) << 1 | here.fresh
        return masks << 64 | here.low << 32 | here.state

    # -- what may come next ----------------------------------------------------------------------
    def _settle(self, here: Configuration) -> tuple[Configuration, list[int], int]:
        """Take every answer that fits and changes nothing; then what else may come next of those
        that must, and the `ret` before which it must."""
        while True:
            open_ids, ret = self._open(here.low, here.window)
            taken = 0
            for i in open_ids:
                if self._observes[i] and self._step(i, here.state) == here.state:
                    taken |= 1 << (i - here.low)
            if not taken:
                return here, open_ids, ret
            low, window = _slide(here.low, here.window | taken)
            here = here._replace(low=low, window=window, fresh=False)

    def _open(self, low: int, window: int) -> tuple[list[int], int]:
        """Those not ordered that began before, or as, the first of them ended."""
        found: list[int] = []
        total, calls, rets = len(self._calls), self._calls, self._rets
        first = -1
        while True:
            bit = ~window & (window + 1)
            i = low + bit.bit_length() - 1
            if i >= total or (found and calls[i] > first):
                return found, first
            if not found or rets[i] < first:
                first = rets[i]
            found.append(i)
            window |= bit

    def _next(self, here: Configuration, open_ids: list[int], ret: int) -> Iterator[Configuration]:
        """In the order in which a stack wants them: the most promising last."""
        yield from self._next_maybe(here, open_ids, ret)
        open_ids.sort(key=self._rets.__getitem__, reverse=True)
        for i in open_ids:
            if here.fresh and self._blind[i]:
                continue
            state = self._step(i, here.state)
            if state >= 0:
                yield self._taken(here, i, state)

    def _next_maybe(
        self, here: Configuration, open_ids: list[int], ret: int
    ) -> Iterator[Configuration]:
        """One that need not have happened, together with the one behind it that looks at it."""
        base = len(self._must)
        count = bisect_right(self._may_calls, ret)
        open_maybe = [
            j for j in range(count) if not here.maybe >> j & 1 and self._is_first(j, here.maybe)
        ]
        lookers = self._lookers([*open_ids, *(base + j for j in open_maybe)])
        for j in open_maybe:
            state = self._step(base + j, here.state)
            if state < 0 or state == here.state or (here.fresh and self._blind[base + j]):
                continue
            there = here._replace(maybe=here.maybe | 1 << j, state=state, fresh=True)
            if here.fresh:  # it is itself the one that looks
                yield there
                continue
            for i in (*lookers.get(self._states[state].value, ()), *lookers[_SOMETHING]):
                after = self._step(i, state)
                if i != base + j and after >= 0 and after != self._step(i, here.state):
                    yield self._taken(there, i, after)

    def _taken(self, here: Configuration, i: int, state: int) -> Configuration:
        base = len(self._must)
        if i >= base:
            return here._replace(maybe=here.maybe | 1 << (i - base), state=state)
        low, window = _slide(here.low, here.window | 1 << (i - here.low))
        return Configuration(low, window, here.maybe, state, False)

    def _lookers(self, ids: list[int]) -> dict[object, list[int]]:
        found: dict[object, list[int]] = {_SOMETHING: []}
        for i in ids:
            if not self._blind[i]:
                found.setdefault(self._wants[i], []).append(i)
        return found

    def _is_first(self, j: int, maybe: int) -> bool:
        earlier = self._twins[j]
        return earlier < 0 or bool(maybe >> earlier & 1)

    def _step(self, i: int, state: int) -> int:
        known = self._steps[i]
        found = known.get(state)
        if found is None:
            after = step(self._ops[i], self._states[state], self._counts)
            found = -1 if after is None else self._number(after)
            known[state] = found
        return found

    def _number(self, state: State) -> int:
        number = self._ids.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
        return number


def _slide(low: int, window: int) -> tuple[int, int]:
    """Past those that are ordered without a gap."""
    ones = (~window & (window + 1)).bit_length() - 1
    return low + ones, window >> ones


# What an operation needs to find in the key: a value, something that only a step can tell, or
# nothing at all.
_SOMETHING = object()
_NOTHING = object()


def _wanted(operation: Operation) -> object:
    if operation.is_blind:
        return _NOTHING
    if operation.op == "get":
        return operation.out
    if operation.op == "cas" and (operation.ok or not operation.is_known):
        return operation.source
    return _SOMETHING


def _may_matter(operation: Operation) -> bool:
    """An unknown outcome that could have changed something."""
    return not operation.is_known and operation.op != "get"


def _twins(operations: list[Operation]) -> list[int]:
    """For each the last before it that is the same but for its times, or -1."""
    last: dict[Operation, int] = {}
    found = []
    for j, operation in enumerate(operations):
        same = operation._replace(call=0, ret=None, client=0, node="", store=None, ok=True)
        found.append(last.get(same, -1))
        last[same] = j
    return found
