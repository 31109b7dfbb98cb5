"""Calls that share a message: each is answered, refused, lost and sent again by itself."""

from collections import Counter
from random import Random
from typing import Any

import msgpack
import pytest

from dkv.errors import Code, ConditionFailed, Denied, Rejected, Unavailable, Uncertain
from dkv.limits import KIB, MS, REQUESTS_PER_MESSAGE_MAX, SECOND, SEQUENCE_WINDOW
from dkv.requests import PROTOCOL
from tests.unit.paper import NODES, Sent, Table, answered, refused


def opened(nodes: int = 3, **how: Any) -> Table:
    """With a session, and everything so far answered and forgotten."""
    table = Table(nodes, **how)
    table.answer(table.put())
    table.outcomes.clear()
    table.messages.clear()
    return table


def sizes(table: Table) -> list[int]:
    """How many requests each message so far had."""
    return [len(body) if type(body) is list else 1 for _endpoint, _id, body in table.messages]


# -- together ------------------------------------------------------------------------------------
def test_what_is_started_together_is_one_message() -> None:
    table = opened()
    sent = table.start_together("put", "put", "put")
    assert sizes(table) == [3]
    assert [s.place for s in sent] == [(7, 2, 2), (7, 3, 2), (7, 4, 2)]
    assert [s.position for s in sent] == [0, 1, 2]
    assert all(s.header["burst"] is True for s in sent)


def test_what_is_started_alone_is_no_list() -> None:
    table = opened()
    (sent,) = table.start_together("put")
    assert sent.position == -1
    assert sent.header["burst"] is True


def test_without_pipelining_each_has_its_own_message() -> None:
    table = opened(pipeline=False)
    sent = table.start_together("put", "put", "get")
    assert sizes(table) == [1, 1, 1]
    assert len({s.id for s in sent}) == 3


def test_a_list_of_small_requests_is_no_longer_than_a_node_takes_in_a_turn() -> None:
    table = opened(1)
    table.start_together(*["get"] * 2_000)
    assert sum(sizes(table)) == 2_000
    assert 2 <= len(sizes(table)) <= 5
    assert max(sizes(table)) <= REQUESTS_PER_MESSAGE_MAX
    assert all(len(msgpack.packb(body)) <= 64 * KIB for _endpoint, _id, body in table.messages)


def test_a_list_has_about_64_kib_and_what_is_larger_goes_alone() -> None:
    table = opened(1)
    table.held = True
    for kib in (30, 30, 30, 200, 1):
        table.start("put", value=bytes(kib * KIB))
    table.flush()
    assert sizes(table) == [2, 1, 1, 1]
    assert len(table.sent[3].command["value"]) == 200 * KIB


def test_what_waits_for_a_session_goes_together_when_there_is_one() -> None:
    table = Table()
    table.start_together("put", "put", "put")
    table.open()
    assert sizes(table) == [1, 3]


def test_a_list_does_not_leave_the_window() -> None:
    table = opened(1)
    sent = table.start_together(*["put"] * (SEQUENCE_WINDOW + 10))
    assert len(sent) == SEQUENCE_WINDOW
    table.sent.clear()
    table.burst(*[(s, answered()) for s in sent[1:]])
    assert table.sent == []
    table.burst((sent[0], answered()))
    assert sizes(table)[-1] == 10
    assert table.take().place[2] == sent[-1].place[1] + 1


def test_writes_go_to_the_leader_together_and_reads_are_spread() -> None:
    table = opened()
    table.core.nodes.leader = "n2"
    for endpoint, name in enumerate(NODES):
        table.core.nodes.endpoints[endpoint].node = name
    sent = table.start_together(*["put", "get"] * 48)
    assert {s.endpoint for s in sent if s.op == "put"} == {1}
    assert Counter(s.endpoint for s in sent if s.op == "get") == {0: 16, 1: 16, 2: 16}
    assert sorted(sizes(table)) == [16, 16, 64]


