"""Histories of an atomic store, made by running one; and the ways in which such a history turns
certainly wrong.

Every operation has its effect at one moment between call and return, so a history as it comes is
linearizable. A mutation changes one answer of which it is sure, by construction, that no order can
explain it: values are written once, so a value says which write it is from.
"""

from collections.abc import Callable, Iterator
from random import Random

from dkv.history import Operation

KINDS = {
    "revisions": ("get", "get", "put", "cap", "cap", "delete"),  # as of dkv
    "values": ("get", "get", "put", "cas", "cas", "delete"),  # answers without revisions
    "appends": ("get", "append"),
}


class Store:
    """The real thing: a map with one counter."""

    def __init__(self) -> None:
        self.revision = 0
        self.values: dict[bytes, tuple[bytes, int]] = {}

    def apply(self, o: Operation) -> Operation:
        """The operation with its answer."""
        value, at = self.values.get(o.key, (None, 0))
        if o.op == "get":
            return o._replace(out=value, revision=at, store=self.revision)
        if o.op == "cas" and value != o.source:
            return o._replace(ok=False)
        if o.op == "cap" and at != o.expected:
            return o._replace(ok=False, revision=at, store=self.revision)
        if o.op == "delete" and value is None:
            return o._replace(found=False, store=self.revision)
        self.revision += 1
        if o.op == "delete":
            del self.values[o.key]
            return o._replace(found=True, revision=self.revision, store=self.revision)
        new = (value or b"") + (o.value or b"") if o.op == "append" else o.value
        assert new is not None
        self.values[o.key] = new, self.revision
        return o._replace(revision=self.revision, store=self.revision)


def record(seed: int, kind: str, count: int = 60) -> list[Operation]:
    """Clients one operation after another, on a few keys, with intervals around the moments."""
    rng, store = Random(seed), Store()
    unknown_share = rng.choice((0.0, 0.02, 0.1)) if kind != "appends" else 0.02
    keys = [b"k%d" % n for n in range(rng.randint(1, 3))]
    clients = rng.randint(2, 6)
    free = {n: rng.randint(0, 20) for n in range(clients)}
    history, moments = [], []
    for number in range(count):
        client = rng.choice(list(free))
        call = free[client] + rng.randint(0, 8)
        moment = call + rng.randint(0, 30)
        ret: int | None = moment + rng.randint(0, 30)
        free[client] = (ret or 0) + 1
        if rng.random() < unknown_share:
            ret = None
            moment += rng.choice((0, 0, 200))
            free[len(free) + 100] = free.pop(client)
        moments.append((moment, rng.random(), number, client, call, ret))
    for _moment, _die, number, client, call, ret in sorted(moments, key=lambda m: m[:2]):
        asked = _draw(rng, store, kind, rng.choice(keys), b"v%d." % number)
        answered = asked if ret is None and rng.random() < 0.4 else store.apply(asked)
        if ret is None:
            answered = asked
        history.append(answered._replace(client=client, call=call, ret=ret))
    if kind == "revisions":
        return sorted(history, key=lambda o: o.call)
    return [o._replace(revision=None, store=None) for o in sorted(history, key=lambda o: o.call)]


def _draw(rng: Random, store: Store, kind: str, key: bytes, value: bytes) -> Operation:
    op = rng.choice(KINDS[kind])
    asked = Operation(op, key, 0, None)
    now, at = store.values.get(key, (None, 0))
    guessed_right = rng.random() < 0.6
    if op in ("put", "append", "cas", "cap"):
        asked = asked._replace(value=value)
    if op == "cas":
        return asked._replace(source=now if guessed_right else b"no such value")
    if op == "cap":
        return asked._replace(expected=at if guessed_right else rng.randint(0, store.revision + 1))
    return asked


# -- certainly wrong -----------------------------------------------------------------------------
def _ended(history: list[Operation], *ops: str) -> list[Operation]:
    return [o for o in history if o.op in ops and o.ret is not None and o.ok]


def _writes(history: list[Operation]) -> list[Operation]:
    """Completed ones that set a value which only they set."""
    return _ended(history, "put", "cas", "cap")


def _before(one: Operation, other: Operation) -> bool:
    assert one.ret is not None
    return one.key == other.key and one.ret < other.call


def stale_read(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """A value that another had replaced before the read began."""
    writes = _writes(history)
    for read in _ended(history, "get"):
        newer = [w for w in writes if _before(w, read)]
        older = [w for w in writes if any(_before(w, n) for n in newer)]
        for w in older:
            yield read, read._replace(out=w.value, revision=w.revision, store=None)


def unwritten(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    for read in _ended(history, "get"):
        yield read, read._replace(out=b"from nowhere")


def foreseen(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """A value whose write began after the read had ended."""
    for read in _ended(history, "get"):
        for w in history:
            if w.op in ("put", "cas", "cap") and _before(read, w):
                yield read, read._replace(out=w.value, revision=None, store=None)


def lost(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """Nothing, after a write was acknowledged that nobody can have deleted meanwhile."""
    for read in _ended(history, "get"):
        deletes = [d for d in history if d.op == "delete" and d.key == read.key]
        for w in _ended(history, "put", "append"):
            apart = ((d.is_known and _before(d, w)) or _before(read, d) for d in deletes)
            if _before(w, read) and all(apart):
                yield read, read._replace(out=None, revision=None, store=None)


def twice(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """Two compare-and-puts that both replaced the same revision."""
    winners = {(o.key, o.expected) for o in _ended(history, "cap") if o.expected}
    for o in history:
        if o.op == "cap" and o.ret is not None and not o.ok and (o.key, o.expected) in winners:
            yield o, o._replace(ok=True, revision=None, store=None)


def backwards(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """A write at a lower revision than one that had ended before it began, on whatever key."""
    writes = [w for w in _writes(history) if w.revision]
    for late in writes:
        for early in writes:
            if (early.ret or 0) < late.call:
                yield late, late._replace(revision=early.revision, store=None)


def forgotten_append(history: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """A piece is missing that was acknowledged before the read began."""
    for read in _ended(history, "get"):
        for piece in _ended(history, "append"):
            if _before(piece, read) and read.out and piece.value and piece.value in read.out:
                yield read, read._replace(out=read.out.replace(piece.value, b"", 1) or None)


Mutation = Callable[[list[Operation]], Iterator[tuple[Operation, Operation]]]
MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "revisions": (stale_read, unwritten, foreseen, lost, twice, backwards),
    "values": (stale_read, unwritten, foreseen, lost),
    "appends": (unwritten, lost, forgotten_append),
}


def spoil(history: list[Operation], mutation: Mutation, rng: Random) -> list[Operation] | None:
    """The history with one answer changed; None where this one offers no place for it."""
    places = list(mutation(history))
    if not places:
        return None
    old, new = rng.choice(places)
    return [new if o is old else o for o in history]
