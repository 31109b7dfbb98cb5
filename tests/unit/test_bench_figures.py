"""The figures of `dkvctl bench` as a terminal shows them."""

from typing import Any

import pytest

from cli import figures
from cli.figures import Measured, bars, time_words
from dkv.load.generator import Result
from dkv.load.latency import Latencies
from tests.unit.test_load_costs import AFTER, BEFORE

PLAN: dict[str, Any] = {"outstanding": 4, "clients": 2, "pipeline": 2}

EXPECTED = """\
30 operations in 2.00 s: 15 a second (4 under way on 2 connections, 2 in a message)
      a second    mean     p50      p90      p99    p99.9      max
puts        10  370 us  100 us  1.00 ms  1.00 ms  1.00 ms  1.00 ms
gets         5   50 us   50 us    50 us    50 us    50 us    50 us

put: how many took how long
   100 us – 116 us           14  ████████████████████████████████████████
   116 us – 133 us            0
   133 us – 154 us            0
   154 us – 178 us            0
   178 us – 206 us            0
   206 us – 238 us            0
   238 us – 275 us            0
   275 us – 317 us            0
   317 us – 367 us            0
   367 us – 424 us            0
   424 us – 490 us            0
   490 us – 566 us            0
   566 us – 654 us            0
   654 us – 755 us            0
   755 us – 872 us            0
   872 us – 1.01 ms           6  █████████████████▏

get: how many took how long
    50 us – 51 us            10  ████████████████████████████████████████

processor, us an operation   all  thinkers  log  machine    io
this client                 10.0       8.0                 2.0
n1 leader                   50.0      25.0  5.0     10.0  10.0
n2                             ?         ?    ?        ?     ?

no costs of n2: away, or started again meanwhile
"""


def latencies(*times: int) -> Latencies:
    made = Latencies()
    for us in times:
        made.add(us)
    return made


def measured(**changes: Any) -> Measured:
    puts, gets = latencies(*[100] * 14, *[1_000] * 6), latencies(*[50] * 10)
    result = Result(2.0, puts, gets, 240, 300, 25, 15, {}, 0, 0, 0, None, "")
    return Measured(result._replace(**changes), {"n1": BEFORE, "n2": BEFORE}, {"n1": AFTER}, False)


def shown(found: Measured, *, stages: bool = False) -> str:
    return figures.words(figures.record(PLAN, found), found, stages=stages)


def test_a_run_in_words() -> None:
    said = shown(measured())
    assert said == EXPECTED.rstrip()


def test_what_went_wrong_is_said_at_the_end() -> None:
    found = measured(errors={"lost": 2_000, "no_leader": 1}, unknown=3, late=4, moved=1)
    assert shown(found).splitlines()[-5:] == [
        "errors: lost 2,000, no_leader 1",
        "3 puts may or may not have happened",
        "4 answers came after they had been given up",
        "connections moved to another node: 1",
        "no costs of n2: away, or started again meanwhile",
    ]


def test_nothing_done_is_no_division_by_zero() -> None:
    nothing = measured(seconds=0.0, puts=Latencies(), gets=Latencies(), puts_all=0, gets_all=0)
    record = figures.record(PLAN, nothing)
    assert (record["per_second"], record["client_us"]["thread"]) == (0.0, None)
    assert "0 operations" in shown(nothing, stages=True)


@pytest.mark.parametrize(
    ("us", "words"),
    [(0, "0 us"), (999, "999 us"), (1_500, "1.50 ms"), (250_000, "250 ms"), (2_500_000, "2.50 s")],
)
def test_a_time_has_a_unit_that_fits(us: int, words: str) -> None:
    assert time_words(us) == words


def test_the_longest_bar_is_the_most_frequent_and_none_is_invisible() -> None:
    found = Latencies()
    for us, count in ((100, 1_000), (200, 500), (5_000, 1)):
        for _ in range(count):
            found.add(us)
    lines = bars(found)
    drawn = {line.split("  ")[-1].strip(): line for line in lines if not line.endswith(" 0")}
    assert "█" * 40 in drawn
    assert "█" * 20 in drawn
    assert lines[-1].endswith("1  ▏")
