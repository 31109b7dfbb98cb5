"""The end of the log in memory, compared with a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.entries import NO_CHECK, Entry, Position, entry_bytes, follow, position_of
from dkv.raft.tail import Tail

ORIGIN = Position(0, 0, NO_CHECK)


def log_of(*terms: int, payload: bytes = b"", base: Position = ORIGIN) -> list[Entry]:
    """Entries of these terms, behind `base`, chained."""
    entries: list[Entry] = []
    check = base.check
    for index, term in enumerate(terms, base.index + 1):
        entries.append(follow(check, (index, term, 4, 0, 0, payload)))
        check = entries[-1].check
    return entries


def tail_of(*terms: int, payload: bytes = b"") -> Tail:
    tail = Tail(ORIGIN, (), ())
    for entry in log_of(*terms, payload=payload):
        tail.append(entry)
    return tail


def test_an_entry_follows_the_last_one_or_is_a_bug() -> None:
    tail = tail_of(1, 1)
    with pytest.raises(AssertionError):
        tail.append(log_of(1, 1, 1, 1)[3])
    with pytest.raises(AssertionError):
        tail.append(follow(tail.last.check, (3, 0, 4, 0, 0, b"")))
    assert tail.last == position_of(log_of(1, 1)[1])


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30).map(sorted), st.data())
def test_terms_are_known_at_every_index_after_a_truncation(
    terms: list[int], data: st.DataObject
) -> None:
    tail = tail_of(*terms)
    cut = data.draw(st.integers(1, len(terms)))
    tail.truncate(cut)
    more = data.draw(st.lists(st.integers(terms[-1], 9), max_size=5).map(sorted))
    for entry in log_of(*more, base=tail.last):
        tail.append(entry)
    expected = [0, *terms[: cut - 1], *more]
    assert [tail.term_at(i) for i in range(tail.last.index + 1)] == expected
    assert tail.bytes == sum(entry_bytes(e) for e in log_of(*expected[1:]))


@given(st.lists(st.integers(1, 6), max_size=20).map(sorted), st.integers(0, 25), st.integers(0, 7))
def test_a_hint_is_the_last_place_of_no_newer_term(terms: list[int], index: int, term: int) -> None:
    """§5.3: a diverged log costs a round trip a term."""
    places = [i for i, t in enumerate([0, *terms]) if i <= index and t <= term]
    assert tail_of(*terms).find(index, term) == max(places)


def test_a_slice_has_at_least_one_entry_and_no_more_than_its_bytes() -> None:
    tail = tail_of(1, 1, 1, 1, payload=b"x" * 36)  # 100 bytes each
    assert [e.index for e in tail.slice(2, 9, 250)] == [2, 3]
    assert [e.index for e in tail.slice(2, 3, 1_000)] == [2, 3]
    assert [e.index for e in tail.slice(2, 9, 1)] == [2]
    assert tail.slice(5, 9, 1_000) == ()


def test_what_is_shed_from_memory_is_still_known_by_its_term() -> None:
    tail = tail_of(1, 1, 2, 2, payload=b"x" * 36)
    tail.shed(200, 4)
    assert (tail.first, tail.bytes) == (3, 200)
    assert tail.get(2) is None
    assert tail.check_at(2) is None
    assert tail.term_at(2) == 1
    assert tail.slice(2, 4, 1_000) == ()


def test_what_may_still_be_truncated_is_never_shed() -> None:
    tail = tail_of(1, 1, 1, 1, payload=b"x" * 36)
    tail.shed(0, 3)
    assert tail.first == 3
    tail.shed(0, 99)
    assert tail.first == 4  # the last one stays: what follows is chained to it


def test_a_cut_log_begins_behind_its_base() -> None:
    tail = tail_of(1, 1, 2, 3)
    base = position_of(log_of(1, 1, 2, 3)[2])
    tail.rebase(base)
    assert (tail.term_at(3), tail.check_at(3), tail.term_at(4)) == (2, base.check, 3)
    assert tail.find(4, 1) == 3  # not below the base, whatever is asked
    with pytest.raises(AssertionError):
        tail.term_at(2)
    with pytest.raises(AssertionError):
        tail.truncate(3)
