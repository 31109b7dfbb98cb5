"""Shrinking: the fewest steps that still fail (ddmin, Zeller and Hildebrandt 2002).

Owns: the search, and when two complaints are of one kind. Must never know what a step does.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(
    steps: Sequence[T], fails: Callable[[Sequence[T]], bool], tries_max: int = 2_000
) -> tuple[T, ...]:
    """A subsequence that fails, of which no single step can be left out (or tries ran out)."""
    left = tuple(steps)
    chunks, tries = 2, 0
    while left and tries < tries_max:
        size = -(-len(left) // chunks)
        for start in range(0, len(left), size):
            tries += 1
            fewer = (*left[:start], *left[start + size :])
            if fails(fewer):
                left, chunks = fewer, max(chunks - 1, 2)
                break
        else:
            if size == 1:
                break
            chunks = min(chunks * 2, len(left))
    return left


def kind_of(words: str) -> str:
    """A complaint without what differs from run to run."""
    first = words.splitlines()[0]
    return re.sub(r"b'[^']*'|\bn\d+\b|\d+|[\[{].*", "", first)[:80]
