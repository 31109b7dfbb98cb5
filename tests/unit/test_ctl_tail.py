"""What `dkvctl tail` and `dkvctl top` make of what nodes say: nothing twice, nothing left out."""

import json
from typing import Any

import pytest
from rich.console import Console

from cli import tail, top
from cli.tail import Printer


def item(index: int, *keys: bytes, applied_us: int | None = 1_500, late_ms: int = 0) -> Any:
    commands = [["put", key, "anna", index, 3, 0, "ok"] for key in keys]
    proposed = 1_700_000_000_000
    times = {"proposed": proposed, "received": proposed + late_ms, "applied_us": applied_us}
    what = {"kind": "commands" if keys else "noop", "origin": "n1", "bytes": 9}
    return {"index": index, "term": 2, **what, **times, "commands": commands}


def page(*items: Any, after: int, first: int = 1, leader: str = "n1", term: int = 2) -> Any:
    return {"items": [*items], "after": after, "first": first, "leader": leader, "term": term}


def printed(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_two_nodes_tell_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer("jsonl", has_all=True)
    printer.take("n1", page(item(1, b"a", b"b"), item(2), after=2))
    printer.take("n2", page(item(1, b"a", b"b"), item(2), item(3, b"c"), after=3))
    printer.take("n1", page(item(3, b"c"), after=3))
    event, *rows = printed(capsys)
    assert (event["event"], event["leader"]) == ("leader", "n1")
    assert [(r["index"], r["op"], r["key"]) for r in rows] == [
        (1, "put", "a"),
        (1, "put", "b"),
        (2, "noop", None),
        (3, "put", "c"),
    ]
    assert printer.through == 3


def test_a_new_leader_is_said_once_and_an_old_one_never(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer("jsonl", has_all=False)
    for leader, term in (("n1", 2), ("", 3), ("n2", 3), ("n1", 2), ("n2", 3)):
        printer.take("n1", page(after=1, leader=leader, term=term))
    assert [line["words"] for line in printed(capsys)] == ["n1 leads, term 2", "n2 leads, term 3"]


def test_what_is_no_longer_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer("jsonl", has_all=False)
    printer.take("n1", page(item(9, b"k"), after=9, first=9))
    _leader, gone, row = printed(capsys)
    assert gone["words"] == "entries 1 to 8 are no longer in the log of n1"
    assert row["index"] == 9


def test_who_is_away_is_said_when_it_goes_and_when_it_is_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = Printer("table", has_all=False)
    for _ in range(3):
        printer.miss("n1", "nobody answers")
    printer.take("n1", page(after=1))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "-- n1 is away, and asked again: nobody answers",
        "-- n1 is back",
        "-- n1 leads, term 2",
    ]


def test_how_long_it_took_counts_from_the_leaders_proposal() -> None:
    assert tail._took_us(item(1, b"k", late_ms=4)) == 5_500
    assert tail._took_us(item(1, b"k", late_ms=-4)) == 1_500  # two clocks differ
    assert tail._took_us(item(1, b"k", applied_us=None)) is None


def test_a_key_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Printer("table", has_all=False).take("n1", page(item(1, b"\x1b[2Jk\\"), after=1))
    out = capsys.readouterr().out
    assert "\\x1b[2Jk\\\\" in out
    assert "\x1b[2J" not in out


# -- top -------------------------------------------------------------------------------------------
def status(
    name: str, pid: int, commands: int, busy_us: int, applied: int = 90, took: Any = None
) -> Any:
    counters = {"turns": commands, "letters": 3 * commands, "busy_us": busy_us}
    work = {"counters": counters}
    return {
        "node": {"name": name, "pid": pid, "cpu": {"process_us": busy_us}},
        "gateway": {**work, "in_flight": 0, "took": {"write": took or [], "read": [7]}},
        "consensus": {**work, "role": "leader", "leader": name, "term": 1, "commit": 100},
        "log": {**work, "log_bytes": 1_500, "syncs": commands, "sync_us": 2_000 * commands},
        "machine": {
            "counters": {**counters, "commands": commands, "entries": commands // 2},
            "applied": applied,
            "keys": 1,
            "state_bytes": 12_345_678,
        },
    }


def sample(at_s: float, **known: Any) -> top.Sample:
    found = top.Sample()
    found.known = {address: (at_s, facts) for address, facts in known.items()}
    return found


def test_rates_are_what_the_counters_grew_by_over_the_time_between() -> None:
    before, now = sample(1, a=status("n1", 7, 0, 0)), sample(3, a=status("n1", 7, 100, 500_000))
    (found,) = top.records(before, now, {"a": "n1"})
    assert (found["commands_per_s"], found["commands_per_entry"], found["lag"]) == (50, 2, 10)
    assert (found["cpu"], found["sync_us"]) == (0.25, 2_000)
    log = found["actors"]["log"]
    assert (log["busy"], log["turn_us"], log["letters_per_turn"]) == (0.25, 5_000, 3)


def test_how_long_writes_took_is_of_those_that_were_answered_in_between() -> None:
    """Four took 1,024 to 2,047 us, four twice as long."""
    slow_before = [0] * 20 + [900]
    quick = [0] * 11 + [4, 4] + [0] * 7 + [900]
    before = sample(1, a=status("n1", 7, 0, 0, took=slow_before))
    now = sample(2, a=status("n1", 7, 8, 0, took=quick))
    (found,) = top.records(before, now, {"a": "n1"})
    assert found["write_p50_us"] == 2_048
    assert 4_000 < found["write_p99_us"] < 4_096
    (idle,) = top.records(now, now, {"a": "n1"})
    assert idle["write_p50_us"] is idle["write_p99_us"] is None


def test_a_node_that_does_not_say_how_long_writes_took_has_none() -> None:
    facts = status("n1", 7, 0, 0)
    del facts["gateway"]["took"]
    (found,) = top.records(sample(1, a=facts), sample(2, a=facts), {"a": "n1"})
    assert found["write_p99_us"] is None


def test_another_life_of_a_node_has_no_rates_and_one_that_is_away_is_named() -> None:
    before, now = sample(1, a=status("n1", 7, 90, 0)), sample(2, a=status("n1", 8, 5, 0))
    now.silent["b"] = "nobody answers"
    one, other = top.records(before, now, {"a": "n1", "b": "n2"})
    assert one["commands_per_s"] is one["actors"]["log"]["busy"] is None
    assert other == {"node": "n2", "away": "nobody answers"}
    assert top.frame([one, other])
    assert top.frame([other])


def test_a_frame_fits_a_terminal_and_is_not_cut_in_a_pipe() -> None:
    took = [[0] * 11 + [4 * n, 4 * n] for n in (1, 2)]
    before, now = (
        sample(n, a=status("n1", 7, 90_000 * n, 400_000 * n, took=took[n - 1])) for n in (1, 2)
    )
    found = top.records(before, now, {"a": "n1"})
    found[0] |= {"commit": 1_234_567, "lag": 123, "keys": 234_567, "role": "follower"}
    console = Console(width=80)
    with console.capture() as captured:
        console.print(top.frame(found))
    assert "…" not in captured.get()
    assert "2.0ms 4.1ms" in captured.get()


def test_sizes_have_three_digits_at_most() -> None:
    sizes = [top._size(n) for n in (0, 999, 1_000, 12_345_678, 999_600, 2 * 10**15)]
    assert sizes == ["0", "999", "1.0k", "12M", "1.0M", "2000T"]
