"""ReadIndex: a read is confirmed by a round of heartbeats that began after it."""

from dkv.address import Peer
from dkv.raft.reads import Reads

ANNA, BERT, CARL = (None, 1), (Peer("n2", 1, 1), 2), (None, 3)


def test_a_read_joins_the_next_round_and_not_the_one_under_way() -> None:
    reads = Reads()
    reads.waiting.append(ANNA)
    reads.join(5, 100)
    reads.waiting.append(BERT)
    assert reads.under_way
    assert reads.confirm(5) == [(ANNA, 100)]
    reads.join(6, 120)
    assert reads.confirm(5) == []
    assert reads.confirm(6) == [(BERT, 120)]
    assert not reads.under_way


def test_a_later_round_confirms_earlier_reads_at_their_own_index() -> None:
    reads = Reads()
    for number, (asker, commit) in enumerate(((ANNA, 100), (BERT, 110), (CARL, 120)), 1):
        reads.waiting.append(asker)
        reads.join(number, commit)
    assert reads.confirm(2) == [(ANNA, 100), (BERT, 110)]
    assert reads.confirm(9) == [(CARL, 120)]


def test_a_round_without_reads_is_none_to_wait_for() -> None:
    reads = Reads()
    reads.join(1, 100)
    assert not reads.under_way
    assert reads.confirm(1) == []


def test_when_leadership_ends_everyone_who_waits_is_named_once() -> None:
    reads = Reads()
    reads.waiting.append(ANNA)
    reads.join(1, 100)
    reads.waiting.append(BERT)
    assert reads.abandon() == [ANNA, BERT]
    assert reads.abandon() == []
    assert reads.confirm(1) == []
