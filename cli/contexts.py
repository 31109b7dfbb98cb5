"""Saved contexts: which cluster, and with which certificate, under a name.

Owns: their file, `contexts.db` in $XDG_CONFIG_HOME/dkv or ~/.config/dkv, and which one is current.
It holds the paths of key files, never keys. Must never know a cluster.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from actors.notebook import Notebook
from dkv.errors import Misconfigured
from dkv.ids import check_name

_CURRENT = "current"
_PREFIX = "context "  # a name has no blank, so no context is ever called `current`


class Context(NamedTuple):
    """Where a cluster is and how one proves oneself to it. Paths are absolute, or empty."""

    name: str
    endpoints: tuple[str, ...]
    cert: str = ""
    key: str = ""
    cacert: str = ""
    insecure: bool = False


def config_folder() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".config") / "dkv"


def save_context(context: Context, use: bool = True) -> None:
    """Durable on return; replaces one of that name. `use` makes it the current one."""
    note = context._replace(name=check_name(context.name, "context"))._asdict()
    with _notebook(create=True) as book:
        assert book is not None
        book.write({_PREFIX + context.name: note, **({_CURRENT: context.name} if use else {})})


def use_context(name: str) -> None:
    """Make it the current one."""
    with _notebook() as book:
        _read(book, name)
        assert book is not None
        book.write({_CURRENT: name})


def delete_context(name: str) -> None:
    with _notebook() as book:
        _read(book, name)
        assert book is not None
        current = {_CURRENT: None} if book.get(_CURRENT) == name else {}
        book.write({_PREFIX + name: None, **current})


def find_context(name: str) -> Context:
    """The context of that name, or `Misconfigured`, which names those there are."""
    with _notebook() as book:
        return _read(book, name)


def current_context() -> Context | None:
    with _notebook() as book:
        name = book.get(_CURRENT) if book else None
        return _read(book, name) if name else None


def all_contexts() -> tuple[list[Context], str]:
    """All of them by name, and the name of the current one."""
    with _notebook() as book:
        return [_read(book, n) for n in _names(book)], (book.get(_CURRENT) or "") if book else ""


def _names(book: Notebook | None) -> list[str]:
    names = book.names() if book else []
    return [n.removeprefix(_PREFIX) for n in names if n.startswith(_PREFIX)]


def _read(book: Notebook | None, name: str) -> Context:
    note: dict[str, Any] | None = book.get(_PREFIX + name) if book else None
    if note is None:
        known = ", ".join(_names(book)) or "none is saved; see dkvctl context save --help"
        raise Misconfigured(f"there is no context {name!r} (known: {known})")
    known_fields = {f: note[f] for f in Context._fields if f in note}
    return Context(**{**known_fields, "endpoints": tuple(note["endpoints"])})


@contextmanager
def _notebook(create: bool = False) -> Iterator[Notebook | None]:
    """The notebook; None where none was ever written: a question makes no file."""
    path = config_folder() / "contexts.db"
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            words = f"contexts are kept in {path.parent}, which cannot be made: {error.strerror}"
            raise Misconfigured(words) from None
    elif not path.exists():
        yield None
        return
    book = Notebook(path)
    try:
        yield book
    finally:
        book.close()
