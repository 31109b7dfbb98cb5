"""`dkvctl check hash`: do all nodes hold the same state? Compared online, at one entry of the log.

Owns: who is asked, in which order, and the words. Must never know what a hash is made of.

1. One node names an entry that it has applied, and its hash there.
2. Every node is asked for the hash at that same entry. The read is linearizable, so it waits until
   the node has come so far; writes go on meanwhile.
3. A node that no longer remembers the entry, because much was written since, is asked with a newer
   one, and so are all.
"""

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import click

from cli.endings import Ended, Exit
from cli.everyone import names_of
from cli.options import Choices, SharedOptions
from cli.output import Record, emit_rows, note
from dkv.client import AsyncClient, Denied, RequestError
from dkv.errors import Code

_ROUNDS = 5
_COLUMNS = ("node", "address", "index", "hash", "verdict")


class Asked(NamedTuple):
    entry: int
    hashes: dict[str, str]  # by address
    errors: dict[str, RequestError]


@click.command(name="hash", cls=SharedOptions)
@click.pass_obj
def compare_hashes(run: Choices) -> None:
    """Compare the state of all nodes, as of one entry of the log.

    Writes may go on meanwhile. Exits with 8 when nodes differ, with 5 when one could not be asked;
    the others are still compared.
    """
    rows = asyncio.run(_compare(run.client_options()))
    emit_rows(run.form, rows, _COLUMNS)
    for row in rows:
        if row["hash"] is None:
            note(f"{row['node'] or row['address']}: {row['words']}")
    _end(rows)


def _end(rows: list[Record]) -> None:
    differing = [r["node"] or r["address"] for r in rows if r["verdict"] == "differs"]
    silent = sum(r["hash"] is None for r in rows)
    if differing:
        names = ", ".join(differing)
        words = f"the state of {names} differs from that of the others"
        if len(differing) == len(rows) - silent:
            words = f"{names} differ from one another, and none of them is a majority"
        raise Ended(
            f"{words}. Keep the data directories, and see docs/operations.md", Exit.UNHEALTHY
        )
    if silent:
        words = f"{silent} of {len(rows)} nodes could not be asked; the others were compared"
        raise Ended(words, Exit.UNAVAILABLE)


# -- asking --------------------------------------------------------------------------------------
async def _compare(options: dict[str, Any]) -> list[Record]:
    names = await names_of(options)
    asked = await _ask_all(list(names), options)
    rows = [
        {
            "node": names[address],
            "address": address,
            "index": asked.entry if address in asked.hashes else None,
            "hash": asked.hashes.get(address),
            "words": str(asked.errors.get(address, "")),
        }
        for address in names
    ]
    return _judged(sorted(rows, key=lambda r: (r["node"], r["address"])))


async def _ask_all(addresses: list[str], options: dict[str, Any]) -> Asked:
    """All at one entry; if some have forgotten it already, again at a newer one."""
    for _round in range(_ROUNDS):
        asked = await _ask_at_one_entry(addresses, options)
        if all(e.code is not Code.COMPACTED for e in asked.errors.values()):
            break
    return asked


async def _ask_at_one_entry(addresses: list[str], options: dict[str, Any]) -> Asked:
    async with AsyncClient(**{**options, "read_level": "linearizable"}) as kv:
        index = (await kv.state_hash())["index"]
    found = await asyncio.gather(*(_ask(a, index, options) for a in addresses))
    hashes = {a: f for a, f in zip(addresses, found, strict=True) if isinstance(f, str)}
    errors = {a: f for a, f in zip(addresses, found, strict=True) if not isinstance(f, str)}
    return Asked(index, hashes, errors)


async def _ask(address: str, index: int, options: dict[str, Any]) -> str | RequestError:
    alone = {**options, "endpoints": [address], "pin": True, "read_level": "linearizable"}
    async with AsyncClient(**alone) as kv:
        try:
            found: str = (await kv.state_hash(index))["hash"]
            return found
        except Denied:
            raise
        except RequestError as error:
            return error


def _judged(rows: list[Record]) -> list[Record]:
    """Against what most nodes hold; where no majority of those asked agrees, all of them differ."""
    counts = Counter(r["hash"] for r in rows if r["hash"] is not None)
    common, count = counts.most_common(1)[0] if counts else (None, 0)
    agreed = common if len(counts) == 1 or count > counts.total() // 2 else None
    for row in rows:
        if row["hash"] is None:
            row["verdict"] = "not asked"
        else:
            row["verdict"] = "equal" if row["hash"] == agreed else "differs"
    return rows
