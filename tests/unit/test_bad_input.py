"""Bad input, row by row: from a client's frames to its command, from a peer's frame to its letters.

Each ends as a refusal with a code or as a counted drop; nothing raises, nothing reaches the log.
"""

import tracemalloc
from random import Random
from typing import Any

import msgpack
import pytest

from actors.announcer import Announcer
from actors.consensus import Consensus
from dkv.address import Instant, Member
from dkv.codec import seal, unseal
from dkv.counters import Counters
from dkv.errors import Misconfigured
from dkv.ids import Founding, check_name, parse_members
from dkv.limits import FRAMES_MAX, INT_MAX, KIB, MIB, ClusterLimits, Timing
from dkv.messages import (
    Append,
    Envelope,
    FromPeer,
    Heartbeat,
    Hello,
    Misfit,
    RequestVote,
    Roster,
    Say,
    Write,
)
from dkv.raft.post import Charter
from dkv.requests import PROTOCOL, TABLE, pack_command
from tests.unit.desk import FORMED, log_of, row_of, start_of
from tests.unit.front import Front

GET = pack_command("get", key=b"k")


def packed_put(**fields: Any) -> bytes:
    return bytes(msgpack.packb({"op": "put", "key": b"k", "value": b"v", **fields}))


def refused_body(body: bytes) -> tuple[str, str]:
    front = Front()
    front.body(body)
    return front.error()


def refused(request: Any) -> tuple[str, str]:
    return refused_body(msgpack.packb(request))


def refused_command(command: bytes) -> tuple[str, str]:
    return refused({"command": command})


BAD_REQUEST = ("bad_request", "no")
TOO_LARGE = ("too_large", "no")


# -- frames --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "frames",
    [
        (),
        (b"",),
        (b"",) * 5,
        (b"",) * 10_000,
        (PROTOCOL, b"id"),
        (PROTOCOL, b"id", b"body", b"more"),
        (b"", b"", PROTOCOL, b"id", b"body"),
        (PROTOCOL, b"", b"body"),
        (PROTOCOL, bytes(33), b"body"),
    ],
    ids=len,
)
def test_row_01_another_number_of_frames_is_dropped(frames: tuple[bytes, ...]) -> None:
    front = Front()
    front.frames(*frames)
    assert front.silence() == "client_frames_malformed"


def test_row_01_the_empty_frame_of_a_req_socket_is_none_too_many() -> None:
    front = Front()
    front.frames(b"", PROTOCOL, b"id", msgpack.packb({"command": GET}))
    assert front.posted()


def test_row_02_a_frame_beyond_the_limit_is_refused_before_it_is_decoded() -> None:
    """Larger ones still end their connection at the port."""
    limits = ClusterLimits()
    command = pack_command("put", key=b"k", value=bytes(limits.request_bytes_max))
    assert refused_command(command) == TOO_LARGE
    assert refused_command(command[: limits.request_bytes_max + 1]) == TOO_LARGE


def test_row_03_two_hundred_small_frames_are_dropped_unread() -> None:
    front = Front()
    front.frames(PROTOCOL, b"id", *[bytes(1_000)] * 198)
    assert front.silence() == "client_frames_malformed"
    assert FRAMES_MAX < 200


# -- msgpack -------------------------------------------------------------------------------------
BROKEN = (b"", b"\x81", b"\x81\xa7command", b"\xc1", b"\x80\x80", b"\x81\xa7command\xc4\x05abc")


@pytest.mark.parametrize("body", BROKEN)
def test_row_04_what_is_no_msgpack_is_refused(body: bytes) -> None:
    assert refused_body(body) == BAD_REQUEST
    assert refused_command(body) == BAD_REQUEST


