"""What the log weighs, in stretches."""

from dkv.limits import MIB
from dkv.raft.weight import Weight


def heavy(entries: int, size: int) -> Weight:
    weight = Weight()
    for index in range(1, entries + 1):
        weight.add(index, size)
    return weight


def test_small_entries_share_a_stretch() -> None:
    weight = heavy(4_096, 1_024)
    assert [last for last, _size in weight.stretches] == [1_024, 2_048, 3_072, 4_096]
    assert weight.bytes == 4 * MIB


def test_what_is_beyond_a_bound_is_told_by_its_last_index() -> None:
    weight = heavy(10, MIB)
    assert [weight.excess(n * MIB) for n in (11, 10, 9, 3)] == [0, 0, 1, 7]


def test_what_was_cut_weighs_nothing() -> None:
    weight = heavy(10, MIB)
    weight.cut(6)
    assert (weight.bytes, weight.excess(3 * MIB)) == (4 * MIB, 7)
    weight.cut(10)
    assert (weight.bytes, weight.excess(0)) == (0, 0)
