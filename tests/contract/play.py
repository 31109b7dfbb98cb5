"""One script of random steps for two implementations of a port, and the shortest one that differs.

Owns: drawing a script from a seed, playing it, shrinking it. Must never know what a step does: that
is the pair's, which plays each step on both sides and raises `Difference` where they differ.

A step is a name and a number; what it does follows from these and from what is there, so any of
them can be left out and the rest still means something.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, Protocol

from dkv.errors import Fault


class Step(NamedTuple):
    name: str
    number: int


class Difference(Exception):
    """The two sides do not show the same."""


class Pair(Protocol):
    """Two sides of one contract, on an empty folder."""

    weights: dict[str, int]

    def play(self, step: Step) -> None: ...

    def end(self) -> None: ...


Make = Callable[[Path], Pair]


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, in a form that both sides share: a refusal is its ending."""
    try:
        return call()
    except Fault as fault:
        return ("fault", fault.ending)
    except Exception as error:
        raise Difference(f"it raised {error!r}") from error


def same(what: str, memory: Any, real: Any) -> None:
    if memory != real:
        raise Difference(f"{what}\n    memory: {memory!r:.600}\n    real:   {real!r:.600}")


def script(seed: int, weights: dict[str, int], length: int) -> list[Step]:
    dice = Random(f"contract {seed}")
    names = dice.choices(list(weights), list(weights.values()), k=length)
    return [Step(name, dice.getrandbits(32)) for name in names]


@contextmanager
def folder() -> Iterator[Path]:
    """In memory where that exists: a crash is decided here, not by this machine's disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as found:
        yield Path(found)


def play(make: Make, steps: list[Step]) -> str:
    """The first difference, in words; empty if there is none."""
    with folder() as place:
        pair = make(place)
        number = 0
        try:
            for number, step in enumerate(steps):  # noqa: B007
                pair.play(step)
        except Difference as difference:
            return f"after {number + 1} steps: {difference}"
        finally:
            pair.end()
    return ""


def shrink(make: Make, steps: list[Step]) -> list[Step]:
    """Fewer steps that still differ: leave out halves, quarters, ... single ones."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            if play(make, fewer):
                steps = fewer
            else:
                at += size
        size //= 2
    return steps


def differs(make: Make, seed: int, weights: dict[str, int], length: int) -> str:
    """Play one seed; what to print when the sides differ."""
    steps = script(seed, weights, length)
    if not play(make, steps):
        return ""
    steps = shrink(make, steps)
    told = "\n".join(f"    {step}" for step in steps)
    return f"DKV_SEED={seed}: {play(make, steps)}\n{told}"