@pytest.mark.parametrize("start", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
def test_row_05_a_length_of_four_gigabytes_is_refused_without_memory(start: bytes) -> None:
    lie = start + b"\xff\xff\xff\xff"
    tracemalloc.start()
    try:
        assert refused_body(lie) == BAD_REQUEST
        assert refused_body(b"\x91" + lie) == BAD_REQUEST
        assert refused_command(lie) == BAD_REQUEST
        assert refused_command(b"\x81\xa2op" + lie) == BAD_REQUEST
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def _array(count: int, item: bytes) -> bytes:
    return b"\xdd" + count.to_bytes(4) + item * count


@pytest.mark.parametrize("item", [b"\x80", b"\x90", b"\x81\xa1a\x80", b"\x91\x90"])
def test_row_06_a_megabyte_of_empty_containers_is_refused_without_memory(item: bytes) -> None:
    count = MIB // len(item)
    bodies = (item * count, _array(count, item), _array(300, _array(1_024, item)))
    tracemalloc.start()
    try:
        for body in bodies:
            assert refused_body(body) == BAD_REQUEST
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()


def test_row_06_a_command_of_maps_within_maps_is_refused_without_memory() -> None:
    """Built before it is refused, it would take thirty times its bytes."""
    tree = b"\x80"
    for _ in range(3):
        tree = b"\xde\x00\x1f" + b"".join(b"\xa2%02d" % i + tree for i in range(31))
    command = b"\x82\xa2op\xa3get\xa1x\x88" + b"".join(b"\xa1%d" % i + tree for i in range(8))
    assert len(msgpack.unpackb(command)["x"]) == 8  # it is sound msgpack
    tracemalloc.start()
    try:
        assert refused_command(command) == BAD_REQUEST
        assert tracemalloc.get_traced_memory()[1] < 8 * len(command)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [2, 9, 500, 1_024, 100_000])
@pytest.mark.parametrize(("opening", "core"), [(b"\x91", b"\x80"), (b"\x81\xa7command", b"\xc0")])
def test_row_07_what_is_nested_is_refused(depth: int, opening: bytes, core: bytes) -> None:
    assert refused_body(opening * depth + core) == BAD_REQUEST
    assert refused_command(opening * depth + core)[1] == "no"


@pytest.mark.parametrize("ext", [msgpack.ExtType(5, b""), msgpack.ExtType(5, b"x" * 9)])
def test_row_08_extension_types_are_refused(ext: msgpack.ExtType) -> None:
    assert refused(ext) == BAD_REQUEST
    assert refused({"command": GET, "level": ext}) == BAD_REQUEST
    assert refused({"command": GET, "unknown": ext}) == BAD_REQUEST
    assert refused_command(packed_put(value=ext)) == BAD_REQUEST


@pytest.mark.parametrize("size", [0, 4, 8, 12])
def test_row_09_timestamps_are_refused(size: int) -> None:
    stamp = b"\xc7" + bytes((size,)) + b"\xff" + b"\xff" * size
    head = b"\x82\xa7command\xc4\x01x\xa6ttl_ms"
    assert refused_body(head + stamp) == BAD_REQUEST
    assert refused_command(packed_put()[:-3] + b"\xa5value" + stamp) == BAD_REQUEST


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0, 1.0])
def test_row_10_no_number_is_a_float(number: float) -> None:
    assert refused({"command": GET, "ttl_ms": number}) == BAD_REQUEST
    assert refused({"command": GET, "session": number}) == BAD_REQUEST
    assert refused_command(packed_put(expected=number)) == BAD_REQUEST


@pytest.mark.parametrize("number", [True, False, b"1", "1", 2**63, 2**64 - 1, -1])
def test_row_11_a_number_is_an_int_that_sqlite_can_hold(number: Any) -> None:
    assert refused({"command": GET, "session": number}) == BAD_REQUEST
    assert refused_command(packed_put(expected=number)) == BAD_REQUEST


def test_row_11_a_str_is_no_bin_and_a_bin_no_str() -> None:
    assert refused({"command": GET.decode("latin-1")}) == BAD_REQUEST
    assert refused({b"command": GET}) == BAD_REQUEST
    assert refused({"command": GET, "level": b"serializable"}) == BAD_REQUEST
    assert refused_command(packed_put(key="k")) == BAD_REQUEST
    assert refused_command(msgpack.packb({b"op": b"get", b"key": b"k"}))[1] == "no"