# -- bursts --------------------------------------------------------------------------------------
def test_a_burst_answers_each_call_with_its_own() -> None:
    table = opened(1)
    one, two = table.start_together("put", "put")
    (alone,) = table.start_together("get")
    replies = [(two, answered(n=2)), (alone, answered(n=3)), (one, refused(Code.CONDITION_FAILED))]
    table.burst(*replies)
    assert [body and body["result"]["n"] for body, _error in table.outcomes] == [2, 3, None]
    assert isinstance(table.error, ConditionFailed)
    table.burst(*replies)
    table.wait(60 * SECOND)
    assert len(table.outcomes) == 3


@pytest.mark.parametrize(
    "reply",
    [
        7,
        None,
        [],
        {},
        {"result": {}},
        {"result": {}, "id": 7},
        {"result": {}, "id": []},
        {"result": {}, "id": b"unasked"},
        {"result": {}, "id": b"x"},  # of a list, without a position
        {"result": {}, "id": b"x", "position": 2},
        {"result": {}, "id": b"x", "position": -1},
        {"result": {}, "id": b"x", "position": True},
        {"result": {}, "id": b"x", "position": "1"},
        {"result": {}, "id": b"x", "position": 1, "partial": True},
        {"error": "no", "id": b"x", "position": 1},
    ],
)
def test_what_is_no_reply_in_a_burst_is_dropped_and_its_neighbours_are_not(reply: Any) -> None:
    table = opened(1)
    one, two = table.start_together("put", "put")
    if isinstance(reply, dict) and reply.get("id") == b"x":
        reply = {**reply, "id": one.id}
    good = {**answered(), "id": one.id, "position": 0, "node": "n1"}
    table.frames(0, PROTOCOL, b"", msgpack.packb([reply, good, reply]))
    assert len(table.outcomes) == 1
    table.answer(two)
    assert len(table.outcomes) == 2


def test_a_list_of_replies_under_a_request_id_is_no_burst() -> None:
    table = opened(1)
    (sent,) = table.start_together("put")
    table.frames(0, PROTOCOL, sent.id, msgpack.packb([{**answered(), "id": sent.id}]))
    assert table.outcomes == []


def test_a_node_that_knows_no_bursts_answers_one_by_one() -> None:
    table = opened()
    for sent in reversed(table.start_together("put", "put", "put")):
        table.answer(sent)
    assert [error for _body, error in table.outcomes] == [None] * 3


# -- one of several ------------------------------------------------------------------------------
def test_only_what_was_not_answered_is_sent_again_under_its_own_place() -> None:
    table = opened()
    one, two, three = table.start_together("put", "put", "put")
    table.burst((one, answered()), (three, answered()))
    table.sent.clear()
    table.wait(1_600 * MS)
    again = table.take("put")
    assert table.sent == []
    assert again.place == (7, two.place[1], two.place[1])
    assert (again.header["retry"], again.header["command"]) == (True, two.header["command"])
    assert again.endpoint != two.endpoint
    table.answer(two)  # late, and still the answer
    table.answer(again)
    assert len(table.outcomes) == 3


def test_only_what_was_refused_is_sent_again_and_it_is_no_retry() -> None:
    table = opened()
    one, two, three = table.start_together("put", "put", "put")
    table.burst((one, answered()), (two, refused(Code.NO_LEADER)), (three, answered()))
    table.sent.clear()
    table.wait(600 * MS)
    again = table.take("put")
    assert (again.place[:2], "retry" in again.header) == (two.place[:2], False)
    table.refuse(again, Code.TOO_LARGE)
    assert isinstance(table.error, Rejected)


def test_a_refusal_counts_for_its_attempt_once() -> None:
    """A node that answers twice must not cost the attempt that is under way its place."""
    table = opened()
    one, _two = table.start_together("put", "put")
    table.refuse(one, Code.NO_LEADER)
    table.wait(600 * MS)
    sent = len(table.sent)
    table.refuse(one, Code.NO_LEADER)
    table.wait(600 * MS)
    assert len(table.sent) == sent


