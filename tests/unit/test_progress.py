"""A member as its leader sees it: what it acknowledged never falls, what is sent has a window."""

import pytest

from dkv.limits import PEER_WINDOW_BYTES, PEER_WINDOW_LETTERS
from dkv.raft.progress import Progress

DISK = 7


def replicating(match: int = 10) -> Progress:
    progress = Progress("n2", match + 1, 0)
    progress.acknowledged(DISK, match)
    return progress


def test_a_probe_is_sent_alone_and_does_not_run_ahead() -> None:
    progress = Progress("n2", 11, 0)
    assert progress.open
    progress.sent(15, 100, 0)
    assert (progress.open, progress.waiting, progress.next) == (False, True, 11)
    assert progress.acknowledged(DISK, 15)
    assert (progress.open, progress.waiting, progress.next) == (True, False, 16)


def test_match_never_falls() -> None:
    progress = replicating(10)
    assert not progress.acknowledged(DISK, 4)
    assert not progress.acknowledged(DISK, 10)
    assert (progress.match, progress.next) == (10, 11)
    progress.probe_from(3)
    assert (progress.match, progress.next) == (10, 11)


def test_the_window_closes_by_letters_and_opens_with_acknowledgements() -> None:
    progress = replicating(10)
    for index in range(11, 11 + PEER_WINDOW_LETTERS):
        assert progress.open
        progress.sent(index, 1, 0)
    assert not progress.open
    progress.acknowledged(DISK, 11)
    assert progress.open


def test_the_window_closes_by_bytes_however_few_letters_they_are() -> None:
    progress = replicating(10)
    progress.sent(11, PEER_WINDOW_BYTES - 1, 0)
    states = [progress.open]
    progress.sent(12, 1, 0)
    states.append(progress.open)
    progress.acknowledged(DISK, 12)
    assert [*states, progress.open] == [True, False, True]


def test_going_back_to_probing_forgets_what_was_in_flight() -> None:
    progress = replicating(10)
    for index in range(11, 20):
        progress.sent(index, PEER_WINDOW_BYTES, 0)
    assert (progress.open, progress.next) == (False, 20)
    progress.probe_from(15)
    assert (progress.open, progress.waiting, progress.next) == (True, False, 15)


def test_nothing_is_sent_while_older_entries_are_being_fetched() -> None:
    progress = replicating(10)
    progress.fetching = 11
    assert not progress.open


def test_another_disk_does_not_inherit_what_a_disk_acknowledged() -> None:
    with pytest.raises(AssertionError):
        replicating(10).acknowledged(DISK + 1, 11)
