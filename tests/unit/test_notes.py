"""Replicas compared: what a majority of all voters gave, said once."""

from dkv.raft.notes import Notes


def test_a_majority_of_all_voters_decides_not_of_those_who_spoke() -> None:
    notes = Notes()
    notes.take(10, "n1", 5)
    assert notes.agreed(10, 3) is None
    notes.take(10, "n2", 6)
    assert notes.agreed(10, 3) is None
    notes.take(10, "n3", 6)
    assert notes.agreed(10, 3) == 6


def test_a_majority_is_said_once() -> None:
    notes = Notes()
    for name in ("n1", "n2"):
        notes.take(10, name, 5)
    assert (notes.agreed(10, 3), notes.agreed(10, 3)) == (5, None)


def test_a_member_that_repeats_itself_is_one_member() -> None:
    notes = Notes()
    for _ in range(3):
        notes.take(10, "n1", 5)
    assert notes.agreed(10, 3) is None


def test_it_is_seen_when_all_have_spoken_and_no_majority_agrees() -> None:
    notes = Notes()
    for name, written in (("n1", 1), ("n2", 2)):
        notes.take(10, name, written)
    assert not notes.is_split(10, 3)
    notes.take(10, "n3", 3)
    assert notes.is_split(10, 3)


def test_only_the_last_indexes_are_kept() -> None:
    notes = Notes()
    for index in range(20):
        notes.take(index, "n1", 1)
    assert notes.agreed(0, 1) is None
    assert notes.agreed(19, 1) == 1
