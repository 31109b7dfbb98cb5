"""Counts of what happened, by reason: one object per actor, read by `status`.

Owns: the numbers. An actor adds to its own; its shell adds mailbox depth and time spent. Must never
know who reads them. No locks: one thread writes, and a reader may see a count a moment late.
"""

from collections import defaultdict


class Counters:
    def __init__(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._turns = self._letters = self._busy_us = self._depth = 0
        self._depth_max = self._turn_us_max = self._oldest_us_max = 0

    def turn(self, letters: int, took_us: int, oldest_us: int) -> None:
        """An actor's turn: how many letters it had, how long it took, and how long a letter of it
        can have waited. (Numbers of their own: this is counted more often than all the rest.)"""
        self._turns += 1
        self._letters += letters
        self._busy_us += took_us
        self._depth = letters
        if letters > self._depth_max:
            self._depth_max = letters
        if took_us > self._turn_us_max:
            self._turn_us_max = took_us
        if oldest_us > self._oldest_us_max:
            self._oldest_us_max = oldest_us

    def add(self, name: str, amount: int = 1) -> None:
        """Names end in their unit where it is not "times": `_bytes`, `_us`."""
        self._counts[name] += amount

    def top(self, name: str, value: int) -> None:
        """The largest so far."""
        if value > self._counts[name]:
            self._counts[name] = value

    def get(self, name: str) -> int:
        return self._counts.get(name, 0)

    def facts(self) -> dict[str, int]:
        """A copy, sorted by name."""
        return dict(sorted({**self._counts.copy(), **self._of_turns()}.items()))

    def _of_turns(self) -> dict[str, int]:
        if not self._turns:
            return {}
        return {
            "turns": self._turns,
            "letters": self._letters,
            "busy_us": self._busy_us,
            "depth": self._depth,
            "depth_max": self._depth_max,
            "turn_us_max": self._turn_us_max,
            "oldest_us_max": self._oldest_us_max,
        }
