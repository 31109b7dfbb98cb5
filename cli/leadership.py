"""`dkvctl leader`: who leads, and handing it over.

Owns: the words and the wait. Must never know how leadership is handed over.
"""

import time

import click

from cli.endings import Ended, Exit
from cli.options import Choices, Group
from cli.output import emit
from dkv.client import Client, RequestError

_LOOK_S = 0.05


@click.group(cls=Group)
def leader() -> None:
    """The leader of the cluster: show, transfer."""


@leader.command()
@click.pass_obj
def show(run: Choices) -> None:
    """Print the leader's name. Exits with 5 when nobody leads."""
    with run.client() as kv:
        survey = kv.ask("member_list")
    emit(run.form, {"leader": survey["leader"], "term": survey["term"]}, survey["leader"])


@leader.command()
@click.argument("name", default="")
@click.pass_obj
def transfer(run: Choices, name: str) -> None:
    """Hand leadership over to NAME, or to the voter that is furthest.

    Writes wait meanwhile, a few milliseconds; none is lost.
    """
    with run.client() as kv:
        before = kv.ask("member_list")
        heir = kv.ask("leader_transfer", name=name)["leader"]
        if heir != before["leader"]:
            _await(kv, before["term"], run.timeout or 5.0)
        now = kv.ask("member_list")
    if now["leader"] != heir:
        raise Ended(f"{heir} was told to lead, and {now['leader']} does", Exit.UNMET)
    record = {"leader": heir, "term": now["term"]}
    emit(run.form, record, f"{heir} leads, term {now['term']}")


def _await(kv: Client, term: int, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        try:
            if kv.ask("member_list")["term"] > term:
                return
        except RequestError:
            pass
        time.sleep(_LOOK_S)
