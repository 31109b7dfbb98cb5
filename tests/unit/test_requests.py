"""The table of requests: what a command may be, to the byte."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.errors import Code
from dkv.limits import (
    INT_MAX,
    LIST_LIMIT_MAX,
    RANGE_DELETE_MAX,
    REQUEST_TTL_MS_MAX,
    REQUESTS_PER_MESSAGE_MAX,
    ClusterLimits,
)
from dkv.parsing import read_body, read_command, read_header
from dkv.requests import (
    TABLE,
    Header,
    Malformed,
    end_of_prefix,
    operation_digest,
    pack_command,
    range_of,
)

LIMITS = ClusterLimits()


def refusal(op: str, **fields: Any) -> Code | None:
    """Why this command is refused, None if it is not."""
    try:
        read_command(pack_command(op, **fields), LIMITS)
    except Malformed as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("size", "code"),
    [(0, Code.BAD_REQUEST), (1, None), (4_096, None), (4_097, Code.TOO_LARGE)],
)
def test_a_key_has_one_byte_to_4096(size: int, code: Code | None) -> None:
    key = b"k" * size
    assert refusal("put", key=key, value=b"") == code
    assert refusal("get", key=key) == code
    assert refusal("delete", key=key) == code


@pytest.mark.parametrize(("more", "code"), [(0, None), (1, Code.TOO_LARGE)])
def test_a_value_has_at_most_its_limit(more: int, code: Code | None) -> None:
    value = bytes(LIMITS.value_bytes_max + more)
    assert refusal("put", key=b"k" * 4_096, value=value) == code


def test_a_value_may_be_empty_but_not_absent() -> None:
    assert refusal("put", key=b"k", value=b"") is None
    assert refusal("put", key=b"k") is Code.BAD_REQUEST


@pytest.mark.parametrize(("more", "code"), [(0, None), (1, Code.TOO_LARGE)])
def test_a_command_has_at_most_a_requests_bytes(more: int, code: Code | None) -> None:
    """What unknown fields add counts too."""
    empty = len(pack_command("get", key=b"k", padding=bytes(2**20)))
    padding = bytes(2**20 + LIMITS.request_bytes_max - empty + more)
    assert refusal("get", key=b"k", padding=padding) == code


def test_the_longest_key_and_value_fit_into_one_request() -> None:
    command = pack_command("put", key=b"k" * 4_096, value=bytes(2**20), expected=INT_MAX)
    body = msgpack.packb({"command": command, "session": INT_MAX, "sequence": INT_MAX})
    requests, listed = read_body(body, LIMITS.request_bytes_max)
    assert (len(requests), listed) == (1, False)
    assert read_command(read_header(requests[0]).command, LIMITS)[0].op == "put"


@pytest.mark.parametrize(
    ("op", "field", "least", "most"),
    [
        ("put", "expected", 0, INT_MAX),
        ("list", "limit", 1, LIST_LIMIT_MAX),
        ("delete_range", "limit", 1, RANGE_DELETE_MAX),
    ],
)
def test_a_number_has_its_range(op: str, field: str, least: int, most: int) -> None:
    others = {"key": b"k", "value": b""} if op == "put" else {}
    for value, code in (
        (least, None),
        (most, None),
        (least - 1, Code.BAD_REQUEST),
        (most + 1, Code.BAD_REQUEST),
    ):
        assert refusal(op, **{field: value}, **others) == code, value


def test_unknown_fields_are_ignored_and_unknown_ops_are_not() -> None:
    assert refusal("get", key=b"k", colour="red") is None
    assert refusal("fly", key=b"k") is Code.UNSUPPORTED


def test_a_field_that_is_nil_is_a_field_left_out() -> None:
    packed = msgpack.packb({"op": "put", "key": b"k", "value": b"v", "expected": None})
    assert read_command(packed, LIMITS)[1]["expected"] is None


@pytest.mark.parametrize("op", sorted(TABLE))
def test_every_field_of_another_type_is_refused_by_name(op: str) -> None:
    good = {bytes: b"x", int: 1, str: "x", bool: True}
    request = TABLE[op]
    sound = {f.name: good[f.type] for f in request.fields}
    assert refusal(op, **sound) is None
    for field in request.fields:
        for kind, value in good.items():
            if kind is not field.type:
                with pytest.raises(Malformed, match=f"`{field.name}` must be"):
                    read_command(pack_command(op, **{**sound, field.name: value}), LIMITS)


@pytest.mark.parametrize(
    ("name", "most"), [("session", INT_MAX), ("sequence", INT_MAX), ("ttl_ms", REQUEST_TTL_MS_MAX)]
)
def test_the_numbers_around_a_command_have_their_ranges(name: str, most: int) -> None:
    assert getattr(read_header({"command": b"", name: most}), name) == most
    for value in (-1, most + 1, True, 1.0, "1", None):
        with pytest.raises(Malformed, match=f"`{name}` must be"):
            read_header({"command": b"", name: value})


def test_what_is_not_said_around_a_command_has_its_default() -> None:
    assert read_header({"command": b"c", "colour": 1}) == Header(b"c")


@pytest.mark.parametrize("header", [{}, {"command": "c"}, {"command": b"c", "level": "quick"}, 7])
def test_a_request_without_a_command_or_with_an_unknown_level_is_refused(header: Any) -> None:
    with pytest.raises(Malformed) as caught:
        read_header(header)
    assert caught.value.code is Code.BAD_REQUEST


def test_a_message_has_at_most_so_many_requests() -> None:
    request = {"command": b"c"}
    full = [request] * REQUESTS_PER_MESSAGE_MAX
    assert read_body(msgpack.packb(full), 1_000) == (full, True)
    for body in ([*full, request], []):
        with pytest.raises(Malformed):
            read_body(msgpack.packb(body), 1_000)


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_a_prefix_ends_where_the_first_key_beyond_it_begins(prefix: bytes, key: bytes) -> None:
    end = end_of_prefix(prefix)
    assert key.startswith(prefix) == (prefix <= key and (not end or key < end))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prefix": b"a"}, (b"a", b"b")),
        ({"prefix": b"a\xff"}, (b"a\xff", b"b")),
        ({"prefix": b""}, (b"", b"")),
        ({"start": b"a", "end": b"b"}, (b"a", b"b")),
        ({"start": b"a"}, (b"a", b"")),
    ],
)
def test_a_range_is_said_by_prefix_or_by_ends(
    fields: dict[str, bytes], expected: tuple[bytes, bytes]
) -> None:
    assert range_of(read_command(pack_command("list", **fields), LIMITS)[1]) == expected


@pytest.mark.parametrize(
    "fields",
    [{"prefix": b"a", "start": b"a"}, {"start": b"b", "end": b"a"}, {"start": b"a", "end": b"a"}],
)
def test_a_range_that_is_said_twice_or_backwards_is_refused(fields: dict[str, bytes]) -> None:
    with pytest.raises(Malformed):
        range_of(read_command(pack_command("list", **fields), LIMITS)[1])


def test_an_operation_is_known_again_by_its_bytes() -> None:
    command = pack_command("put", key=b"k", value=b"v")
    assert operation_digest(command) == operation_digest(bytes(command))
    assert operation_digest(command) != operation_digest(pack_command("put", key=b"k", value=b"w"))
    assert 0 <= operation_digest(command) <= INT_MAX
