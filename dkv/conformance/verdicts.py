"""A verdict on one rule, as both halves of the kit give it.

Owns: its shape and the four outcomes. Must never know how it came about.
"""

from typing import NamedTuple

PASSED, BROKEN, ADVICE, SKIPPED = "passed", "BROKEN", "advice", "skipped"


class Verdict(NamedTuple):
    """On a rule: how it was kept (one of the four above), and why, where that is not plain; what
    was asked of the nodes, and what the driver printed."""

    rule: str
    outcome: str
    play: str = ""
    words: str = ""
    trace: tuple[str, ...] = ()
    stderr: str = ""
