"""Garbage collection: seldom, and never of what lives for ever.

Owns: the collector's settings in a node, and the record of its pauses. Must never know what is
collected. A turn makes thousands of objects and no cycles: reference counts free them. The default
settings look at the youngest after every 700, and through everything that a node holds now and
then, which stops all of its threads for tens of milliseconds.
"""

import gc
import time
from typing import Any

_YOUNG = 50_000  # objects more than before, until the youngest are looked at


class Garbage:
    """`facts`, kept up to date: how often it ran, and its longest pause, microseconds."""

    def __init__(self) -> None:
        self.facts = {"runs": 0, "pause_us_max": 0}
        self._began_ns = 0

    def settle(self) -> None:
        """What is there now stays: it is not looked at again. Called once, when a node is built."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, 20, 20)
        gc.callbacks.append(self._look)

    def _look(self, phase: str, _of_run: dict[str, Any]) -> None:
        now_ns = time.monotonic_ns()
        if phase == "start":
            self._began_ns = now_ns
            return
        pause_us = (now_ns - self._began_ns) // 1_000
        self.facts["runs"] += 1
        self.facts["pause_us_max"] = max(self.facts["pause_us_max"], pause_us)
