"""Membership: one change at a time, and nobody hurt by it."""

from dataclasses import replace
from typing import Any

import pytest

from dkv.errors import Code, Ending, Fault
from dkv.limits import MS, SECOND
from dkv.messages import Append, Heartbeat, RelayAsk, Removed, RequestVote, TakeOver
from dkv.raft.questions import Question
from dkv.raft.questions import pack as pack_question
from tests.members import QUESTIONS
from tests.scenarios.seeds import seeds
from tests.world import World, everything


def served(seed: int, *names: str) -> tuple[World, str]:
    world = World(seed, names or ("n1", "n2", "n3"))
    leader = world.serve()
    assert world.put(leader, b"before", b"1").ok
    return world, leader


def role_of(world: World, node: str, name: str) -> str:
    members = world.manage(node, "member_list")["members"]
    return next((m["role"] for m in members if m["name"] == name), "none")


def ending_of(world: World, name: str) -> Ending | None:
    ended = world.nodes[name].ended
    return ended.ending if isinstance(ended, Fault) else None


# == growing =====================================================================================
@pytest.mark.parametrize("seed", seeds(4))
def test_who_is_invited_comes_as_a_learner_and_votes_once_it_is_close(seed: int) -> None:
    world, leader = served(seed)
    follower = next(n for n in world.names if n != leader)
    assert world.manage(follower, "member_add", name="n4")["members"][-1]["role"] == "invited"
    world.newcomer("n4")
    world.start("n4")
    world.run(2 * SECOND)
    assert world.voters() == ["n1", "n2", "n3"]
    assert world.leader() == leader
    assert world.come("n4", follower)["members"][-1]["role"] == "learner"
    world.run_until(lambda: "n4" in world.voters())
    world.run_until(world.is_serving)
    assert world.put("n4", b"k", b"v").ok
    assert world.get("n4", b"before", "serializable").result["found"]


def test_a_learner_stays_one_if_asked_to_and_counts_for_nothing() -> None:
    world, leader = served(1)
    world.join("n4", leader, learner=True)
    world.run(2 * SECOND)
    assert role_of(world, leader, "n4") == "learner"
    others = [n for n in ("n1", "n2", "n3") if n != leader]
    for name in others:
        world.crash(name)
    reply = world.call(leader, "put", {"ttl_ms": 500}, key=b"k", value=b"v")
    assert not reply.ok
    world.run(3 * SECOND)
    assert world.leader() is None
    world.start(*others)
    world.run_until(world.is_serving)
    assert not world.nodes["n4"].leads


def test_who_was_not_invited_or_has_another_disk_is_refused_with_what_to_type() -> None:
    world, leader = served(2)
    world.newcomer("n4")
    world.start("n4")
    assert world.come("n4", leader) is Code.NOT_INVITED
    follower = next(n for n in world.names if n != leader)
    told = world.answer(world.question(leader, "join", name=follower, **where(follower, disk=99)))
    assert told.code == Code.ANOTHER_DISK
    assert f"dkvctl member replace {follower} {follower}".encode() in told.answer


def where(name: str, **more: Any) -> dict[str, Any]:
    return {"peer_address": f"{name}:2380", "client_address": f"{name}:3000", **more}


@pytest.mark.parametrize("seed", seeds(3))
def test_a_learner_that_was_promoted_and_does_not_know_it_votes_when_asked(seed: int) -> None:
    """etcd-io/raft, campaign_learner_must_vote."""
    world, leader = served(seed)
    world.join("n4", leader, learner=True)
    world.run(SECOND)
    world.peer_filter = lambda _a, b, x: b != "n4" or not isinstance(x, Append)
    assert not isinstance(world.manage(leader, "member_promote", name="n4"), Code)
    other = next(n for n in ("n1", "n2", "n3") if n != leader)
    world.crash(leader)
    world.crash(other)
    left = next(n for n in ("n1", "n2", "n3") if world.nodes[n].actors is not None)
    assert world.nodes["n4"].raft.config.voters == ("n1", "n2", "n3")
    world.start(other)
    world.cut(other)  # it votes for nobody: n4's vote is needed to have three of four
    world.run(3 * SECOND)
    world.heal()
    world.peer_filter = everything
    world.run_until(lambda: world.leader() in (left, other, "n4"))
    world.run_until(lambda: "n4" in world.nodes[world.leader() or left].raft.config.voters)


