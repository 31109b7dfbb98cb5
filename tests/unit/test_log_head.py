"""The log's head: cut behind what everyone has, unless the node was told to keep it."""

from dkv.address import Local
from dkv.limits import CUT_ENTRIES_MIN, LOG_TAIL_ENTRIES, RETENTION, Retention
from dkv.messages import Cut, Durable, Heartbeat
from tests.unit.desk import N1, N2, Desk, log_of, to

LONG = LOG_TAIL_ENTRIES + CUT_ENTRIES_MIN + 1


def cuts(*, keep_log: bool) -> list[Cut]:
    """What is cut when all of a long log is on every disk and in state.db."""
    retention = None if keep_log else RETENTION
    desk = Desk(*[1] * LONG, term=1, commit=LONG, retention=retention)
    out = desk.take(N2, Heartbeat(1, 1, LONG, 0, LONG))
    out += desk.take(N1, Durable(LONG, 1, desk.raft.tail.last.check))
    return [letter for letter in to(Local.LOG, out) if isinstance(letter, Cut)]


def test_what_everyone_has_is_cut_but_for_a_tail() -> None:
    assert cuts(keep_log=False) == [Cut(LONG - LOG_TAIL_ENTRIES)]


def lagging(retention: Retention) -> list[Cut]:
    """The same where a member has next to nothing."""
    desk = Desk(*[1] * LONG, term=1, commit=LONG, retention=retention)
    for entry in log_of(*[1] * LONG):
        desk.raft.weight.add(entry.index, 1_000_000)
    out = desk.take(N2, Heartbeat(1, 1, LONG, 0, 3))
    out += desk.take(N1, Durable(LONG, 1, desk.raft.tail.last.check))
    return [letter for letter in to(Local.LOG, out) if isinstance(letter, Cut)]


def test_what_a_member_lacks_is_kept_within_bounds() -> None:
    assert lagging(RETENTION._replace(entries=LONG, bytes=10**12)) == []
    assert lagging(Retention(10, 100, 1, 10**12)) == [Cut(LONG + 1 - 100)]
    kept = Retention(10, LONG, 1, 50_000_000)
    (cut,) = lagging(kept)
    assert LONG - 52 <= cut.through <= LONG - 44


def test_what_is_not_in_state_db_is_never_cut() -> None:
    desk = Desk(*[1] * LONG, term=1, commit=LONG, retention=Retention(10, 20, 1))
    desk.take(N2, Heartbeat(1, 1, LONG, 0, 3))
    out = desk.take(N1, Durable(50, 1, b""))
    assert [x for x in to(Local.LOG, out) if isinstance(x, Cut)] == [Cut(40)]


def test_a_node_that_keeps_its_log_cuts_nothing() -> None:
    assert cuts(keep_log=True) == []
