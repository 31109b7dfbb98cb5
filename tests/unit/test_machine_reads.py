"""The answers to a batch of reads: each once, in its place, in letters of a bounded size."""

from typing import Any

import pytest

from actors.machine import Machine
from dkv.address import Instant
from dkv.counters import Counters
from dkv.kv.reading import Reading
from dkv.limits import FOUND_BYTES_MAX, KIB
from dkv.messages import Continue, Found, Lookup
from dkv.requests import pack_command
from tests.stores import MemoryStores
from tests.unit.replica import Replica


def ask(replica: Replica, reads: list[bytes]) -> list[Found]:
    """All the letters that come of a lookup, in as many turns as it takes."""
    machine = Machine(replica.state, MemoryStores(replica.disk), "n1", 1, Counters())
    machine._scan = None  # this replica was never closed
    found: list[Found] = []
    batch: list[Any] = [Lookup(7, 0, 1_000, tuple(reads))]
    while batch:
        out = [letter for _to, letter in machine.handle(batch, Instant(1, 1))]
        found += [x for x in out if isinstance(x, Found)]
        batch = [x for x in out if isinstance(x, Continue)]
    return found


def get(key: bytes) -> bytes:
    return pack_command("get", key=key)


LIST = pack_command("list")


@pytest.mark.parametrize(
    "reads",
    [
        [get(b"a")],
        [LIST],
        [get(b"a"), get(b"b"), LIST, get(b"none"), LIST, LIST, get(b"c")],
        [LIST, get(b"a")],
        [get(b"big")] * 9,
        [get(b"a"), get(b"big"), get(b"big"), LIST, get(b"big"), get(b"b")],
        [b"garbage", get(b"a")],
    ],
)
def test_each_read_has_its_answer_in_its_place(reads: list[bytes]) -> None:
    replica = Replica()
    for key in (b"a", b"b", b"c"):
        replica.put(key, b"of " + key)
    replica.put(b"big", bytes(20 * KIB))
    letters = ask(replica, reads)
    answers = {}
    for letter in letters:
        assert letter.batch == 7
        assert sum(map(len, letter.answers[:-1])) < FOUND_BYTES_MAX
        for position, answer in enumerate(letter.answers, letter.position):
            assert position not in answers
            answers[position] = answer
    expected = [Reading(replica.state, read) for read in reads]
    assert [answers[i] for i in range(len(reads))] == [r.answer or r.step() for r in expected]


def test_a_get_after_a_put_is_not_the_one_remembered() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    for value in (b"1", b"2", None, b"3"):
        if value is None:
            replica.do("delete", key=b"a")
        else:
            replica.put(b"a", value)
        for _ in range(2):
            assert replica.value(b"a") == value
