"""`dkvctl status`: every node, asked by itself.

Owns: which facts of a node are shown, and what counts as unhealthy. Must never know how a node
gathers them.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import click
from rich.filesize import decimal

from cli.endings import Ended, Exit
from cli.options import Choices, SharedOptions
from cli.output import Record, emit_rows, note
from dkv.client import AsyncClient, Denied, RequestError
from dkv.security.words import end_in_words

_LAG_MAX = 10_000  # entries that a node may be behind the furthest and still be well
_STATUS = (
    *("node", "address", "role", "leader", "term", "commit", "applied", "lag"),
    *("log", "state", "version"),
)
_OF_ACTORS = ("node", "actor", "waiting", "busy", "longest_turn", "longest_wait", "last_sync")
_SPACE = {1: "its disk is nearly full: free some", 2: "its disk is full"}


@click.command(cls=SharedOptions)
@click.option("--actors", is_flag=True, help="Instead: how busy the actors of each node are.")
@click.pass_obj
def status(run: Choices, actors: bool) -> None:
    """Ask every node how it is.

    LAG is how many log entries its state is behind the furthest commit that any node knows; LOG and
    STATE are sizes on its disk. Exits with 8 when a node cannot be reached, knows no leader, is
    short of disk, at its quota or far behind.

    With --actors: letters WAITING for each, the share of the time since the start in which it was
    BUSY, its longest turn, the longest that a letter can have waited, and the log's last sync.
    """
    rows = asyncio.run(_ask_all(run.client_options()))
    for row in rows:
        row["health"] = row["health"] or _judge(row)
    busy = [actor for row in rows for actor in row.pop("actors")]
    if actors:
        emit_rows(run.form, busy, _OF_ACTORS)
    else:
        emit_rows(run.form, rows, (*_STATUS, "health") if run.form == "raw" else _STATUS)
    _warn_of_ends(rows)
    ill = [r for r in rows if r["health"] != "ok"]
    for row in ill:
        note(f"{row['node'] or row['address']}: {row['health']}")
    if ill:
        raise Ended(f"{len(ill)} of {len(rows)} nodes are not well", Exit.UNHEALTHY)


def _warn_of_ends(rows: list[Record]) -> None:
    """Certificates that end within 30 days, each once."""
    ends = {(what, at) for row in rows for what, at in row.pop("ends").items()}
    for what, at in sorted(ends):
        words = end_in_words(at, int(time.time()))
        if words:
            note(f"warning: the certificate {what} {words}")


# -- asking --------------------------------------------------------------------------------------
async def _ask_all(options: dict[str, Any]) -> list[Record]:
    """A row for each node named, and for each that those know of (unless pinned)."""
    first = await _ask_each(options["endpoints"], options)
    rows, known = [row for row, _members in first], [m for _row, found in first for m in found]
    members = {} if options["pin"] else {m["name"]: m["client_address"] for m in known}
    missing = {n: a for n, a in members.items() if n not in {r["node"] for r in rows}}
    asked = {r["address"] for r in rows}
    more = await _ask_each([a for a in missing.values() if a and a not in asked], options)
    rows += [row for row, _members in more]
    for row in rows:  # who did not answer is named as the others name it
        row["node"] = row["node"] or {a: n for n, a in members.items()}.get(row["address"], "")
    silent = set(missing) - {r["node"] for r in rows}
    rows += [_row(n, "", "no client address of it is known") for n in silent]
    furthest = max((r["commit"] or 0 for r in rows), default=0)
    for row in rows:
        row["lag"] = None if row["applied"] is None else furthest - row["applied"]
    return sorted({r["node"] or r["address"]: r for r in rows}.values(), key=_order)


def _order(row: Record) -> tuple[str, str]:
    return row["node"], row["address"]


async def _ask_each(
    addresses: Iterable[str], options: dict[str, Any]
) -> list[tuple[Record, list[dict[str, Any]]]]:
    return await asyncio.gather(*(_ask(a, options) for a in dict.fromkeys(addresses)))


async def _ask(address: str, options: dict[str, Any]) -> tuple[Record, list[dict[str, Any]]]:
    """A node's row, and the members it knows."""
    alone = {**options, "endpoints": [address], "pin": True}
    async with AsyncClient(**alone) as kv:
        try:
            facts, known = await asyncio.gather(kv.status(0), kv.members())
        except Denied:
            raise
        except RequestError as error:
            return _row("", address, str(error)), []
    return _row(facts["node"]["name"], address, "", facts), known["members"]


def _row(name: str, address: str, health: str, facts: dict[str, Any] | None = None) -> Record:
    consensus, machine, log = ((facts or {}).get(a, {}) for a in ("consensus", "machine", "log"))
    return {
        "node": name,
        "address": address,
        "health": health,
        **{f: consensus.get(f) for f in ("role", "leader", "term", "last", "commit")},
        **{
            f: machine.get(f)
            for f in ("applied", "revision", "sessions", "checking", "quota_reached")
        },
        "opened": consensus.get("opened"),
        "version": consensus.get("version"),
        "level": consensus.get("level"),
        "ends": (facts or {}).get("node", {}).get("ends") or {},
        "space": log.get("space"),
        "log": _size(log.get("log_bytes")),
        "state": _size(machine.get("state_bytes")),
        "log_bytes": log.get("log_bytes"),
        "state_bytes": machine.get("state_bytes"),
        "actors": _actors(facts) if facts else [],
    }


def _actors(facts: dict[str, Any]) -> list[Record]:
    """A row for each actor of a node; an older node does not say all of it."""
    node = facts["node"]
    waiting, up_us = node.get("mailboxes", {}), node.get("up_us")
    rows = []
    for actor in ("gateway", "consensus", "log", "machine"):
        found = facts[actor]["counters"]
        busy = found.get("busy_us", 0) / up_us if up_us else None
        rows.append(
            {
                "node": node["name"],
                "actor": actor,
                "waiting": waiting.get(actor),
                "busy": None if busy is None else f"{busy:.1%}",
                "longest_turn": _ms(found.get("turn_us_max")),
                "longest_wait": _ms(found.get("oldest_us_max")),
                "last_sync": _sync(facts["log"]) if actor == "log" else None,
            }
        )
    return rows


def _ms(us: int | None) -> str | None:
    return None if us is None else f"{us / 1_000:,.1f} ms"


def _sync(log: dict[str, Any]) -> str | None:
    if "last_sync_us" not in log:
        return None
    return f"{_ms(log['last_sync_us'])}, {log['last_sync_ago_ms'] / 1_000:.1f} s ago"


def _size(count: int | None) -> str | None:
    return None if count is None else decimal(count)


# -- judging -------------------------------------------------------------------------------------
def _judge(row: Record) -> str:
    """`ok`, or what is the matter."""
    if not row["leader"]:
        return "it knows no leader: do a majority of the members run, and reach each other?"
    if not row["opened"]:
        return "the cluster is forming: all its first members must be running"
    if row["checking"]:
        return "it is still checking its data after a restart"
    if row["space"]:
        return _SPACE[row["space"]]
    if row["quota_reached"]:
        return "its quota is reached: delete keys, or raise --quota"
    if row["lag"] > _LAG_MAX:
        return f"it is {row['lag']:,} entries behind"
    return "ok"
