"""Anything at all from outside: a message or a refusal comes of it, and never an exception.

Raw bytes, sound messages that were cut and flipped, and messages built of the right words with the
wrong values. What passes must then be harmless to apply on every replica alike.
"""

from typing import Any

import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dkv.codec import Garbled, seal, unseal
from dkv.errors import CODE_BY_NAME
from dkv.kv.reading import Reading
from dkv.limits import CHECK_BYTES, INT_MAX, ClusterLimits
from dkv.messages import Append, Envelope, Propose
from dkv.parsing import read_command
from dkv.requests import HEADER, LEVELS, PROTOCOL, TABLE, Malformed, pack_command
from tests.unit.front import Front
from tests.unit.replica import Replica, answer_of

LIMITS = ClusterLimits(key_bytes_max=8, value_bytes_max=16, request_bytes_max=2_000)

NUMBERS = st.sampled_from((-(2**63), -1, 0, 1, 2, 255, 1_024, INT_MAX, 2**63, 2**64 - 1))
WORDS = st.sampled_from((*TABLE, *HEADER, *LEVELS, "key", "value", "expected", "prefix", "", "\0"))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.floats(),
    st.binary(max_size=20),
    WORDS,
    st.text(max_size=5),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.binary(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    """An op's own fields, some of them with a value of another type, and strangers among them."""
    request = TABLE[
        draw(st.sampled_from((*TABLE, *["put", "delete", "delete_range", "get", "list"] * 4)))
    ]
    good = {
        bytes: st.sampled_from((b"k", b"l", b"\xff\xff", b"", bytes(17))),
        int: NUMBERS,
        str: WORDS,
        bool: st.booleans(),
    }
    fields = {"op": request.op if draw(st.integers(0, 9)) else draw(ANYTHING)}
    for field in request.fields:
        if draw(st.integers(0, 4)):
            fields[field.name] = draw(good[field.type] if draw(st.integers(0, 6)) else ANYTHING)
    fields |= draw(st.dictionaries(WORDS, ANYTHING, max_size=1))
    return bytes(msgpack.packb(fields))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    good = {
        bytes: commands(),
        int: st.integers(0, 3) | NUMBERS,
        str: st.sampled_from(LEVELS),
        bool: st.booleans(),
    }
    found: dict[str, Any] = {"command": draw(commands())}
    for name, (kind, _largest) in HEADER.items():
        if not draw(st.integers(0, 2)):
            found[name] = draw(good[kind] if draw(st.integers(0, 8)) else ANYTHING)
    return found


BODIES = st.one_of(
    requests().map(msgpack.packb),
    st.lists(requests(), max_size=3).map(msgpack.packb),
    ANYTHING.map(msgpack.packb),
    st.binary(max_size=60),
)


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """A sound message, cut, stretched or with a byte of it changed."""
    raw = bytearray(draw(sound))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(raw)))
        raw[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(raw)


def enter(front: Front, frames: tuple[bytes, ...], user: str) -> None:
    """Whatever it is: it is dropped and counted, refused with a code, or goes inside."""
    counted = sum(front.counters.facts().values())
    front.frames(*frames, user=user)
    front.wait(1)
    for _client, body in front.replies:
        assert "result" in body or body["error"]["code"] in CODE_BY_NAME
        assert "error" not in body or body["error"]["applied"] == "no"
    dropped = sum(front.counters.facts().values()) > counted
    assert dropped or front.replies or front.inside


@settings(max_examples=400)
@given(damaged(BODIES))
def test_any_body_is_answered_or_taken(body: bytes) -> None:
    front = Front(limits=LIMITS)
    enter(front, (PROTOCOL, b"id", body), "insecure")
    replica = Replica(LIMITS)
    for letter in front.inside:
        if isinstance(letter, Propose):
            answers = replica.commands(*letter.commands)
            assert len(answers) == len(letter.commands)


@settings(max_examples=100)
@given(damaged(BODIES))
def test_any_body_of_a_guest_is_answered_or_dropped(body: bytes) -> None:
    front = Front(secure=True, limits=LIMITS)
    enter(front, (PROTOCOL, b"id", body), "key")
    assert front.inside == []


@settings(max_examples=100)
@given(st.lists(st.sampled_from((b"", PROTOCOL, b"id", bytes(40))) | BODIES, max_size=10))
def test_any_frames_are_answered_or_dropped(frames: list[bytes]) -> None:
    enter(Front(limits=LIMITS), tuple(frames), "insecure")


@settings(max_examples=400)
@given(damaged(commands()))
@example(b"\x82\xa2op\xa3get\xc1")
def test_any_command_is_a_request_with_sound_fields_or_malformed(command: bytes) -> None:
    try:
        request, fields = read_command(command, LIMITS)
    except Malformed:
        return
    assert fields.keys() == {f.name for f in request.fields}
    for field in request.fields:
        value = fields[field.name]
        assert type(value) is field.type or (value is None and not field.required)


@settings(max_examples=200)
@given(st.lists(damaged(commands()), max_size=4))
def test_any_command_in_the_log_has_an_answer_which_is_the_same_everywhere(
    batch: list[bytes],
) -> None:
    one, other = Replica(LIMITS), Replica(LIMITS)
    for command in batch:
        assert one.raw(command) == other.raw(command)
    assert one.state.meta() == other.state.meta()


@settings(max_examples=100)
@given(damaged(commands()))
def test_any_read_has_an_answer(command: bytes) -> None:
    replica = Replica(LIMITS)
    replica.put(b"k", b"v")
    packed = Reading(replica.state, command).step()
    assert packed is not None
    assert answer_of(packed).revision in (0, 1)


ENVELOPE = Envelope(bytes(16), bytes(CHECK_BYTES), "n1", 7, 8, 0, 0, bytes(CHECK_BYTES))
FRAME = seal(ENVELOPE, [Append(3, 4, 2, bytes(8), ((3, 4, 5, 6, b"payload"),) * 2, 4, 0, 0)])


@settings(max_examples=400)
@given(damaged(st.just(FRAME)) | st.binary(max_size=80) | ANYTHING.map(msgpack.packb))
def test_any_frame_of_a_peer_is_letters_or_garbled(frame: bytes) -> None:
    try:
        _envelope, letters = unseal(frame)
    except Garbled:
        return
    assert seal(ENVELOPE, letters)


def test_the_generators_reach_what_they_are_for() -> None:
    """A fuzz whose messages are all refused at the first check tests one line."""
    front = Front(limits=LIMITS)
    front.command(pack_command("put", key=b"k", value=b"v", expected=0))
    assert isinstance(front.posted(), Propose)
    reached = set()

    @settings(max_examples=600)
    @given(commands())
    def collect(command: bytes) -> None:
        try:
            reached.add(read_command(command, LIMITS)[0].op)
        except Malformed as error:
            reached.add(error.code.name)

    collect()
    assert reached >= {"put", "get", "list", "delete_range", "BAD_REQUEST", "TOO_LARGE"}
