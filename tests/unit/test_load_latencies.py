"""The histogram against the sorted list that it stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.load.latency import Latencies, bucket_of, floor_of

TIMES = st.one_of(st.integers(0, 300), st.integers(0, 2**40))
SHARES = (0.0, 0.001, 0.5, 0.9, 0.99, 0.999, 1.0)


def latencies(times: list[int]) -> Latencies:
    made = Latencies()
    for us in times:
        made.add(us)
    return made


@given(TIMES)
def test_a_time_is_in_its_bucket_and_the_bucket_is_narrow(us: int) -> None:
    floor, beyond = floor_of(bucket_of(us)), floor_of(bucket_of(us) + 1)
    assert floor <= us < beyond
    assert beyond - floor <= max(1, floor / 64)


@given(st.lists(TIMES, min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_list_within_a_bucket(times: list[int]) -> None:
    found, ordered = latencies(times), sorted(times)
    for share in SHARES:
        rank = next(n for n in range(1, len(times) + 1) if n >= share * len(times))
        exact = ordered[rank - 1]
        assert exact <= found.percentile_us(share) <= exact + exact / 64
    assert found.max_us == found.percentile_us(1.0) == ordered[-1]
    assert found.count == len(times)
    assert found.mean_us == pytest.approx(sum(times) / len(times))


@given(st.lists(TIMES, min_size=1, max_size=200), st.integers(1, 20))
def test_bars_hold_everything_and_leave_no_gap(times: list[int], most: int) -> None:
    bars = latencies(times).bars(most)
    assert sum(height for _from, _to, height in bars) == len(times)
    assert len(bars) <= most
    assert [start for start, _end, _height in bars[1:]] == [end for _start, end, _ in bars[:-1]]
    assert bars[-1][1] > max(times)


def test_without_operations_there_are_no_figures() -> None:
    assert latencies([]).percentile_us(0.5) == 0
    assert latencies([]).bars(10) == []
    assert latencies([]).mean_us == 0
