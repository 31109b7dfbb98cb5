"""The books: what clients were told against what a log holds."""

from typing import Any

from dkv.kv.version import Version
from tests.chaos.settling import settle

LOG = [
    Version(1, 0, b"k", b"100-1", 1, 1, 0, "c1", 0, 0),
    Version(2, 0, b"k", b"200-2", 1, 2, 0, "c2", 0, 0),
    Version(3, 0, b"k", None, 0, 0, 0, "c1", 0, 0),
]


def put(value: str, **more: Any) -> dict[str, Any]:
    client = int(value.split("-")[0])
    return {"client": client, "op": "put", "key": "k", "value": value, "ok": True} | more


FIRST = put("100-1", call=1, ret=2, revision=1)
SECOND = put("200-2", call=3, ret=4, revision=2)
DELETED = {"client": 100, "op": "delete", "key": "k", "ok": True, "call": 5, "ret": 6} | {
    "found": True,
    "revision": 3,
}
OPEN: dict[str, Any] = {"ret": None, "revision": None}


def get(out: str | None, revision: int, ret: int) -> dict[str, Any]:
    line = {"client": 301, "op": "get", "key": "k", "ok": True, "out": out}
    return line | {"revision": revision, "call": ret - 1, "ret": ret}


def test_a_history_that_fits_its_log_is_left_as_it_is() -> None:
    history = [FIRST, SECOND, get("200-2", 2, 5), DELETED, get(None, 0, 8)]
    settled = settle(history, [put("100-9", call=1, ret=None)], LOG)
    assert settled.problems == []
    assert sorted(settled.history, key=str) == sorted(history, key=str)


def problem(history: list[Any], refused: list[Any] | None = None, log: list[Any] = LOG) -> str:
    problems = settle(history, refused or [], log).problems
    assert len(problems) == 1, problems
    return problems[0]


def test_an_acknowledged_write_that_is_lost() -> None:
    assert "acknowledged write" in problem([FIRST, SECOND, DELETED, put("100-5", **ANSWERED)])


ANSWERED = {"call": 7, "ret": 8, "revision": 4}


def test_an_acknowledged_write_at_another_revision() -> None:
    assert "acknowledged write" in problem([FIRST | {"revision": 9}, SECOND, DELETED])


def test_an_acknowledged_delete_that_is_lost() -> None:
    assert "acknowledged delete" in problem([FIRST, SECOND, DELETED | {"revision": 9}], log=LOG[:2])


def test_a_write_that_was_executed_twice() -> None:
    again = Version(4, 0, b"k", b"100-1", 4, 1, 0, "c1", 0, 0)
    assert "twice" in problem([FIRST, SECOND, DELETED], log=[*LOG, again])


def test_a_delete_that_was_executed_twice() -> None:
    again = Version(4, 0, b"k", None, 0, 0, 0, "c1", 0, 0)
    assert "nobody asked" in problem([FIRST, SECOND, DELETED], log=[*LOG, again])


def test_a_write_that_was_refused_and_took_place() -> None:
    refused = put("200-2", call=3, ret=None)
    problems = settle([FIRST, DELETED], [refused], LOG).problems
    assert any("it was refused" in words for words in problems)


def test_a_condition_that_failed_and_a_write_that_took_place() -> None:
    failed = SECOND | {"op": "cap", "expected": 7, "ok": False, "revision": 1}
    assert "condition failed" in problem([FIRST, failed, DELETED])


def test_a_read_of_what_was_never_written() -> None:
    assert "a read" in problem([FIRST, SECOND, DELETED, get("100-7", 2, 9)])
    assert "a read" in problem([FIRST, SECOND, DELETED, get("100-1", 2, 9)])


def test_an_unknown_write_that_is_not_in_the_log_never_happened() -> None:
    settled = settle([FIRST, SECOND, DELETED, put("200-5", call=1, ret=None)], [], LOG)
    assert settled.problems == []
    assert settled.history == [FIRST, SECOND, DELETED]
    assert (settled.unknown, settled.happened) == (1, 0)


def test_an_unknown_write_that_is_in_the_log_ended_before_it_was_read() -> None:
    unknown = put("200-2", call=3, ret=None)
    settled = settle([FIRST, unknown, DELETED, get("200-2", 2, 5), get("200-2", 2, 9)], [], LOG)
    assert settled.problems == []
    assert SECOND | {"ret": 5} in settled.history


def test_an_unknown_write_that_nobody_read_stays_open_with_its_revision() -> None:
    settled = settle([FIRST, put("200-2", call=3, ret=None), DELETED], [], LOG)
    assert SECOND | {"ret": None} in settled.history


def test_an_unknown_delete_stays_open_while_the_log_has_one_that_nobody_else_made() -> None:
    unknown = {"client": 105, "op": "delete", "key": "k", "ok": True, "call": 1, "ret": None}
    assert unknown in settle([FIRST, SECOND, unknown], [], LOG).history
    assert unknown not in settle([FIRST, SECOND, DELETED, unknown], [], LOG).history
