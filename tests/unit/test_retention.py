"""When history should end: by the number of revisions, by cluster time, by the quota."""

from dkv.kv.retention import Policy, Retention

SECOND = 1_000


def test_a_policy_of_nothing_ends_nothing() -> None:
    retention = Retention(Policy(0, 0, 1))
    retention.take(10_000, 10_000 * SECOND)
    assert retention.due(10_000, 0, is_full=True) is None


def test_by_number_history_ends_a_tenth_at_a_time() -> None:
    retention = Retention(Policy(100, 0))
    assert retention.due(109, 0, is_full=False) is None
    assert retention.due(110, 0, is_full=False) == 10
    assert retention.due(119, 10, is_full=False) is None
    assert retention.due(500, 10, is_full=False) == 400


def test_by_time_what_is_young_stays() -> None:
    retention = Retention(Policy(0, 60 * SECOND))
    for second in range(100):
        retention.take(10 * second, second * SECOND)
    end = retention.due(990, 0, is_full=False)
    assert end is not None
    assert 340 <= end <= 390  # 60 s ago it was 390; time is marked every 3.75 s


def test_a_version_must_be_beyond_both() -> None:
    retention = Retention(Policy(900, 60 * SECOND))
    for second in range(100):
        retention.take(10 * second, second * SECOND)
    assert retention.due(990, 0, is_full=False) == 90


def test_what_a_node_finds_at_its_start_is_young() -> None:
    retention = Retention(Policy(0, 60 * SECOND))
    retention.take(5_000, 10**9)
    retention.take(5_001, 10**9 + 59 * SECOND)
    assert retention.due(5_001, 0, is_full=False) is None
    retention.take(5_002, 10**9 + 60 * SECOND)
    assert retention.due(5_002, 0, is_full=False) == 5_000


def test_at_the_quota_all_of_history_goes_once() -> None:
    retention = Retention(Policy(100_000, 600 * SECOND, 1))
    assert retention.due(50, 0, is_full=True) == 50
    assert retention.due(50, 50, is_full=True) is None
