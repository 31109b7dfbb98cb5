"""`dkvctl import`: many puts from a folder or from JSON lines.

Owns: what is read and what is left out, and how many puts are under way. Nothing outside the folder
is read, whatever a link says; what cannot be taken is named, and the rest goes on. Must never know
how a put travels.
"""

import asyncio
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.endings import Ended, Exit, exit_of
from cli.keys import BYTES
from cli.options import Choices, SharedOptions
from cli.output import counted, emit, from_json, shown
from dkv.client import AsyncClient, Invalid, Uncertain
from dkv.errors import RequestError

OUTSTANDING = 64
_NAMED = 10  # keys of unknown outcome that are said by name
_NAME_MAX = 200  # characters of a path that are said
_CHARACTERS_A_BYTE = 6  # of JSON, at most


class Limits(NamedTuple):
    key_bytes: int
    value_bytes: int


class Pair(NamedTuple):
    key: bytes
    value: bytes


class Skip(NamedTuple):
    """What is left out, and why."""

    name: str
    why: str


# -- a folder ------------------------------------------------------------------------------------
def walk(folder: Path, prefix: bytes, limits: Limits) -> Iterator[Pair | Skip]:
    """The files below a folder, in order of their names; each is read when its turn comes."""
    root = os.path.realpath(folder)
    closed: list[OSError] = []
    for here, folders, files in os.walk(root, onerror=closed.append):
        folders.sort()
        links = [f for f in folders if os.path.islink(os.path.join(here, f))]
        for name in sorted(files + links):
            yield _take(root, os.path.join(here, name), prefix, limits)
    for error in closed:
        yield _unreadable(os.path.relpath(error.filename, root), error)


def _take(root: str, path: str, prefix: bytes, limits: Limits) -> Pair | Skip:
    relative = os.path.relpath(path, root)
    key = prefix + os.fsencode(relative).replace(os.fsencode(os.sep), b"/")
    real = os.path.realpath(path)
    if os.path.commonpath((root, real)) != root:
        return Skip(_name(relative), "a link that leads out of the folder")
    if len(key) > limits.key_bytes:
        words = f"its key has {len(key)} bytes, the limit is {limits.key_bytes}"
        return Skip(_name(relative), words)
    try:
        value = _read(real, limits.value_bytes)
    except OSError as error:
        return _unreadable(relative, error)
    return Pair(key, value) if isinstance(value, bytes) else Skip(_name(relative), value)


def _unreadable(relative: str, error: OSError) -> Skip:
    return Skip(_name(relative), f"cannot be read: {error.strerror}")


def _name(relative: str) -> str:
    name = shown(os.fsencode(relative))
    return name if len(name) <= _NAME_MAX else f"{name[: _NAME_MAX - 3]}..."


def _read(real: str, bytes_max: int) -> bytes | str:
    """The content, or why not. Opened without waiting (a pipe would), judged by what it then is."""
    handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        kind = os.fstat(handle)
        if not stat.S_ISREG(kind.st_mode):
            return "not a regular file"
        value = file.read(bytes_max + 1)
    if len(value) <= bytes_max:
        return value
    size = max(kind.st_size, len(value))
    return f"it has {size} bytes, the limit of a value is {bytes_max}"


# -- JSON lines ----------------------------------------------------------------------------------
def read_lines(file: IO[bytes], prefix: bytes, limits: Limits) -> Iterator[Pair | Skip]:
    """{"key": ..., "value": ...} a line, as `list -o jsonl` prints them; other fields are
    ignored."""
    longest = _CHARACTERS_A_BYTE * (limits.key_bytes + limits.value_bytes) + 1024
    number = 0
    while line := file.readline(longest):
        number += 1
        if len(line) == longest and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(longest)
            yield Skip(f"line {number}", "too long to be a key and a value within the limits")
        elif line.strip():
            yield _parse(number, line, prefix, limits)


def _parse(number: int, line: bytes, prefix: bytes, limits: Limits) -> Pair | Skip:
    name = f"line {number}"
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return Skip(name, "not JSON")
    if not isinstance(fields, dict) or not {"key", "value"} <= set(fields):
        return Skip(name, 'not an object with "key" and "value"')
    try:
        pair = Pair(prefix + from_json(fields["key"]), from_json(fields["value"]))
    except ValueError:
        return Skip(name, 'key and value must each be a string, or {"base64": "..."}')
    for what, size, most in (
        ("key", len(pair.key), limits.key_bytes),
        ("value", len(pair.value), limits.value_bytes),
    ):
        if size > most:
            return Skip(name, f"its {what} has {size} bytes, the limit is {most}")
    return pair if pair.key else Skip(name, "its key is empty")


