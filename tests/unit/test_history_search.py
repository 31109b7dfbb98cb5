"""The search against the definition: on tiny histories every order is tried, with a real revision
for each write. And what a failure shows holds by itself."""

from collections.abc import Iterator, Sequence
from random import Random

import pytest

from dkv.history import Operation, Verdict, check
from dkv.history.search import search
from dkv.history.window import Window, describe

VALUES = (b"a", b"b")
Key = tuple[bytes | None, int]  # value, and the revision of the last change


# -- the definition ------------------------------------------------------------------------------
def has_an_order(operations: Sequence[Operation], loose: Sequence[Operation] = ()) -> bool:
    """Whether some order, of all that were answered and some that were not, explains all."""
    top = max((o.revision or o.expected or 0 for o in (*operations, *loose)), default=0)
    return _goes_on(tuple(operations), tuple(loose), (None, 0), top + len(operations) + 9)


def _goes_on(rest: tuple[Operation, ...], loose: tuple[Operation, ...], at: Key, top: int) -> bool:
    if not any(o.is_known for o in rest):
        return True
    for o in rest:
        if any(p.ret is not None and p.ret < o.call for p in rest if p is not o):
            continue
        left = tuple(p for p in rest if p is not o)
        if any(_goes_on(left, loose, after, top) for after in _effects(o, at, top)):
            return True
    for o in loose:
        left = tuple(p for p in loose if p is not o)
        if any(_goes_on(rest, left, after, top) for after in _effects(o, at, top)):
            return True
    return False


def _effects(o: Operation, at: Key, top: int) -> Iterator[Key]:
    """What the key may be behind it; nothing where the answer does not fit."""
    value, revision = at
    shown = revision if value is not None else 0
    meets = o.expected in (None, shown) and (o.op != "cas" or value == o.source)
    if o.op == "get" or (o.is_known and not o.ok):
        fits = (value == o.out if o.op == "get" else not meets) and o.revision in (None, shown)
        yield from [at] if fits else []
        return
    if not meets or (o.found is not None and o.found != (value is not None)):
        return
    if o.op == "delete" and value is None:
        yield at
        return
    new = {"append": (value or b"") + (o.value or b""), "delete": None}.get(o.op, o.value)
    for taken in [o.revision] if o.revision is not None else range(revision + 1, top):
        if taken > revision:
            yield new, taken


# -- tiny histories ------------------------------------------------------------------------------
def tiny(rng: Random, counted: bool) -> list[Operation]:
    found = []
    for client in range(rng.randint(2, 6)):
        call = rng.randint(0, 8)
        ret = call + rng.randint(0, 4) if rng.random() < 0.75 else None
        ops = ("get", "get", "put", "delete", *(("cap",) * 2 if counted else ("cas", "append")))
        o = Operation(rng.choice(ops), b"k", call, ret, client=client)
        found.append(_answer(o, rng, counted))
    return found


def _answer(o: Operation, rng: Random, counted: bool) -> Operation:
    if o.op in ("put", "append", "cas", "cap"):
        o = o._replace(value=rng.choice(VALUES))
    if o.op == "cas":
        o = o._replace(source=rng.choice((None, *VALUES)))
    if o.op == "cap" or (o.op == "delete" and counted and rng.random() < 0.3):
        o = o._replace(expected=rng.randint(0, 4))
    if not o.is_known:
        return o
    if o.op == "get":
        o = o._replace(out=rng.choice((None, *VALUES, b"ab")))
    if o.op in ("cas", "cap") or o.expected is not None:
        o = o._replace(ok=rng.random() < 0.6)
    if o.op == "delete" and o.ok and rng.random() < 0.5:
        o = o._replace(found=rng.random() < 0.5)
    if counted and rng.random() < 0.5 and o.found is not False:
        least = 0 if o.op == "get" or not o.ok else 1
        o = o._replace(revision=rng.randint(least, 4))
    return o


@pytest.mark.parametrize("counted", [False, True])
def test_the_search_agrees_with_the_definition(counted: bool) -> None:
    good = 0
    for seed in range(3_000):
        history = tiny(Random(seed), counted)
        expected = has_an_order(history)
        verdict = search(history).verdict
        assert (verdict is Verdict.LINEARIZABLE) == expected, (seed, history)
        good += expected
    assert 500 < good < 2_500, good


@pytest.mark.parametrize("counted", [False, True])
def test_what_a_failure_shows_has_no_order_whatever_the_others_did(counted: bool) -> None:
    shorter = 0
    for seed in range(600):
        history = tiny(Random(seed), counted)
        outcome = search(history)
        if outcome.verdict is Verdict.LINEARIZABLE:
            continue
        window = check(history).window
        assert window is not None
        if "order" not in window.words:
            continue  # a clash of revisions
        begun = [o for o in history if o.call <= outcome.blocked_at and not o.observes]
        others = [o for o in begun if o not in window.operations]
        assert not has_an_order(window.operations, others), (seed, history)
        shorter += len(window.operations) < len(history)
    assert shorter > 50


def test_a_bound_is_no_verdict() -> None:
    history = [Operation("append", b"k", 0, 9, value=b"%d" % n) for n in range(9)]
    history.append(Operation("get", b"k", 10, 11, out=b"x"))
    outcome = search(history, (), states_max=50)
    assert outcome.verdict is Verdict.GAVE_UP
    assert check(history, 50).verdict is Verdict.GAVE_UP


def test_a_stale_read_is_shown_by_itself() -> None:
    history = [
        Operation("put", b"k", 100, 110, value=b"old", client=1),
        Operation("get", b"k", 111, 112, out=b"old", client=2),
        Operation("put", b"other", 115, 116, value=b"1", client=4),
        Operation("put", b"k", 120, 125, value=b"new", client=1),
        Operation("get", b"k", 130, 131, out=b"old", client=2),
        Operation("get", b"k", 140, 141, out=b"new", client=3),
    ]
    assert list(check(history).lines()) == [
        "No order of these explains every answer:",
        "  client 1  0 to 10   put 'k' = 'old': done",
        "  client 1  20 to 25  put 'k' = 'new': done",
        "  client 2  30 to 31  get 'k': 'old'",
    ]


def test_equal_times_are_concurrent() -> None:
    put = Operation("put", b"k", 1, 5, value=b"v")
    assert check([put, Operation("get", b"k", 5, 6)]).verdict is Verdict.LINEARIZABLE
    assert check([put, Operation("get", b"k", 6, 6)]).verdict is Verdict.NOT_LINEARIZABLE


def test_of_a_long_window_the_last_are_shown() -> None:
    long = tuple(Operation("get", b"k", n, n) for n in range(100))
    lines = list(describe(Window("words", long)))
    assert len(lines) == 42
    assert "60 earlier operations" in lines[1]
    assert lines[-1].startswith("  client 0  39 to 39")