@pytest.mark.parametrize("key", [1, -1, None, True, 0.5, float("nan")])
def test_row_12_a_maps_keys_are_strings(key: Any) -> None:
    assert refused({"command": GET, key: 1}) == BAD_REQUEST
    assert refused_command(packed_put() and msgpack.packb({"op": "get", key: 1})) == BAD_REQUEST


def test_row_12_a_list_is_no_key() -> None:
    assert refused_body(b"\x81\x91\x01\x01") == BAD_REQUEST
    assert refused_command(b"\x81\x91\x01\x01") == BAD_REQUEST


def test_row_13_a_field_that_is_said_twice_is_refused() -> None:
    once = b"\xa7command" + msgpack.packb(GET)
    assert refused_body(b"\x82" + once + once) == BAD_REQUEST
    assert refused_body(b"\x83" + once + b"\xa7session\x01\xa7session\x02") == BAD_REQUEST


def test_row_14_text_that_is_no_utf_8_is_refused_and_a_key_may_be_any_bytes() -> None:
    for text in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80"):
        packed = bytes((0xA0 | len(text),)) + text
        assert refused_body(b"\x82\xa7command\xc4\x01x\xa5level" + packed) == BAD_REQUEST
        assert refused_command(b"\x81\xa2op" + packed) == BAD_REQUEST
    for key in (b"\0", b"\xff\xfe", b"\xed\xa0\x80"):
        front = Front()
        front.put(key, b"v")
        assert front.posted()


def test_row_14_a_key_that_is_empty_or_a_megabyte_is_refused() -> None:
    assert refused_command(packed_put(key=b"")) == BAD_REQUEST
    assert refused_command(packed_put(key=bytes(MIB))) == ("too_large", "no")


def test_row_15_another_protocol_is_dropped_and_an_unknown_op_is_refused() -> None:
    front = Front()
    front.frames(b"DKV2", b"id", msgpack.packb({"command": GET}))
    assert front.silence() == "client_frames_malformed"
    assert refused_command(pack_command("fly")) == ("unsupported", "no")
    for op in (7, None, ["get"], {"a": 1}, True):
        assert refused_command(msgpack.packb({"op": op}))[1] == "no"


# -- peers ---------------------------------------------------------------------------------------
FOUNDING = Founding(b"", "token", ("n1", "n2", "n3"))
CHARTER = Charter(FOUNDING, ClusterLimits(), FOUNDING.cluster_id(), bytes(8), "/data/n1")
LEADER = Envelope(CHARTER.cluster, CHARTER.genesis, "n2", 12, 102, 11, 101, FORMED)


class Peering:
    """n1's consensus actor, and what it does with frames from others."""

    def __init__(self) -> None:
        self.counters = Counters()
        roster = Roster(tuple((n, f"{n}:1", b"", f"{n}:2") for n in FOUNDING.names))
        start = start_of(1, 1, term=3)
        timing = Timing()
        rng = Random(1)
        self.actor = Consensus(start, 101, CHARTER, timing, roster, rng, self.counters)
        self.handle([])
        self.before = self.facts()

    def handle(self, batch: list[Any]) -> list[tuple[Any, Any]]:
        return self.actor.handle(batch, Instant(1_000_000, 0))

    def take(self, envelope: Envelope, *letters: Any, key_of: str = "") -> list[tuple[Any, Any]]:
        return self.handle([FromPeer(key_of, seal(envelope, letters))])

    def facts(self) -> tuple[int, ...]:
        raft = self.actor._raft
        return (raft.term, raft.vote, raft.commit, raft.tail.last.index, raft.saved)

    def only_counted(self, out: list[tuple[Any, Any]], counter: str) -> None:
        assert out == []
        assert self.facts() == self.before
        assert self.counters.facts() == {counter: 1}


