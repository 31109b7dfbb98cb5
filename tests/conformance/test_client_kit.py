"""The kit that judges clients: who makes no mistake passes, and each mistake is found by its rule.

Many plays at a time: they wait far more than they work.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from typing import Any, NamedTuple

import pytest

from dkv.conformance.judging import judge_client
from dkv.conformance.rules import CLIENT
from dkv.conformance.verdicts import ADVICE, BROKEN, PASSED, SKIPPED, Verdict

JOBS, JOBS_EACH = 3, 4


class Mistake(NamedTuple):
    """A switch of the reference client, and the rules that are tried; the first must find it."""

    switch: str
    rules: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.switch} {self.rules[0]}"


def mistake(switch: str, *rules: str) -> Mistake:
    return Mistake(switch, rules)


MISTAKES = (
    mistake("goes_on_for_ever", "C50"),
    mistake("reuses_sequences", "C5", "C10"),
    mistake("ignores_unknown", "C64"),
    mistake("keeps_its_socket", "C34"),
    mistake("keeps_its_socket", "C35"),
    mistake("repacks_commands", "C60"),
    mistake("never_waits", "C51"),
    mistake("waits_equally", "C51"),
    mistake("waits_evenly", "C52"),
    mistake("takes_any_reply", "C17"),
    mistake("never_presents", "C4", "C10"),
    mistake("never_presents_again", "C30"),
    mistake("hopes_for_another_answer", "C31"),
    mistake("hides_retries", "C60"),
    mistake("takes_a_second_session", "C67"),
    mistake("retries_sessionless", "C61"),
    mistake("retries_nothing", "C60"),
    mistake("believes_the_last_attempt", "C63"),
    mistake("takes_parts", "C16"),
    mistake("counts_on_three_frames", "C15"),
    mistake("trusts_anybody", "C32"),
    mistake("ignores_expiry", "C33"),
    mistake("takes_open_keys", "C37"),
    mistake("says_the_same", "C36"),
    mistake("lingers", "C80"),
    mistake("forgets_the_deadline", "C56"),
    mistake("stays_with_one", "C41"),
    mistake("stays_ignorant", "C43"),
    mistake("forgets_what_is_open", "C70"),
    mistake("trusts_idle_sessions", "C72"),
    mistake("keeps_its_session", "C68"),
    mistake("knows_every_code", "C14"),
    mistake("knows_every_field", "C13"),
    mistake("counts_in_doubles", "C10"),
    mistake("stops_at_a_page", "C11"),
    mistake("takes_little", "C12"),
    mistake("ignores_positions", "C18"),
    mistake("drops_bursts", "C19"),
    mistake("loses_patience", "C21"),
    mistake("wants_positions", "C20"),
    mistake("reuses_ids", "C2", "C57"),
    mistake("speaks_another_version", "C1", "C10"),
)


def judge(module: str, *switches: str, rules: tuple[str, ...] = ()) -> list[Verdict]:
    command = (sys.executable, "-m", f"tests.conformance.{module}", *switches)
    return list(judge_client(command, rules, JOBS_EACH))


def is_of_pauses(made: Mistake) -> bool:
    return made.rules == ("C52",)


def find(made: Mistake) -> list[Verdict]:
    """What the kit says; of pauses thrice, as a busy machine may hide that they are alike."""
    verdicts: list[Verdict] = []
    for _ in range(3 if is_of_pauses(made) else 1):
        verdicts = judge("reference", made.switch, rules=made.rules)
        if any(verdict.outcome == BROKEN for verdict in verdicts):
            break
    return verdicts


@pytest.fixture(scope="module")
def under_way() -> Iterator[dict[str, Future[list[Verdict]]]]:
    """What the kit says of each, several at once, the longest first; only whose pauses are measured
    goes before, alone. In processes: who shares an interpreter looks late at the clock."""
    with ProcessPoolExecutor(JOBS, mp_context=get_context("forkserver")) as pool:
        found = {each.name: pool.submit(find, each) for each in MISTAKES if is_of_pauses(each)}
        wait(found.values())
        found |= {name: pool.submit(judge, name) for name in ("library", "reference")}
        others = (each for each in MISTAKES if not is_of_pauses(each))
        found |= {each.name: pool.submit(find, each) for each in others}
        yield found


def test_a_client_that_keeps_every_rule_passes_all(under_way: dict[str, Any]) -> None:
    verdicts = under_way["reference"].result()
    assert [v for v in verdicts if v.outcome != PASSED] == []
    assert {v.rule for v in verdicts} == set(CLIENT)


def test_the_library_keeps_every_rule(under_way: dict[str, Any]) -> None:
    verdicts = under_way["library"].result()
    assert [v for v in verdicts if v.outcome not in (PASSED, SKIPPED)] == []
    assert {v.rule for v in verdicts if v.outcome == SKIPPED} == {"C61", "C62"}


@pytest.mark.parametrize("made", MISTAKES, ids=lambda m: m.name)
def test_a_mistake_is_found_by_its_rule(made: Mistake, under_way: dict[str, Any]) -> None:
    verdicts = under_way[made.name].result()
    found = {v.rule for v in verdicts if v.outcome in (BROKEN, ADVICE)}
    assert made.rules[0] in found, verdicts