# -- the puts ------------------------------------------------------------------------------------
@dataclass
class Tally:
    """What became of it so far."""

    progress: Progress
    put: int = 0
    skipped: int = 0
    under_way: dict[bytes, "asyncio.Task[None]"] = field(default_factory=dict)
    unknown: list[bytes] = field(default_factory=list)
    error: RequestError | None = None

    def skip(self, skip: Skip) -> None:
        self.skipped += 1
        words = f"skipped {skip.name}: {skip.why}"
        self.progress.console.print(words, markup=False, highlight=False, soft_wrap=True)

    def fail(self, key: bytes, error: RequestError) -> None:
        if isinstance(error, Uncertain):
            self.unknown.append(key)
        self.error = self.error or error


async def put_all(kv: AsyncClient, source: Iterator[Pair | Skip], tally: Tally) -> None:
    """At most OUTSTANDING at once, and of the same key one after the other. A refusal that will
    meet the next one too (no leader, no right) ends it."""
    under_way = tally.under_way
    for found in source:
        if isinstance(found, Skip):
            tally.skip(found)
            continue
        while len(under_way) >= OUTSTANDING or found.key in under_way:
            await asyncio.wait(under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        if tally.error:
            break
        under_way[found.key] = asyncio.create_task(_put(kv, found, tally))
        await asyncio.sleep(0)  # it is sent now, however long the next one takes to read
    if under_way:
        await asyncio.wait(under_way.values())


async def _put(kv: AsyncClient, pair: Pair, tally: Tally) -> None:
    try:
        await kv.put(pair.key, pair.value)
        tally.put += 1
        if tally.put % OUTSTANDING == 0:
            tally.progress.update(tally.progress.task_ids[0], completed=tally.put)
    except Invalid as error:
        tally.skip(Skip(shown(pair.key), str(error)))
    except RequestError as error:
        tally.fail(pair.key, error)
    del tally.under_way[pair.key]


# -- the command ---------------------------------------------------------------------------------
@click.command(name="import", cls=SharedOptions)
@click.argument("path", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--prefix", type=BYTES, default=b"", metavar="TEXT", help="Put before every key.")
@click.pass_obj
def import_keys(run: Choices, path: Path, prefix: bytes) -> None:
    """Put many keys from PATH.

    PATH is a folder (a file's path below it becomes the key, its content the value), or a file of
    JSON lines as `dkvctl list -o jsonl` prints them, or - for such lines on standard input. What is
    too large, unreadable, no regular file or a link out of the folder is named and skipped.
    Importing again is safe: the same keys get the same values.
    """
    console = Console(stderr=True)
    tally = Tally(_progress(console))
    with tally.progress:
        try:
            asyncio.run(_import(run, path, prefix, tally))
        except KeyboardInterrupt:
            more = f"; {n} more may have been put" if (n := len(tally.under_way)) else ""
            words = f"interrupted after {counted(tally.put, 'key')}{more}"
            raise Ended(words, Exit.INTERRUPTED) from None
    _conclude(run, tally)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


async def _import(run: Choices, path: Path, prefix: bytes, tally: Tally) -> None:
    total = _count(path)
    tally.progress.add_task("", total=total)
    async with run.async_client() as kv:
        found: dict[str, Any] = (await kv.members())["limits"]
        limits = Limits(found["key_bytes_max"], found["value_bytes_max"])
        if total is not None:
            await put_all(kv, walk(path, prefix, limits), tally)
        else:
            with _open(path) as file:
                await put_all(kv, read_lines(file, prefix, limits), tally)


def _count(path: Path) -> int | None:
    """Of the files below a folder; None for what is none."""
    return sum(len(files) for _, _, files in os.walk(path)) if path.is_dir() else None


def _open(path: Path) -> IO[bytes]:
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise Ended(f"{path}: {error.strerror}", Exit.USAGE) from None


def _conclude(run: Choices, tally: Tally) -> None:
    words = f"put {tally.put:,}" + (f", skipped {tally.skipped:,}" if tally.skipped else "")
    emit(run.form, {"put": tally.put, "skipped": tally.skipped}, words)
    if tally.unknown:
        names = ", ".join(map(shown, tally.unknown[:_NAMED]))
        more = ", ..." if len(tally.unknown) > _NAMED else ""
        raise Ended(
            f"{tally.error} Not known of {counted(len(tally.unknown), 'key')} ({names}{more}): "
            "import again, which is safe",
            Exit.UNKNOWN,
        )
    if tally.error:
        ending = Exit.UNMET if tally.put else exit_of(tally.error)
        raise Ended(f"{tally.error} The rest was not put: import again", ending)
    if tally.skipped:
        raise Ended(f"{tally.skipped:,} could not be taken, as named above", Exit.UNMET)
