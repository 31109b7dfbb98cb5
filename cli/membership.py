"""`dkvctl member`: who belongs to the cluster, and how that changes.

Owns: the commands, what is shown of each step, how long a change is waited for. Must never know how
the leader decides; what a change would mean is in `outlook`.
"""

import time
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli import outlook
from cli.endings import Ended, Exit
from cli.options import Choices, Group
from cli.outlook import Step
from cli.output import emit_rows, note
from dkv.client import Client, RequestError
from dkv.errors import Code

_MEMBER = ("name", "role", "alive", "lag", "heard", "peer_address", "client_address", "since")
_STEP = ("step", "voters", "majority", "alive", "survives", "writes")
_LOOK_S = 0.3
_NO_LEADER = (Code.NO_LEADER, Code.NOT_LEADER, Code.TIMEOUT, Code.FORMING)

_force = click.option("--force", is_flag=True, help="Also if a majority would then be silent.")
_dry_run = click.option(
    "--dry-run", is_flag=True, help="Show what each step means; change nothing."
)
_wait = click.option(
    "--wait",
    "patience_s",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a new member to catch up; 0: not at all.",
)
_peer = click.option("--peer-address", default="", metavar="HOST:PORT", help="For the others.")
_client = click.option("--client-address", default="", metavar="HOST:PORT", help="For clients.")


@click.group(cls=Group)
def member() -> None:
    """The members of the cluster: list, add, promote, update, replace, remove."""


@member.command(name="list")
@click.pass_obj
def list_members(run: Choices) -> None:
    """List members as the leader sees them: role, health, lag, addresses.

    LAG is in log entries behind what is committed, and since when; HEARD how long ago the leader
    last heard of it. Without a leader, what one node knows is shown.
    """
    with run.client() as kv:
        try:
            rows = [_row(m) for m in kv.ask("member_list")["members"]]
        except RequestError as error:
            if error.code not in _NO_LEADER:
                raise
            note(f"no leader answers ({error}); as one node knows them:")
            known = kv.members()["members"]
            rows = [_row({**dict.fromkeys(_MEMBER), **m}) for m in known]
    emit_rows(run.form, rows, _MEMBER)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    lag, ms, heard, since = (found.get(f) for f in ("lag_entries", "lag_ms", "heard_ms", "since"))
    return {
        **found,
        "lag": None
        if lag is None
        else f"{lag:,}" + (f" ({ms / 1000:.1f} s)" if lag and ms else ""),
        "heard": None if heard is None else f"{heard / 1000:.1f} s ago",
        "since": time.strftime("%Y-%m-%d %H:%M", time.localtime(since / 1000)) if since else None,
    }


# -- adding --------------------------------------------------------------------------------------
@member.command()
@click.argument("name")
@click.argument("peer_address", metavar="HOST:PORT", default="")
@_client
@click.option("--learner", is_flag=True, help="It never votes by itself; see promote.")
@_wait
@_dry_run
@click.pass_obj
def add(
    run: Choices,
    name: str,
    peer_address: str,
    client_address: str,
    learner: bool,
    patience_s: float,
    dry_run: bool,
) -> None:
    """Invite the node NAME, and wait until it has joined, caught up and votes.

    Its certificate comes from the same authority (`dkvctl certs node NAME`). The command with which
    it is started is printed. HOST:PORT is where the others will reach it; it says so itself too.
    """
    with run.client() as kv:
        if _shown(run, outlook.adding(kv.ask("member_list"), name, learner=learner), dry_run):
            return
        fields = {"peer_address": peer_address, "client_address": client_address}
        survey = kv.ask("member_add", name=name, learner=learner, **fields)
        _tell_start(survey, name)
        _await(kv, name, "learner" if learner else "voter", patience_s)


def _tell_start(survey: dict[str, Any], name: str) -> None:
    doors = [m["client_address"] for m in survey["members"] if m["client_address"]]
    note(
        f"{name} is invited. Start it with an empty data directory and its certificates:\n"
        f"  dkv --name {name} --join {','.join(doors) or 'HOST:PORT'} "
        f"--peer-cert-file {name}.cert …"
    )