def answers(out: list[tuple[Any, Any]]) -> list[Any]:
    frames = [frame for to, frame in out if isinstance(to, Member)]
    return [letter for frame in frames for letter in unseal(frame)[1]]


HUGE = RequestVote(1_000_000, 9_999, 999_999)


def test_a_letter_that_nothing_is_wrong_with_is_taken() -> None:
    peering = Peering()
    assert peering.take(LEADER, Heartbeat(3, 1, 1, 0, 0), key_of="n2") != []
    assert peering.counters.facts() == {}


def test_row_16_another_cluster_is_told_what_this_one_was_told_once_a_second() -> None:
    peering = Peering()
    stranger = LEADER._replace(cluster=bytes(16))
    assert [type(x) for x in answers(peering.take(stranger, HUGE))] == [Misfit]
    assert answers(peering.take(stranger, HUGE)) == []
    assert peering.facts() == peering.before
    assert peering.counters.facts() == {"peer_of_another_cluster": 2}


@pytest.mark.parametrize(
    ("field", "counter"),
    [("to_disk", "letter_for_another_disk"), ("to_boot", "letter_for_another_boot")],
)
def test_row_16_what_is_for_another_disk_or_life_is_dropped(field: str, counter: str) -> None:
    peering = Peering()
    changed: dict[str, Any] = {field: 5}
    out = peering.take(LEADER._replace(**changed), HUGE)
    assert answers(out) == [Hello()]
    assert peering.facts() == peering.before
    assert peering.counters.facts() == {counter: 1}


def test_row_17_a_claimed_sender_that_the_key_does_not_prove_is_dropped() -> None:
    peering = Peering()
    peering.only_counted(peering.take(LEADER, HUGE, key_of="n3"), "peer_name_forged")


@pytest.mark.parametrize(
    ("name", "counter"), [("n9", "peer_is_no_member"), ("n1", "peer_has_our_name")]
)
def test_row_17_a_stranger_moves_no_term(name: str, counter: str) -> None:
    """(Whoever has this cluster's formation may be a member that this node has not heard of.)"""
    peering = Peering()
    append = Append(1_000_000, 3, 1, log_of(1, 1)[2].check, (), 3, 0, 0)
    out = peering.take(LEADER._replace(name=name, formed=b"another!"), append, HUGE)
    peering.only_counted(out, counter)


def test_row_17_a_disk_that_is_no_members_moves_no_term() -> None:
    peering = Peering()
    peering.take(LEADER._replace(disk=99, formed=bytes(8)), HUGE)
    assert peering.facts() == peering.before
    assert peering.counters.facts() == {"peer_disk_replaced": 1}


@pytest.mark.parametrize("term", [2**41, 2**62, INT_MAX])
def test_row_18_an_absurd_term_of_a_member_is_dropped(term: int) -> None:
    peering = Peering()
    peering.only_counted(peering.take(LEADER, RequestVote(term, 9, 1)), "terms_absurd")


CHECK = log_of(1)[1].check


@pytest.mark.parametrize(
    "letter",
    [
        Append(3, 0, 0, bytes(8), (row_of(3),), 0, 0, 0),
        Append(3, 2, 1, CHECK, (row_of(3), row_of(2)), 0, 0, 0),
        Append(3, 2, 1, CHECK, (row_of(4),), 0, 0, 0),
        Append(3, 2, 2, CHECK, (row_of(1),), 0, 0, 0),
    ],
)
def test_row_19_an_incoherent_append_truncates_nothing(letter: Append) -> None:
    peering = Peering()
    peering.only_counted(peering.take(LEADER, letter), "appends_incoherent")


def test_row_19_a_negative_index_is_no_letter() -> None:
    peering = Peering()
    out = peering.take(LEADER, Append(3, -1, 0, bytes(8), (), 0, 0, 0))
    peering.only_counted(out, "peer_letter_malformed")


