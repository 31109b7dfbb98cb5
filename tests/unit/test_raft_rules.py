"""Rules of the core, one at a time: letters in, letters out, on a node of three."""

from typing import Any

import pytest

from dkv.address import Local, Peer
from dkv.entries import position_of
from dkv.errors import Code, Ending, Fault
from dkv.limits import MS, TERM_MAX
from dkv.messages import (
    Append,
    Appended,
    Apply,
    Commit,
    Condemn,
    Fetched,
    Heard,
    Heartbeat,
    HeartbeatAcked,
    Mismatched,
    PreVote,
    PreVoted,
    Propose,
    ReadIndex,
    Refused,
    Relay,
    RequestVote,
    Saved,
    Voted,
)
from dkv.raft import table
from dkv.raft.candidate import Candidate, PreCandidate
from dkv.raft.follower import Follower
from dkv.raft.leader import Leader
from dkv.release import THIS
from tests.unit.desk import N1, N2, N3, Desk, log_of, row_of, sealed, to, writes


# -- promises ------------------------------------------------------------------------------------
def test_a_vote_is_sealed_in_the_write_that_keeps_it() -> None:
    desk = Desk(1)
    out = desk.take(N2, RequestVote(5, 2, 1))
    assert to(N2, out) == []
    assert sealed(out) == [(N2, Voted(5, True))]
    assert [(w.term, w.vote) for w in writes(out)] == [(5, N2.disk)]


def test_a_term_that_only_refuses_is_kept_too() -> None:
    desk = Desk(1, 2)
    out = desk.take(N2, RequestVote(5, 1, 0))
    assert to(N2, out) == [Voted(5, False)]
    assert [(w.term, w.vote) for w in writes(out)] == [(5, 0)]


def test_a_candidacy_and_its_own_vote_are_sealed() -> None:
    desk = Desk(1)
    desk.wait(2_000 * MS)
    assert isinstance(desk.raft.role, PreCandidate)
    assert desk.raft.term == 1
    out = desk.take(N2, PreVoted(1, 2, True))
    assert isinstance(desk.raft.role, Candidate)
    assert not any(isinstance(x, RequestVote) for _who, x in out)
    assert sealed(out) == [
        (N2, RequestVote(2, 2, 1)),
        (N3, RequestVote(2, 2, 1)),
        (N1, Voted(2, True)),
    ]


def test_an_own_vote_does_not_count_before_it_is_on_disk() -> None:
    desk = Desk(1)
    desk.wait(2_000 * MS)
    desk.take(N2, PreVoted(1, 2, True))
    desk.take(N2, Voted(2, True))
    assert isinstance(desk.raft.role, Candidate)
    desk.take(N1, Voted(2, True))
    assert isinstance(desk.raft.role, Leader)


def test_an_acknowledgement_is_sealed_even_of_an_append_without_entries() -> None:
    desk = Desk(1, 1)
    out = desk.take(N2, desk.append(prev=3, term=1))
    assert to(N2, out) == []
    assert sealed(out) == [(N2, Appended(1, 3, log_of(1, 1)[2].check))]


def test_a_heartbeat_is_answered_without_the_log() -> None:
    desk = Desk(1)
    out = desk.take(N2, Heartbeat(1, 9, 1, 0, 0))
    assert to(N2, out) == [HeartbeatAcked(1, 9, 0, *THIS)]
    assert writes(out) == []


# -- votes ---------------------------------------------------------------------------------------
def test_one_vote_a_term() -> None:
    desk = Desk(1)
    desk.take(N2, RequestVote(5, 2, 1))
    out = desk.take(N3, RequestVote(5, 9, 4))
    assert to(N3, out) == [Voted(5, False)]
    assert sealed(desk.take(N2, RequestVote(5, 2, 1))) == [(N2, Voted(5, True))]  # again the same


@pytest.mark.parametrize(
    ("last_index", "last_term", "granted"),
    [(3, 2, True), (9, 1, False), (2, 2, False), (2, 3, True), (4, 2, True)],
)
def test_a_vote_goes_to_who_has_all_this_log_may_have_acknowledged(
    last_index: int, last_term: int, granted: bool
) -> None:
    desk = Desk(1, 2)  # ends at (index 3, term 2)
    out = desk.take(N2, RequestVote(5, last_index, last_term))
    assert bool(sealed(out)) is granted


