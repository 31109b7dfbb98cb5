"""The client without its sockets: what is sent where, sent again, and what is known at the end."""

import weakref
from typing import Any

import msgpack
import pytest

from dkv.errors import Code, ConditionFailed, Denied, Unavailable, Uncertain
from dkv.limits import MS, SECOND, SEQUENCE_WINDOW
from dkv.requests import PROTOCOL
from tests.unit.paper import NODES, Table, refused


# -- answers -------------------------------------------------------------------------------------
def test_a_write_opens_a_session_first_and_is_numbered_in_it() -> None:
    table = Table()
    assert table.put().place == (7, 1, 1)
    assert table.put().place == (7, 2, 1)
    assert table.outcomes == []


def test_an_answer_reaches_its_request_once() -> None:
    table = Table()
    sent = table.put()
    table.answer(sent, key_revision=1)
    table.answer(sent, key_revision=1)
    table.wait(60 * SECOND)
    assert len(table.outcomes) == 1
    assert table.outcomes[0][0] is not None
    assert table.sent == []


def test_what_cannot_be_packed_is_raised_at_once_and_leaves_nothing_behind() -> None:
    table = Table()
    table.answer(table.put())
    with pytest.raises(TypeError):
        table.core.start("put", {"key": b"k", "value": object()}, print, timeout_us=1 * SECOND)
    sent = table.put()
    assert (sent.place, sent.command["value"]) == ((7, 2, 2), b"v")


def test_an_answered_call_is_not_kept_until_its_deadline() -> None:
    table = Table()
    call = weakref.ref(table.start("get"))
    table.answer(table.take("get"), found=False)
    for _ in range(2_000):
        table.start("get")
        table.answer(table.take("get"), found=False)
    assert call() is None
    late = table.start("get")  # and who waits is not forgotten with them
    table.wait(60 * SECOND)
    assert late.tries > 1
    assert len(table.outcomes) == 2_002


def test_lowest_follows_what_is_answered() -> None:
    table = Table()
    first, second = table.put(), table.put()
    table.answer(second)
    assert table.put().place == (7, 3, 1)
    table.answer(first)
    assert table.put().place == (7, 4, 3)


def test_the_window_of_a_session_is_not_left() -> None:
    table = Table()
    sent = [table.put() for _ in range(SEQUENCE_WINDOW)]
    table.start("put")
    assert table.sent == []
    table.answer(sent[1])
    assert table.sent == []
    table.answer(sent[0])
    assert table.take("put").place == (7, SEQUENCE_WINDOW + 1, 3)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [PROTOCOL],
        [PROTOCOL, b"x", b"\xc1"],
        [PROTOCOL, b"x", msgpack.packb(7)],
        [b"DKV9", b"x", msgpack.packb({"result": {}})],
        [PROTOCOL, b"unasked", msgpack.packb({"result": {}})],
        [PROTOCOL, b"x", b"\xdd\xff\xff\xff\xff"],
    ],
)
def test_what_is_no_reply_is_dropped(frames: list[bytes]) -> None:
    table = Table()
    sent = table.put()
    table.frames(sent.endpoint, *[sent.id if f == b"x" else f for f in frames])
    assert table.outcomes == []
    table.answer(sent)
    assert len(table.outcomes) == 1


@pytest.mark.parametrize("body", [{}, {"error": None}, {"error": "no"}, {"node": 7}])
def test_a_reply_without_result_or_error_is_dropped(body: dict[str, Any]) -> None:
    table = Table()
    sent = table.put()
    table.frames(sent.endpoint, PROTOCOL, sent.id, msgpack.packb(body))
    assert table.outcomes == []


# -- again ---------------------------------------------------------------------------------------
def test_silence_is_asked_about_at_another_node_under_the_same_place() -> None:
    table = Table()
    first = table.put()
    table.wait(2 * SECOND)
    again = table.take("put")
    assert again.endpoint != first.endpoint
    assert again.place == first.place
    assert again.header["command"] == first.header["command"]
    assert (first.header.get("retry"), again.header["retry"]) == (None, True)
    table.answer(first)  # late, and still the answer
    assert table.outcomes[0][0] is not None


def test_a_lost_connection_is_silence() -> None:
    table = Table()
    first = table.put()
    table.disconnect(first.endpoint)
    again = table.take("put")
    assert again.endpoint != first.endpoint
    assert (again.place, again.header["retry"]) == (first.place, True)


