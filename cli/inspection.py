"""`dkv inspect`: what a data directory holds, and whether a node would believe it.

Owns: the report. Must never change a byte in the directory: it looks at a copy, for SQLite writes
even when it reads (its WAL), and it refuses a directory that a node has locked.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from actors import recovery
from actors.directory import open_state
from actors.journal import SqliteJournal
from actors.witness import FileWitness
from dkv.errors import Ending, Fault, Misconfigured

_FILES = ("log.db*", "state*.db", "state*.db-wal", "witness")  # state.N.db: of a snapshot


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_context
def inspect(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Say what is in data directory DIR, without a node and without a change to it.

    Ends with 0 where a node would start on it, else with the exit code that the node would have.
    """
    with copy_of(folder) as copy:
        report, problem = _examine(copy)
    if as_json:
        click.echo(json.dumps({**report, "problem": str(problem) if problem else None}, indent=2))
    else:
        width = max(map(len, report))
        for name, value in report.items():
            click.echo(f"{name:<{width}}  {value}")
        click.echo(f"\n{problem or 'Sound: a node would start on it.'}")
    ctx.exit(int(problem.ending) if problem else 0)


@contextmanager
def copy_of(folder: Path) -> Iterator[Path]:
    """A copy of a data directory, for as long as it is looked at. Raises `Misconfigured` where it
    is none, `Fault` where a node has it."""
    if not (folder / "log.db").exists():
        raise Misconfigured(f"{folder} is no data directory: there is no log.db in it")
    _refuse_if_in_use(folder)
    with tempfile.TemporaryDirectory(prefix="dkv-inspect-") as copy:
        for file in (file for pattern in _FILES for file in folder.glob(pattern)):
            shutil.copy2(file, Path(copy) / file.name)
        yield Path(copy)


def _refuse_if_in_use(folder: Path) -> None:
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        words = f"{folder} is in use by a running node: ask it with `dkvctl status`"
        raise Fault(Ending.LOCKED, words) from None
    finally:
        os.close(lock)


def _examine(folder: Path) -> tuple[dict[str, Any], Fault | None]:
    """What can be read, and what is wrong with it."""
    report: dict[str, Any] = {}
    try:
        journal = SqliteJournal(folder / "log.db")
        _read(folder, journal, report)
    except Fault as fault:
        return report, fault
    except SqliteJournal.errors as error:
        return report, Fault(Ending.STORAGE_FAULT, f"a file is damaged: {error}")
    return report, None


def _read(folder: Path, journal: SqliteJournal, report: dict[str, Any]) -> None:
    hard = journal.hard()
    if hard is None:
        raise Fault(Ending.STORAGE_FAULT, "its creation was never finished: it can be emptied")
    report |= {
        "node": hard.name,
        "disk id": f"{hard.disk:016x}",
        "format": hard.format,
        "created as": "joining" if hard.joining else "initial",
        "term": hard.term,
        "vote": f"disk {hard.vote:016x}" if hard.vote else "none",
        "log base": hard.base.index,
    }
    witness = FileWitness(folder / "witness")
    testimony = witness.read()
    report["witness"] = (
        f"index {testimony.index}, term {testimony.term}, promised term {testimony.hard_term}"
        if testimony
        else "missing or damaged"
    )
    meta = open_state(folder, hard.disk)[0].meta()
    report |= {
        "applied": meta.applied,
        "revision": meta.revision,
        "compacted": meta.compacted,
        "state check": f"{meta.written & (2**64 - 1):016x}",
    }
    found = recovery.examine(journal, witness, meta)
    report |= {
        "last entry": f"index {found.last.index}, term {found.last.term}",
        "last check": found.last.check.hex(),
        "cluster id": found.founding.cluster_id().hex(),
        "token": found.founding.token,
        "salt": found.founding.salt.hex() or "none: it was not restored from a backup",
        "secured": bool(found.founding.authority),
        "members": ", ".join(
            f"{name} (disk {disk:016x})" if disk else name
            for name, disk in found.start.reigns[-1].members
        ),
    }
    if meta.diverged:
        raise Fault(Ending.DIVERGED, "this replica's state had diverged: it must be replaced")
