"""Every node, each asked by itself: where they are, and a client that keeps to one.

Owns: whom a command that looks at all nodes asks. Must never know what is asked.
"""

from typing import Any

from cli.endings import Ended, Exit
from dkv.client import AsyncClient


async def names_of(options: dict[str, Any]) -> dict[str, str]:
    """Client addresses, and the names of who is there (empty where the nodes named are kept to)."""
    if options["pin"]:
        return dict.fromkeys(options["endpoints"], "")
    async with AsyncClient(**options) as kv:
        known = await kv.members()
    found = {m["client_address"]: m["name"] for m in known["members"] if m["client_address"]}
    return found or dict.fromkeys(options["endpoints"], "")


async def chosen(options: dict[str, Any], nodes: tuple[str, ...]) -> dict[str, str]:
    """Of all of them those with these names; all, where there are none."""
    found = await names_of({**options, "pin": bool(options["pin"] and not nodes)})
    strangers = sorted(set(nodes) - set(found.values()))
    if strangers:
        names = ", ".join(sorted(found.values()))
        words = f"no node with a known client address is named {', '.join(strangers)}: {names} are"
        raise Ended(words, Exit.NOT_FOUND)
    return {address: name for address, name in found.items() if not nodes or name in nodes}


def alone(options: dict[str, Any], address: str, timeout: float) -> AsyncClient:
    """A client of one node; whoever is silent is given up sooner than a request might be."""
    one = {"endpoints": [address], "pin": True, "timeout": min(options["timeout"], timeout)}
    return AsyncClient(**{**options, **one})
