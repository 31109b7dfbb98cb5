"""What an operation does to one key: a value, and the revision at which it was set.

Owns: the meaning of each op, and what is known of a revision. Must never know time or order.

A write whose answer was lost has a revision that nobody was told. It is larger than the one before
it, smaller than the next, none that a failed condition has excluded, and exact as soon as an answer
names it. So one state stands for all the revisions that are still possible, and a step has one
successor or none.
"""

from typing import NamedTuple

from dkv.history.operation import Operation


class State(NamedTuple):
    """`revision` is exact, or the least of those possible. Of an absent key (`value` None) it is
    that of its deletion, and a read says 0."""

    value: bytes | None = None
    revision: int = 0
    exact: bool = True
    excluded: frozenset[int] = frozenset()  # above `revision`, where that is not exact


ABSENT = State()


def step(operation: Operation, state: State, counts: bool) -> State | None:
    """The state after it, or None where its answer does not fit. An unknown outcome is taken as a
    success: that it never happened is for the search to say. `counts`: revisions matter."""
    if operation.op == "get":
        return observe(state, operation.revision) if state.value == operation.out else None
    if operation.op == "put":
        return _write(state, operation.value, operation, counts)
    if operation.op == "append":
        return _write(state, (state.value or b"") + (operation.value or b""), operation, counts)
    if operation.op == "cas":
        return _compare_value(operation, state, counts)
    if operation.expected is not None:
        return _compare_revision(operation, state, counts)
    return _delete(operation, state, counts)


def observe(state: State, revision: int | None) -> State | None:
    """An answer named the key's revision."""
    if revision is None:
        return state
    if state.value is None or revision == 0:
        return state if state.value is None and revision == 0 else None
    if state.exact:
        return state if revision == state.revision else None
    if revision < state.revision or revision in state.excluded:
        return None
    return State(state.value, revision)


def _exclude(state: State, revision: int) -> State | None:
    """The key is not at this revision (0: it is not absent)."""
    if state.value is None or revision == 0:
        is_there = state.value is None and revision == 0
        return None if is_there else state
    if state.exact:
        return None if revision == state.revision else state
    excluded = set(state.excluded) | ({revision} if revision >= state.revision else set())
    least = state.revision
    while least in excluded:
        excluded.discard(least)
        least += 1
    return State(state.value, least, False, frozenset(excluded))


def _write(state: State, value: bytes | None, operation: Operation, counts: bool) -> State | None:
    if not counts:
        return State(value)
    if operation.revision is None:
        return State(value, state.revision + 1, False)
    return State(value, operation.revision) if operation.revision > state.revision else None


def _compare_value(operation: Operation, state: State, counts: bool) -> State | None:
    fits = state.value == operation.source
    if not operation.ok and operation.is_known:
        return None if fits else observe(state, operation.revision)
    return _write(state, operation.value, operation, counts) if fits else None


def _compare_revision(operation: Operation, state: State, counts: bool) -> State | None:
    assert operation.expected is not None
    if not operation.ok and operation.is_known:
        left = _exclude(state, operation.expected)
        return None if left is None else observe(left, operation.revision)
    found = observe(state, operation.expected)
    if found is None:
        return None
    return (
        _delete(operation, found, counts)
        if operation.op == "delete"
        else (_write(found, operation.value, operation, counts))
    )


def _delete(operation: Operation, state: State, counts: bool) -> State | None:
    """A deletion of nothing changes nothing, and takes no revision."""
    if operation.found is not None and operation.found != (state.value is not None):
        return None
    if state.value is None:
        return state
    return _write(state, None, operation, counts)
