"""Exactly once: what a session remembers, whom it belongs to, when it ends."""

import pytest

from dkv.entries import Kind
from dkv.errors import Code
from dkv.kv.sessions import Sessions
from dkv.limits import SEQUENCE_WINDOW, ClusterLimits
from tests.unit.replica import Answer, Replica

LIMITS = ClusterLimits()


def put(replica: Replica, session: int, sequence: int, value: bytes, lowest: int = 1) -> Answer:
    place = {"session": session, "sequence": sequence, "lowest": lowest}
    return replica.do("put", place, key=b"k", value=value)


def test_a_retry_gets_the_answer_of_its_first_execution_and_executes_nothing() -> None:
    replica = Replica()
    session = replica.session()
    first = put(replica, session, 1, b"1")
    put(replica, session, 2, b"2")
    assert put(replica, session, 1, b"1") == first
    assert (replica.value(b"k"), replica.state.revision) == (b"2", 2)


def test_answers_survive_a_restart() -> None:
    replica = Replica()
    session = replica.session()
    first = put(replica, session, 1, b"1")
    replica.state.commit()
    again = replica.restart()
    assert put(again, session, 1, b"1") == first
    assert again.state.revision == 1


def test_pipelined_commands_execute_in_any_order() -> None:
    replica = Replica()
    session = replica.session()
    third, first = put(replica, session, 3, b"3"), put(replica, session, 1, b"1")
    assert (third.revision, first.revision) == (1, 2)
    assert put(replica, session, 3, b"3") == third
    assert put(replica, session, 1, b"1") == first
    assert put(replica, session, 2, b"2").revision == 3


def test_what_the_client_has_settled_is_forgotten_and_never_executed_again() -> None:
    replica = Replica()
    session = replica.session()
    put(replica, session, 1, b"1")
    put(replica, session, 2, b"2", lowest=2)
    assert put(replica, session, 1, b"1").code is Code.STALE
    assert put(replica, session, 2, b"2", lowest=1).code is Code.OK  # lowest never falls
    assert put(replica, session, 1, b"1").code is Code.STALE
    assert replica.state.revision == 2


def test_another_operation_under_the_same_sequence_is_refused() -> None:
    replica = Replica()
    session = replica.session()
    put(replica, session, 1, b"1")
    assert put(replica, session, 1, b"other").code is Code.SEQUENCE_REUSED
    assert replica.value(b"k") == b"1"


def test_a_refusal_is_the_answer_of_its_sequence_too() -> None:
    replica = Replica()
    session = replica.session()
    place = {"session": session, "sequence": 1}
    failed = replica.do("put", place, key=b"k", value=b"1", expected=5)
    assert failed.code is Code.CONDITION_FAILED
    for _ in range(5):
        replica.put(b"k", b"x")
    assert replica.do("put", place, key=b"k", value=b"1", expected=5) == failed
    assert replica.value(b"k") == b"x"


@pytest.mark.parametrize(
    ("sequence", "code"),
    [(SEQUENCE_WINDOW, Code.OK), (SEQUENCE_WINDOW + 1, Code.SEQUENCE_WINDOW)],
)
def test_a_session_has_a_window_of_unanswered_writes(sequence: int, code: Code) -> None:
    replica = Replica()
    assert put(replica, replica.session(), sequence, b"1").code is code


def test_a_session_that_is_not_there_is_lost() -> None:
    replica = Replica()
    session = replica.session()
    assert put(replica, session + 1, 1, b"1").code is Code.SESSION_LOST
    assert replica.do("close_session", {"session": session}).code is Code.OK
    assert put(replica, session, 1, b"1").code is Code.SESSION_LOST
    assert replica.do("keep_alive", {"session": session}).code is Code.SESSION_LOST
    assert replica.state.revision == 0


def test_a_sessions_number_is_never_given_again() -> None:
    replica = Replica()
    first = replica.session()
    replica.do("close_session", {"session": first})
    replica.state.commit()
    assert replica.restart().session() == first + 1


def test_a_session_belongs_to_one_certificate_name() -> None:
    replica = Replica()
    session = replica.session("anna")
    for op in ("keep_alive", "close_session"):
        assert replica.do(op, {"session": session, "author": "bert"}).code is Code.DENIED
    place = {"session": session, "sequence": 1, "author": "bert"}
    assert replica.do("put", place, key=b"k", value=b"1").code is Code.DENIED
    assert put(replica, session, 1, b"2").code is Code.OK


