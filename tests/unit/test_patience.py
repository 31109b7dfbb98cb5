"""When a follower's state machine may wait for more."""

from dkv.limits import MS, SECOND
from dkv.raft.patience import Patience

MOMENT = 10 * MS


def test_what_comes_within_a_moment_goes_together() -> None:
    patience = Patience(MOMENT)
    assert patience.holds(1, 5 * SECOND)
    assert patience.due_us == 5 * SECOND + MOMENT
    assert patience.holds(7, 5 * SECOND + MOMENT - 1)
    assert not patience.holds(7, 5 * SECOND + MOMENT)
    assert patience.due_us is None


def test_nothing_waits_while_clients_ask() -> None:
    patience = Patience(MOMENT)
    patience.asked(5 * SECOND)
    assert not patience.holds(1, 6 * SECOND)
    assert patience.holds(1, 6 * SECOND + 1)


def test_who_asks_ends_the_waiting() -> None:
    patience = Patience(MOMENT)
    assert patience.holds(1, 5 * SECOND)
    patience.asked(5 * SECOND + 1)
    assert not patience.holds(1, 5 * SECOND + 1)


def test_where_nothing_waits_there_is_no_moment_to_be_woken_at() -> None:
    """As at one that has come to lead: else its shell would never sleep again."""
    patience = Patience(MOMENT)
    assert patience.holds(1, 5 * SECOND)
    assert not patience.holds(0, 5 * SECOND + 1)
    assert patience.due_us is None


def test_many_do_not_wait() -> None:
    assert not Patience(MOMENT).holds(1_000, 5 * SECOND)