def test_a_silence_makes_only_the_silent_one_uncertain() -> None:
    table = opened()
    one, _silent = table.start_together("put", "put")
    table.refuse(one, Code.TOO_LARGE)
    table.wait(60 * SECOND)
    kinds = [type(error) for _body, error in table.outcomes]
    assert issubclass(kinds[0], Rejected)
    assert kinds[1:] == [Uncertain]


def test_each_keeps_its_own_deadline_in_a_message() -> None:
    table = opened()
    table.held = True
    table.start("put", timeout_us=1 * SECOND)
    table.start("put", timeout_us=5 * SECOND)
    table.flush()
    assert [s.header["ttl_ms"] for s in table.sent] == [1_000, 5_000]
    table.sent.clear()
    table.wait(1_300 * MS)
    assert isinstance(table.error, Uncertain)
    assert (len(table.outcomes), table.sent) == (1, [])
    table.wait(300 * MS)
    assert table.take("put").header["retry"] is True


def test_a_lost_connection_sends_the_whole_list_again_together() -> None:
    table = opened()
    sent = table.start_together("put", "put", "put")
    table.answer(sent[1])
    table.sent.clear()
    table.disconnect(sent[0].endpoint)
    assert sizes(table) == [3, 2]
    assert [s.place[1] for s in table.sent] == [sent[0].place[1], sent[2].place[1]]
    assert all(s.header["retry"] for s in table.sent)


def test_what_was_sent_again_is_given_its_time_although_the_old_message_had_its_own() -> None:
    table = opened()
    sent = table.start_together("put", "put")
    table.wait(1_400 * MS)
    table.disconnect(sent[0].endpoint)
    assert sizes(table) == [2, 2]
    table.wait(1_400 * MS)
    assert sizes(table) == [2, 2]
    table.wait(200 * MS)
    assert sizes(table) == [2, 2, 2]


def test_a_pipe_that_is_full_takes_all_of_them_later() -> None:
    table = opened()
    table.full = True
    assert table.start_together("put", "put") == []
    table.full = False
    table.wait(100 * MS)
    assert sizes(table) == [2]
    assert not any("retry" in s.header for s in table.sent)


def test_writes_without_a_session_are_not_sent_again_after_a_silence() -> None:
    table = opened()
    one, _two = table.start_together("put", "put", in_session=False)
    table.refuse(one, Code.NO_LEADER)
    table.sent.clear()
    table.disconnect(one.endpoint)
    assert isinstance(table.error, Uncertain)
    table.wait(600 * MS)
    assert [("session" in s.header) for s in table.sent] == [False]


# -- a list as a whole ---------------------------------------------------------------------------
def whole(table: Table, sent: Sent, body: dict[str, Any]) -> None:
    """A reply without a position."""
    table.frames(sent.endpoint, PROTOCOL, sent.id, msgpack.packb({**body, "node": "n1"}))


def test_a_list_of_a_guest_is_sent_again_behind_the_certificate() -> None:
    table = Table(1, certificate=b"text")
    table.start("put")
    assert table.take().op == "present"
    table.open()
    table.answer(table.take("put"))
    one, two = table.start_together("put", "put")
    table.sent.clear()
    whole(table, one, refused(Code.CERTIFICATE_NEEDED))
    assert [s.op for s in table.sent] == ["present", "put", "put"]
    assert [s.place[1] for s in table.sent[1:]] == [one.place[1], two.place[1]]
    assert not any("retry" in s.header for s in table.sent)


def test_a_list_that_is_refused_as_a_whole_did_nothing() -> None:
    table = opened(1)
    one, _two, _three = table.start_together("put", "put", "put")
    table.burst((one, answered()))
    whole(table, one, refused(Code.DENIED))
    assert len(table.outcomes) == 3
    assert [type(error) for _body, error in table.outcomes[1:]] == [Denied, Denied]


def test_a_result_that_names_no_position_answers_nothing_of_a_list() -> None:
    table = opened(1)
    one, _two = table.start_together("put", "put")
    whole(table, one, answered())
    assert table.outcomes == []


