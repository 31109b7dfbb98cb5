"""`dkvctl conformance`: does a client, or a server, speak the protocol of docs/protocol.md?

Owns: how a verdict becomes lines and an exit code. Must never decide a verdict: `dkv/conformance`
does.
"""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import click

from cli.endings import Ended, Exit
from cli.options import Choices, Group, SharedOptions
from cli.output import Record, emit_rows, shown
from dkv.conformance import rules
from dkv.conformance.asking import Door
from dkv.conformance.driver import Broken
from dkv.conformance.judging import judge_client
from dkv.conformance.trials import judge_server
from dkv.conformance.verdicts import ADVICE, BROKEN, SKIPPED, Verdict
from dkv.security.identity import load_identity

_COLUMNS = ("rule", "outcome", "play", "words")


@click.group(cls=Group)
def conformance() -> None:
    """Try a client or a server, rule by rule of docs/protocol.md."""


@conformance.command(cls=SharedOptions)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option("--rule", "chosen", multiple=True, metavar="C7", help="Only this rule; repeatable.")
@click.option("--jobs", type=click.IntRange(1, 64), default=os.cpu_count() or 1, help="At a time.")
@click.option("--list", "only_list", is_flag=True, help="Name the rules, and play none.")
@click.option(
    "--verbose",
    is_flag=True,
    help="Of a broken rule, show what was asked and answered, and stderr.",
)
@click.pass_obj
def client(
    run: Choices,
    command: tuple[str, ...],
    chosen: tuple[str, ...],
    jobs: int,
    only_list: bool,
    verbose: bool,
) -> None:
    """Play a cluster to a client under test, in which something goes wrong, and say which rules the
    client keeps. Needs no cluster.

    CMD starts the client's driver, a program that does what the lines on its stdin say: see
    docs/protocol.md, section 13. Exits with 8 if a rule is broken. C1 to C6 are judged on every
    message of the plays that are played: of all, if no other rule is named.
    """
    _check(chosen, rules.CLIENT)
    if only_list:
        _list(run, rules.CLIENT)
        return
    if not command:
        raise click.UsageError("say how the driver is started: dkvctl conformance client -- CMD")
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"{command[0]} is no program that can be started")
    _say(run, judge_client(command, chosen, jobs), rules.CLIENT, verbose)


@conformance.command(cls=SharedOptions)
@click.option("--rule", "chosen", multiple=True, metavar="S7", help="Only this rule; repeatable.")
@click.option("--list", "only_list", is_flag=True, help="Name the rules, and try none.")
@click.pass_obj
def server(run: Choices, chosen: tuple[str, ...], only_list: bool) -> None:
    """Ask a live node, rule by rule, and say which it keeps: the first one of --endpoint.

    Needs the role writer. Keys below conformance/ are written, and deleted in the end. Exits with 8
    if a rule is broken.
    """
    _check(chosen, rules.SERVER)
    if only_list:
        _list(run, rules.SERVER)
        return
    asked = run.client_options()
    identity = None
    if not asked.get("insecure"):
        cert, key, trust = (Path(asked[name]) for name in ("cert", "key", "cacert"))
        passphrase = asked["passphrase"]
        identity = load_identity(cert, key, trust, int(time.time()), passphrase=passphrase)
    door = Door(asked["endpoints"][0], identity, asked["timeout"])
    try:
        _say(run, judge_server(door, chosen), rules.SERVER)
    except Broken as broken:
        raise Ended(f"{door.address} cannot be tried: {broken}", Exit.UNAVAILABLE) from None


def _check(chosen: tuple[str, ...], table: dict[str, str]) -> None:
    unknown = [rule for rule in chosen if rule not in table]
    if unknown:
        raise click.UsageError(f"there is no rule {unknown[0]}: see --list")


def _list(run: Choices, table: dict[str, str]) -> None:
    emit_rows(run.form, ({"rule": r, "words": w} for r, w in table.items()), ("rule", "words"))


def _say(
    run: Choices, verdicts: Iterable[Verdict], table: dict[str, str], verbose: bool = False
) -> None:
    """Each as it comes, and in the end how many of which. Raises `Ended` if one is broken."""
    found: list[Verdict] = []
    for verdict in verdicts:
        found.append(verdict)
        if run.form == "table":
            _print(verdict, table[verdict.rule], verbose)
    if run.form != "table":
        emit_rows(run.form, (_record(v, table[v.rule]) for v in found), _COLUMNS)
    broken = sorted({v.rule for v in found if v.outcome == BROKEN}, key=lambda r: int(r[1:]))
    tried = {v.rule for v in found if v.outcome != SKIPPED}
    if not tried:
        raise Ended("no rule was tried, which proves nothing", Exit.UNHEALTHY)
    if broken:
        raise Ended(f"{len(broken)} of {len(tried)} rules broken: {', '.join(broken)}", _ILL)
    if run.form == "table":
        click.echo(_summary(tried, {v.rule for v in found if v.outcome == ADVICE}))


def _summary(tried: set[str], advised: set[str]) -> str:
    kept = len(tried - advised)
    words = "1 rule is kept" if kept == 1 else f"{kept} rules are kept"
    slow = ", ".join(sorted(advised, key=lambda r: int(r[1:])))
    return f"{words}; of those that are advice (SHOULD), not: {slow}" if slow else words


_ILL = Exit.UNHEALTHY
_STYLE = {BROKEN: "red", "passed": "green"}


def _print(verdict: Verdict, rule: str, verbose: bool) -> None:
    outcome = click.style(f"{verdict.outcome:7}", fg=_STYLE.get(verdict.outcome, "yellow"))
    click.echo(f"{verdict.rule:4} {outcome}  {_title(verdict)}{rule}")
    if verdict.words:
        click.echo(f"              {shown(verdict.words)}")
    if verbose and verdict.outcome in (BROKEN, ADVICE):
        for line in (*verdict.trace, *verdict.stderr.splitlines()):
            click.echo(f"              | {shown(line)}")


def _title(verdict: Verdict) -> str:
    return f"{verdict.play.replace('_', ' ')}: " if verdict.play else ""


def _record(verdict: Verdict, rule: str) -> Record:
    return {**verdict._asdict(), "says": rule}
