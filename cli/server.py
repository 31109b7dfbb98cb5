"""`dkv`: a node, three nodes to try, and a look into a data directory.

Owns: the flags, their variables in the environment and in `.env`, and how a run ends: one clear
line and an exit code of its own (`dkv.errors.Ending`). Must never know what a node does, nor import
what a node can start without: imports are most of a start.
"""

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from actors.announcer import Announcer
from actors.joining import Joining
from actors.node import Crashed, Node
from cli.duration import DURATION
from dkv import __version__
from dkv.config import Files, Settings
from dkv.errors import DkvError, Ending, Misconfigured
from dkv.ids import Address, parse_address, parse_members
from dkv.kv.retention import Policy
from dkv.limits import MIB, MS, RETENTION, ClusterLimits, Retention, Timing
from dkv.security.refusal import CertificateError

WAYS = """\
dkv starts a node. Three ways to begin:

  one node, to try what it does (no security, on this machine only):
    dkv --insecure --listen-peer-address 127.0.0.1:2380 --listen-client-address 127.0.0.1:3000

  three nodes on this machine, with certificates, watched and restarted:
    dkv local

  three containers:
    cd compose && docker compose up        (docker-compose, with an older Docker)

Then:  dkvctl put greeting hello;  dkvctl get greeting
All options:  dkv --help
"""
_PEM = (
    *("peer_cert_file", "peer_key_file", "peer_trusted_ca_file"),
    *("cert_file", "key_file", "trusted_ca_file"),
)
_LIMITS = ClusterLimits()
_TIMING = Timing()
_POLICY = Policy()


Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def _path(option: str, words: str) -> Decorator:
    return click.option(option, type=click.Path(path_type=Path), metavar="FILE", help=words)


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each cluster-wide limit; all members need the same."""
    for name, default in reversed(list(_LIMITS._asdict().items())):
        words = "Cluster-wide, fixed at creation."
        option = click.option(
            f"--{name.replace('_', '-')}", type=int, default=default, show_default=True, help=words
        )
        command = option(command)
    return command


class _Programs(click.Group):
    """Commands whose modules are loaded when one of them is named, or asked for its help."""

    _WHERE = {
        "inspect": "cli.inspection",
        "local": "cli.local",
        "recover": "cli.recover",
        "restore": "cli.restore",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._WHERE:
            return None
        found: click.Command = getattr(import_module(self._WHERE[cmd_name]), cmd_name)
        return found


@click.group(
    cls=_Programs,
    invoke_without_command=True,
    context_settings={"auto_envvar_prefix": "DKV", "max_content_width": 100},
)
@click.option("--name", default="n1", show_default=True, help="This node's name.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="[default: NAME.dkv]")
@click.option("--listen-peer-address", default=":2380", show_default=True, metavar="HOST:PORT")
@click.option("--listen-client-address", default=":3000", show_default=True, metavar="HOST:PORT")
@click.option(
    "--initial-cluster",
    default="",
    metavar="NAME=HOST:PORT,…",
    help="Every member and its peer address.  [default: as remembered, or this node alone]",
)
@click.option(
    "--initial-cluster-state",
    type=click.Choice(["new", "existing"]),
    default="new",
    show_default=True,
    help="existing: this disk joins a cluster that runs.",
)
@click.option(
    "--join",
    default="",
    metavar="HOST:PORT,…",
    help="Client addresses of members: this node joins their cluster, which has invited it.",
)
@click.option(
    "--initial-cluster-token", default="dkv", show_default=True, help="Tells clusters apart."
)
@click.option(
    "--advertise-nodes",
    default="",
    metavar="NAME=HOST:PORT,…",
    help="Where clients reach each node.",
)
@_path("--peer-cert-file", "This node's certificate; its members' lie beside it.")
@_path("--peer-key-file", "Its key.")
@_path("--peer-trusted-ca-file", "The trust file by which members are known.")
@_path("--cert-file", "The server certificate, the same on every node.")
@_path("--key-file", "Its key.")
@_path("--trusted-ca-file", "The trust file by which clients are known.")
@click.option("--insecure", is_flag=True, help="No certificates: whoever connects is an admin.")
@click.option(
    "--heartbeat-interval-ms", type=int, default=_TIMING.heartbeat_us // MS, show_default=True
)
@click.option(
    "--election-timeout-ms",
    type=int,
    default=_TIMING.election_us_min // MS,
    show_default=True,
    help="The least; each is drawn between this and twice this.",
)
@click.option(
    "--step-down-timeout-ms",
    type=int,
    default=_TIMING.step_down_us // MS,
    show_default=True,
    help="A leader without a majority for so long gives up.",
)
@click.option(
    "--keep-log",
    is_flag=True,
    help="Never cut the log's head: this node's log.db keeps every change from now on.",
)
@click.option(
    "--log-keep-entries",
    type=click.IntRange(min=16),
    default=RETENTION.entries,
    show_default=True,
    help="As much of the log is kept for a slow member; beyond, it is sent the state.",
)
@click.option(
    "--log-keep-mib",
    type=click.IntRange(min=1),
    default=RETENTION.bytes // MIB,
    show_default=True,
    help="The same, in MiB: whichever is reached first.",
)
@click.option(
    "--compact-keep-revisions",
    type=click.IntRange(0),
    default=_POLICY.keep_revisions,
    show_default=True,
    help="History is deleted when it is more revisions ago than this, and older than the next.",
)
@click.option(
    "--compact-keep-age",
    type=DURATION,
    default="10m",
    show_default=True,
    help="See above; as 90s, 10m, 1h, 7d. Both 0: only `dkvctl compact` deletes history.",
)
@click.option(
    "--quota",
    type=click.IntRange(0),
    default=_POLICY.quota,
    metavar="BYTES",
    help="Refuse puts while state.db has so many bytes in use.  [default: no quota]",
)
@click.option(
    "--metrics-address",
    default="",
    metavar="HOST:PORT",
    help="Serve /metrics (Prometheus), /livez and /readyz here, unencrypted.  [default: nowhere]",
)
@click.option(
    "--slow-request-ms",
    type=click.IntRange(0),
    default=1_000,
    show_default=True,
    help="A request that takes longer gets a line in the log; 0: none does.",
)
@_limits
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: each line an object.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.version_option(__version__, prog_name="dkv")
@click.pass_context
def dkv(ctx: click.Context, /, **given: Any) -> None:
    """Run a node of a dkv cluster.

    Every option can be given as DKV_… in the environment or in a file .env, as in
    DKV_INITIAL_CLUSTER. Without any, dkv shows three ways to begin.
    """
    if ctx.invoked_subcommand is not None:
        return
    if all(ctx.get_parameter_source(name) is _DEFAULT for name in given):
        click.echo(WAYS, nl=False)
        return
    settings = _settings(given)
    announcer = Announcer(settings.name, given["log_level"], given["log_format"])
    try:
        code = Node(settings, announcer, _joining(settings, announcer)).run()
    except (DkvError, Crashed) as error:
        _end(error, announcer)
    else:
        ctx.exit(code)


_DEFAULT = click.core.ParameterSource.DEFAULT


def _joining(settings: Settings, announcer: Announcer) -> Joining | None:
    """Who joins is a client; the others do without one."""
    if not settings.join:
        return None
    from cli.joining import Joiner

    return Joiner(settings, announcer)


# -- from flags to settings ----------------------------------------------------------------------
def _settings(given: dict[str, Any]) -> Settings:
    name = given["name"]
    listen = {
        which: parse_address(
            given[f"listen_{which}_address"], f"--listen-{which}-address", needs_host=False
        )
        for which in ("peer", "client")
    }
    return Settings(
        name,
        given["data_dir"] or Path(f"{name}.dkv"),
        listen["peer"],
        listen["client"],
        _members(given["initial_cluster"], "--initial-cluster"),
        _members(given["advertise_nodes"], "--advertise-nodes"),
        given["initial_cluster_token"],
        given["initial_cluster_state"] == "existing" or bool(given["join"].strip()),
        _files(given),
        ClusterLimits(*(given[field] for field in ClusterLimits._fields)),
        _TIMING._replace(
            heartbeat_us=given["heartbeat_interval_ms"] * MS,
            election_us_min=given["election_timeout_ms"] * MS,
            election_us_max=2 * given["election_timeout_ms"] * MS,
            step_down_us=given["step_down_timeout_ms"] * MS,
        ),
        None if given["keep_log"] else _retention(given["log_keep_entries"], given["log_keep_mib"]),
        tuple(parse_address(a, "--join") for a in given["join"].split(",") if a.strip()),
        Policy(given["compact_keep_revisions"], given["compact_keep_age"] * 1_000, given["quota"]),
        given["slow_request_ms"] * MS,
        _metrics(given["metrics_address"]),
    )


def _metrics(text: str) -> Address | None:
    text = text.strip()
    return parse_address(text, "--metrics-address", needs_host=False) if text else None


def _retention(entries: int, mib: int) -> Retention:
    """A short log has a short tail, and is cut in small steps."""
    tail, step = min(RETENTION.tail, entries // 2), min(RETENTION.step, max(entries // 8, 1))
    return Retention(tail, entries, step, mib * MIB)


def _members(text: str, option: str) -> dict[str, Address]:
    return parse_members(text, option) if text.strip() else {}


def _files(given: dict[str, Any]) -> Files | None:
    missing = [f"--{name.replace('_', '-')}" for name in _PEM if given[name] is None]
    if given["insecure"]:
        if len(missing) < len(_PEM):
            raise Misconfigured("--insecure excludes certificates: give one or the other")
        return None
    if missing:
        raise CertificateError(
            f"{', '.join(missing)} missing: a node without certificates does not start. Make them "
            "with `dkvctl certs`, or give --insecure to run without any security"
        )
    return Files(*(given[name] for name in _PEM))


# -- the end of a run ----------------------------------------------------------------------------
def _load_dotenv() -> None:
    """`.env` in this folder fills in DKV_… variables that are not set."""
    if not os.path.exists(".env"):
        return
    from dotenv import dotenv_values

    for name, value in dotenv_values(".env").items():
        if name.startswith("DKV_") and value is not None:
            os.environ.setdefault(name, value)


def _end(error: DkvError | Crashed, announcer: Announcer | None = None) -> None:
    """At once: threads of a node that failed are not waited for. For programs that read its lines
    the sentence is one of them."""
    code = 1 if isinstance(error, Crashed) else getattr(error, "ending", Ending.MISCONFIGURED)
    sys.stdout.flush()
    if announcer is not None and announcer.form == "json":
        announcer.say("error", "ended", str(error), time.time())
    else:
        sys.stderr.write(f"dkv: {error}\n")
        sys.stderr.flush()
    os._exit(code)


def main() -> None:
    try:
        _load_dotenv()
        dkv(prog_name="dkv")
    except DkvError as error:
        _end(error)


if __name__ == "__main__":
    main()