# == shrinking ===================================================================================
@pytest.mark.parametrize("seed", seeds(4))
def test_a_removed_follower_learns_it_ends_and_disturbs_nobody(seed: int) -> None:
    world, leader = served(seed)
    gone = next(n for n in world.names if n != leader)
    term = world.nodes[leader].raft.term
    assert gone not in [
        m["name"] for m in world.manage(leader, "member_remove", name=gone)["members"]
    ]
    world.run_until(lambda: world.nodes[gone].ended is not None)
    assert ending_of(world, gone) is Ending.REMOVED
    assert f"{gone} was removed" in str(world.nodes[gone].ended)
    for _ in range(2):
        world.start(gone)
        world.run_until(lambda: world.nodes[gone].ended is not None)
        assert ending_of(world, gone) is Ending.REMOVED
    world.run(5 * SECOND)
    assert (world.leader(), world.nodes[leader].raft.term) == (leader, term)
    assert world.put(leader, b"k", b"v").ok


@pytest.mark.parametrize("seed", seeds(4))
def test_a_removed_learner_learns_it_too(seed: int) -> None:
    """It never campaigns, so nothing that it would say of itself is answered."""
    world, leader = served(seed)
    world.join("n4", leader, learner=True)
    world.run(SECOND)
    term = world.nodes[leader].raft.term
    assert not isinstance(world.manage(leader, "member_remove", name="n4"), Code)
    world.run_until(lambda: world.nodes["n4"].ended is not None)
    assert ending_of(world, "n4") is Ending.REMOVED
    world.start("n4")
    world.run_until(lambda: world.nodes["n4"].ended is not None)
    assert ending_of(world, "n4") is Ending.REMOVED
    assert (world.leader(), world.nodes[leader].raft.term) == (leader, term)


