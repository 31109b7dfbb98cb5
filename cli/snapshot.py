"""`dkvctl snapshot save` and `inspect`: a backup of a running cluster, and a look at one.

Owns: the file's name while it grows and when it is whole, and what is shown. Must never know its
format, nor which node it comes from: any node can give the next part.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn

from actors.database import sync_folder
from cli.endings import Ended, Exit
from cli.options import Choices, Group
from cli.output import Record, counted, emit
from dkv.client import Client
from dkv.errors import Misconfigured
from dkv.kv.backup import Contents, Reader, Writer, examine, origin_of
from dkv.limits import SUB_MAX

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def snapshot() -> None:
    """Backups: save one from a running cluster, look at one. (`dkv restore` makes nodes of it.)"""


# -- save ----------------------------------------------------------------------------------------
@snapshot.command()
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def save(run: Choices, file: Path, force: bool) -> None:
    """Save the whole store, as of now, in FILE. Needs a certificate of role admin.

    Writes go on meanwhile, and play no part. Until it is whole it is called FILE.partial. If a node
    dies, another goes on. FILE holds every key and value: keep it as safe as the nodes.

    Without a majority, --read-level serializable --pin saves what the one node named has applied.
    """
    if file.exists() and not force:
        raise Ended(f"{file} exists: give another name, or --force", Exit.USAGE)
    with run.client() as kv, growing_file(file) as growing:
        writer, digest = _save(kv, growing)
    facts = {"file": str(file), "versions": writer.versions, "bytes": writer.bytes}
    words = f"{file}: {counted(writer.versions, 'version')}, {decimal(writer.bytes)}"
    emit(run.form, {**facts, "hash": digest.hex()}, f"{words}, hash {digest.hex()}")


def _save(kv: Client, file: IO[bytes]) -> tuple[Writer, bytes]:
    with _progress() as progress:
        part = kv.snapshot_part()
        begun = {k: part["of"][k] for k in ("cluster", "index", "revision", "compacted")}
        writer = Writer(file, origin_of(part["of"], time.time_ns() // 1_000_000))
        task = progress.add_task("", total=None)
        while part["versions"]:
            writer.add(part["versions"])
            done = part["next"] // SUB_MAX / begun["revision"]
            progress.update(task, completed=writer.bytes, total=int(writer.bytes / done))
            part = kv.snapshot_part(**begun, after=part["next"])
        return writer, writer.finish()


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("saving"), BarColumn(), TaskProgressColumn(), DownloadColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@contextmanager
def growing_file(file: Path) -> Iterator[IO[bytes]]:
    """FILE.partial, for its owner alone; renamed when everything is on the disk, gone when not."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as growing:
                yield growing
                growing.flush()
                os.fsync(handle)
            partial.replace(file)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        sync_folder(file.absolute().parent)
    except OSError as error:
        raise Ended(f"{partial}: {error.strerror}", Exit.USAGE) from error


# -- inspect -------------------------------------------------------------------------------------
@snapshot.command()
@click.argument("file", type=_FILE)
@click.pass_obj
def inspect(run: Choices, file: Path) -> None:
    """Read FILE to its end, verify it, and say what it holds. Needs no cluster.

    Ends with 2 where it is damaged, cut short, of a newer format or no backup.
    """
    record = _record(believe(file))
    width = max(map(len, record))
    lines = (f"{name.replace('_', ' '):<{width}}  {value}" for name, value in record.items())
    emit(run.form, record, "\n".join((*lines, "\nSound: its hash was verified.")))


@contextmanager
def reading(file: Path) -> Iterator[Reader]:
    """A backup, open. Raises `BackupError`, or `Misconfigured` where it cannot be read."""
    try:
        with file.open("rb") as opened:
            yield Reader(opened, str(file))
    except OSError as error:
        raise Misconfigured(f"{file}: {error.strerror}") from error


def believe(file: Path) -> Contents:
    with reading(file) as reader:
        return examine(reader)


def _record(contents: Contents) -> Record:
    origin = contents.origin
    fields: dict[str, Any] = {
        "cluster": origin.cluster.hex(),
        "entry": origin.index,
        "term": origin.term,
        "revision": origin.revision,
        "keys": contents.keys,
        "versions": contents.versions,
        "sessions": origin.sessions,
        "state_hash": f"{origin.written:016x}",
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(origin.wall // 1000)),
        "bytes": contents.size,
        "hash": contents.digest.hex(),
    }
    return fields
