"""The gateway: whose answer is whose, and when a refusal is definite."""

import pytest

from dkv.errors import Code
from dkv.limits import MS, REQUESTS_IN_FLIGHT_MAX
from dkv.messages import Applied, Found, Led, Lookup, Propose, ReadAt, ReadIndex, Refused, Stop
from dkv.requests import pack_command
from tests.unit.front import TTL_US, Front

PLACE = {"session": 3, "sequence": 1, "lowest": 1}


def test_everything_that_was_waiting_is_one_proposal() -> None:
    front = Front()
    body = {"command": pack_command("put", key=b"k", value=b"v")}
    front.request([body] * 5)
    assert len(front.posted().commands) == 5


def test_what_grows_the_store_is_proposed_apart_from_what_does_not() -> None:
    front = Front()
    put = {"command": pack_command("put", key=b"k", value=b"v")}
    delete = {"command": pack_command("delete", key=b"k")}
    front.request([put, delete])
    assert [(x.grows, len(x.commands)) for x in front.inside] == [(True, 1), (False, 1)]


def test_an_answer_ends_every_request_for_the_same_command_and_place() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE, client=b"c1")
    first = front.posted()
    front.put(b"k", b"v", PLACE, client=b"c2")
    front.posted()
    front.apply(first.batch, 3, 1)
    assert sorted(client for client, _body in front.replies) == [b"c1", b"c2"]
    assert all("result" in body for _client, body in front.replies)


def test_another_command_under_the_same_place_is_not_answered_by_it() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE, client=b"c1")
    first = front.posted()
    front.put(b"k", b"other", PLACE, client=b"c2")
    second = front.posted()
    front.apply(first.batch, 3, 1)
    assert [client for client, _body in front.replies] == [b"c1"]
    front.apply(second.batch, 3, 1, Code.SEQUENCE_REUSED)
    assert front.replies[1][1]["error"]["code"] == "sequence_reused"


def test_what_is_said_to_a_stranger_in_a_session_is_not_said_to_its_owner() -> None:
    """Bert uses Anna's session and is denied; Anna's write of the same bytes is still under way."""
    front = Front(secure=True)
    front.present("anna", "writer", "key-a")
    front.present("bert", "writer", "key-b")
    front.put(b"k", b"v", PLACE, user="key-b", client=b"bert")
    denied = front.posted()
    front.put(b"k", b"v", PLACE, user="key-a", client=b"anna")
    own = front.posted()
    front.apply(denied.batch, 3, 1, Code.DENIED)
    assert [client for client, _body in front.replies] == [b"bert"]
    front.apply(own.batch, 3, 1)
    assert "result" in front.replies[1][1]


def test_what_was_answered_while_no_leader_was_known_is_not_answered_again() -> None:
    """A retry waits for a leader; the answer of the first attempt serves both."""
    front = Front()
    front.put(b"k", b"v", PLACE, client=b"c1")
    first = front.posted()
    front.lead("")
    front.put(b"k", b"v", PLACE, client=b"c2")
    front.apply(first.batch, 3, 1)
    assert len(front.replies) == 2
    front.wait(2 * TTL_US)
    front.lead("n2", 2)
    assert (len(front.replies), front.inside) == (2, [])


@pytest.mark.parametrize(("retry", "applied"), [(False, "no"), (True, "unknown")])
@pytest.mark.parametrize("code", [Code.SESSION_LOST, Code.STALE])
def test_a_lost_session_is_definite_only_on_a_first_attempt(
    code: Code, retry: bool, applied: str
) -> None:
    front = Front()
    front.put(b"k", b"v", {**PLACE, "retry": retry})
    front.apply(front.posted().batch, 3, 1, code)
    assert front.error() == (code.name.lower(), applied)


def test_a_lost_session_is_unknown_after_the_gateways_own_second_attempt() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE)
    front.posted()
    front.wait(600 * MS)
    front.apply(front.posted().batch, 3, 1, Code.SESSION_LOST)
    assert front.error() == ("session_lost", "unknown")


