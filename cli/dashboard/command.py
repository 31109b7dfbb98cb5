"""`dkvctl dashboard`: watch a cluster and its log in a browser.

Owns: its options, and which of them make no sense. Must never know what a page shows. What needs
aiohttp is imported only when the command runs, for a plain dkvctl has none.
"""

import asyncio
import os

import click

from cli.endings import Ended, Exit
from cli.options import Choices, SharedOptions
from dkv.ids import parse_address

_LISTEN = "127.0.0.1:8080"
_SECRET_LETTERS_MIN = 16


@click.command(cls=SharedOptions)
@click.option(
    "--listen",
    default=_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where browsers find it.",
)
@click.option(
    "--host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers call it, where that is neither localhost nor an address.",
)
@click.option("--allow-writes", is_flag=True, help="Its pages may put and delete keys.")
@click.pass_obj
def dashboard(run: Choices, listen: str, names: tuple[str, ...], allow_writes: bool) -> None:
    """Watch a cluster and its log in a browser.

    Prints a link that ends in a secret: whoever has it sees the keys, and values one at a time. The
    secret is drawn anew at each start, unless DKVCTL_DASHBOARD_SECRET gives one. The certificate
    must have the role admin.
    """
    address = parse_address(listen, "--listen")
    secret = os.environ.get("DKVCTL_DASHBOARD_SECRET", "")
    if secret and len(secret) < _SECRET_LETTERS_MIN:
        words = f"DKVCTL_DASHBOARD_SECRET needs at least {_SECRET_LETTERS_MIN} letters"
        raise click.UsageError(words)
    options = run.client_options()
    try:
        from cli.dashboard.serving import Orders, serve
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        words = "the dashboard needs aiohttp: type `pip install 'dkv[dashboard]'`"
        raise Ended(words, Exit.USAGE) from None
    asyncio.run(serve(options, Orders(address, secret, names, allow_writes)))