def test_a_definite_refusal_is_tried_again_and_is_no_retry() -> None:
    table = Table()
    table.refuse(table.put(), Code.NO_LEADER)
    assert table.sent == []
    table.wait(1 * SECOND)
    again = table.take("put")
    assert "retry" not in again.header
    table.answer(again)
    assert table.outcomes[0][0] is not None


def test_a_refusal_that_no_retry_can_change_is_passed_on() -> None:
    table = Table()
    table.refuse(table.put(), Code.CONDITION_FAILED)
    assert isinstance(table.error, ConditionFailed)
    table.wait(60 * SECOND)
    assert table.sent == []


def test_nothing_is_sent_after_the_deadline() -> None:
    table = Table()
    table.put()
    table.wait(60 * SECOND)
    count = len(table.sent)
    assert count >= 2
    assert all(s.header["ttl_ms"] <= 5_000 for s in table.sent)
    assert isinstance(table.error, Uncertain)
    assert (len(table.outcomes), table.error.code) == (1, Code.TIMEOUT)


def test_the_time_left_is_told_to_each_node_anew() -> None:
    table = Table()
    assert table.put().header["ttl_ms"] == 5_000
    table.wait(2 * SECOND)
    assert table.take("put").header["ttl_ms"] == 3_500


def test_a_pipe_that_is_full_is_tried_again() -> None:
    table = Table()
    table.answer(table.put())
    table.full = True
    table.start("put")
    assert table.sent == []
    table.full = False
    table.wait(100 * MS)
    assert table.take("put").place == (7, 2, 2)


# -- what is known at the end --------------------------------------------------------------------
def test_definite_only_if_every_attempt_was() -> None:
    table = Table()
    sent = table.put()
    while True:
        table.refuse(sent, Code.NO_LEADER)
        table.wait(600 * MS)
        if table.outcomes:
            break
        sent = table.take("put")
    assert isinstance(table.error, Unavailable)
    assert (table.error.code, table.error.applied) == (Code.NO_LEADER, "no")


def test_one_silence_makes_a_later_refusal_uncertain() -> None:
    table = Table()
    table.put()
    table.wait(1_600 * MS)
    table.refuse(table.take("put"), Code.TOO_LARGE)
    assert isinstance(table.error, Uncertain)
    assert (table.error.code, table.error.applied) == (Code.TOO_LARGE, "unknown")


def test_one_unknown_makes_the_end_unknown() -> None:
    table = Table()
    table.refuse(table.put(), Code.TIMEOUT, "unknown")
    table.wait(10 * MS)
    for _ in range(40):
        if table.outcomes:
            break
        if table.sent:
            table.refuse(table.take("put"), Code.NO_LEADER)
        table.wait(600 * MS)
    assert isinstance(table.error, Uncertain)
    assert (table.error.code, table.error.applied) == (Code.TIMEOUT, "unknown")


def test_an_answer_that_apply_gave_settles_the_earlier_attempts_too() -> None:
    table = Table()
    table.put()
    table.wait(1_600 * MS)
    table.refuse(table.take("put"), Code.CONDITION_FAILED)
    assert isinstance(table.error, ConditionFailed)


def test_a_result_after_an_unknown_is_a_result() -> None:
    table = Table()
    table.refuse(table.put(), Code.TIMEOUT, "unknown")
    table.wait(10 * MS)
    table.answer(table.take("put"))
    assert table.outcomes[0][1] is None


def test_a_write_that_no_node_could_be_asked_is_definitely_not_applied() -> None:
    table = Table()
    table.answer(table.put())
    for endpoint in range(3):
        table.disconnect(endpoint, "nothing answers there")
    table.start("put")
    table.wait(6 * SECOND)
    assert isinstance(table.error, Unavailable)
    assert "nothing answers there" in str(table.error)


def test_a_write_without_a_session_is_sent_again_only_after_a_definite_refusal() -> None:
    table = Table()
    table.start("put", in_session=False)
    first = table.take("put")
    assert "session" not in first.header
    table.refuse(first, Code.NO_LEADER)
    table.wait(600 * MS)
    table.disconnect(table.take("put").endpoint)
    assert isinstance(table.error, Uncertain)
    table.wait(60 * SECOND)
    assert table.sent == []