def test_row_19_a_commit_beyond_the_log_counts_up_to_what_was_verified() -> None:
    peering = Peering()
    out = peering.take(LEADER, Append(3, 2, 1, CHECK, (), 999, 0, 0))
    assert peering.actor._raft.commit == 2
    assert [x.commit for _to, x in out if isinstance(x, Write)] == [2]


def test_what_only_a_gateway_may_say_is_no_letter_of_a_peer() -> None:
    peering = Peering()
    frame = msgpack.packb((1, LEADER, [(10, 1, 1, True, [b"x"])]))
    peering.only_counted(peering.handle([FromPeer("", frame)]), "peer_letter_unknown")


# -- limits and names ----------------------------------------------------------------------------
def test_row_33_what_is_too_large_is_refused_at_the_front_door() -> None:
    limits = ClusterLimits()
    for key, value, code in (
        (limits.key_bytes_max, limits.value_bytes_max, None),
        (limits.key_bytes_max + 1, 0, ("too_large", "no")),
        (1, limits.value_bytes_max + 1, ("too_large", "no")),
    ):
        front = Front()
        front.put(bytes(key), bytes(value))
        if code:
            assert front.error() == code
        else:
            assert len(front.posted().commands) == 1


@pytest.mark.parametrize(
    "name", ["", ".", "../../x", "a/b", "a\\b", "-a", ".a", "a b", "a\0", "a\n", "é", "n" * 64]
)
def test_row_36_a_name_is_no_path(name: str) -> None:
    with pytest.raises(Misconfigured):
        check_name(name)
    with pytest.raises(Misconfigured):
        parse_members(f"{name}=10.0.0.1:2380", "--initial-cluster")
    peering = Peering()
    out = peering.take(LEADER._replace(name=name), HUGE)
    peering.only_counted(out, "peer_envelope_malformed")


ESCAPE = "n2\x1b[2J\x07\r\n"


def test_row_37_control_characters_of_a_client_are_shown_escaped() -> None:
    front = Front()
    front.command(pack_command(f"get{ESCAPE}"))
    words = front.replies[0][1]["error"]["words"]
    assert words.isprintable()
    assert repr(ESCAPE)[1:-1] in words


def test_row_37_control_characters_of_a_peer_are_shown_escaped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    peering = Peering()
    misfit = Misfit((ESCAPE,), bytes(8), b"", ())
    out = peering.take(LEADER._replace(cluster=bytes(16)), misfit)
    said = [x for _to, x in out if isinstance(x, Say)]
    announcer = Announcer("n1", "debug")
    for say in said:
        announcer.say(say.severity, say.reason, say.words, 1_700_000_000.0)
    shown = capsys.readouterr().err
    assert "told another cluster" in shown
    assert shown.rstrip("\n").isprintable()


def test_every_op_refuses_an_empty_command_that_misses_its_fields() -> None:
    for op, request in TABLE.items():
        if any(f.required for f in request.fields):
            assert refused_command(pack_command(op)) == BAD_REQUEST


def test_a_guest_is_told_to_show_a_certificate_and_nothing_else() -> None:
    front = Front(secure=True)
    for body in (b"\xc1", msgpack.packb({"command": GET}), bytes(17 * KIB)):
        front.body(body, user="key")
        assert front.error() == ("certificate_needed", "no")
    front.command(pack_command("present", certificate=b"anna:writer:other"), user="key")
    assert front.error() == ("certificate_refused", "no")


def test_a_guest_that_goes_on_is_not_heard() -> None:
    front = Front(secure=True)
    for _ in range(1_000):
        front.command(GET, user="key")
    assert len(front.replies) == 20
    assert front.counters.get("guests_unheard") == 980


@pytest.mark.parametrize(("role", "ok"), [("reader", False), ("writer", True), ("admin", True)])
def test_a_role_allows_what_it_includes(role: str, ok: bool) -> None:
    front = Front(secure=True)
    front.present("anna", role, "key")
    front.put(b"k", b"v", user="key")
    assert front.posted() if ok else front.error() == ("denied", "no")