def test_who_hears_a_leader_neither_votes_nor_learns_the_candidates_term() -> None:
    desk = Desk(1)
    desk.take(N2, Heartbeat(1, 1, 1, 0, 0))
    out = desk.take(N3, RequestVote(7, 9, 6))
    assert (out, desk.raft.term) == ([], 1)
    assert to(N3, desk.take(N3, PreVote(2, 9, 6))) == [PreVoted(1, 2, False)]


def test_a_pre_vote_moves_no_term() -> None:
    desk = Desk(1)
    out = desk.take(N2, PreVote(7, 2, 1))
    assert to(N2, out) == [PreVoted(1, 7, True)]
    assert (desk.raft.term, desk.raft.vote, writes(out)) == (1, 0, [])


def test_a_vote_of_another_disk_under_a_members_name_does_not_count() -> None:
    desk = Desk(1)
    desk.wait(2_000 * MS)
    desk.take(Peer("n2", 99, 102), PreVoted(1, 2, True))
    assert isinstance(desk.raft.role, PreCandidate)


def test_before_formed_a_majority_of_votes_is_not_enough() -> None:
    desk = Desk(formed=False)
    desk.wait(2_000 * MS)
    desk.take(N2, PreVoted(0, 1, True))
    assert isinstance(desk.raft.role, PreCandidate)
    desk.take(N3, PreVoted(0, 1, True))
    assert isinstance(desk.raft.role, Candidate)


# -- the follower's log --------------------------------------------------------------------------
def test_commit_is_bounded_by_what_an_append_of_this_very_term_has_verified() -> None:
    desk = Desk(1, 1, 1, term=2)  # entries 2..4 are junk perhaps: nobody of term 2 has said
    desk.take(N2, Commit(2, 4), Heartbeat(2, 1, 4, 0, 0))
    assert desk.raft.commit == 1
    desk.take(N2, desk.append(prev=2, term=2, commit=4))
    assert desk.raft.commit == 2
    desk.take(N2, Commit(2, 4))
    assert desk.raft.commit == 2
    desk.take(N2, desk.append(1, prev=2, term=2), Commit(2, 4))
    assert desk.raft.commit == 3


def test_verification_dies_with_the_term() -> None:
    desk = Desk(1, 1)
    desk.take(N2, desk.append(prev=3, term=1))
    desk.take(N3, Commit(2, 3))
    assert desk.raft.commit == 1


def test_an_old_or_short_append_truncates_nothing() -> None:
    desk = Desk(1, 1, 1)
    out = desk.take(N2, desk.append(1, prev=1, term=1))
    assert desk.raft.tail.last.index == 4
    assert [(w.cut_from, w.entries) for w in writes(out)] == [(0, ())]
    assert sealed(out) == [(N2, Appended(1, 2, log_of(1)[1].check))]


def test_a_conflicting_entry_replaces_itself_and_what_follows() -> None:
    desk = Desk(1, 1, 1)
    out = desk.take(N2, desk.append(1, 2, prev=1, term=2))
    expected = log_of(1, 2)[2]
    assert [(w.cut_from, w.entries) for w in writes(out)] == [(3, (expected,))]
    assert desk.raft.tail.last == position_of(expected)


def test_what_was_saved_before_a_truncation_is_not_saved_after_it() -> None:
    """A Saved of the write that was overwritten may still be under way."""
    desk = Desk(1, 1)
    desk.take(N2, desk.append(1, 1, prev=3, term=1))
    assert desk.raft.saved == 3
    desk.take(N3, desk.append(2, prev=2, term=2))
    assert desk.raft.saved == 2
    desk.take(N1, Saved(1))
    assert desk.raft.saved == 2
    desk.save()
    assert desk.raft.saved == 3


def test_a_committed_entry_is_never_replaced() -> None:
    desk = Desk(1, 1, commit=3)
    with pytest.raises(Fault, match="committed here") as caught:
        desk.take(N2, desk.append(2, prev=2, term=2))
    assert caught.value.ending is Ending.DIVERGED
    assert desk.raft.tail.last.index == 3


