"""`dkvctl export`: keys and values as JSON lines, which `dkvctl import` takes.

Owns: what a line holds and how far it has come. Must never know how a page travels.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cli.endings import Ended, Exit
from cli.keys import BYTES
from cli.options import Choices, SharedOptions
from cli.output import counted, json_text, note
from dkv.client import Client


@click.command(name="export", cls=SharedOptions)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--prefix", type=BYTES, default=b"", metavar="TEXT", help="Keys that begin so.")
@click.option(
    "--revision",
    type=click.IntRange(1),
    metavar="N",
    help="As of the store's revision N, while it is kept.  [default: the newest]",
)
@click.option("--force", is_flag=True, help="Replace PATH if it exists.")
@click.pass_obj
def export_keys(run: Choices, path: Path, prefix: bytes, revision: int | None, force: bool) -> None:
    """Write keys and values to PATH, a JSON object a line; - is standard output.

    All are as of one revision, which is said on stderr, however long it takes. What is not UTF-8
    is {"base64": ...}. `dkvctl import` puts them back; revisions and authors begin anew then.
    """
    with run.client() as kv, _open(path, force) as out:
        count, at = _export(kv, out, prefix, revision)
    note(f"exported {counted(count, 'key')} as of revision {at}")


def _export(kv: Client, out: IO[bytes], prefix: bytes, revision: int | None) -> tuple[int, int]:
    """How many, and as of which revision."""
    done, token = 0, b""
    with _progress() as progress:
        total = kv.count(prefix, revision=revision) if not progress.disable else None
        task = progress.add_task("", total=total)
        while True:
            page = kv.page(prefix, revision=revision, token=token)
            for item in page.items:
                line = json_text({"key": item.key, "value": item.value})
                out.write(line.encode() + b"\n")
            done, token = done + len(page.items), page.token
            progress.update(task, completed=done)
            if not token:
                return done, page.revision


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("exporting"), BarColumn(), MofNCompleteColumn())
    disable = not console.is_terminal or sys.stdout.isatty()
    return Progress(*columns, console=console, disable=disable, transient=True)


@contextmanager
def _open(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """Standard output, or a new file for its owner alone."""
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    how = os.O_TRUNC if force else os.O_EXCL
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
        with open(handle, "wb") as out:
            yield out
    except FileExistsError:
        raise Ended(f"{path} exists: give another name, or --force", Exit.USAGE) from None
    except OSError as error:
        raise Ended(f"{path}: {error.strerror}", Exit.USAGE) from None
