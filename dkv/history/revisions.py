"""The store's counter, across keys: what revisions in answers must obey beside each key's order.

Owns: the rules. Must never know a key's values; those are the search's.

1. No two writes have the same revision.
2. Time and revisions agree: what began after an answer is at no lower a revision than that answer,
   and a write at a higher one.
3. A read as of the store's revision s has seen every write of its key up to s that is known.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from dkv.history.operation import Operation
from dkv.history.window import Window


def clash(operations: Sequence[Operation]) -> Window | None:
    """The first pair of answers that break a rule."""
    done = [o for o in operations if o.is_known]
    found = chain(_same(operations), _backwards(done), _unseen(done))
    return next(found, None)


def _took(operation: Operation) -> int | None:
    """The revision that a write was given; None where it was given none, or it is not told."""
    return None if operation.observes else operation.revision or None


def _same(operations: Sequence[Operation]) -> Iterator[Window]:
    owners: dict[int, Operation] = {}
    for operation in operations:
        revision = _took(operation)
        if revision is not None:
            if revision in owners:
                yield Window("Two writes have the same revision:", (owners[revision], operation))
            owners[revision] = operation


def _backwards(done: list[Operation]) -> Iterator[Window]:
    """A sweep over time: the highest revision answered so far, and who begins behind it."""
    ended = sorted(done, key=lambda o: o.ret or 0)
    highest, owner, place = 0, None, 0
    for operation in sorted(done, key=lambda o: o.call):
        while place < len(ended) and (ended[place].ret or 0) < operation.call:
            least = max(ended[place].store or 0, ended[place].revision or 0)
            if least > highest:
                highest, owner = least, ended[place]
            place += 1
        took = _took(operation)
        at = operation.store if took is None else took
        if owner is None or at is None:
            continue
        if at < highest or (took is not None and at == highest):
            words = "The second began after the first had ended, and is not at a later revision:"
            if took is None:
                words = "The second began after the first had ended, and is at an earlier revision:"
            yield Window(words, (owner, operation))


def _unseen(done: list[Operation]) -> Iterator[Window]:
    writes: dict[bytes, list[tuple[int, Operation]]] = defaultdict(list)
    for operation in done:
        took = _took(operation)
        if took is not None:
            writes[operation.key].append((took, operation))
    order = {key: sorted(found, key=lambda w: w[0]) for key, found in writes.items()}
    for read in done:
        if read.store is None or not read.revision or _took(read) is not None:
            continue
        known = order.get(read.key, [])
        place = bisect_right(known, read.store, key=lambda w: w[0])
        if place and known[place - 1][0] > read.revision:
            words = (
                "The second is as of a revision at which the first was done, and does not see it:"
            )
            yield Window(words, (known[place - 1][1], read))
