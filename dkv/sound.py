"""A map's fields checked in one expression: the hot way through a table of rules.

Owns: writing that expression out and compiling it, as namedtuple does. It answers only "sound, and
here are the values" or None; whoever asked then finds the words for what is wrong, the slow way.
Must never know what a field means.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Reader = Callable[[dict[Any, Any]], Any]


class Rule(NamedTuple):
    """A field: its type, the bounds of a number or of a length (None: of a bool), what stands for
    it where it is absent, whether nil is as good as absent, and the only values (None: any)."""

    name: str
    type: Any
    least: int
    most: int | None
    required: bool
    default: Any
    nil: bool
    among: frozenset[Any] | None = None


def reader(rules: Iterable[Rule], make: Any = dict) -> Reader:
    """What reads a map by these rules: its values in a dict by name, or in the NamedTuple `make`,
    whose fields are the rules in their order; None where one of them does not hold."""
    names: dict[str, Any] = {"make": make, "new": tuple.__new__}
    conditions, values = [], []
    for number, rule in enumerate(rules):
        x, kind, default = f"x{number}", f"type{number}", f"default{number}"
        names[kind], names[default] = rule.type, rule.default
        found = f"m.get({rule.name!r}, {default})"
        sound = f"type({x}) is {kind}{_bounds(rule, x)}"
        if rule.among is not None:
            names[f"among{number}"] = rule.among
            sound += f" and {x} in among{number}"
        value = x
        if rule.required:
            found = f"m.get({rule.name!r})"
        elif rule.nil:
            found = f"m.get({rule.name!r})"
            sound = f"({x} is None or {sound})"
            value = x if rule.default is None else f"{default} if {x} is None else {x}"
        conditions.append(sound.replace(x, f"({x} := {found})", 1))
        values.append((rule.name, value))
    if make is dict:
        result = "{" + ", ".join(f"{name!r}: {value}" for name, value in values) + "}"
    else:
        result = "new(make, (" + ", ".join(value for _name, value in values) + ",))"
    return eval(f"lambda m: {result} if {' and '.join(conditions) or True} else None", names)  # type: ignore[no-any-return]


def _bounds(rule: Rule, x: str) -> str:
    if rule.most is None:
        return ""
    size = x if rule.type is int else f"len({x})"
    return f" and {rule.least} <= {size} <= {rule.most}"
