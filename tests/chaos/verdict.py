"""What must be true when a run has ended and everything is healed.

Owns: the comparison of replicas, and of what they hold with what clients were told. Problems are
sentences; none means that the run passed. Must never know which faults there were.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from dkv.errors import DkvError
from dkv.history import Verdict as Order
from dkv.history import check
from dkv.history.operation import read_line
from tests.chaos.lab import Lab, Unexpected
from tests.chaos.settling import Line, read_log, replay, settle

_TRY_S = 5.0

Rows = list[tuple[bytes, bytes, int, int, int]]  # key, value, revision, created, version


class Verdict(NamedTuple):
    problems: list[str]
    settled: list[Line]
    unknown: int
    happened: int


def rows_of(lab: Lab, name: str) -> Rows:
    """What a node itself holds, once it has served a linearizable read."""
    with lab.client(name, timeout=_TRY_S) as kv:
        kv.count(b"")
        items = kv.list("", level="serializable")
        return [(i.key, i.value or b"", i.key_revision, i.created, i.version) for i in items]


def patiently(lab: Lab, name: str) -> Rows | None:
    """The same; None where the node has ended for a reason that its damaged files explain."""
    give_up = time.monotonic() + lab.patience_s
    while True:
        for ended in lab.account():
            lab.start(ended)
        if name in lab.out:
            return None
        try:
            return rows_of(lab, name)
        except DkvError as error:
            if time.monotonic() > give_up:
                raise Unexpected(f"{name} does not serve when all is healed: {error}") from error


def replicas(lab: Lab) -> tuple[dict[str, Rows], list[str]]:
    """The state of every node that serves, which is every node that is not out."""
    rows = {name: patiently(lab, name) for name in lab.sound}
    found = {name: held for name, held in rows.items() if held is not None}
    first = next(iter(found.values()), None)
    return found, [f"{n} holds another state" for n, held in found.items() if held != first]


def judge(lab: Lab, history: list[Line], refused: list[Line]) -> Verdict:
    """Stops the nodes."""
    found, problems = replicas(lab)
    majority = len(lab.names) // 2 + 1
    if len(found) < majority:
        problems.append(f"only {', '.join(found) or 'nobody'} serves when all is healed")
    codes = lab.stop(*lab.processes)
    bad = {n: c for n, c in codes.items() if c and n not in lab.damaged}
    problems += [f"{name} stopped with {code}: {lab.last_line(name)}" for name, code in bad.items()]
    sound = [name for name in found if name not in lab.damaged]
    logs = {name: read_log(Path(lab.data_dir(name))) for name in sound}
    longest = max(logs, key=lambda name: len(logs[name]))
    for name, entries in logs.items():
        if entries != logs[longest][: len(entries)]:
            problems.append(f"the logs of {name} and {longest} differ")
    books = replay(logs[longest])
    held = {key: (revision, value) for key, value, revision, _c, _v in found[sound[0]]}
    if held != books.final:
        problems.append(f"the state of {sound[0]} is not what its log leads to")
    settled = settle(history, refused, books.versions)
    problems += settled.problems + out_of_order(settled.history)
    return Verdict(problems, settled.history, settled.unknown, settled.happened)


def out_of_order(history: list[Line]) -> list[str]:
    """What the checker says of it, unless it is linearizable. Giving up is no verdict."""
    report = check([read_line(json.dumps(line)) for line in history])
    if report.verdict is Order.LINEARIZABLE:
        return []
    return ["\n".join((f"the history is {report.verdict.name.lower()}", *report.lines()))]
