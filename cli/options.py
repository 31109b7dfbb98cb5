"""Which cluster, as whom, how: the options that every command of `dkvctl` shares.

Owns: their names, their variables in the environment, and who wins: an option over the environment
over the saved context. Must never know what is asked of the cluster.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.contexts import Context, current_context, find_context
from cli.output import FORMATS
from dkv.client import AsyncClient, Client
from dkv.errors import Misconfigured
from dkv.ids import parse_address
from dkv.requests import LEVELS
from dkv.security.secrets import is_locked

_TIMEOUT_S = 5.0
_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass
class Choices:
    """What was chosen for this run; None: not said."""

    endpoint: tuple[str, ...] | None = None
    cert: Path | None = None
    key: Path | None = None
    cacert: Path | None = None
    insecure: bool | None = None
    context: str | None = None
    timeout: float | None = None
    read_level: str | None = None
    pin: bool | None = None
    output: str | None = None

    def target(self, name: str = "") -> Context:
        """The saved context with what was said put over it. Naming certificates ends a context's
        `insecure`, naming `--insecure` its certificates: security is never dropped by a mixture."""
        saved = (find_context(self.context) if self.context else current_context()) or _NOWHERE
        files = {f: getattr(self, f) for f in ("cert", "key", "cacert") if getattr(self, f)}
        if files and self.insecure:
            raise click.UsageError("--insecure excludes --cert, --key and --cacert")
        if self.insecure:
            saved = saved._replace(cert="", key="", cacert="", insecure=True)
        elif files:
            paths = {f: os.path.abspath(path) for f, path in files.items()}
            saved = saved._replace(insecure=False, **paths)
        return saved._replace(name=name or saved.name, endpoints=self._endpoints(saved))

    def _endpoints(self, saved: Context) -> tuple[str, ...]:
        if self.endpoint is None:
            return saved.endpoints
        named = (e.strip() for text in self.endpoint for e in text.split(","))
        return tuple(str(parse_address(e, "--endpoint")) for e in named)

    @property
    def form(self) -> str:
        return self.output or "table"

    def client(self) -> Client:
        return Client(**self.client_options())

    def async_client(self) -> AsyncClient:
        return AsyncClient(**self.client_options())

    def client_options(self) -> dict[str, Any]:
        target = self.target()
        if not target.endpoints:
            raise click.UsageError(
                "no cluster is named: give --endpoint HOST:PORT, or save one with "
                "`dkvctl context save` (`dkv local` starts a cluster to try and saves it)"
            )
        return {
            "endpoints": list(target.endpoints),
            **_credentials(target),
            "timeout": self.timeout or _TIMEOUT_S,
            "read_level": self.read_level or LEVELS[0],
            "pin": bool(self.pin),
        }


_NOWHERE = Context("", ())


def _credentials(target: Context) -> dict[str, Any]:
    if target.insecure:
        return {"insecure": True}
    files = {"--cert": target.cert, "--key": target.key, "--cacert": target.cacert}
    missing = [option for option, path in files.items() if not path]
    if missing:
        raise click.UsageError(
            f"{', '.join(missing)} missing: who are you, and whom do you trust? "
            "(--insecure is for a cluster that runs without security)"
        )
    for option, path in files.items():
        if not os.path.isfile(path):
            raise Misconfigured(f"{option} {path}: there is no such file")
    passphrase = _passphrase(Path(target.key))
    return {**{o.strip("-"): path for o, path in files.items()}, "passphrase": passphrase}


def _passphrase(key: Path) -> str | None:
    if not is_locked(key):
        return None
    given = os.environ.get("DKVCTL_PASSPHRASE")
    if given is None and sys.stdin.isatty():
        given = click.prompt(f"Passphrase of {key}", hide_input=True, err=True)
    return given


# -- as click sees them --------------------------------------------------------------------------
_MARK = "shared_"  # apart from a command's own parameters: put has a KEY of its own


def _options() -> list[click.Option]:
    def option(*names: str, **how: Any) -> click.Option:
        variable = "DKVCTL_" + names[-1].removeprefix("--").replace("-", "_").upper()
        how.setdefault("default", None)
        field = _MARK + names[-1].removeprefix("--").replace("-", "_")
        return click.Option(
            (*names, field),
            envvar=variable,
            show_envvar=True,
            expose_value=False,
            callback=_note,
            **how,
        )

    return [
        option(
            "--endpoint",
            multiple=True,
            metavar="HOST:PORT",
            help="A node's client address; may be given several times.",
        ),
        option("--cert", type=_FILE, help="Your certificate."),
        option("--key", type=_FILE, help="Its key."),
        option("--cacert", type=_FILE, help="The trust file of the cluster's authority."),
        option("--insecure", is_flag=True, help="The cluster runs without security."),
        option("--context", metavar="NAME", help="A saved context, instead of the current one."),
        option(
            "--timeout",
            type=click.FloatRange(0, 600, min_open=True),
            metavar="SECONDS",
            help=f"The deadline of each request.  [default: {_TIMEOUT_S:g}]",
        ),
        option(
            "--read-level",
            type=click.Choice(LEVELS),
            help=f"serializable: any node answers as it is, perhaps older.  [default: {LEVELS[0]}]",
        ),
        option("--pin", is_flag=True, help="Keep to the nodes named; learn of no others."),
        option(
            "-o", "--output", type=click.Choice(FORMATS), help="How to print.  [default: table]"
        ),
    ]


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Whoever speaks last is right: the command's own options come after the group's."""
    choices = ctx.find_root().ensure_object(Choices)
    if value not in (None, (), False):
        assert param.name is not None
        setattr(choices, param.name.removeprefix(_MARK), value)


class SharedOptions(click.Command):
    """A command that takes the shared options after its name too, unmentioned in its help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {name for param in self.params for name in param.opts}
        for option in _options():
            if not taken & set(option.opts):
                option.envvar, option.hidden = None, True
                self.params.append(option)


class Group(click.Group):
    command_class = SharedOptions
    group_class: type[click.Group] | type[type] | None = type


def add_options(group: click.Group) -> None:
    group.params.extend(_options())