def test_a_write_without_a_session_is_not_sent_again_after_an_unknown() -> None:
    table = Table()
    table.start("put", in_session=False)
    table.refuse(table.take("put"), Code.TIMEOUT, "unknown")
    assert isinstance(table.error, Uncertain)
    table.wait(60 * SECOND)
    assert table.sent == []


def test_a_read_may_be_asked_again_and_is_never_uncertain() -> None:
    table = Table()
    table.start("get")
    table.wait(60 * SECOND)
    assert len(table.sent) >= 2
    assert isinstance(table.error, Unavailable)


# -- the session ---------------------------------------------------------------------------------
def test_a_lost_session_is_not_retried_under_a_new_one() -> None:
    table = Table()
    table.refuse(table.put(), Code.SESSION_LOST)
    assert (table.error.code, table.error.applied) == (Code.SESSION_LOST, "no")
    table.start("put")
    table.open(session=8)
    assert table.take("put").place == (8, 1, 1)
    assert table.sent == []


def test_a_lost_session_is_unknown_to_a_retry() -> None:
    table = Table()
    table.put()
    table.wait(1_600 * MS)
    table.refuse(table.take("put"), Code.SESSION_LOST)
    assert isinstance(table.error, Uncertain)
    assert table.error.code is Code.SESSION_LOST


def test_no_command_is_ever_sent_under_a_second_session() -> None:
    """Two writes under way; one of them hears that the session is lost; the other one goes on."""
    table = Table()
    lost, silent = table.put(), table.put()
    table.refuse(lost, Code.SESSION_LOST)
    table.wait(1_600 * MS)
    assert table.take("put").place[:2] == silent.place[:2]
    table.start("put")
    table.open(session=8)
    table.take("put")
    table.wait(1_600 * MS)
    again = [s for s in table.sent if s.header["sequence"] == silent.header["sequence"]]
    assert [s.place[:2] for s in again] == [silent.place[:2]]


def test_what_an_old_session_answers_settles_nothing_in_the_new_one() -> None:
    table = Table()
    lost, late = table.put(), table.put()
    table.refuse(lost, Code.SESSION_LOST)
    table.start("put")
    table.open(session=8)
    assert [table.take("put").place, table.put().place] == [(8, 1, 1), (8, 2, 1)]
    table.refuse(late, Code.SESSION_LOST)
    assert table.put().place == (8, 3, 1)


def test_an_idle_session_is_not_trusted_after_half_its_life() -> None:
    table = Table()
    table.answer(table.put())
    table.wait(299 * SECOND)
    table.start("put")
    table.answer(table.take("put"))
    table.wait(301 * SECOND)
    table.start("put")
    assert table.take().op == "open_session"


def test_writes_that_wait_for_a_session_that_cannot_be_opened_are_definitely_not_applied() -> None:
    table = Table()
    table.start("put")
    table.start("put")
    table.wait(60 * SECOND)
    assert len(table.outcomes) == 2
    assert {type(error) for _body, error in table.outcomes} == {Unavailable}


# -- where to ------------------------------------------------------------------------------------
def test_a_hint_sends_the_next_attempt_to_the_leader() -> None:
    table = Table()
    for _ in range(3):  # learn who is who
        table.start("get")
        table.answer(table.take("get"))
    table.refuse(table.put(), Code.NOT_LEADER, leader="n2")
    table.wait(600 * MS)
    assert NODES[table.take("put").endpoint] == "n2"
    for _ in range(3):
        sent = table.put()
        assert NODES[sent.endpoint] == "n2"
        table.answer(sent)


def test_reads_are_spread_over_the_nodes() -> None:
    table = Table()
    for _ in range(6):
        table.start("get")
    assert sorted(s.endpoint for s in table.sent) == [0, 0, 1, 1, 2, 2]


def test_a_request_for_one_node_goes_to_no_other() -> None:
    table = Table()
    table.disconnect(1)
    table.start("status", only=1)
    assert table.sent == []
    table.connect(1)
    assert table.take("status").endpoint == 1
    table.wait(2 * SECOND)
    assert {s.endpoint for s in table.sent} == {1}


def test_a_client_that_is_not_pinned_asks_who_else_there_is() -> None:
    table = Table(1, pin=False)
    sent = table.take("members")
    members = [{"name": n, "client_address": f"{n}:3000"} for n in NODES]
    table.answer(sent, leader="n2", members=members)
    assert table.core.nodes.leader == "n2"
    assert table.core.found == ["n1:3000", "n2:3000", "n3:3000"]