def _await(kv: Client, name: str, role: str, patience_s: float) -> None:
    """Until the member has the role, with a bar that shows how far it is."""
    if not patience_s:
        return
    until = time.monotonic() + patience_s
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        task = bar.add_task(f"{name}: invited", total=None)
        while time.monotonic() < until:
            survey = kv.ask("member_list")
            found = next((m for m in survey["members"] if m["name"] == name), None)
            if found is None:
                raise Ended(f"{name} was removed meanwhile", Exit.UNMET)
            if found["role"] in (role, "leader"):
                note(f"{name} is a {role}")
                return
            behind = f", {found['lag_entries']:,} entries behind" if found["lag_entries"] else ""
            done = found["match"] or 0
            words = f"{name}: {found['role']}{behind}"
            bar.update(task, description=words, completed=done, total=survey["commit"] or None)
            time.sleep(_LOOK_S)
    raise Ended(
        f"{name} is not a {role} after {patience_s:.0f} s; the invitation stands "
        f"(`dkvctl member list` shows how far it is, `dkvctl member remove {name}` takes it back)",
        Exit.UNMET,
    )


# -- other changes -------------------------------------------------------------------------------
@member.command()
@click.argument("name")
@_force
@_dry_run
@click.pass_obj
def promote(run: Choices, name: str, force: bool, dry_run: bool) -> None:
    """Let the learner NAME vote."""
    with run.client() as kv:
        if not _shown(run, outlook.promoting(kv.ask("member_list"), name), dry_run):
            kv.ask("member_promote", name=name, force=force)
            note(f"{name} votes")


@member.command()
@click.argument("name")
@_force
@_dry_run
@click.pass_obj
def remove(run: Choices, name: str, force: bool, dry_run: bool) -> None:
    """Remove the member NAME: it learns it, ends, and its disk never counts again."""
    with run.client() as kv:
        if not _shown(run, outlook.removing(kv.ask("member_list"), name), dry_run):
            kv.ask("member_remove", name=name, force=force)
            note(f"{name} is removed")


@member.command()
@click.argument("name")
@_peer
@_client
@click.option(
    "--certificate", type=click.File("rb"), help="Its new certificate (so perhaps a new key)."
)
@_dry_run
@click.pass_obj
def update(
    run: Choices,
    name: str,
    peer_address: str,
    client_address: str,
    certificate: Any,
    dry_run: bool,
) -> None:
    """Say where NAME is reached now, or what its new certificate is.

    A member that is started elsewhere says so itself; this is for one that cannot.
    """
    text = certificate.read() if certificate else b""
    if not (peer_address or client_address or text):
        raise click.UsageError("give --peer-address, --client-address or --certificate")
    with run.client() as kv:
        if dry_run:
            survey = kv.ask("member_list")
            if name not in [m["name"] for m in survey["members"]]:
                raise Ended(f"{name} is no member", Exit.NOT_FOUND)
            _shown(run, outlook.removing(survey, name)[:1], dry_run)
            return
        fields = {"peer_address": peer_address, "client_address": client_address}
        kv.ask("member_update", name=name, certificate=text, **fields)
        note(f"{name} is updated")


@member.command()
@click.argument("old")
@click.argument("new")
@_peer
@_client
@_force
@_wait
@_dry_run
@click.pass_obj
def replace(
    run: Choices,
    old: str,
    new: str,
    peer_address: str,
    client_address: str,
    force: bool,
    patience_s: float,
    dry_run: bool,
) -> None:
    """Put NEW in the place of OLD. With the same name: its disk was lost, it begins empty.

    Another name joins, catches up and votes before OLD is removed. The same name is removed first,
    then invited.
    """
    with run.client() as kv:
        if _shown(run, outlook.replacing(kv.ask("member_list"), old, new), dry_run):
            return
        fields = {"peer_address": peer_address, "client_address": client_address}
        if old == new:
            kv.ask("member_remove", name=old, force=force)
        elif old not in [m["name"] for m in kv.ask("member_list")["members"]]:
            raise Ended(f"{old} is no member", Exit.NOT_FOUND)
        _tell_start(kv.ask("member_add", name=new, learner=False, **fields), new)
        _await(kv, new, "voter", patience_s or 3600.0)
        if old != new:
            kv.ask("member_remove", name=old, force=force)
            note(f"{old} is removed")


def _shown(run: Choices, steps: list[Step], dry_run: bool) -> bool:
    """With --dry-run: what each step means, and nothing else."""
    if dry_run:
        emit_rows(run.form, [s.record() for s in steps], _STEP)
        least = outlook.worst(steps)
        if least.spare < 0:
            words = f"after '{least.what}' {least.alive} of {least.majority} needed voters are up"
            raise Ended(f"{words}: it would be refused without --force", Exit.UNMET)
        note(f"nothing was changed; at the least, {least.spare} more may fail ('{least.what}')")
    return dry_run