def test_another_check_or_content_under_the_same_term_is_divergence() -> None:
    desk = Desk(1, 1)
    wrong = desk.append(prev=2, term=1)._replace(prev_check=b"another!")
    with pytest.raises(Fault, match="another check"):
        desk.take(N2, wrong)
    with pytest.raises(Fault, match="other content"):
        desk.take(N2, desk.append(prev=2, term=1)._replace(rows=(row_of(1, b"other"),)))


def test_a_mismatch_is_answered_with_the_last_place_of_no_newer_term() -> None:
    desk = Desk(1, 1, 3, 3)
    out = desk.take(N2, Append(4, 5, 2, bytes(8), (), 0, 0, 0))
    assert to(N2, out) == [Mismatched(4, 5, 5, 1, 3)]
    assert sealed(out) == []


def test_who_lost_what_it_acknowledged_in_this_term_is_condemned() -> None:
    desk = Desk(1, 1)
    out = desk.take(N2, desk.append(prev=3, term=1, match=4))
    assert [x.index for x in to(Local.LOG, out) if isinstance(x, Condemn)] == [4]
    assert sealed(out) == []
    assert not any(isinstance(x, Condemn) for _w, x in desk.take(N2, Heartbeat(1, 1, 1, 3, 0)))


def test_the_machine_gets_what_is_committed_and_saved_each_entry_once() -> None:
    desk = Desk(1, 1)
    out = desk.take(N2, desk.append(1, prev=3, term=1, commit=4))
    assert [[e.index for e in x.entries] for x in to(Local.MACHINE, out)] == [[2, 3]]
    out = desk.save()
    assert to(Local.MACHINE, out) == [Apply((log_of(1, 1, 1)[3],))]
    assert to(Local.MACHINE, desk.take(N2, Commit(1, 4))) == []


# -- terms ---------------------------------------------------------------------------------------
def test_an_older_append_is_refused_and_hears_of_the_new_term() -> None:
    desk = Desk(1, term=5)
    out = desk.take(N2, desk.append(2, prev=2, term=2))
    assert to(N2, out) == [Mismatched(5, 2, 2, 0, 0)]
    assert desk.raft.tail.last.index == 2


def test_an_absurd_term_is_dropped() -> None:
    desk = Desk(1)
    for letter in (RequestVote(2**62, 9, 1), Heartbeat(TERM_MAX + 1, 1, 1, 0, 0)):
        assert desk.take(N2, letter) == []
    desk.take(N2, PreVoted(2**62, 2, False))
    assert desk.raft.term == 1
    assert desk.counters.get("terms_absurd") == 2


@pytest.mark.parametrize(
    ("prev_index", "prev_term", "terms"),
    [(0, 0, ()), (2, 1, (2, 1)), (2, 1, (4,)), (2, 4, ()), (2, 2, (1,))],
)
def test_an_incoherent_append_changes_nothing(
    prev_index: int, prev_term: int, terms: tuple[int, ...]
) -> None:
    desk = Desk(1, 1, term=3)
    check = log_of(1)[1].check
    letter = Append(3, prev_index, prev_term, check, tuple(map(row_of, terms)), 9, 0, 0)
    assert desk.take(N2, letter) == []
    assert (desk.raft.tail.last.index, desk.raft.commit) == (3, 1)
    assert desk.counters.get("appends_incoherent") == 1


# -- leading -------------------------------------------------------------------------------------
def test_a_leader_appends_an_entry_of_its_own_term_at_once() -> None:
    desk = Desk(1)
    desk.lead()
    assert desk.raft.tail.get(3) is not None
    assert (desk.raft.tail.last.index, desk.raft.tail.last.term) == (3, 2)


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting() -> None:
    """Figure 8: a majority has entry 2, and it may still be replaced."""
    desk = Desk(1)
    desk.lead()
    desk.take(N2, Appended(2, 2, log_of(1)[1].check))
    desk.take(N1, Appended(2, 2, log_of(1)[1].check))
    assert desk.raft.commit == 1
    last = desk.raft.tail.last
    desk.take(N2, Appended(2, 3, last.check))
    desk.take(N1, Appended(2, 3, last.check))
    assert desk.raft.commit == 3


def test_a_leader_does_not_count_itself_before_its_own_disk_has_it() -> None:
    desk = Desk(1)
    desk.lead()
    last = desk.raft.tail.last
    desk.take(N2, Appended(2, 3, last.check))
    assert desk.raft.commit == 1
    desk.take(N3, Appended(2, 3, last.check))  # two others are a majority without it
    assert desk.raft.commit == 3


