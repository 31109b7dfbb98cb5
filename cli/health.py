"""`dkvctl health`: may this cluster be relied on? For people, probes and load balancers.

Owns: what counts as alive, ready and whole, and the exit code. Must never know how a node knows.

    --live     the node named answers: it need not be restarted
    --ready    it answers a linearizable read: it may be sent requests
    (neither)  the whole cluster: a leader, every member up and close, and how much may yet fail
"""

from typing import Any

import click

from cli import outlook
from cli.endings import Ended, Exit
from cli.options import Choices, SharedOptions
from cli.output import emit
from dkv.client import Client, RequestError

_LAG_MAX = 10_000  # entries


@click.command(cls=SharedOptions)
@click.option("--live", is_flag=True, help="Only: does the node answer?")
@click.option("--ready", is_flag=True, help="Only: does the node serve linearizable reads?")
@click.pass_obj
def health(run: Choices, live: bool, ready: bool) -> None:
    """Say whether the cluster is well, and how many failures it would survive.

    Exits with 0 when it is, else with 8 and what is the matter.
    """
    if live and ready:
        raise click.UsageError("--live and --ready are two questions: ask one")
    if live or ready:
        run.pin = True
    with run.client() as kv:
        try:
            words, record, ill = _live(kv) if live else _ready(kv) if ready else _whole(kv)
        except RequestError as error:
            raise Ended(str(error), Exit.UNHEALTHY) from error
    emit(run.form, record, words)
    if ill:
        raise Ended("; ".join(ill), Exit.UNHEALTHY)


def _live(kv: Client) -> tuple[str, dict[str, Any], list[str]]:
    name = kv.status()["node"]["name"]
    return f"{name} is alive", {"node": name, "live": True}, []


def _ready(kv: Client) -> tuple[str, dict[str, Any], list[str]]:
    kv.get(b"health", level="linearizable")
    return "it serves", {"ready": True}, []


def _whole(kv: Client) -> tuple[str, dict[str, Any], list[str]]:
    survey = kv.ask("member_list")
    up = outlook.votes(survey)
    step = outlook.Step("now", tuple(up), sum(up.values()))
    ill = [_matter(m) for m in survey["members"]]
    record = {
        "leader": survey["leader"],
        "voters": len(up),
        "alive": step.alive,
        "majority": step.majority,
        "survives": max(step.spare, 0),
        "level": survey.get("level"),
        "versions": {m["name"]: m.get("version") for m in survey["members"]},
        "matters": [words for words in ill if words],
    }
    words = (
        f"{survey['leader']} leads; {step.alive} of {len(up)} voters are up; "
        f"{max(step.spare, 0)} more may fail"
    )
    return words, record, [words for words in ill if words]


def _matter(found: dict[str, Any]) -> str:
    """What is the matter with a member, or nothing."""
    name, role = found["name"], found["role"]
    if role == "invited":
        return f"{name} was invited and has not joined"
    if not found["alive"]:
        return f"{name} is silent for {(found['heard_ms'] or 0) / 1000:.0f} s"
    if (found["lag_entries"] or 0) > _LAG_MAX:
        return f"{name} is {found['lag_entries']:,} entries behind"
    if found["space"]:
        return f"the disk of {name} is nearly full"
    return ""