def test_a_removed_node_that_hears_nothing_moves_no_term() -> None:
    world, leader = served(5)
    gone = next(n for n in world.names if n != leader)
    world.peer_filter = lambda _a, b, x: not (b == gone and isinstance(x, Removed | Append))
    world.manage(leader, "member_remove", name=gone)
    term = world.nodes[leader].raft.term
    world.run(60 * SECOND)
    assert world.nodes[gone].ended is None
    assert (world.leader(), world.nodes[leader].raft.term) == (leader, term)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_leader_removes_itself_without_counting_itself_and_hands_over(seed: int) -> None:
    """Thesis §4.2.2; etcd-io/raft, confchange_v1_remove_leader_stepdown."""
    world, leader = served(seed)
    others = [n for n in world.names if n != leader]
    world.cut(others[1])
    number = world.question(leader, "member_remove", name=leader, force=True)
    world.run(SECOND // 2)
    blocked = number not in world.told  # one of two others is no majority of them
    assert blocked
    world.heal()
    assert world.answer(number).code == Code.OK
    began = world.now_us
    world.run_until(lambda: world.leader() in others)
    assert world.now_us - began < SECOND // 2
    world.run_until(lambda: world.nodes[leader].ended is not None)
    assert ending_of(world, leader) is Ending.REMOVED
    world.run_until(lambda: world.is_serving(*others))
    assert world.put(others[0], b"k", b"v").ok
    assert world.voters() == sorted(others)


def test_the_last_voter_cannot_be_removed() -> None:
    world, leader = served(1, "n1")
    assert world.manage(leader, "member_remove", name="n1", force=True) is Code.QUORUM_AT_RISK
    assert world.put("n1", b"k", b"v").ok


def test_a_change_that_would_leave_a_majority_silent_is_refused_unless_forced() -> None:
    world, leader = served(3, "n1", "n2", "n3", "n4", "n5")
    others = [n for n in world.names if n != leader]
    world.crash(others[0])
    world.crash(others[1])
    world.run(2 * SECOND)
    number = world.question(leader, "member_remove", name=others[2])
    told = world.answer(number)
    assert told.code == Code.QUORUM_AT_RISK
    assert others[0].encode() in told.answer
    assert not isinstance(world.manage(leader, "member_remove", name=others[0]), Code)
    assert not isinstance(world.manage(leader, "member_remove", name=others[1]), Code)


@pytest.mark.parametrize("seed", seeds(3))
def test_a_wiped_node_comes_back_under_its_name_once_it_was_replaced(seed: int) -> None:
    world, leader = served(seed)
    lost = next(n for n in world.names if n != leader)
    old = world.nodes[lost].disk
    world.wipe(lost)
    world.newcomer(lost)
    world.start(lost)
    assert world.come(lost, leader) is Code.ANOTHER_DISK
    assert not isinstance(world.manage(leader, "member_remove", name=lost), Code)
    world.crash(lost)
    assert not isinstance(world.join(lost, leader), Code)
    world.run_until(lambda: lost in world.voters())
    world.run_until(world.is_serving)
    assert world.put(lost, b"k", b"v").ok
    world.crash(lost)
    new, world.nodes[lost].disk = world.nodes[lost].disk, old
    world.start(lost)
    world.run_until(lambda: world.nodes[lost].ended is not None)
    assert ending_of(world, lost) is Ending.REMOVED
    world.nodes[lost].disk = new
    world.start(lost)
    world.run_until(world.is_serving)


# == one at a time ===============================================================================
def test_no_second_change_before_the_first_is_committed() -> None:
    world, leader = served(4)
    world.peer_filter = lambda _a, _b, x: not isinstance(x, Append)
    first = world.question(leader, "member_add", name="n4")
    world.run(20 * MS)
    second = world.answer(world.question(leader, "member_add", name="n5"))
    assert second.code == Code.CHANGE_PENDING
    assert first not in world.told
    world.peer_filter = everything
    assert world.answer(first).code == Code.OK
    assert not isinstance(world.manage(leader, "member_add", name="n5"), Code)


def test_no_change_before_an_entry_of_the_leaders_own_term_is_committed() -> None:
    """Ongaro, raft-dev, 10 July 2015."""
    world, leader = served(6)
    world.crash(leader)
    world.peer_filter = lambda _a, _b, x: not isinstance(x, Append)
    world.run_until(lambda: world.leader() not in (None, leader))
    new = world.leader()
    assert new is not None
    told = world.answer(world.question(new, "member_add", name="n4"), 500 * MS)
    assert told.code == Code.CHANGE_PENDING
    world.peer_filter = everything
    world.run_until(lambda: new is not None and world.is_serving(new))
    assert not isinstance(world.manage(new, "member_add", name="n4"), Code)


@pytest.mark.parametrize("seed", seeds(4))
def test_a_change_that_was_not_committed_is_undone_with_the_log_it_stood_in(seed: int) -> None:
    world, leader = served(seed)
    others = [n for n in world.names if n != leader]
    world.cut(leader)
    number = world.question(leader, "member_remove", name=others[0])
    world.run(50 * MS)
    assert others[0] not in world.nodes[leader].raft.config.names
    world.run_until(lambda: world.leader() in others)
    new = world.leader()
    assert new is not None
    world.run_until(lambda: world.is_serving(*others))
    assert world.put(new, b"k", b"v").ok
    told = world.answer(number)
    assert (told.code, told.applied) == (Code.TIMEOUT, "unknown")
    world.heal()
    world.run_until(world.is_serving)
    world.run(SECOND)
    assert sorted(world.nodes[leader].raft.config.voters) == ["n1", "n2", "n3"]


# == leadership ==================================================================================
@pytest.mark.parametrize("seed", seeds(4))
def test_leadership_goes_to_who_is_named_within_an_election_timeout(seed: int) -> None:
    world, leader = served(seed)
    heir = next(n for n in reversed(world.names) if n != leader)
    began = world.now_us
    assert world.manage(leader, "leader_transfer", name=heir) == {"leader": heir}
    world.run_until(lambda: world.leader() == heir)
    assert world.now_us - began < 100 * MS
    world.run_until(world.is_serving)
    assert world.put(leader, b"k", b"v").ok
    assert world.nodes[leader].actors is not None


def test_a_transfer_to_who_is_down_or_unknown_is_refused_and_the_leader_leads_on() -> None:
    world, leader = served(2)
    down, up = (n for n in world.names if n != leader)
    world.crash(down)
    world.run(SECOND)
    assert world.manage(leader, "leader_transfer", name=down) is Code.HEIR_UNFIT
    assert world.manage(leader, "leader_transfer", name="n9") is Code.NO_SUCH_MEMBER
    world.peer_filter = lambda _a, _b, x: not isinstance(x, TakeOver)
    assert world.manage(leader, "leader_transfer", name=up) is Code.HEIR_UNFIT
    assert world.leader() == leader
    assert world.put(leader, b"k", b"v").ok


def test_a_transfer_while_writes_go_on_loses_none() -> None:
    world, leader = served(7)
    session = world.call(leader, "open_session").result["session"]
    asked = []
    for number in range(1, 41):
        header = {"session": session, "sequence": number, "lowest": 1, "ttl_ms": 10_000}
        node = world.names[number % 3]
        asked.append(world.ask(node, "put", header, key=b"%d" % number, value=b"v"))
        world.run(5 * MS)
        if number == 20:
            world.question(leader, "leader_transfer")
    assert all(world.reply(request).ok for request in asked)
    assert world.leader() != leader


@pytest.mark.parametrize("seed", seeds(3))
def test_an_orderly_stop_of_the_leader_hands_over(seed: int) -> None:
    world, leader = served(seed)
    others = [n for n in world.names if n != leader]
    world.stop(leader)
    assert world.leader() in others
    world.run_until(lambda: world.is_serving(*others), 300 * MS)


def test_a_vote_is_not_given_under_a_live_leader_unless_it_hands_over() -> None:
    world, leader = served(8)
    other = next(n for n in world.names if n != leader)
    heard: list[bool] = []

    def note(_a: str, _b: str, x: object) -> bool:
        if isinstance(x, RequestVote):
            heard.append(x.handed)
        return True

    world.peer_filter = note
    world.manage(leader, "leader_transfer", name=other)
    world.run_until(lambda: world.leader() == other)
    assert all(heard)
    assert heard


# == addresses ===================================================================================
def test_a_member_that_came_back_elsewhere_says_so_and_all_hear_of_it() -> None:
    world, leader = served(9)
    moved = next(n for n in world.names if n != leader)
    plan = world.nodes[moved].plan
    roster = tuple(
        (n, "elsewhere:1" if n == moved else p, k, c) for n, p, k, c in plan.roster.members
    )
    world.crash(moved)
    world.start_node(moved, plan._replace(roster=plan.roster._replace(members=roster)))

    def known(name: str) -> str:
        return world.nodes[name].raft.introductions.of(moved)[1]

    world.run_until(lambda: all(known(n) == "elsewhere:1" for n in world.names))
    found = world.manage(leader, "member_list")["members"]
    assert [m["peer_address"] for m in found if m["name"] == moved] == ["elsewhere:1"]


def test_what_the_survey_says_of_members_is_how_they_are() -> None:
    world, leader = served(10)
    down, up = (n for n in world.names if n != leader)
    world.crash(down)
    world.run(2 * SECOND)
    for n in range(5):
        assert world.put(leader, b"%d" % n, b"v").ok
    world.run(SECOND)
    found = {m["name"]: m for m in world.manage(up, "member_list")["members"]}
    assert [found[n]["role"] for n in (leader, up, down)] == ["leader", "voter", "voter"]
    assert [found[n]["alive"] for n in (leader, up, down)] == [True, True, False]
    assert found[up]["lag_entries"] == 0
    assert found[down]["lag_entries"] >= 5
    assert found[down]["heard_ms"] >= 2_000
    assert found[down]["lag_ms"] >= 1_000


def test_heartbeats_go_to_learners_too() -> None:
    world, leader = served(11)
    world.join("n4", leader, learner=True)
    heard: list[str] = []
    world.peer_filter = lambda _a, b, x: heard.append(b) is None or not isinstance(x, Heartbeat)
    world.run(SECOND // 4)
    assert "n4" in heard


def test_the_configuration_survives_restarts() -> None:
    world, leader = served(12)
    world.join("n4", leader)
    world.run_until(lambda: "n4" in world.voters())
    world.run(SECOND)
    config = world.nodes[leader].raft.config
    for name in world.names:
        world.crash(name)
    world.start()
    world.run_until(world.is_serving)
    for name in world.names:
        assert replace(world.nodes[name].raft.config, index=0) == replace(config, index=0)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xc1",
        b"\x01",
        pack_question(Question("member_remove", {}, "x")),
        pack_question(Question("member_add", {"name": 5, "learner": 1}, "x")),
        pack_question(Question("join", {"name": "n4", "disk": "5"}, "x")),
        pack_question(Question("nonsense", {}, "x")),
    ],
)
def test_a_members_question_that_cannot_be_read_ends_nobody(junk: bytes) -> None:
    world, leader = served(13)
    other = next(n for n in world.names if n != leader)
    raft = world.nodes[other].raft
    raft.post(raft.peer(leader), RelayAsk(QUESTIONS, 1_000, 2**62, junk))
    assert world.put(other, b"k", b"v").ok
    world.run(SECOND)
    assert [n for n in world.names if world.nodes[n].ended] == []
