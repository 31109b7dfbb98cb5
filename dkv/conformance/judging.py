"""Verdicts on a client: every play on a stage of its own, and what its messages looked like.

Owns: which rules a play answers for, several plays at a time, the rules that every message of
every play must keep. Must never know how a verdict is printed.
"""

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dkv.conformance.cast import Cast
from dkv.conformance.driver import Broken
from dkv.conformance.node import Breach
from dkv.conformance.plays import answers, nodes, retries, security, writes
from dkv.conformance.rules import ADVISED, CLIENT
from dkv.conformance.scene import PLAYS, Play
from dkv.conformance.stage import Stage
from dkv.conformance.verdicts import ADVICE, BROKEN, PASSED, SKIPPED, Verdict
from dkv.limits import SEQUENCE_WINDOW

SUBJECTS = (answers, nodes, retries, security, writes)  # they declare their plays
_TRACE = 80  # lines shown of a rule that is broken


def judge_client(
    command: Sequence[str], rules: Iterable[str] = (), jobs: int = 1
) -> Iterator[Verdict]:
    """A verdict for each play of these rules (none: all), as they come; then one for each rule of
    the wire. `jobs` plays at a time. Where only rules of the wire are asked for, every play is
    played: nothing else shows them."""
    wanted = set(rules)
    chosen = [play for play in PLAYS if play.rule in wanted] or list(PLAYS)
    chosen.sort(key=lambda play: int(play.rule[1:]))
    breaches: list[Breach] = []
    messages = 0
    with tempfile.TemporaryDirectory(prefix="dkv-conformance-") as folder:
        cast = Cast(Path(folder), time.time_ns() // 1_000_000)
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            for verdict, found, seen in pool.map(lambda play: _act(play, command, cast), chosen):
                breaches += found
                messages += seen
                if not wanted or verdict.rule in wanted:
                    yield verdict
    yield from _of_the_wire(breaches, wanted, messages)


def _of_the_wire(breaches: list[Breach], rules: set[str], messages: int) -> Iterator[Verdict]:
    """Who has sent nothing has kept none of those that are asked for."""
    played = {play.rule for play in PLAYS}
    for rule in CLIENT:
        if rule in played:
            continue
        words = [breach.words for breach in breaches if breach.rule == rule]
        asked = not rules or rule in rules
        if asked and not messages:
            words.append("no request came by which it could be judged")
        if words or asked:
            yield Verdict(rule, BROKEN, "the wire", words[0]) if words else Verdict(rule, PASSED)


def _act(play: Play, command: Sequence[str], cast: Cast) -> tuple[Verdict, list[Breach], int]:
    """Its verdict, breaches of rules of the wire, and how many messages came."""
    with Stage(command, cast, size=play.size) as stage:
        try:
            missing = _missing(play, stage)
            if missing:
                return Verdict(play.rule, SKIPPED, play.name, missing), [], 0
            play.go(stage)
            verdict = Verdict(play.rule, PASSED, play.name)
        except Broken as broken:
            outcome = ADVICE if play.rule in ADVISED else BROKEN
            told = stage.driver.stderr if stage.driver is not None else ""
            words = f"{broken}{_cause(stage, str(broken))}"
            verdict = Verdict(play.rule, outcome, play.name, words, _trace(stage), told)
        messages = sum(len(node.messages) for node in stage.nodes.values())
        return verdict, [*_breaches(stage)], messages


def _cause(stage: Stage, said: str) -> str:
    """A rule of the wire that was broken on the way: mostly it is why the play failed."""
    breach = next(_breaches(stage), None)
    if breach is None:
        return ""
    what = f": {breach.words}" if breach.words not in said else ""  # the driver may repeat it
    return f"; on the way {breach.rule} was broken{what}"


def _trace(stage: Stage) -> tuple[str, ...]:
    """What the nodes were asked and what they said, for people."""
    notes = sorted((n for node in stage.nodes.values() for n in node.notes), key=lambda n: n.at_s)
    lines = [f"{n.at_s - notes[0].at_s:7.3f} s  {n.node} {n.words}" for n in notes]
    left_out = len(lines) - _TRACE
    if left_out <= 0:
        return tuple(lines)
    return (f"({left_out} lines before)", *lines[-_TRACE:])


def _missing(play: Play, stage: Stage) -> str:
    """What the driver cannot do and the play needs."""
    if play.several or play.sessionless:
        stage.start()
    if play.several and stage.outstanding < 2:
        return "the driver works on one line at a time"
    if play.sessionless and "sessionless" in stage.ready.get("lacks", ()):
        return "the driver knows no writes without a session"
    return ""


def _breaches(stage: Stage) -> Iterator[Breach]:
    """Of the rules that every message must keep."""
    for name, node in stage.nodes.items():
        yield from node.breaches
        ids: set[tuple[bytes, bytes]] = set()
        for message in node.messages:
            if message in ids:
                yield Breach("C2", f"{name} got the request id {message[1].hex()} twice")
            ids.add(message)
    commands: dict[tuple[int, int], bytes] = {}
    for seen in stage.asked("put", "delete", "delete_range"):
        header = seen.header
        if not header.session:
            continue
        known = commands.setdefault((header.session, header.sequence), header.command)
        if known != header.command:
            place = f"sequence {header.sequence} of session {header.session}"
            yield Breach("C5", f"{place} came with two commands")
        window = header.sequence - SEQUENCE_WINDOW < header.lowest <= header.sequence
        if not (header.sequence >= 1 and header.lowest >= 1 and window):
            yield Breach("C6", f"sequence {header.sequence} came with lowest {header.lowest}")
