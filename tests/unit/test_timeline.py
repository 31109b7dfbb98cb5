"""When an index was reached: as if every one had been written down, within what is remembered."""

from hypothesis import given
from hypothesis import strategies as st

from dkv import timeline
from dkv.timeline import Timeline

MOVES = st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=40)


@given(st.integers(0, 5), MOVES)
def test_it_says_what_writing_down_each_index_would_say(
    at: int, moves: list[tuple[bool, int]]
) -> None:
    line, plain = Timeline(at), {}
    last = at
    for now_us, (is_back, index) in enumerate(moves, 1):
        if is_back:
            line.back_to(index)
            last = min(last, index)
            plain = {i: us for i, us in plain.items() if i <= index}
        else:
            line.reach(index, now_us)
            plain |= dict.fromkeys(range(last + 1, index + 1), now_us)
            last = max(last, index)
        assert line.last == last
        assert {i: line.when(i) for i in range(40) if line.when(i)} == plain


def test_it_forgets_the_oldest_and_says_so() -> None:
    line = Timeline(0)
    for index in range(1, 10 * timeline._STEPS_MAX):
        line.reach(index, index)
    assert line.when(1) == 0
    newest = 10 * timeline._STEPS_MAX - 1
    assert [line.when(newest - back) for back in (0, 1, 4_000)] == [
        newest,
        newest - 1,
        newest - 4_000,
    ]
    assert len(line._indexes) <= 2 * timeline._STEPS_MAX
