"""What ends a disk's step: the power, or an error that the disk reports.

A `Fuse` may blow at any single step of any store, before the step or after it, which is how "a
crash at every point between" is tried.
"""

from collections.abc import Callable
from typing import Any


class Crash(BaseException):
    """The machine lost its power, here."""


class DiskError(OSError):
    """What sqlite3.Error is to the real stores."""


class Fuse:
    """Counts the steps of a disk; blows at one of them if told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.blow_at: int | None = None
        self.after = False
        self.fail_next = ""  # a step that raises, as a statement does
        self.fail_done = False  # it raises, and the disk has done it all the same

    def step(self, name: str, do: Callable[[], Any]) -> Any:
        number = len(self.steps)
        self.steps.append(name)
        if self.fail_next == name:
            if self.fail_done:
                do()
            raise DiskError(f"disk I/O error at {name}")
        if self.blow_at == number and not self.after:
            raise Crash(name)
        done = do()
        if self.blow_at == number:
            raise Crash(name)
        return done
