"""`dkvctl member`: who belongs to the cluster, and how that changes.

Owns: the commands, what is shown of each step, how long a change is waited for. Must never know how
the leader decides; what a change would mean is in `outlook`.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli import outlook
from cli.endings import Ended, Exit
from cli.options import Choices, Group
from cli.outlook import Step
from cli.output import counted, emit_rows, note
from dkv.client import Client, RequestError
from dkv.errors import Code

_MEMBER = (
    *("name", "role", "alive", "lag", "heard", "version"),
    *("peer_address", "client_address", "since"),
)
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
            survey = kv.ask("member_list")
            rows = [_row(m, survey["leader"]) for m in survey["members"]]
        except RequestError as error:
            if error.code not in _NO_LEADER:
                raise
            note(f"no leader answers ({error}); as one node knows them:")
            known = kv.members()
            rows = [
                _row({**dict.fromkeys(_MEMBER), **m}, known["leader"]) for m in known["members"]
            ]
    emit_rows(run.form, rows, _MEMBER)


def _row(found: dict[str, Any], leader: str) -> dict[str, Any]:
    lag, ms, heard, since = (found.get(f) for f in ("lag_entries", "lag_ms", "heard_ms", "since"))
    return {
        **found,
        "leader": found["name"] == leader,
        "version": found.get("version") or None,
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
    Interrupted, the same command goes on.
    """
    with run.client() as kv:
        survey = kv.ask("member_list")
        if dry_run:
            steps = outlook.adding(survey, name, learner=learner)
            _show(run, survey, steps, outlook.objection_to_adding(survey, name))
            return
        _invite(run, kv, survey, name, peer_address, client_address, learner=learner)
        _await(kv, name, "learner" if learner else "voter", patience_s)


def _invite(
    run: Choices,
    kv: Client,
    survey: dict[str, Any],
    name: str,
    peer_address: str,
    client_address: str,
    *,
    learner: bool = False,
) -> None:
    """Unless it was before, and only has to be waited for."""
    if outlook.role_of(survey, name) == "learner":
        note(f"{name} has joined before and is catching up")
        return
    if outlook.role_of(survey, name) != "invited":
        fields = {"peer_address": peer_address, "client_address": client_address}
        survey = kv.ask("member_add", name=name, learner=learner, **fields)
    doors = [m["client_address"] for m in survey["members"] if m["client_address"]]
    insecure = bool(run.target().insecure)
    note(starting(name, doors, peer_address, client_address, insecure=insecure))


def starting(
    name: str, doors: list[str], peer_address: str, client_address: str, *, insecure: bool
) -> str:
    """What to type at the new node; capitals stand for what is not known here."""
    pairs = (
        *((f"peer-cert-file {name}.cert", f"peer-key-file {name}.key")),
        *(("peer-trusted-ca-file trust", "cert-file server.cert")),
        *(("key-file server.key", "trusted-ca-file trust")),
    )
    certificates = " ".join(f"--{pair}" for pair in pairs)
    return (
        f"{name} is invited. Start it with an empty data directory:\n"
        f"  dkv --name {name} --join {','.join(doors) or 'HOST:PORT'} \\\n"
        f"      --listen-peer-address {peer_address or 'HOST:2380'} "
        f"--listen-client-address {client_address or 'HOST:3000'} \\\n"
        f"      {'--insecure' if insecure else certificates}"
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
            try:
                survey = kv.ask("member_list")
            except RequestError as error:
                if error.code not in _NO_LEADER:
                    raise
                time.sleep(_LOOK_S)  # nobody leads just now
                continue
            found = next((m for m in survey["members"] if m["name"] == name), None)
            if found is None:
                raise Ended(f"{name} was removed meanwhile", Exit.UNMET)
            if found["role"] in (role, "leader"):
                note(f"{name} is a {role}")
                return
            lag = found["lag_entries"]
            behind = f", {counted(lag, 'entry', 'entries')} behind" if lag else ""
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
class OneStep(NamedTuple):
    """A change that is one request: what it is called, what it means, what is said of it."""

    op: str
    steps: Callable[[dict[str, Any], str], list[Step]]
    objection: Callable[[dict[str, Any], str], str]
    done: str

    def take(self, run: Choices, name: str, *, force: bool, dry_run: bool) -> None:
        with run.client() as kv:
            if dry_run:
                survey = kv.ask("member_list")
                objection = self.objection(survey, name)
                _show(run, survey, self.steps(survey, name), objection, force=force)
                return
            kv.ask(self.op, name=name, force=force)
            note(f"{name} {self.done}")


_PROMOTION = OneStep("member_promote", outlook.promoting, outlook.objection_to_promoting, "votes")
_REMOVAL = OneStep("member_remove", outlook.removing, outlook.objection_to_changing, "is removed")


@member.command()
@click.argument("name")
@_force
@_dry_run
@click.pass_obj
def promote(run: Choices, name: str, force: bool, dry_run: bool) -> None:
    """Let the learner NAME vote."""
    _PROMOTION.take(run, name, force=force, dry_run=dry_run)


@member.command()
@click.argument("name")
@_force
@_dry_run
@click.pass_obj
def remove(run: Choices, name: str, force: bool, dry_run: bool) -> None:
    """Remove the member NAME: it learns it, ends, and its disk never counts again."""
    _REMOVAL.take(run, name, force=force, dry_run=dry_run)


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
            objection = outlook.objection_to_changing(survey, name)
            _show(run, survey, outlook.removing(survey, name)[:1], objection)
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
    then invited. Interrupted, the same command goes on.
    """
    if old != new and not patience_s:
        raise click.UsageError(f"{old} is removed once {new} votes, so --wait cannot be 0")
    with run.client() as kv:
        survey = kv.ask("member_list")
        objection = outlook.objection_to_changing(survey, old)
        if dry_run:
            _show(run, survey, outlook.replacing(survey, old, new), objection, force=force)
            return
        if objection:
            raise Ended(objection, Exit.NOT_FOUND)
        role = outlook.role_of(survey, new)
        if old == new and role != "invited":
            survey = kv.ask("member_remove", name=old, force=force)
        if old == new or role not in ("voter", "leader"):
            _invite(run, kv, survey, new, peer_address, client_address)
            _await(kv, new, "voter", patience_s)
        if old != new:
            kv.ask("member_remove", name=old, force=force)
            note(f"{old} is removed")


def _show(
    run: Choices,
    survey: dict[str, Any],
    steps: list[Step],
    objection: str,
    *,
    force: bool = False,
) -> None:
    """What each step means, and whether it would be refused; nothing is changed."""
    objection = objection or outlook.objection(survey, steps, force=force)
    emit_rows(run.form, [s.record() for s in steps], _STEP)
    if objection:
        raise Ended(f"it would be refused: {objection}", Exit.UNMET)
    least = outlook.worst(steps)
    if least.spare < 0:
        note(f"nothing was changed; after '{least.what}' nothing could be written")
    else:
        note(f"nothing was changed; at the least, {least.spare} more may fail ('{least.what}')")