# -- whatever happens ----------------------------------------------------------------------------
class Storm:
    """Calls that begin together or apart, and nodes that answer, refuse, are silent and hang up."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.table = opened(pipeline=seed % 4 > 0)
        self.attempts: dict[tuple[int, int], list[str]] = {}  # what became of each, by place
        self.outcomes: dict[tuple[int, int], list[str]] = {}
        self.open: list[Sent] = []

    def begin(self) -> None:
        table = self.table
        table.held = True
        for _ in range(self.dice.randint(1, 5)):
            call: list[Any] = []

            def done(body: Any, error: Any, call: list[Any] = call) -> None:
                place = call[0].session, call[0].sequence
                words = "result" if body else error.applied
                self.outcomes.setdefault(place, []).append(words)

            fields = {"key": b"k", "value": b"v"}
            call.append(table.core.start("put", fields, done, timeout_us=3 * SECOND))
        table.flush()

    def look(self) -> None:
        """What was sent; an attempt that is open when the next one leaves has been silent."""
        for sent in self.table.sent:
            history = self.attempts.setdefault(sent.place[:2], [])
            history += ["silent" for other in self.open if other.place[:2] == sent.place[:2]]
            assert bool(sent.header.get("retry")) == bool({"silent", "unknown"} & set(history))
            self.open.append(sent)
        self.table.sent.clear()

    def reply(self) -> None:
        self.dice.shuffle(self.open)
        count = self.dice.randint(0, len(self.open))
        now, self.open = self.open[:count], self.open[count:]
        for sent in now:
            if sent.place[:2] in self.outcomes:  # it was given up
                self.attempts[sent.place[:2]].append("silent")
        by_node: dict[int, list[tuple[Sent, dict[str, Any]]]] = {}
        for sent in now:
            if sent.place[:2] in self.outcomes:
                continue  # its deadline came first
            what = self.dice.choice(("result", "no", "no", "unknown", "silent"))
            self.attempts[sent.place[:2]].append(what)
            if what == "result":
                by_node.setdefault(sent.endpoint, []).append((sent, answered()))
            elif what != "silent":
                code = Code.NO_LEADER if what == "no" else Code.TIMEOUT
                applied: Any = what
                by_node.setdefault(sent.endpoint, []).append((sent, refused(code, applied)))
        for replies in by_node.values():
            self.table.burst(*replies)
            self.look()

    def hang_up(self) -> None:
        endpoint = self.dice.randrange(3)
        for sent in [s for s in self.open if s.endpoint == endpoint]:
            self.attempts[sent.place[:2]].append("silent")
            self.open.remove(sent)
        self.table.disconnect(endpoint)
        self.look()
        self.table.connect(endpoint)

    def pass_time(self) -> None:
        """What is open when its patience ends has been silent."""
        for sent in self.open:
            self.attempts[sent.place[:2]].append("silent")
        self.open.clear()
        self.table.wait(4 * SECOND)

    def run(self) -> None:
        for _ in range(12):
            self.dice.choice((self.begin, self.reply, self.reply, self.hang_up))()
            self.look()
            self.table.wait(self.dice.randrange(0, 300) * MS)
            self.look()
        while len(self.outcomes) < len(self.attempts):
            self.pass_time()
            self.look()
        self.pass_time()


@pytest.mark.parametrize("seed", range(60))
def test_every_call_has_one_outcome_that_its_attempts_allow(seed: int) -> None:
    storm = Storm(seed)
    storm.run()
    assert storm.attempts.keys() == storm.outcomes.keys()
    for place, outcomes in storm.outcomes.items():
        (outcome,) = outcomes
        history = storm.attempts[place]
        if outcome == "result":
            assert "result" in history
        elif outcome == "no":
            assert set(history) <= {"no"}, "definite only if every attempt was refused"
        else:
            assert {"silent", "unknown"} & set(history)


def test_whoever_waits_for_nothing_is_told_that_nobody_could_be_asked() -> None:
    table = opened()
    for endpoint in range(3):
        table.disconnect(endpoint, "nothing answers there")
    assert table.start_together("put", "put") == []
    table.wait(6 * SECOND)
    assert [type(error) for _body, error in table.outcomes] == [Unavailable, Unavailable]
