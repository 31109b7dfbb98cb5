"""The sum of a replica's state at an entry: what is remembered, and how it is asked for."""

from typing import Any

import pytest

from cli.hashes import _judged
from dkv.errors import Code
from dkv.kv.reading import Reading
from dkv.kv.sums import Sums
from dkv.limits import SUMS_MAX
from dkv.requests import pack_command
from tests.unit.replica import Answer, Replica, answer_of


def ask(replica: Replica, index: int = 0) -> Answer:
    answer = Reading(replica.state, pack_command("hash", index=index)).step()
    assert answer is not None
    return answer_of(answer)


def test_replicas_with_the_same_entries_have_the_same_hash_at_each() -> None:
    one, other = Replica(), Replica()
    for n in range(5):
        one.put(b"k%d" % n, b"v")
        other.put(b"k%d" % n, b"v")
    one.put(b"later", b"v")
    hashes = [ask(one, index).detail["hash"] for index in range(1, 6)]
    assert hashes == [ask(other, index).detail["hash"] for index in range(1, 6)]
    assert len(set(hashes)) == 5
    assert ask(other).detail == {"index": 5, "hash": hashes[-1]}


def test_a_value_that_differs_is_seen_at_its_entry_and_ever_after() -> None:
    one, other = Replica(), Replica()
    one.put(b"a", b"v")
    other.put(b"a", b"v")
    one.put(b"k", b"right")
    other.put(b"k", b"wrong")
    one.do("delete", key=b"k")
    other.do("delete", key=b"k")
    same = [ask(one, n).detail["hash"] == ask(other, n).detail["hash"] for n in (1, 2, 3)]
    assert same == [True, False, False]


def test_what_is_to_come_and_what_is_forgotten_is_refused_by_name() -> None:
    replica = Replica()
    replica.put(b"k", b"v")
    assert ask(replica, 2).code is Code.FUTURE_REVISION
    for _ in range(SUMS_MAX):
        replica.enter(1)
    assert ask(replica, 1).code is Code.COMPACTED
    assert ask(replica, 2).code is Code.OK


def test_a_replica_that_starts_knows_the_entry_it_starts_from() -> None:
    sums = Sums(700, 5)
    sums.take(701, 6)
    assert [sums.at(n) for n in (699, 700, 701, 702)] == [None, 5, 6, None]


def rows(*hashes: str | None) -> list[dict[str, Any]]:
    return [{"node": f"n{n}", "hash": h} for n, h in enumerate(hashes, 1)]


@pytest.mark.parametrize(
    ("hashes", "verdicts"),
    [
        (("a", "a", "a"), "equal equal equal"),
        (("a", "b", "a"), "equal differs equal"),
        (("a", None, "b"), "differs, not asked, differs"),
        (("a", None, "a"), "equal, not asked, equal"),
        (("a", "b", "c"), "differs differs differs"),
        ((None, None, "a"), "not asked, not asked, equal"),
        ((None,), "not asked,"),
    ],
)
def test_who_differs_is_told_by_the_majority(hashes: tuple[str | None, ...], verdicts: str) -> None:
    expected = verdicts.split(", ") if "," in verdicts else verdicts.split()
    assert [r["verdict"] for r in _judged(rows(*hashes))] == [e.strip(",") for e in expected]