# -- time ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("late", "code"), [(-1, Code.OK), (0, Code.SESSION_LOST)])
def test_a_session_ends_so_long_after_its_last_use(late: int, code: Code) -> None:
    replica = Replica()
    session = replica.session()
    replica.tick = 1_000
    put(replica, session, 1, b"1")
    assert replica.state.sessions.next_expiry() == 1_000 + LIMITS.session_ttl_ms
    replica.tick = 1_000 + LIMITS.session_ttl_ms + late
    replica.enter(Kind.TICK)
    assert put(replica, session, 2, b"2").code is code


def test_a_keep_alive_is_a_use() -> None:
    replica = Replica()
    session = replica.session()
    replica.tick = LIMITS.session_ttl_ms - 1
    replica.do("keep_alive", {"session": session})
    replica.tick = LIMITS.session_ttl_ms + 1
    replica.enter(Kind.TICK)
    assert put(replica, session, 1, b"1").code is Code.OK


def test_only_an_entry_ends_a_session() -> None:
    """Time that no tick has written down has not passed."""
    replica = Replica()
    session = replica.session()
    replica.tick = 10 * LIMITS.session_ttl_ms
    assert put(replica, session, 1, b"1").code is Code.OK
    assert replica.state.sessions.next_expiry() == 11 * LIMITS.session_ttl_ms


def test_an_ended_session_stays_ended_after_a_restart() -> None:
    replica = Replica()
    session = replica.session()
    replica.state.commit()
    replica.tick = LIMITS.session_ttl_ms
    replica.enter(Kind.TICK)
    replica.state.commit()
    again = replica.restart()
    assert len(again.state.sessions) == 0
    assert put(again, session, 1, b"1").code is Code.SESSION_LOST


# -- limits --------------------------------------------------------------------------------------
def test_a_name_has_at_most_1000_sessions_and_the_cluster_10000() -> None:
    sessions = Sessions(LIMITS, {}, 0)
    for name in range(10):
        owner = f"name{name}"
        assert all(sessions.open(owner, 0) for _ in range(1_000))
        if name < 9:
            assert sessions.open(owner, 0) is None
    assert len(sessions) == 10_000
    assert sessions.open("another", 0) is None
    sessions.close(1)
    assert sessions.open("name9", 0) is None
    assert sessions.open("another", 0) == 10_001


def test_too_many_sessions_is_an_answer() -> None:
    replica = Replica(ClusterLimits(sessions_max=2, sessions_per_name_max=1))
    replica.session("anna")
    for author, code in (
        ("anna", Code.SESSIONS_FULL),
        ("bert", Code.OK),
        ("carl", Code.SESSIONS_FULL),
    ):
        assert replica.do("open_session", {"author": author}).code is code


@pytest.mark.parametrize(
    "limits", [ClusterLimits(answer_bytes_max=4), ClusterLimits(session_answers_bytes_max=4)]
)
def test_an_answer_too_long_to_keep_is_remembered_as_applied(limits: ClusterLimits) -> None:
    replica = Replica(limits)
    session = replica.session()
    assert put(replica, session, 1, b"1").code is Code.OK
    again = put(replica, session, 1, b"1")
    assert (again.code, again.revision) == (Code.ANSWER_DROPPED, 1)
    assert replica.state.revision == 1


@pytest.mark.parametrize("lowest", [2, 5, 9, 10, 1_000, 2**62])
def test_answers_below_lowest_are_forgotten_by_few_or_by_far(lowest: int) -> None:
    replica = Replica()
    number = replica.session()
    for sequence in (1, 2, 3, 5, 8, 9):
        put(replica, number, sequence, b"1")
    put(replica, number, lowest, b"1", lowest=lowest)
    session = replica.state.sessions._sessions[number]
    kept = {s for s in (1, 2, 3, 5, 8, 9, lowest) if s >= lowest}
    assert set(session.answers) == kept
    assert session.answer_bytes == sum(len(answer) for _d, answer in session.answers.values())


def test_settled_answers_give_their_room_back() -> None:
    replica = Replica(ClusterLimits(session_answers_bytes_max=60))
    session = replica.session()
    for sequence in range(1, 50):
        put(replica, session, sequence, b"1", lowest=sequence)
        assert put(replica, session, sequence, b"1", lowest=sequence).code is Code.OK


def test_recorded_answers_are_part_of_the_sum_that_replicas_compare() -> None:
    """Replicas that agree on keys and not on who was answered what would part at the next retry."""
    replicas = Replica(), Replica()
    for sequence, replica in enumerate(replicas, 1):
        put(replica, replica.session(), sequence, b"1")
    assert replicas[0].state.held == replicas[1].state.held
    assert replicas[0].state.written != replicas[1].state.written
