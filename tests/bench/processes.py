"""The processes of one system: started, waited for, and ended, whatever happens.

Owns: their folder and their lines. Must never know a protocol. Ends only what it has started, by
process id.
"""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_PERIOD_S = 0.05
_TAIL_LINES = 5


class NotStarted(Exception):
    """A system did not come up; the words have the last lines it printed."""


class Processes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def pids(self) -> list[int]:
        return [p.pid for p in self._running.values()]

    def start(self, name: str, argv: list[str], **environment: str) -> None:
        with self._lines_file(name).open("ab") as lines:
            self._running[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                cwd=self.folder,
                env={**os.environ, **environment},
            )

    def wait_until(self, holds: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
        """NotStarted if a process ends first, or after `patience_s`. OSError of `holds` is no."""
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            for name, process in self._running.items():
                if process.poll() is not None:
                    code = process.returncode
                    raise NotStarted(f"{name} ended with {code}: {self._tail(name)}")
            try:
                if holds():
                    return
            except OSError:
                pass
            time.sleep(_PERIOD_S)
        lines = "; ".join(f"{name}: {self._tail(name)}" for name in self._running)
        raise NotStarted(f"no {what} within {patience_s:.0f} s. {lines}")

    def kill(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        self._running.clear()

    def _lines_file(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def _tail(self, name: str) -> str:
        lines = self._lines_file(name).read_text(errors="replace").splitlines()
        return " | ".join(lines[-_TAIL_LINES:]) or "it printed nothing"
