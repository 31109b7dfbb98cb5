"""The shortest part of a history that no order explains, and how it is told to people.

Owns: what is left out of a failure, and its words. Must never decide a verdict: each step asks the
search again.

Leaving out must be honest, for a get looks wrong to whoever does not see the put that it read. A
read is left out as it is: less is asked then. A write that is left out may still have happened, at
any time or never. What is not linearizable so is not linearizable with all of it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dkv.history.operation import Operation
from dkv.history.search import Verdict, search

_STATES_MAX = 2_000  # of each question; an undecided one leaves in what it asked about
_STATES_TOTAL = 40_000
_SEARCHES_MAX = 2_000
_SHOWN_MAX = 40


class Window(NamedTuple):
    """`others`: so many other writes of the key were left out."""

    words: str
    operations: tuple[Operation, ...]
    others: int = 0


def shortest(operations: Sequence[Operation], blocked_at: int) -> Window:
    """Of one key's operations, which fail by the `ret` of `blocked_at`."""
    begun = [o for o in operations if o.call <= blocked_at]
    early = [o for o in begun if not (o.observes and (o.ret is None or o.ret > blocked_at))]
    left = _Reduction(sorted(early, key=lambda o: (o.call, o.ret or 0))).reduce()
    loose = len([o for o in early if not o.observes]) - sum(not o.observes for o in left)
    return Window("No order of these explains every answer:", tuple(left), loose)


class _Reduction:
    """Leave out halves, quarters, single ones, as long as what is left still fails."""

    def __init__(self, operations: list[Operation]) -> None:
        self._kept = operations
        self._loose: list[Operation] = []
        self._states = 0
        self._searches = 0

    def reduce(self) -> list[Operation]:
        """Reads first: what is left then shows the writes that the last of them contradict."""
        for reads_only in (True, False):
            size = max(len(self._kept) // 2, 1)
            while self._has_patience():
                changed = self._sweep(size, reads_only)
                if size == 1 and not changed:
                    break
                size = max(size // 2, 1)
        return self._kept

    def _sweep(self, size: int, reads_only: bool) -> bool:
        """From the beginning on: what is oldest is needed least."""
        changed, start = False, 0
        while start < len(self._kept) and self._has_patience():
            part = self._kept[start : start + size]
            stays = [o for o in part if reads_only and not o.observes]
            kept = self._kept[:start] + stays + self._kept[start + size :]
            loose = self._loose + [o for o in part if not reads_only and not o.observes]
            if len(stays) < len(part) and self._fails(kept, loose):
                self._kept, self._loose, changed = kept, loose, True
                start += len(stays)
            else:
                start += size
        return changed

    def _fails(self, kept: list[Operation], loose: list[Operation]) -> bool:
        outcome = search(kept, loose, _STATES_MAX)
        self._states += outcome.states * (1 + len(loose) // 50)  # each is looked at in each
        self._searches += 1
        return outcome.verdict is Verdict.NOT_LINEARIZABLE

    def _has_patience(self) -> bool:
        return self._states < _STATES_TOTAL and self._searches < _SEARCHES_MAX


# -- in words ------------------------------------------------------------------------------------
def describe(window: Window) -> Iterator[str]:
    """Lines; times count from the first that is shown. Of a long window the last are: there the
    answers begin not to fit."""
    yield window.words
    shown = window.operations[-_SHOWN_MAX:]
    if len(shown) < len(window.operations):
        hidden = len(window.operations) - len(shown)
        yield f"  … {hidden:,} earlier operations of this key, which may be needed too"
    begin = min(o.call for o in shown)
    rows = [(_who(o), _when(o, begin), _what(o)) for o in shown]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for who, when, what in rows:
        yield f"  {who:{widths[0]}}  {when:{widths[1]}}  {what}"
    if window.others:
        writes = "write" if window.others == 1 else "writes"
        yield (
            f"(so it is whatever {window.others:,} other {writes} of the key, begun before its "
            "end, did, and whenever)"
        )


def _who(o: Operation) -> str:
    return f"client {o.client}" + (f" at {o.node}" if o.node else "")


def _when(o: Operation, begin: int) -> str:
    end = "?" if o.ret is None else f"{o.ret - begin:,}"
    return f"{o.call - begin:,} to {end}"


def _what(o: Operation) -> str:
    words = _ASKED[o.op](o)
    if o.op == "delete" and o.expected is not None:
        words += f" {_at(o.expected)}"
    if not o.is_known:
        return f"{words}: outcome unknown"
    return words + _answered(o)


_ASKED = {
    "get": lambda o: f"get {_value(o.key)}",
    "put": lambda o: f"put {_value(o.key)} = {_value(o.value)}",
    "append": lambda o: f"append to {_value(o.key)}: {_value(o.value)}",
    "delete": lambda o: f"delete {_value(o.key)}",
    "cas": lambda o: f"put {_value(o.key)} = {_value(o.value)} if it is {_value(o.source)}",
    "cap": lambda o: f"put {_value(o.key)} = {_value(o.value)} {_at(o.expected)}",
}


def _at(expected: int | None) -> str:
    return f"if it is at revision {expected}" if expected else "if it is absent"


def _answered(o: Operation) -> str:
    if o.op == "get":
        words = f": {_value(o.out)}"
    elif not o.ok:
        words = ": refused, it was not"
    elif o.found is not None:
        words = ": done" if o.found else ": there was nothing"
    else:
        words = ": done"
    if o.revision:
        words += f", revision {o.revision}"
    elif o.revision == 0 and not o.ok:
        words += ", but absent"
    return words + (f" (store {o.store})" if o.store is not None else "")


def _value(value: bytes | None) -> str:
    """Bytes that anybody may have written: nothing of them may drive a terminal."""
    if value is None:
        return "nothing"
    text = ascii(value.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 60 else f"{text[:40]}…{text[-16:]} ({len(value)} bytes)"