def test_a_write_of_a_session_is_proposed_again_under_the_same_place() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE)
    first = front.posted()
    front.lead("n2", 2)
    assert front.posted().commands == first.commands


def test_a_write_without_a_session_is_proposed_once() -> None:
    front = Front()
    front.put(b"k", b"v")
    front.posted()
    front.lead("n2", 2)
    front.wait(2 * TTL_US)
    assert front.error() == ("timeout", "unknown")


def test_a_write_that_only_was_refused_is_definitely_refused() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE)
    while front.inside:
        front.handle(Refused(front.posted().batch, Code.NOT_LEADER))
        front.wait(60 * MS)
    front.wait(TTL_US)
    while front.inside:
        front.handle(Refused(front.inside.pop().batch, Code.NOT_LEADER))
    assert front.replies[0][1]["error"]["applied"] == "no"


def test_one_silent_proposal_makes_a_later_refusal_unknown() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE)
    front.posted()
    front.lead("n2", 2)
    front.handle(Refused(front.posted().batch, Code.BUSY))
    front.inside.clear()
    front.lead("", 3)
    front.wait(2 * TTL_US)
    assert front.error() == ("timeout", "unknown")


def test_a_full_house_refuses_definitely_and_has_room_again_after_answers() -> None:
    front = Front()
    body = {"command": pack_command("get", key=b"k"), "level": "serializable"}
    for number in range(REQUESTS_IN_FLIGHT_MAX // 1_024):
        front.request([body] * 1_024, client=b"%d" % number)
    assert front.replies == []
    lookups = [x.batch for x in front.inside]
    front.inside.clear()
    front.request(body)
    assert front.error() == ("busy", "no")
    front.handle(Found(lookups[0], 0, (b"\x93\x00\x05\x80",)))
    front.replies.clear()
    front.request(body)
    assert isinstance(front.posted(), Lookup)


def test_before_the_cluster_opens_it_is_said_who_is_missing() -> None:
    front = Front()
    front.handle(Led(1, "n1", False, ("n2", "n3")))
    front.put(b"k", b"v")
    assert "it waits for n2, n3" in front.replies[0][1]["error"]["words"]
    assert front.error() == ("forming", "no")


def test_a_linearizable_read_asks_for_an_index_first() -> None:
    front = Front()
    front.command(pack_command("get", key=b"k"))
    asked = front.posted()
    assert isinstance(asked, ReadIndex)
    front.handle(ReadAt(asked.batch, 77))
    found = front.posted()
    assert (found.index, found.reads) == (77, (pack_command("get", key=b"k"),))
    front.handle(Found(found.batch, 0, (b"\x93\x00\x05\x80",)))
    assert front.replies[0][1]["revision"] == 5


def test_a_serializable_read_asks_nobody_and_says_how_old_it_may_be() -> None:
    front = Front()
    front.command(pack_command("get", key=b"k"), {"level": "serializable"})
    found = front.posted()
    assert (found.index, type(found)) == (0, Lookup)
    front.handle(Found(found.batch, 0, (b"\x93\x00\x05\x80",)))
    assert "lag_ms" in front.replies[0][1]["result"]


def test_an_answer_for_nobody_is_dropped() -> None:
    front = Front()
    front.handle(
        Applied(99, 1, ((3, 1, b"\x93\x00\x05\x80"),)),
        Found(99, 0, (b"",)),
        ReadAt(99, 1),
        Refused(99, Code.BUSY),
    )
    assert (front.replies, front.inside) == ([], [])


def test_a_node_that_stops_takes_nothing_new_and_finishes_what_it_has() -> None:
    front = Front()
    front.put(b"k", b"v", PLACE)
    proposed = front.posted()
    front.handle(Stop())
    front.put(b"l", b"v")
    assert front.error() == ("stopping", "no")
    front.apply(proposed.batch, 3, 1)
    assert "result" in front.replies[0][1]
    assert [type(x).__name__ for x in front.inside] == ["Stopped"]
    assert not any(isinstance(x, Propose) for x in front.inside)
