"""Majorities: who has won, and what a majority has reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.raft.quorum import Outcome, majority, reached, tally


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (9, 5)])
def test_a_majority_is_more_than_half(size: int, needed: int) -> None:
    assert majority(size) == needed


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_what_is_reached_is_reached_by_a_majority_and_nothing_higher_is(values: list[int]) -> None:
    index = reached(values)
    assert sum(v >= index for v in values) * 2 > len(values)
    assert sum(v > index for v in values) * 2 <= len(values)


@given(st.integers(1, 9), st.data())
def test_an_election_is_decided_as_soon_as_it_cannot_change(size: int, data: st.DataObject) -> None:
    granted = data.draw(st.integers(0, size))
    refused = data.draw(st.integers(0, size - granted))
    needed = data.draw(st.sampled_from((majority(size), size)))  # size: the first election
    possible = {granted + yes >= needed for yes in range(size - granted - refused + 1)}
    expected = Outcome.PENDING if len(possible) == 2 else Outcome.WON
    assert tally(granted, refused, size, needed) is (expected if True in possible else Outcome.LOST)


def test_more_votes_than_members_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        tally(2, 2, 3, 2)
