"""What a change of the membership would mean: arithmetic, before anything is asked.

Owns: voters, majorities and failures that can be borne, step by step. Must never know how a change
is made. `Step.alive` counts the voters that were up when the survey was made.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cli.output import Record


class Step(NamedTuple):
    """A moment in a change, in words, and the voters there then are."""

    what: str
    voters: tuple[str, ...]
    alive: int

    @property
    def majority(self) -> int:
        return len(self.voters) // 2 + 1

    @property
    def spare(self) -> int:
        """How many voters more may fail; negative: nothing can be written."""
        return self.alive - self.majority

    def record(self) -> Record:
        return {
            "step": self.what,
            "voters": len(self.voters),
            "majority": self.majority,
            "alive": self.alive,
            "survives": max(self.spare, 0),
            "writes": "yes" if self.spare >= 0 else "NO",
        }


def votes(survey: dict[str, Any]) -> dict[str, bool]:
    """The voters, and whether each is up."""
    voting = ("leader", "voter")
    return {m["name"]: bool(m["alive"]) for m in survey["members"] if m["role"] in voting}


def _step(what: str, known: dict[str, bool]) -> Step:
    return Step(what, tuple(sorted(known)), sum(known.values()))


def adding(survey: dict[str, Any], name: str, *, learner: bool) -> list[Step]:
    known = votes(survey)
    steps = [_step("now", known), _step(f"{name} is invited, joins and catches up", known)]
    return steps if learner else [*steps, _step(f"{name} votes", {**known, name: True})]


def promoting(survey: dict[str, Any], name: str) -> list[Step]:
    known = votes(survey)
    alive = any(m["alive"] for m in survey["members"] if m["name"] == name)
    return [_step("now", known), _step(f"{name} votes", {**known, name: alive})]


def removing(survey: dict[str, Any], name: str) -> list[Step]:
    known = votes(survey)
    left = {n: up for n, up in known.items() if n != name}
    return [_step("now", known), _step(f"{name} is removed", left)]


def replacing(survey: dict[str, Any], old: str, new: str) -> list[Step]:
    """The new one votes before the old one goes; under the same name that cannot be."""
    known = votes(survey)
    left = {n: up for n, up in known.items() if n != old}
    now = _step("now", known)
    if old == new:
        return [
            now,
            _step(f"{old} is removed", left),
            _step(f"{new} is invited, joins and catches up", left),
            _step(f"{new} votes", {**left, new: True}),
        ]
    return [
        now,
        _step(f"{new} is invited, joins and catches up", known),
        _step(f"{new} votes", {**known, new: True}),
        _step(f"{old} is removed", {**left, new: True}),
    ]


def worst(steps: Iterable[Step]) -> Step:
    return min(steps, key=lambda s: s.spare)
