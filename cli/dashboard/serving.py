"""The dashboard from its start to its end: watches, hub and web server in one loop.

Owns: the order in which they begin and end, and the link that is printed. Must never know what a
page shows.
"""

import asyncio
import ipaddress
import signal
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

import click
from aiohttp import web

from cli.dashboard.door import Door
from cli.dashboard.hub import Hub
from cli.dashboard.site import Site
from cli.dashboard.watching import Watching
from cli.endings import Ended, Exit
from cli.output import note
from dkv.client import AsyncClient
from dkv.ids import Address

_GRACE_S = 1.0  # for answers that are under way at the end


class Orders(NamedTuple):
    """`names`: host names by which browsers may call. `secret` empty: one is drawn."""

    listen: Address
    secret: str
    names: tuple[str, ...]
    writes: bool


async def serve(options: dict[str, Any], orders: Orders) -> None:
    """Until Ctrl-C or SIGTERM. `options` are a client's."""
    door = Door(orders.listen.port, orders.secret, (orders.listen.host, *orders.names))
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncClient(**options) as cluster:
        hub = Hub()
        site = Site(hub, cluster, door, orders.writes)
        runner = web.AppRunner(site.app(), access_log=None, shutdown_timeout=_GRACE_S)
        await runner.setup()
        try:
            await _listen(runner, orders.listen)
            _greet(orders, door)
            await _watch(Watching(hub, options), cluster, ended)
        finally:
            site.close()
            await runner.cleanup()


async def _listen(runner: web.AppRunner, address: Address) -> None:
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError as error:
        words = f"--listen {address}: {error.strerror or error}"
        raise Ended(f"{words}: choose another, as in --listen 127.0.0.1:8081", Exit.USAGE) from None


async def _watch(watching: Watching, cluster: AsyncClient, ended: asyncio.Event) -> None:
    """To the end; or until watching fails, which is a bug."""
    watch = asyncio.create_task(watching.run(cluster))
    end = asyncio.create_task(ended.wait())
    await asyncio.wait((watch, end), return_when=asyncio.FIRST_COMPLETED)
    for task in (watch, end):
        task.cancel()
    with suppress(asyncio.CancelledError):
        await watch


def _greet(orders: Orders, door: Door) -> None:
    address = orders.listen
    if _is_everywhere(address.host):
        address = address._replace(host="localhost")
    click.echo(f"http://{address}/?secret={quote(door.secret)}")
    note("Ctrl-C ends the dashboard." + (" Its pages may change keys." if orders.writes else ""))
    if not _is_here(orders.listen.host):
        note(
            "warning: it listens beyond this machine, and HTTP is not encrypted: whoever can read "
            "the network can read the secret, keys and values. See docs/dashboard.md."
        )


def _is_everywhere(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return False


def _is_here(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
