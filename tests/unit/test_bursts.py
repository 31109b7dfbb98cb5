"""Replies of one turn in one message, for those who said that they understand it."""

from typing import Any

import msgpack
import pytest

from dkv.errors import Code
from dkv.kv.sessions import pack_answer
from dkv.limits import BURST_BYTES_MAX, KIB
from dkv.messages import Applied, Found, Lookup
from dkv.requests import PROTOCOL, pack_command
from tests.unit.front import Front

PUT = pack_command("put", key=b"k", value=b"v")
GET = pack_command("get", key=b"k")


def put(**header: Any) -> dict[str, Any]:
    return {"command": PUT, **header}


def apply(front: Front, *sizes: int) -> None:
    """An answer to each command of the only Propose, of about so many bytes."""
    batch = front.posted().batch
    answers = tuple((0, 0, pack_answer(Code.OK, 5, {"n": bytes(size)})) for size in sizes)
    front.handle(Applied(batch, 9, answers))


def bodies(front: Front) -> list[Any]:
    return [msgpack.unpackb(frames[-1]) for _client, frames in front.messages]


def test_what_is_answered_in_one_turn_leaves_in_one_message() -> None:
    front = Front()
    front.request([put(burst=True), put(burst=True)])  # id 1
    first = front.posted().batch
    front.request(put(burst=True))  # id 2
    second = front.posted().batch
    answer = (0, 0, pack_answer(Code.OK, 5, {"key_revision": 5}))
    front.handle(Applied(second, 9, (answer,)), Applied(first, 8, (answer, answer)))
    ((client, frames),) = front.messages
    assert (client, frames[:2]) == (b"c1", (PROTOCOL, b""))
    replies = msgpack.unpackb(frames[2])
    assert [(r["id"], r.get("position")) for r in replies] == [(b"2", None), (b"1", 0), (b"1", 1)]
    assert all(r["result"] == {"key_revision": 5} and r["node"] == "n1" for r in replies)


def test_who_does_not_ask_for_bursts_gets_none() -> None:
    front = Front()
    front.request([put(), put(burst=False), put(burst=True), put(burst=True)])
    apply(front, 1, 1, 1, 1)
    assert [frames[1] for _client, frames in front.messages] == [b"1", b"1", b""]
    assert [b.get("position") for b in bodies(front)[:2]] == [0, 1]
    assert not any("id" in b for b in bodies(front)[:2])
    assert [r["position"] for r in bodies(front)[2]] == [2, 3]


def test_a_burst_of_one_is_a_reply_under_its_own_id() -> None:
    front = Front()
    front.request(put(burst=True))
    apply(front, 1)
    ((_client, frames),) = front.messages
    assert frames[:2] == (PROTOCOL, b"1")
    assert "result" in msgpack.unpackb(frames[2])


def test_each_connection_has_its_own_burst() -> None:
    front = Front()
    for client in (b"c1", b"c2"):
        front.request([put(burst=True), put(burst=True)], client=client)
    answer = (0, 0, pack_answer(Code.OK, 5, {}))
    front.handle(*[Applied(x.batch, 9, (answer, answer)) for x in front.inside])
    assert [(client, frames[1]) for client, frames in front.messages] == [
        (b"c1", b""),
        (b"c2", b""),
    ]
    assert [len(b) for b in bodies(front)] == [2, 2]


def test_a_connection_that_sent_a_delimiter_gets_one() -> None:
    front = Front()
    body = msgpack.packb([put(burst=True), put(burst=True)])
    front.frames(b"", PROTOCOL, b"7", body)
    apply(front, 1, 1)
    ((_client, frames),) = front.messages
    assert frames[:3] == (b"", PROTOCOL, b"")


def test_a_burst_is_split_by_its_bytes_and_a_large_reply_goes_alone() -> None:
    front = Front()
    sizes = [100 * KIB, 100 * KIB, 100 * KIB, 600 * KIB, 1, 1]
    front.request([put(burst=True)] * len(sizes))
    apply(front, *sizes)
    counts = [len(b) if type(b) is list else 1 for b in bodies(front)]
    assert counts == [2, 1, 1, 2]
    together = [len(f[-1]) for _c, f in front.messages if not f[1]]
    assert max(together) <= BURST_BYTES_MAX + KIB
    positions = [r["position"] for _client, r in front.replies]
    assert positions == list(range(len(sizes)))


def test_refusals_and_answers_share_a_burst() -> None:
    front = Front()
    status = {"command": pack_command("members"), "burst": True}
    nope = {"command": msgpack.packb({"op": "nope"}), "burst": True}
    front.request([nope, status, {"command": b"\xc1", "burst": True}])
    ((_client, frames),) = front.messages
    assert frames[1] == b""
    nope_reply, members, bad = msgpack.unpackb(frames[2])
    assert nope_reply["error"]["code"] == "unsupported"
    assert members["result"]["leader"] == "n1"
    assert (bad["error"]["code"], bad["position"]) == ("bad_request", 2)


def test_reads_that_are_found_in_one_turn_share_a_burst() -> None:
    front = Front()
    front.request([{"command": GET, "level": "serializable", "burst": True}] * 3)
    lookups = [x for x in front.inside if isinstance(x, Lookup)]
    absent = (pack_answer(Code.OK, 5, {"found": False}),)
    front.handle(*[Found(x.batch, 0, absent) for x in lookups])
    assert [len(b) for b in bodies(front)] == [3]


@pytest.mark.parametrize("wrong", [1, 0, "true", b"\x01", None, [], {}])
def test_a_burst_of_a_wrong_type_is_a_bad_request_answered_alone(wrong: Any) -> None:
    front = Front()
    front.request(put(burst=wrong))
    ((_client, frames),) = front.messages
    assert frames[1] == b"1"
    assert front.error() == ("bad_request", "no")


def test_a_body_that_is_no_request_at_all_has_one_plain_answer() -> None:
    front = Front()
    front.request([put(burst=True), [put(burst=True)]])
    ((_client, frames),) = front.messages
    assert frames[1] == b"1"
    assert "position" not in msgpack.unpackb(frames[2])
    assert front.error() == ("bad_request", "no")


def test_a_guest_is_told_to_present_itself_without_a_burst() -> None:
    front = Front(secure=True)
    front.request([put(burst=True), put(burst=True)], user="key")
    assert front.error() == ("certificate_needed", "no")
    assert front.messages[0][1][1] == b"1"
