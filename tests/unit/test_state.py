"""What a command does: puts, comparisons, deletes, revisions; equal on every replica."""

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.entries import Kind, pack_agreed
from dkv.errors import Code, Ending, Fault
from dkv.limits import ClusterLimits
from dkv.requests import pack_command
from tests.unit.replica import Replica


def test_each_put_has_the_next_revision_and_says_so() -> None:
    replica = Replica()
    assert [replica.put(b"a", b"%d" % i).revision for i in range(3)] == [1, 2, 3]
    found = replica.read("get", key=b"a").detail
    assert (found["value"], found["key_revision"], found["created"], found["version"]) == (
        *(b"2", 3, 1, 3),
    )
    assert (found["author"], found["wall"]) == ("anna", 1_000)


def test_a_put_happens_only_at_the_expected_revision() -> None:
    replica = Replica()
    assert replica.put(b"a", b"1", expected=0).code is Code.OK
    assert replica.put(b"a", b"2", expected=1).code is Code.OK
    for expected in (0, 1, 3):
        answer = replica.put(b"a", b"3", expected=expected)
        assert (answer.code, answer.revision) == (Code.CONDITION_FAILED, 2)
        assert answer.detail == {"key_revision": 2}
    assert replica.value(b"a") == b"2"


def test_a_key_that_was_deleted_is_at_revision_0_again() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    answer = replica.do("delete", key=b"a")
    assert (answer.revision, answer.detail) == (2, {"deleted": 1, "key_revision": 1})
    assert replica.put(b"a", b"2", expected=1).code is Code.CONDITION_FAILED
    assert replica.put(b"a", b"2", expected=0).code is Code.OK
    found = replica.read("get", key=b"a").detail
    assert (found["created"], found["version"]) == (3, 1)


def test_a_delete_happens_only_at_the_expected_revision() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    answer = replica.do("delete", key=b"a", expected=7)
    assert (answer.code, answer.detail) == (Code.CONDITION_FAILED, {"key_revision": 1})
    assert replica.value(b"a") == b"1"
    assert replica.do("delete", key=b"a", expected=1).detail["deleted"] == 1


def test_what_changes_nothing_takes_no_revision() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    assert replica.do("delete", key=b"b").detail == {"deleted": 0, "key_revision": 0}
    assert replica.do("delete_range", prefix=b"b").detail == {"deleted": 0, "more": False}
    replica.put(b"a", b"2", expected=9)
    assert replica.state.revision == 1


def test_a_range_is_deleted_in_one_revision_and_a_step_at_a_time() -> None:
    replica = Replica()
    for name in (b"a", b"b1", b"b2", b"b3", b"c"):
        replica.put(name, b"")
    replica.do("delete", key=b"b1")  # a tombstone is no key: it does not count
    first = replica.do("delete_range", prefix=b"b", limit=1)
    assert (first.revision, first.detail) == (7, {"deleted": 1, "more": True})
    second = replica.do("delete_range", prefix=b"b", limit=1)
    assert (second.revision, second.detail) == (8, {"deleted": 1, "more": False})
    assert [replica.value(k) for k in (b"a", b"b2", b"b3", b"c")] == [b"", None, None, b""]


@pytest.mark.parametrize(
    "command",
    [
        *(b"", b"\xc1", b"\x81", msgpack.packb(7), msgpack.packb({}), pack_command("fly")),
        *(pack_command("get", key=b"a"), pack_command("status"), pack_command("keep_alive")),
        pack_command("delete_range", prefix=b"a", start=b"a"),
        pack_command("put", key=b"", value=b""),
    ],
)
def test_an_ill_formed_command_in_the_log_is_an_answer_and_changes_nothing(command: bytes) -> None:
    replica = Replica()
    answer = replica.raw(command)
    assert (answer.code, answer.revision) == (Code.INVALID, 0)
    assert answer.detail["words"]
    assert replica.put(b"a", b"1").code is Code.OK


def test_the_clusters_limits_decide_at_apply_too() -> None:
    replica = Replica(ClusterLimits(key_bytes_max=2, value_bytes_max=3))
    assert replica.put(b"kk", b"vvv").code is Code.OK
    assert replica.put(b"kkk", b"").code is Code.INVALID
    assert replica.put(b"k", b"vvvv").code is Code.INVALID


