"""Seeded bugs: each breaks one rule of dkv on purpose, in the tests' world only.

Owns: what a mutant is, and how it is put in and taken out. A simulation that finds no bug says
something only if it would have found these. Nothing of them is in dkv/ or actors/.

    catalogue.py     the mutants, each a sentence and the lines that it changes
    profiles.py      what the storm that looks for it leans to
    make mutants     the search: from seed 1 on until each is found, 2,000 at most
    found.json       the seed that found each; `make test` plays it again

A mutant is an edit of the real source: the text of a function with some words replaced, compiled
and put in the function's place. When the code changes under it, the edit no longer fits, and says
so.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from dkv.raft.table import HANDLERS
from tests.mutants.storm import Profile

SEEDS_MAX = 2_000


class Edit(NamedTuple):
    """In the function `name` of `owner` (a module or a class), `old` becomes `new`."""

    owner: Any
    name: str
    old: str
    new: str


class Mutant(NamedTuple):
    """`sentence`: what is broken, and the rule that this violates."""

    name: str
    sentence: str
    profile: Profile
    edits: tuple[Edit, ...]


@contextmanager
def living(mutant: Mutant) -> Iterator[None]:
    """The bug is in the code, here and now."""
    with ExitStack() as stack:
        for edit in mutant.edits:
            stack.enter_context(_edited(edit))
        yield


@contextmanager
def _edited(edit: Edit) -> Iterator[None]:
    before = edit.owner.__dict__[edit.name]
    after = _compiled(edit, before)
    places = _places(edit, before)
    for put in places:
        put(after)
    try:
        yield
    finally:
        for put in places:
            put(before)


def _compiled(edit: Edit, before: Any) -> Any:
    function = _function(before)
    source = getattr(function, "source", None) or textwrap.dedent(inspect.getsource(function))
    assert edit.old in source, f"{edit.name} no longer says {edit.old!r}: renew the mutant"
    source = source.replace(edit.old, edit.new)
    made: dict[str, Any] = {}
    exec(source, function.__globals__, made)
    after = made[function.__name__]
    _function(after).source = source  # for a second edit of the same function
    return after


def _function(known: Any) -> Any:
    """What a property or a static method is made of."""
    return getattr(known, "fget", None) or getattr(known, "__func__", known)


def _places(edit: Edit, before: Any) -> list[Callable[[Any], None]]:
    """Everywhere a function is known: its owner, who imported it, the table of handlers."""
    owners = [edit.owner]
    if inspect.ismodule(edit.owner):
        ours = [m for n, m in sys.modules.items() if n.split(".")[0] in ("dkv", "actors")]
        owners = [m for m in ours if m.__dict__.get(edit.name) is before]
    places: list[Callable[[Any], None]] = [
        lambda what, owner=owner: setattr(owner, edit.name, what) for owner in owners
    ]
    pairs = [pair for pair, handler in HANDLERS.items() if handler is before]
    return places + [lambda what, pair=pair: HANDLERS.__setitem__(pair, what) for pair in pairs]
