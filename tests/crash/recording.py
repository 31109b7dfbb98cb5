"""Runs a workload under the recorder, and reads what was recorded.

Owns: building the recorder with the machine's C compiler, the variables that it obeys, the records.
Must never know what a power cut makes of them.
"""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<cqII")
_PROJECT = Path(__file__).parents[2]
_FAULTED, _KILLED = 3, 137  # how a workload may end, besides orderly


class Event(NamedTuple):
    """One call: Create Write Truncate Sync Folder-sync Unlink Rename (to the name in `content`);
    or, as ordered, an Error of a sync, a write that is Halted."""

    kind: str
    name: str
    offset: int
    content: bytes


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build_recorder(folder: Path) -> Path:
    command = compiler()
    assert command is not None
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run([command, "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


class Recording:
    """A data directory's whole history: some lives, one trace."""

    def __init__(self, recorder: Path, place: Path, seed: int) -> None:
        self.folder = place / "recorded"
        self.folder.mkdir(parents=True)
        self._trace = place / "trace"
        self._recorder, self._seed = recorder, seed
        self._lives = 0

    def live(self, mode: str = "full", **orders: int) -> bool:
        """One more life; whether it came to its orderly end. `orders`: see recorder.c."""
        self._lives += 1
        told = (str(self.folder), str(self._seed), str(self._lives), mode)
        ended = subprocess.run(
            [sys.executable, "-m", "tests.crash.workload", *told],
            env={
                **os.environ,
                "LD_PRELOAD": str(self._recorder),
                "DKV_RECORD_FOLDER": str(self.folder),
                "DKV_RECORD_TRACE": str(self._trace),
                **{f"DKV_{order.upper()}": str(number) for order, number in orders.items()},
            },
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        words = f"seed {self._seed}, life {self._lives}: {ended.returncode} {ended.stderr}"
        assert ended.returncode in (0, _FAULTED, _KILLED), words
        return ended.returncode == 0

    def events(self) -> list[Event]:
        return list(_read(self._trace.read_bytes()))


def _read(trace: bytes) -> Iterator[Event]:
    at = 0
    while at < len(trace):
        kind, offset, name_bytes, content_bytes = _HEAD.unpack_from(trace, at)
        at += _HEAD.size
        name = trace[at : at + name_bytes].decode()
        at += name_bytes
        yield Event(kind.decode(), name, offset, trace[at : at + content_bytes])
        at += content_bytes