def test_an_acknowledgement_of_an_older_leadership_is_ignored() -> None:
    desk = Desk(1)
    desk.lead()
    desk.take(N2, Appended(1, 2, log_of(1)[1].check))
    assert isinstance(desk.raft.role, Leader)
    assert desk.raft.role.progress["n2"].match == 0
    assert desk.counters.get("letters_of_older_terms") == 1


def test_an_acknowledgement_with_another_check_does_not_count() -> None:
    desk = Desk(1)
    desk.lead()
    desk.take(N2, Appended(2, 3, b"another!"))
    assert desk.raft.role.progress["n2"].match == 0  # type: ignore[union-attr]
    assert desk.counters.get("acknowledgements_diverged") == 1


def test_an_acknowledgement_of_another_disk_does_not_count() -> None:
    desk = Desk(1)
    desk.lead()
    desk.take(Peer("n2", 99, 5), Appended(2, 3, desk.raft.tail.last.check))
    assert desk.raft.role.progress["n2"].match == 0  # type: ignore[union-attr]


def test_a_rejection_at_or_below_match_is_stale() -> None:
    desk = Desk(1)
    desk.lead()
    desk.take(N2, Appended(2, 3, desk.raft.tail.last.check))
    desk.take(N2, Mismatched(2, 3, 1, 0, 1))
    progress = desk.raft.role.progress["n2"]  # type: ignore[union-attr]
    assert (progress.match, progress.next, progress.probing) == (3, 4, False)


def test_a_read_waits_for_an_entry_of_the_leaders_own_term() -> None:
    desk = Desk(1)
    desk.lead()
    out = desk.take(N1, ReadIndex(1))
    assert not any(isinstance(x, Heartbeat) for x in to(N2, out))
    desk.take(N2, HeartbeatAcked(2, 1, 0))
    desk.wait(101 * MS)  # a round of heartbeats begins, and the read does not join it
    assert not desk.raft.role.reads.under_way  # type: ignore[union-attr]
    last = desk.raft.tail.last
    desk.take(N1, Appended(2, 3, last.check))
    out = desk.take(N2, Appended(2, 3, last.check))
    assert [x.round for x in to(N2, out) if isinstance(x, Heartbeat)] == [3]


def test_a_leader_that_hears_no_majority_steps_down_and_refuses_its_reads() -> None:
    desk = Desk(1)
    desk.lead()
    desk.take(N1, ReadIndex(7))
    out = desk.wait(1_001 * MS)
    assert isinstance(desk.raft.role, Follower)
    assert Refused(7, Code.NOT_LEADER) in to(Local.GATEWAY, out)


def test_a_leader_whose_disk_stalls_gives_up_its_role() -> None:
    desk = Desk(1)
    desk.lead()
    for _ in range(4):
        desk.wait(900 * MS)
        round_ = desk.raft.role.round if isinstance(desk.raft.role, Leader) else 0
        desk.take(N2, HeartbeatAcked(2, round_, 0))
    assert isinstance(desk.raft.role, Follower)


def test_who_knows_no_leader_refuses_a_proposal_definitely() -> None:
    desk = Desk(1)
    out = desk.take(N1, Propose(4, 1_000, True, (b"x",)))
    assert to(Local.GATEWAY, out) == [Refused(4, Code.NO_LEADER)]


# -- commits, told to who waits ------------------------------------------------------------------
def a_leader_of_three() -> Desk:
    """n1 leads; both others have its first entry, and know that it is committed."""
    desk = Desk(1)
    desk.lead()
    last = desk.raft.tail.last
    for peer in (N1, N2, N3):
        desk.take(peer, Appended(desk.raft.term, last.index, last.check))
    desk.save()
    desk.wait(100 * MS)
    assert desk.raft.commit == last.index
    return desk


def acknowledge_last(desk: Desk, *peers: Peer) -> list[tuple[Any, Any]]:
    last = desk.raft.tail.last
    acknowledgement = Appended(desk.raft.term, last.index, last.check)
    for peer in peers[:-1]:
        table.receive(desk.raft, peer, acknowledgement)
    return desk.take(peers[-1], acknowledgement)


