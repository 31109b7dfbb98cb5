"""A flood waits for itself: what another client asks is in the next batch."""

from typing import Any

from actors.mailbox import Budget
from actors.shell import Valve
from dkv.errors import Code
from dkv.kv.sessions import pack_answer
from dkv.limits import FAIR_SHARE_REQUESTS, KIB, MS, REQUESTS_OF_A_CLIENT_MAX, SECOND
from dkv.messages import Applied, Propose, ReadAt, ReadIndex
from dkv.requests import pack_command
from tests.unit.front import Front

PUT = {"command": pack_command("put", key=b"k", value=b"v"), "ttl_ms": 60_000}
GET = {"command": pack_command("get", key=b"k"), "ttl_ms": 60_000}
LARGE = {"command": pack_command("put", key=b"k", value=bytes(256 * KIB)), "ttl_ms": 60_000}
FLOOD, GENTLE = b"flood", b"gentle"


def proposed(front: Front) -> list[Propose]:
    found = [x for x in front.inside if isinstance(x, Propose)]
    front.inside.clear()
    return found


def applied(front: Front, letter: Propose) -> None:
    answer = (0, 0, pack_answer(Code.OK, 5, {}))
    front.handle(Applied(letter.batch, 9, (answer,) * len(letter.commands)))


def ask(front: Front, request: dict[str, Any], count: int, client: bytes) -> None:
    while count:
        some = min(count, 1_000)
        front.request([request] * some, client=client)
        count -= some


def test_a_client_that_is_alone_has_its_whole_line_in_a_batch() -> None:
    front = Front()
    ask(front, PUT, 1, FLOOD)
    (first,) = proposed(front)
    ask(front, PUT, 900, FLOOD)
    assert proposed(front) == []  # one is under way
    applied(front, first)
    assert [len(x.commands) for x in proposed(front)] == [900]


def test_in_company_a_flood_waits_for_itself_and_the_other_is_in_the_next_batch() -> None:
    front = Front()
    ask(front, PUT, 1, GENTLE)
    (first,) = proposed(front)
    ask(front, PUT, 2_000, FLOOD)
    ask(front, PUT, 1, GENTLE)
    applied(front, first)
    (second,) = proposed(front)
    assert len(second.commands) == FAIR_SHARE_REQUESTS + 1
    front.wait(90 * MS)
    assert proposed(front) == []  # the next would queue behind it
    applied(front, second)
    front.replies.clear()
    (third,) = proposed(front)
    assert len(third.commands) == FAIR_SHARE_REQUESTS
    ask(front, PUT, 1, GENTLE)
    applied(front, third)
    (fourth,) = proposed(front)
    applied(front, fourth)
    assert [client for client, _reply in front.replies].count(GENTLE) == 1


def small_and_large(front: Front, who: bytes, count: int) -> tuple[Propose, Propose]:
    """Twenty small puts by somebody, then some large ones of the flood: both batches."""
    ask(front, PUT, 20, who)
    (small,) = proposed(front)
    for _ in range(count):
        ask(front, LARGE, 1, FLOOD)
    (large,) = proposed(front)
    return small, large


def test_small_commands_do_not_wait_for_the_bytes_of_large_ones() -> None:
    front = Front()
    first, large = small_and_large(front, GENTLE, 20)
    assert len(large.commands) == 1  # the others wait for it
    ask(front, PUT, 20, GENTLE)
    assert proposed(front) == []
    applied(front, first)
    (small,) = proposed(front)
    assert len(small.commands) == 20
    applied(front, large)
    (after,) = proposed(front)
    assert after.commands == large.commands


def test_large_commands_of_one_that_is_alone_share_a_batch() -> None:
    front = Front()
    first, large = small_and_large(front, FLOOD, 4)
    applied(front, large)
    (rest,) = proposed(front)
    assert (len(large.commands), len(rest.commands)) == (1, 3)
    applied(front, first)
    assert proposed(front) == []


def test_reads_take_turns_too() -> None:
    front = Front()
    ask(front, GET, 1, GENTLE)
    ask(front, GET, 1_000, FLOOD)
    ask(front, GET, 1, GENTLE)
    (first,) = [x for x in front.inside if isinstance(x, ReadIndex)]
    front.inside.clear()
    front.wait(90 * MS)
    assert front.inside == []
    front.wait(60 * MS)  # the first may be lost: not longer than a moment
    second = front.posted()
    front.handle(ReadAt(second.batch, 9))
    assert len(front.posted().reads) == FAIR_SHARE_REQUESTS + 1
    assert second.batch > first.batch


def test_what_has_waited_too_long_is_refused_and_not_proposed() -> None:
    front = Front()
    ask(front, PUT, 1, GENTLE)
    (first,) = proposed(front)
    ask(front, {**PUT, "ttl_ms": 50}, 600, FLOOD)
    front.wait(60 * MS)
    applied(front, first)
    assert proposed(front) == []
    codes = {r["error"]["code"] for c, r in front.replies if c == FLOOD}
    assert codes == {"no_leader"}


def test_one_connection_fills_a_part_of_the_room_and_another_finds_some() -> None:
    front = Front()
    ask(front, PUT, REQUESTS_OF_A_CLIENT_MAX + 1, FLOOD)
    ((client, reply),) = front.replies
    assert (client, reply["error"]["code"], reply["error"]["applied"]) == (FLOOD, "busy", "no")
    assert "this connection" in reply["error"]["words"]
    ask(front, PUT, 1, GENTLE)
    assert len(front.replies) == 1


def test_who_was_silent_for_two_seconds_is_no_company() -> None:
    front = Front()
    ask(front, PUT, 1, GENTLE)
    for letter in proposed(front):
        applied(front, letter)
    front.now_us += 2 * SECOND + 1
    ask(front, PUT, 1, FLOOD)
    front.now_us += SECOND + 1
    ask(front, PUT, 20, FLOOD)
    for letter in proposed(front):
        applied(front, letter)
    ask(front, PUT, 20, FLOOD)
    (under_way,) = proposed(front)
    ask(front, PUT, 500, FLOOD)
    applied(front, under_way)
    assert [len(x.commands) for x in proposed(front)] == [500]


def test_large_values_count_by_their_bytes() -> None:
    front = Front()
    large = {"command": pack_command("put", key=b"k", value=bytes(50 * KIB)), "ttl_ms": 60_000}
    ask(front, PUT, 1, GENTLE)
    (first,) = proposed(front)
    for _ in range(10):
        front.request([large] * 10, client=FLOOD)
    applied(front, first)
    assert [len(x.commands) for x in proposed(front)] == [2]


def test_a_valve_closes_with_long_turns_and_opens_with_short_ones() -> None:
    valve = Valve(None, Budget(256, 64 * KIB))  # type: ignore[arg-type]
    for _ in range(20):
        valve.turn(50 * MS)
    assert valve.budget == Budget(8, 2 * KIB)
    valve.turn(3 * MS)
    assert valve.budget == Budget(8, 2 * KIB)
    for _ in range(20):
        valve.turn(1 * MS)
    assert valve.budget == Budget(256, 64 * KIB)
