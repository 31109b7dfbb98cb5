"""Majorities: the one place that counts to one.

Owns: the arithmetic of votes and acknowledgements. Must never know who votes or why.
"""

from collections.abc import Collection
from enum import Enum


class Outcome(Enum):
    WON = "won"
    LOST = "lost"
    PENDING = "pending"


def majority(size: int) -> int:
    """How many of `size` members decide."""
    return size // 2 + 1


def tally(granted: int, refused: int, size: int, needed: int) -> Outcome:
    """The state of an election among `size` members that takes `needed` votes."""
    assert granted + refused <= size, (granted, refused, size)
    if granted >= needed:
        return Outcome.WON
    return Outcome.LOST if size - refused < needed else Outcome.PENDING


def reached(values: Collection[int]) -> int:
    """The highest value that a majority of the members has reached (an index, a round)."""
    assert values, "a cluster has members"
    return sorted(values, reverse=True)[majority(len(values)) - 1]
