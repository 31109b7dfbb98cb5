"""The checker against histories whose verdict is known: recorded ones, good ones made by an atomic
store, and the same with one answer that is certainly wrong."""

import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from cli.ctl import cli
from cli.endings import Exit
from dkv.history import Verdict, check, read_history, write_line
from tests.registers import KINDS, MUTATIONS, record, spoil

FOLDER = Path(__file__).resolve().parents[1] / "histories"
VERDICTS: dict[str, bool] = json.loads((FOLDER / "verdicts.json").read_text())
GOOD, WRONG = 1_000, 1_000


def test_every_recorded_history_is_here() -> None:
    assert {p.name for p in FOLDER.glob("*.jsonl")} == set(VERDICTS)
    assert sum(VERDICTS.values()) >= 10
    assert len(VERDICTS) >= 50


@pytest.mark.parametrize("name", sorted(VERDICTS))
def test_the_known_verdict_is_given(name: str) -> None:
    result = CliRunner().invoke(cli, ("check", "history", str(FOLDER / name)))
    verdict = "linearizable" if VERDICTS[name] else "NOT linearizable"
    assert result.stdout.splitlines()[0] == f"{FOLDER / name}: {verdict}"
    assert result.exit_code == (Exit.DONE if VERDICTS[name] else Exit.UNHEALTHY)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_atomic_store_answers_is_linearizable(kind: str) -> None:
    unknown = 0
    for seed in range(GOOD // len(KINDS) + 1):
        report = check(record(seed, kind))
        assert report.verdict is Verdict.LINEARIZABLE, (kind, seed, list(report.lines()))
        unknown += report.unknown
    assert unknown > 300


@pytest.mark.parametrize(
    ("kind", "number"), [(k, n) for k in KINDS for n in range(len(MUTATIONS[k]))]
)
def test_one_certainly_wrong_answer_is_found(kind: str, number: int) -> None:
    total = sum(map(len, MUTATIONS.values()))
    found, seed = 0, 0
    while found <= WRONG // total:
        wrong = spoil(record(seed, kind), MUTATIONS[kind][number], Random(seed))
        if wrong is not None:
            report = check(wrong, explain=found % 10 == 0)
            assert report.verdict is Verdict.NOT_LINEARIZABLE, (kind, seed)
            assert found % 10 or list(report.lines())
            found += 1
        seed += 1
        assert seed < 2 * WRONG, "this mutation hardly ever applies"


def test_a_history_survives_its_file() -> None:
    for kind in KINDS:
        history = record(3, kind)
        assert read_history(write_line(o) for o in history) == history


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "line 2: it is not JSON"),
        ("[1]", "line 2: it is not a JSON object"),
        ('{"op": "get", "key": "k", "call": 1, "ret": 2}', "that was answered needs `out`"),
        ('{"op": "pet", "key": "k", "call": 1, "ret": 2}', "`op` must be one of get, put"),
        ('{"op": "put", "key": "k", "value": "v", "call": 3, "ret": 2}', "`ret` 2 is before"),
        ('{"op": "put", "key": "k", "value": "v", "ret": 2}', "`call` is missing"),
        ('{"op": "put", "key": "k", "value": 7, "call": 1, "ret": 2}', "`value` must be a string"),
        ('{"op": "cap", "key": "k", "value": "v", "call": 1, "ret": 2}', "needs `expected`"),
        ('{"op": "put", "key": "k", "value": "v", "call": true}', "must be a whole number"),
        ('{"op": "put", "key": "k", "value": "v", "ok": false, "call": 1, "ret": 2}', "cannot be"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "h.jsonl"
    file.write_text('{"op": "get", "key": "k", "call": 1, "ret": 2, "out": null}\n' + line + "\n")
    result = CliRunner().invoke(cli, ("check", "history", str(file)))
    assert result.exit_code == Exit.USAGE
    assert f"{file}: line 2: " in result.stderr
    assert words in result.stderr
    assert result.stdout == ""


def test_a_file_that_proves_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, words in (("empty", "no operation"), ("binary", "not UTF-8"), ("none", "No such")):
        result = CliRunner().invoke(cli, ("check", "history", str(tmp_path / name)))
        assert result.exit_code == Exit.USAGE
        assert words in result.stderr
