"""`dkvctl compact` and `dkvctl df`: how much there is, and ending history by hand.

Owns: their arguments and what they print. Must never know how versions are kept.
"""

from typing import Any

import click
from rich.filesize import decimal

from cli.keys import BYTES
from cli.options import Choices, SharedOptions
from cli.output import Record, emit, emit_rows, note
from dkv.limits import INT_MAX, SPREAD_DEPTH_MAX

_COLUMNS = ("prefix", "keys", "live", "history")
_BYTES = ("state_bytes", "live_bytes", "free_bytes")


@click.command(cls=SharedOptions)
@click.argument("revision", type=click.IntRange(0, INT_MAX), required=False)
@click.option(
    "--keep", type=click.IntRange(0, INT_MAX), metavar="N", help="The last N revisions stay."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be refused from then on.")
@click.pass_obj
def compact(run: Choices, revision: int | None, keep: int | None, dry_run: bool) -> None:
    """End history at REVISION (default: the newest one).

    Keys and their values stay. What only reads of earlier revisions could reach is deleted, in the
    background; lists that are under way as of an earlier revision end with `compacted`.
    """
    if revision is not None and keep is not None:
        raise click.UsageError("REVISION excludes --keep")
    with run.client() as kv:
        if dry_run:
            record = _plan(kv.status()["machine"], revision, keep)
            emit(run.form, record, _words(record))
            return
        end = kv.compact(revision, keep=keep)
    emit(run.form, {"compacted": end}, f"history begins at revision {end}")


def _plan(machine: dict[str, Any], revision: int | None, keep: int | None) -> Record:
    newest, now = machine["revision"], machine["compacted"]
    asked = max(newest - (keep or 0), 0) if revision is None else revision
    if asked > newest:
        raise click.UsageError(f"the store is at revision {newest}")
    return {"revision": newest, "compacted": now, "would_be": max(asked, now)}


def _words(plan: Record) -> str:
    now, end = plan["compacted"], plan["would_be"]
    if end == now:
        return f"nothing would change: history begins at revision {now} already"
    return (
        f"history would begin at revision {end} instead of {now}; the newest is {plan['revision']}"
    )


@click.command(cls=SharedOptions)
@click.argument("prefix", type=BYTES, default=b"")
@click.option(
    "--depth",
    type=click.IntRange(0, SPREAD_DEPTH_MAX),
    default=1,
    show_default=True,
    help="Levels of names (a/b/) to tell apart.",
)
@click.pass_obj
def df(run: Choices, prefix: bytes, depth: int) -> None:
    """Show what keys take, by the first levels of their names below PREFIX.

    LIVE is keys and newest values, HISTORY what compaction would give back, both without what the
    database adds. One node reads all its versions for it. The sizes of its files follow.
    """
    with run.client() as kv:
        found = kv.space(prefix, depth=depth)
        status = kv.status()
    rows = [
        {
            "prefix": row.name,
            "keys": row.keys,
            "live": decimal(row.live_bytes),
            "history": decimal(row.history_bytes),
            "live_bytes": row.live_bytes,
            "history_bytes": row.history_bytes,
        }
        for row in found
    ]
    emit_rows(run.form, rows, _COLUMNS)
    note(_files(status))


def _files(status: dict[str, Any]) -> str:
    machine, log = status["machine"], status["log"]
    state, live, free = (decimal(machine[field]) for field in _BYTES)
    words = f"{status['node']['name']}: state.db {state}, in use {live}, free {free}"
    words += f"; log.db {decimal(log['log_bytes'])}"
    if machine["quota"]:
        words += f"; quota {decimal(machine['quota'])}"
        words += ", reached: puts are refused" if machine["quota_reached"] else ""
    return words + f"; history begins at revision {machine['compacted']}"
