"""Pipeline without a client: what it holds back, how many it lets wait, whose outcome is whose."""

from collections.abc import Callable
from typing import Any

import pytest

from dkv.client.attempts import Done
from dkv.client.calls import Ask, Written
from dkv.client.pipeline import Pipeline
from dkv.errors import Code, RequestError, Unavailable, request_error
from dkv.limits import KIB


class Hand:
    """Begins calls and settles the oldest ones, as far as somebody waits."""

    def __init__(self) -> None:
        self.begun: list[tuple[Ask[Any], Done]] = []
        self.runs: list[int] = []  # how many were begun at each
        self.under_way_max = 0
        self._settled = 0

    def begin(self, ask: Ask[Any], done: Done) -> None:
        self.begun.append((ask, done))

    def run(self, is_over: Callable[[], bool]) -> None:
        self.runs.append(len(self.begun))
        self.under_way_max = max(self.under_way_max, len(self.begun) - self._settled)
        while not is_over():
            self.settle_one()

    def settle_one(self) -> None:
        ask, done = self.begun[self._settled]
        self._settled += 1
        if ask.fields["key"] == b"refused":
            done(None, request_error(Code.BUSY, "busy", "no"))
        else:
            done({"result": {"key_revision": self._settled}, "revision": 9, "node": "n1"}, None)

    @property
    def settled(self) -> int:
        return self._settled


def pipeline(hand: Hand) -> Pipeline:
    return Pipeline(hand.begin, hand.run, "linearizable")


def test_outcomes_are_in_the_order_of_the_calls_and_errors_are_values() -> None:
    hand = Hand()
    with pipeline(hand) as many:
        many.put("a", "1")
        refused = many.put("refused", "1")
        many.put("b", "1")
    assert hand.settled == 3
    one, two, three = many.results()
    assert (one, three) == (Written(9, 1, "n1"), Written(9, 3, "n1"))
    assert isinstance(two, Unavailable)
    with pytest.raises(RequestError):
        refused.result()


def test_a_result_waits_only_for_its_own_call() -> None:
    hand = Hand()
    with pipeline(hand) as many:
        first = many.put("a", "1")
        second = many.put("b", "1")
        assert first.result().key_revision == 1
        assert (first.is_known, second.is_known) == (True, False)
    assert second.is_known


def test_what_is_begun_is_sent_by_and_by() -> None:
    hand = Hand()
    many = pipeline(hand)
    for _ in range(600):
        many.put("a", "1")
    assert hand.runs == [256, 512]
    assert hand.settled == 0


def test_large_values_are_not_held_back_until_they_are_many() -> None:
    hand = Hand()
    many = pipeline(hand)
    for _ in range(4):
        many.put("a", bytes(40 * KIB))
    assert hand.runs == [2, 4]


def test_no_more_than_4096_are_let_wait() -> None:
    hand = Hand()
    with pipeline(hand) as many:
        for _ in range(10_000):
            many.put("a", "1")
        assert 4_096 <= hand.under_way_max <= 4_096 + 256
        assert 10_000 - hand.settled <= 4_096 + 256
    assert hand.settled == 10_000


def test_a_block_that_raises_waits_for_nothing() -> None:
    hand = Hand()

    def begin_and_fail() -> None:
        with pipeline(hand) as many:
            many.put("a", "1")
            raise KeyError

    with pytest.raises(KeyError):
        begin_and_fail()
    assert (hand.runs, hand.settled) == ([], 0)
