"""A message in one frame, and replies made of packed answers: the same as the long way."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import replies
from actors.admission import PLAIN, Slip
from dkv.address import Client, Instant
from dkv.errors import Code
from dkv.frames import join, part
from dkv.kv.sessions import pack_answer
from dkv.limits import INT_MAX, ClusterLimits
from dkv.messages import Applied, FromClient, ToClient
from dkv.parsing import command_reader, read_command, read_header, sound_header
from dkv.requests import HEADER, PROTOCOL, TABLE, Malformed, pack_command
from tests.unit.front import Front

LIMITS = ClusterLimits()
PUT = msgpack.packb({"command": pack_command("put", key=b"k", value=b"v")})


@given(st.binary(max_size=32), st.binary(min_size=1, max_size=40))
def test_what_is_joined_comes_apart_again(request_id: bytes, body: bytes) -> None:
    assert part(join(request_id, body)) == (request_id, body)


@pytest.mark.parametrize(
    "frame", [b"", b"DKV1", b"DKV1\0", b"DKV1\1x", b"DKV1\5xx", b"DKV2\1xy", PUT]
)
def test_what_is_no_joined_frame_is_dropped(frame: bytes) -> None:
    front = Front()
    front.frames(frame)
    assert front.silence() == "client_frames_malformed"


@pytest.mark.parametrize("request_id", [b"", b"x" * 33])
def test_a_joined_message_needs_an_id_of_the_right_length(request_id: bytes) -> None:
    front = Front()
    front.frames(join(request_id, PUT))
    assert front.silence() == "client_frames_malformed"


@pytest.mark.parametrize("delimiter", [(), (b"",)])
def test_an_answer_has_the_form_of_its_request(delimiter: tuple[bytes, ...]) -> None:
    gateway, now = Front().gateway, Instant(2_000_000, 0)
    asked = FromClient(b"c1", "insecure", (*delimiter, join(b"id", PUT)))
    ((_to, proposed),) = gateway.handle([asked], now)
    answer = pack_answer(Code.OK, 5, {})
    ((to, letter),) = gateway.handle([Applied(proposed.batch, 9, ((0, 0, answer),))], now)
    assert to == Client(b"c1")
    assert letter.frames[:-1] == delimiter
    parts = part(letter.frames[-1])
    assert parts is not None
    assert parts[0] == b"id"
    assert msgpack.unpackb(parts[1]) == {"result": {}, "revision": 5, "node": "n1"}


numbers = st.sampled_from((0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, INT_MAX))
details = st.none() | st.fixed_dictionaries({"found": st.booleans(), "value": st.binary()})


@given(numbers, details, st.sampled_from((-1, 0, 7, 200)), st.booleans())
def test_a_spliced_reply_is_the_packed_one(
    revision: int, detail: dict[str, Any] | None, position: int, burst: bool
) -> None:
    slip = Slip(b"c", PLAIN, b"id", position, burst)
    packed_name = msgpack.packb("n1")
    _to, short = replies.answer_of(slip, packed_name, pack_answer(Code.OK, revision, detail))
    _to, long = replies.result(slip, "n1", revision, detail or {})
    assert _body(short) == _body(long)


def _body(letter: ToClient | replies.Answer) -> Any:
    packed = letter.packed if isinstance(letter, replies.Answer) else letter.frames[-1]
    return msgpack.unpackb(packed)


# -- the short way says the same as the long one, or nothing ---------------------------------------
values = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**63), st.text(max_size=3), st.binary(max_size=3)
)


@given(st.dictionaries(st.sampled_from(sorted(HEADER)), values))
def test_a_header_that_is_sound_is_what_the_long_way_reads(request: dict[str, Any]) -> None:
    sound = sound_header(request)
    if sound is not None:
        assert sound == read_header(request)
        return
    with pytest.raises(Malformed):
        read_header(request)


names = sorted({f.name for r in TABLE.values() for f in r.fields})


@given(st.sampled_from([*sorted(TABLE), "fly"]), st.dictionaries(st.sampled_from(names), values))
def test_a_command_that_is_sound_is_what_the_long_way_reads(
    op: str, fields: dict[str, Any]
) -> None:
    command = msgpack.packb({"op": op, **{k: v for k, v in fields.items() if _fits(v)}})
    assert _outcome(command_reader(LIMITS), command) == _outcome(
        lambda x: read_command(x, LIMITS), command
    )


def _fits(value: object) -> bool:
    return not isinstance(value, int) or value < 2**64


def _outcome(read: Any, command: bytes) -> Any:
    try:
        return read(command)
    except Malformed as error:
        return error.code, error.words


def test_the_protocol_is_what_a_joined_frame_begins_with() -> None:
    assert join(b"ab", b"c") == PROTOCOL + b"\x02abc"
