"""The log's head: cut behind what everyone has, unless the node was told to keep it."""

from dkv.address import Local
from dkv.limits import CUT_ENTRIES_MIN, LOG_TAIL_ENTRIES, RETENTION
from dkv.messages import Cut, Durable, Heartbeat
from tests.unit.desk import N1, N2, Desk, to

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


def test_a_node_that_keeps_its_log_cuts_nothing() -> None:
    assert cuts(keep_log=True) == []
