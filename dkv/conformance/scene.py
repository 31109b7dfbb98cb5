"""What plays are written in: how one is declared, and what is expected of an answer.

Owns: the list of plays, the words for an answer that should be another. Must never know a socket.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dkv.conformance.driver import Broken
from dkv.conformance.node import Reply, Seen, refusal
from dkv.conformance.stage import Stage

CLASSES = ("rejected", "uncertain")
_SHOWN = 160  # characters of a driver's words

Fields = dict[str, Any]
React = Callable[[Seen], list[Reply] | None]


class Play(NamedTuple):
    """`size` nodes; `several`: the driver must work on several lines at once; `sessionless`: it
    must know writes without a session."""

    rule: str
    go: Callable[[Stage], None]
    size: int
    several: bool
    sessionless: bool

    @property
    def name(self) -> str:
        return self.go.__name__


PLAYS: list[Play] = []


def play(
    rule: str, *, size: int = 1, several: bool = False, sessionless: bool = False
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Declares a play of a rule."""

    def declare(go: Callable[[Stage], None]) -> Callable[[Stage], None]:
        PLAYS.append(Play(rule, go, size, several, sessionless))
        return go

    return declare


# -- what is expected ----------------------------------------------------------------------------
def expect(holds: object, words: str) -> None:
    if not holds:
        raise Broken(words)


def done(stage: Stage, number: int, what: str = "the call") -> Fields:
    """The `ok` of a line, which a node has been asked for."""
    line = stage.answer(number)
    found = line.get("ok")
    if type(found) is not dict:
        raise Broken(f"{what} should have succeeded and ended as {_error(line)}")
    expect(stage.asked(stage.ops[number]), f"{what} is said to have succeeded: no node was asked")
    return found


def _failed(stage: Stage, number: int, kind: str, what: str) -> Fields:
    line = stage.answer(number)
    error = line.get("error")
    if type(error) is not dict:
        raise Broken(f"{what} should be {kind} and ended as {str(line)[:200]}")
    expect(error.get("class") == kind, f"{what} should be {kind} and ended as {_error(line)}")
    is_definite = error.get("applied") == "no"
    expect(is_definite == (kind == "rejected"), f"class and `applied` differ: {_error(line)}")
    return error


def rejected(stage: Stage, number: int, what: str = "the call") -> Fields:
    """The error of a line that ended definitely: it did not happen."""
    return _failed(stage, number, "rejected", what)


def uncertain(stage: Stage, number: int, what: str = "the call") -> Fields:
    return _failed(stage, number, "uncertain", what)


def _error(line: Fields) -> str:
    error = line.get("error")
    if type(error) is not dict:
        return str(line)[:200]
    if error.get("class") not in CLASSES:
        return f"an error whose class is {error.get('class')!r}, not one of {', '.join(CLASSES)}"
    how = f"{error['class']}, {error.get('code')}, applied {error.get('applied')}"
    return f"{how} ({str(error.get('words')).strip()[:_SHOWN]})"


# -- what nodes do -------------------------------------------------------------------------------
SILENCE: list[Reply] = []


def refuse(code: str, applied: str = "no", leader: str = "", **more: Any) -> list[Reply]:
    return [Reply(refusal(code, applied, leader, **more))]


def first(ops: str | tuple[str, ...], count: int, react: React) -> React:
    """To the first so many requests of these ops react so; to everything else as ever."""
    names = (ops,) if isinstance(ops, str) else ops
    left = [count]

    def decide(seen: Seen) -> list[Reply] | None:
        if seen.op not in names or left[0] == 0:
            return None
        left[0] -= 1
        return react(seen)

    return decide


def always(ops: str, react: React) -> React:
    return first(ops, 1_000_000, react)
