"""What a change of the membership would mean: arithmetic, before anything is asked.

Owns: voters, majorities and failures that can be borne, step by step; and whether a leader would
refuse the change, as far as a survey of the members tells. Must never know how a change is made.
`Step.alive` counts the voters that were up when the survey was made.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cli.output import Record
from dkv.limits import MEMBERS_MAX


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


# -- would it be refused? ------------------------------------------------------------------------
def objection(survey: dict[str, Any], steps: Iterable[Step], *, force: bool) -> str:
    """Why these steps cannot be made, whoever the members are; nothing, if they can."""
    if survey["pending"]:
        return f"the change before it, entry {survey['index']}, is not committed yet"
    least = worst(steps)
    if not least.voters:
        return f"after '{least.what}' nobody would vote"
    if least.spare < 0 and not force:
        up = f"{least.alive} of {least.majority} needed voters are up"
        return f"after '{least.what}' {up}: it needs --force"
    return ""


def role_of(survey: dict[str, Any], name: str) -> str:
    """leader, voter, learner or invited; nothing, where there is no such member."""
    return next((str(m["role"]) for m in survey["members"] if m["name"] == name), "")


def objection_to_adding(survey: dict[str, Any], name: str) -> str:
    """An invitation may be repeated until it is taken up; a member may not be invited."""
    role = role_of(survey, name)
    if role in ("leader", "voter"):
        return f"{name} is a member already"
    if not role and len(survey["members"]) >= MEMBERS_MAX:
        return f"a cluster has at most {MEMBERS_MAX} members, and this one has them"
    return ""


def objection_to_promoting(survey: dict[str, Any], name: str) -> str:
    role = role_of(survey, name)
    if role == "learner":
        return ""
    return f"{name} {_NO_LEARNER[role]}" if role else _stranger(survey, name)


def objection_to_changing(survey: dict[str, Any], name: str) -> str:
    """Of removing, updating or replacing it."""
    return "" if role_of(survey, name) else _stranger(survey, name)


_NO_LEARNER = {
    "leader": "votes already",
    "voter": "votes already",
    "invited": "has not come yet",
}


def _stranger(survey: dict[str, Any], name: str) -> str:
    known = ", ".join(m["name"] for m in survey["members"])
    return f"{name} is no member; the members are {known}"
