"""A notebook: a few facts that may be forgotten and made again.

Owns: sqlitedict, opened so that it neither loses nor runs anything. It keeps a node's last known
addresses, and the command line's saved contexts; never log, vote or state. Must never know what is
noted.

Its defaults are not for us (measured): synchronous=OFF loses and corrupts on a power cut; values
are pickles, which a crafted file runs when read; a full disk kills its thread inside commit(), and
the caller waits for ever. So: WAL and FULL, read back; msgpack; every call under a time limit.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgpack
from sqlitedict import SqliteDict

from dkv.errors import Ending, Fault

T = TypeVar("T")
_PATIENCE_S = 5.0


class Notebook:
    """`path` must be in a folder that exists; one instance a file. Any failure is a `Fault`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._book = self._limited(self._open)

    def _open(self) -> SqliteDict:
        book = SqliteDict(
            str(self._path),
            tablename="notes",
            journal_mode="WAL",
            encode=msgpack.packb,
            decode=msgpack.unpackb,
            outer_stack=False,
            timeout=_PATIENCE_S,
        )
        book.conn.execute("PRAGMA synchronous=FULL")
        assert book.conn.select_one("PRAGMA synchronous") == (2,)
        assert book.conn.select_one("PRAGMA journal_mode") == ("wal",)
        return book

    def get(self, name: str) -> Any:
        """A note, or None."""
        return self._limited(lambda: self._book.get(name))

    def names(self) -> list[str]:
        return sorted(self._limited(lambda: list(self._book.keys())))

    def write(self, notes: dict[str, Any]) -> None:
        """Durable on return. A note of None is removed."""

        def do() -> None:
            for name, note in notes.items():
                if note is not None:
                    self._book[name] = note
                elif name in self._book:
                    del self._book[name]
            self._book.commit()

        self._limited(do)

    def close(self) -> None:
        """What a disk that was full has left hanging is left: every note was durable when `write`
        returned. (A node must not end as failed for it; found by real chaos.)"""
        with suppress(Fault):
            self._limited(self._book.close)

    def _limited(self, do: Callable[[], T]) -> T:
        """Do it in a thread that may be left behind."""
        outcome: list[T] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(do())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="notebook", daemon=True)
        thread.start()
        thread.join(_PATIENCE_S)
        if errors or thread.is_alive():
            why = errors[0] if errors else "no answer (is the disk full?)"
            raise Fault(Ending.DISK_UNWRITABLE, f"{self._path}: {why}") from None
        return outcome[0]