def test_a_pinned_client_keeps_to_the_nodes_named() -> None:
    table = Table(1, pin=True)
    table.answer(table.put())
    table.wait(60 * SECOND)
    table.start("put")
    assert {s.op for s in table.sent} == {"put"}
    assert table.core.found == []


# -- certificates --------------------------------------------------------------------------------
def test_a_certificate_is_shown_before_the_first_request_of_a_connection() -> None:
    table = Table(1, certificate=b"text")
    table.start("get")
    shown = table.take("present")
    assert (shown.id, shown.command["certificate"]) == (b"present", b"text")
    table.answer(table.take("get"), found=False)
    table.start("get")
    table.answer(table.take("get"), found=False)
    table.disconnect(0)
    table.connect(0)
    table.start("get")
    assert [s.op for s in table.sent] == ["present", "get"]


def test_a_certificate_is_shown_again_when_asked_and_the_request_follows_unseen() -> None:
    table = Table(1, certificate=b"text")
    table.start("put")
    assert table.take("present").op == "present"
    table.open()
    table.refuse(table.take("put"), Code.CERTIFICATE_NEEDED)
    assert [s.op for s in table.sent] == ["present", "put"]
    table.take()
    again = table.take("put")
    assert again.place == (7, 1, 1)
    assert "retry" not in again.header
    table.answer(again)
    assert table.outcomes[-1][1] is None


def test_a_node_that_asks_for_the_certificate_for_ever_is_not_asked_for_ever() -> None:
    table = Table(1, certificate=b"text")
    table.start("get")
    for _ in range(50):
        asked = [s for s in table.sent if s.op == "get"]
        table.sent.clear()
        for sent in asked:
            table.refuse(sent, Code.CERTIFICATE_NEEDED)
        table.wait(600 * MS)
    assert isinstance(table.error, Denied)


def test_a_refused_certificate_ends_what_was_sent_with_it() -> None:
    table = Table(1, certificate=b"text")
    table.start("get")
    table.refuse(table.take("present"), Code.CERTIFICATE_EXPIRED)
    assert isinstance(table.error, Denied)
    assert table.error.code is Code.CERTIFICATE_EXPIRED


def test_a_node_that_stops_has_not_refused_the_certificate() -> None:
    """It answers so whatever it is asked; the call goes to another node."""
    table = Table(2, certificate=b"text")
    table.start("get")
    shown, asked = table.take("present"), table.take("get")
    table.refuse(shown, Code.STOPPING)
    table.refuse(asked, Code.STOPPING)
    assert table.outcomes == []
    table.wait(SECOND)
    table.answer(table.take("present"))
    again = table.take("get")
    assert again.endpoint != asked.endpoint
    table.answer(again, found=False)
    assert table.outcomes[0][0] is not None


def test_a_node_that_refused_the_certificate_is_not_preferred() -> None:
    table = Table(2, certificate=b"text")
    table.start("get")
    refused = table.take("present")
    table.refuse(refused, Code.CERTIFICATE_REFUSED)
    table.sent.clear()
    for _ in range(4):
        table.start("get")
    assert {s.endpoint for s in table.sent if s.op == "get"} == {1 - refused.endpoint}


# -- what a newer node says ----------------------------------------------------------------------
def test_a_code_that_is_not_known_is_treated_by_what_it_says_of_a_retry() -> None:
    table = Table()
    sent = table.put()
    body = refused(Code.BUSY)
    body["error"] |= {"code": "novel", "retry": "later"}
    table.reply(sent, body)
    table.wait(1 * SECOND)
    again = table.take("put")
    assert again.place == sent.place
    body["error"]["retry"] = "never"
    table.reply(again, body)
    assert (table.error.name, table.error.applied) == ("novel", "no")
    assert table.sent == []


def test_an_error_that_makes_no_sense_is_one_of_unknown_outcome() -> None:
    table = Table()
    body = refused(Code.BUSY)
    body["error"] |= {"code": [7], "applied": {}, "retry": None}
    table.reply(table.put(), body)
    assert isinstance(table.error, Uncertain)


def test_a_node_that_says_other_is_not_asked_next_although_it_leads() -> None:
    table = Table()
    sent = table.put()
    table.refuse(sent, Code.STOPPING, leader=NODES[sent.endpoint])
    table.wait(1 * SECOND)
    assert table.take("put").endpoint != sent.endpoint
