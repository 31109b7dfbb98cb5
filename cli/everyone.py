"""Every node, each asked by itself: where they are, and a client that keeps to one.

Owns: whom a command that looks at all nodes asks, also where members come and go while it runs.
Must never know what is asked.
"""

import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from cli.endings import Ended, Exit
from dkv.client import AsyncClient, RequestError

LOOK_S = 2.0
_LOOK_TIMEOUT_S = 1.0


async def names_of(options: dict[str, Any]) -> dict[str, str]:
    """Client addresses, and the names of who is there (empty where the nodes named are kept to)."""
    if options["pin"]:
        return dict.fromkeys(options["endpoints"], "")
    async with AsyncClient(**options) as kv:
        found = _addresses(await kv.members())
    return found or dict.fromkeys(options["endpoints"], "")


def _addresses(known: dict[str, Any]) -> dict[str, str]:
    return {m["client_address"]: m["name"] for m in known["members"] if m["client_address"]}


class Roll:
    """Who is asked: `names`, by client address, as the cluster last said. A context. Where a client
    keeps to the nodes that it was told, they stay."""

    def __init__(self, options: dict[str, Any], nodes: tuple[str, ...]) -> None:
        """`nodes`: only those with these names; all, where there are none."""
        self.names: dict[str, str] = {}
        self._options = {**options, "pin": bool(options["pin"] and not nodes)}
        self._nodes = nodes
        self._looked_s = 0.0

    async def __aenter__(self) -> "Roll":
        found = await names_of(self._options)
        strangers = sorted(set(self._nodes) - set(found.values()))
        if strangers:
            names = ", ".join(sorted(found.values()))
            words = f"no node with a known client address is named {', '.join(strangers)}: "
            raise Ended(f"{words}{names} are", Exit.NOT_FOUND)
        self._take(found)
        timeout = min(self._options["timeout"], _LOOK_TIMEOUT_S)
        self._kv = AsyncClient(**{**self._options, "timeout": timeout})
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._kv.close()

    async def look(self) -> None:
        """Again, if some time has passed; where nobody answers they stay as they were."""
        if self._options["pin"] or time.monotonic() < self._looked_s + LOOK_S:
            return
        with suppress(RequestError):
            self._take(_addresses(await self._kv.members()))

    def _take(self, found: dict[str, str]) -> None:
        wanted = {a: n for a, n in found.items() if not self._nodes or n in self._nodes}
        self.names = wanted or self.names
        self._looked_s = time.monotonic()


def alone(options: dict[str, Any], address: str, timeout: float) -> AsyncClient:
    """A client of one node; whoever is silent is given up sooner than a request might be."""
    one = {"endpoints": [address], "pin": True, "timeout": min(options["timeout"], timeout)}
    return AsyncClient(**{**options, **one})