def test_a_commit_is_told_at_once_to_who_relayed_it_and_to_the_others_by_a_tick() -> None:
    desk = a_leader_of_three()
    desk.take(N3, Relay(1, 1_000, desk.raft.role.round, True, (b"command",)))
    out = acknowledge_last(desk, N1, N2)
    told = Commit(desk.raft.term, desk.raft.commit)
    assert desk.raft.commit == desk.raft.tail.last.index
    assert (to(N2, out), to(N3, out)) == ([], [told])
    out = desk.wait(desk.raft.timing.commit_tick_us)
    assert (to(N2, out), to(N3, out)) == ([told], [told])
    assert not to(N2, desk.wait(desk.raft.timing.commit_tick_us))


def test_a_commit_of_the_leaders_own_clients_is_told_to_nobody_at_once() -> None:
    desk = a_leader_of_three()
    desk.take(N1, Propose(1, 1_000, True, (b"command",)))
    out = acknowledge_last(desk, N1, N2)
    assert desk.raft.commit == desk.raft.tail.last.index
    assert (to(N2, out), to(N3, out)) == ([], [])


def test_an_append_of_before_the_commit_tells_nobody_of_it() -> None:
    """In one turn: an Append of older entries is made for n3, then acknowledgements move the
    commit index, which that Append does not name."""
    desk = a_leader_of_three()
    raft, lead = desk.raft, desk.raft.role
    desk.take(N3, Relay(1, 1_000, lead.round, True, (b"command",)))
    entry = raft.tail.get(raft.tail.last.index)
    lead.progress["n3"].probe_from(entry.index)
    lead.progress["n3"].fetching = entry.index
    table.receive(raft, N1, Fetched(entry.index, (entry,)))
    out = acknowledge_last(desk, N1, N2)
    appends = [x for x in to(N3, out) if isinstance(x, Append)]
    assert [x.commit for x in appends] == [entry.index - 1]
    assert Commit(raft.term, entry.index) in to(N3, out)


# -- what a follower looks at, and when ----------------------------------------------------------
def test_a_follower_looks_for_its_log_only_while_something_committed_waits_for_it() -> None:
    desk = Desk(1)
    raft = desk.raft
    desk.take(N2, desk.append(1, prev=2, term=1, commit=2))
    assert table.deadline(raft) == raft.role.deadline  # entry 3 is not known to be committed
    desk.take(N2, Commit(1, 3))
    assert table.deadline(raft) == raft.now.us + MS
    raft.now = raft.now._replace(us=raft.now.us + 40 * MS)
    assert table.deadline(raft) == raft.now.us + 10 * MS  # a slow disk: a quarter of its time
    assert not [x for _who, x in desk.save() if isinstance(x, Apply)]  # no client has asked here
    assert table.deadline(raft) == raft.now.us + raft.timing.commit_tick_us
    out = desk.wait(raft.timing.commit_tick_us)
    assert next(x for _who, x in out if isinstance(x, Apply)).entries[-1].index == 3
    assert table.deadline(raft) == raft.role.deadline


def test_rounds_for_reads_are_answered_and_disturb_nobody_else() -> None:
    """A heartbeat is a reason to look after log and gateway twice a period, not each time."""
    desk = Desk(1, 1, commit=2)
    desk.take(N2, desk.append(prev=3, term=1))
    outs = []
    for number in range(1, 201):
        outs += desk.take(N2, Heartbeat(1, number, 3, 3, 0))
        desk.wait(MS)
    answers = [x for who, x in outs if who == N2]
    assert [x.round for x in answers] == [*range(1, 201)]
    assert len([x for x in to(Local.GATEWAY, outs) if isinstance(x, Heard)]) == 4
    assert len(writes(outs)) == 1  # of the commit, for the witness
    assert desk.raft.handed == 3


def test_one_timeout_is_drawn_for_a_term_and_another_for_the_next() -> None:
    desk = Desk(1)
    raft = desk.raft
    patiences = []
    for term in range(2, 12):
        for number in range(3):
            desk.take(N2, Heartbeat(term, number, 0, 0, 0))
            patiences.append(raft.role.deadline - raft.now.us)
            desk.wait(MS)
    assert len(set(patiences)) == 10
    assert all(raft.timing.election_us_min <= x <= raft.timing.election_us_max for x in patiences)