def test_an_unknown_kind_of_entry_stops_the_node() -> None:
    replica = Replica()
    with pytest.raises(Fault, match="newer version") as caught:
        replica.enter(max(Kind) + 1)
    assert caught.value.ending is Ending.NEWER_NEEDED
    assert replica.state.applied == 0


def test_an_entry_is_applied_in_its_turn_or_not_at_all() -> None:
    replica = Replica()
    replica.enter(Kind.NOOP)
    replica.state.applied = 7
    with pytest.raises(AssertionError):
        replica.state.apply(replica.state._entry)


# -- replicas compared ---------------------------------------------------------------------------
COMMANDS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from((b"a", b"b", b"c")), st.binary(max_size=3)),
    st.tuples(st.just("delete"), st.sampled_from((b"a", b"b", b"c")), st.none()),
)


def _do(replica: Replica, command: tuple[str, bytes, Any]) -> None:
    op, key, value = command
    replica.do(op, key=key, value=value)


@settings(max_examples=40)
@given(st.lists(COMMANDS, max_size=15), st.lists(st.integers(0, 14)))
def test_equal_logs_give_equal_states_wherever_they_commit_or_restart(
    commands: list[tuple[str, bytes, Any]], commits: list[int]
) -> None:
    steady, restarted = Replica(), Replica()
    for number, command in enumerate(commands):
        _do(steady, command)
        _do(restarted, command)
        if number in commits:
            restarted.state.commit()
            restarted = restarted.restart()
    assert restarted.state.meta() == steady.state.meta()


def test_what_was_not_committed_is_applied_again_to_the_same_end() -> None:
    replica = Replica()
    replica.put(b"a", b"1")
    replica.state.commit()
    replica.put(b"a", b"2")
    expected = replica.state.meta()
    again = replica.restart()
    assert again.value(b"a") == b"1"
    again.put(b"a", b"2")
    assert again.state.meta() == expected


def test_one_other_byte_is_another_sum() -> None:
    sums = set()
    for key, value in ((b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"a1", b"")):
        replica = Replica()
        replica.put(key, value)
        sums.add(replica.state.written)
    assert len(sums) == 4


def test_a_replica_that_differs_from_the_majority_stops_for_good() -> None:
    replica = Replica(ClusterLimits(note_entries=2))
    replica.put(b"a", b"1")
    assert replica.state.note() is None
    replica.put(b"a", b"2")
    note = replica.state.note()
    assert note == (2, replica.state.written)
    replica.enter(Kind.AGREED, pack_agreed(*note))
    replica.enter(Kind.AGREED, pack_agreed(99, 1))  # an index of which it knows nothing
    with pytest.raises(Fault) as caught:
        replica.enter(Kind.AGREED, pack_agreed(2, replica.state.written + 1))
    assert caught.value.ending is Ending.DIVERGED
    assert replica.restart().state.meta().diverged


# -- sessions that a damaged page hides ------------------------------------------------------------
def with_sessions() -> tuple[Replica, dict[int, bytes]]:
    """Two sessions, committed; and their rows at an earlier commit."""
    replica = Replica()
    replica.session()
    replica.session()
    replica.do("put", {"session": 1, "sequence": 1}, key=b"a", value=b"1")
    replica.state.commit()
    earlier = dict(replica.disk.sessions)
    replica.do("put", {"session": 1, "sequence": 2}, key=b"a", value=b"2")
    replica.state.commit()
    return replica, earlier


def test_sessions_as_they_were_committed_are_believed() -> None:
    replica, _earlier = with_sessions()
    meta = replica.state.meta()
    assert replica.restart().state.meta() == meta


def test_a_hidden_session_is_a_storage_fault() -> None:
    replica, _earlier = with_sessions()
    del replica.disk.sessions[2]
    with pytest.raises(Fault, match="the sum of its sessions"):
        replica.restart()


def test_a_session_of_an_earlier_commit_is_a_storage_fault() -> None:
    """A write that the disk lost: each row fits its check, and a command would execute twice."""
    replica, earlier = with_sessions()
    assert replica.disk.sessions != earlier
    replica.disk.sessions = earlier
    with pytest.raises(Fault, match="the sum of its sessions"):
        replica.restart()
