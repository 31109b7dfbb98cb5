"""The load's bodies are what msgpack and the nodes' own reader take them for."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.limits import INT_MAX, SEQUENCE_WINDOW, ClusterLimits
from dkv.load.sequences import Sequences
from dkv.load.template import LOWEST, PLACE, get_body, key_of, list_of, put_body
from dkv.parsing import read_body, read_command, read_header
from dkv.requests import pack_command

PREFIX = b"bench/0a1b2c3d/"
NUMBERS = st.integers(1, INT_MAX)


def read(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header's fields, the command's): by msgpack, and by the node's reader as well."""
    fields = msgpack.unpackb(body)
    (request,), listed = read_body(body, 4_000_000)
    assert not listed
    header = read_header(request)
    assert {n: getattr(header, n) for n in fields if n in header._fields} == {
        n: v for n, v in fields.items() if n in header._fields
    }
    command = msgpack.unpackb(header.command)
    _request, known = read_command(header.command, ClusterLimits())
    assert {n: known[n] for n in command if n != "op"} == {
        n: v for n, v in command.items() if n != "op"
    }
    return fields, command


@given(st.binary(max_size=300), st.integers(0, 99_999_999), NUMBERS, NUMBERS, NUMBERS)
def test_a_put_in_a_session_is_the_dictionary(
    value: bytes, number: int, session: int, sequence: int, lowest: int
) -> None:
    made = put_body(key_of(PREFIX, 1), value, 5_000, in_session=True)
    key = key_of(PREFIX, number)
    body = made.head + key + made.in_session(session) + PLACE.pack(sequence, LOWEST, lowest)
    fields, _command = read(body)
    assert fields == {
        "ttl_ms": 5_000,
        "burst": True,
        "command": pack_command("put", value=value, key=key),
        "session": session,
        "sequence": sequence,
        "lowest": lowest,
    }


@given(st.binary(max_size=300), st.integers(0, 99_999_999))
def test_a_put_without_a_session_is_msgpack_of_the_dictionary(value: bytes, number: int) -> None:
    made = put_body(key_of(PREFIX, 1), value, 70_000, in_session=False)
    key = key_of(PREFIX, number)
    command = pack_command("put", value=value, key=key)
    packed = msgpack.packb({"ttl_ms": 70_000, "burst": True, "command": command})
    assert made.head + key + made.tail == packed
    assert read(packed)[1] == {"op": "put", "value": value, "key": key}


@pytest.mark.parametrize("level", ["linearizable", "serializable"])
def test_a_get_is_msgpack_of_the_dictionary(level: str) -> None:
    made = get_body(key_of(PREFIX, 1), 5_000, level)
    key = key_of(PREFIX, 77)
    command = pack_command("get", key=key)
    fields = {"ttl_ms": 5_000, "burst": True, "level": level, "command": command}
    assert made.head + key + made.tail == msgpack.packb(fields)
    assert read(msgpack.packb(fields))[1] == {"op": "get", "key": key}


def test_a_value_that_looks_like_the_key_is_not_cut() -> None:
    key = key_of(PREFIX, 1)
    made = put_body(key, key * 3, 5_000, in_session=True)
    body = made.head + key_of(PREFIX, 2) + made.in_session(1) + PLACE.pack(1, LOWEST, 1)
    assert read(body)[1] == {"op": "put", "value": key * 3, "key": key_of(PREFIX, 2)}


@pytest.mark.parametrize("count", [1, 15, 16, 1024])
def test_a_list_is_the_requests_in_order(count: int) -> None:
    bodies = [msgpack.packb({"command": b"%d" % n}) for n in range(count)]
    requests, listed = read_body(list_of(bodies), 4_000_000)
    assert listed
    assert requests == [{"command": b"%d" % n} for n in range(count)]


# -- a session's numbers -------------------------------------------------------------------------
@given(st.lists(st.integers(0, 30), max_size=3 * SEQUENCE_WINDOW))
def test_lowest_is_the_lowest_without_an_answer(picks: list[int]) -> None:
    """Against a plain set, in any order of answers."""
    sequences, open_ones = Sequences(), list[int]()
    for pick in picks:
        while len(open_ones) < 31 and sequences.has_room(1):
            open_ones.append(sequences.take())
        sequences.settle(open_ones.pop(pick % len(open_ones)))
        assert sequences.lowest == min(open_ones, default=sequences.next)


def test_the_window_ends_where_a_node_would_refuse() -> None:
    sequences = Sequences()
    taken = [sequences.take() for _ in range(SEQUENCE_WINDOW) if sequences.has_room(1)]
    assert taken[-1] - sequences.lowest == SEQUENCE_WINDOW - 1
    assert not sequences.has_room(1)
    for sequence in taken[1:]:
        sequences.settle(sequence)
    assert not sequences.has_room(1)  # one slow answer holds all
    sequences.settle(taken[0])
    assert sequences.lowest == sequences.next
    assert sequences.has_room(SEQUENCE_WINDOW)
    assert not sequences.has_room(SEQUENCE_WINDOW + 1)
