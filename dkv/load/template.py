"""Requests as bytes: packed once by msgpack, and cut where one differs from the next.

Owns: the order of a request's fields, chosen so that what varies stands at the end. Must never know
what is sent when. Integers that vary are eight bytes wide always; msgpack allows that, and a
reader sees the same number.
"""

import struct
from typing import Any, NamedTuple

import msgpack

from dkv.requests import HEADER, pack_command

# Stand for what varies while a template is packed: integers of eight bytes, which msgpack keeps so.
_SESSION, _SEQUENCE, _LOWEST = (0xD1CE_0000_0000_0000 + n for n in range(3))
_NUMBER = struct.Struct(">Q")
KEY_DIGITS = 8
KEYS_MAX = 10**KEY_DIGITS


def key_of(prefix: bytes, number: int) -> bytes:
    return prefix + b"%0*d" % (KEY_DIGITS, number)


class Body(NamedTuple):
    """How a request is made: `head` + a key + `tail`; a write in a session has instead of the tail
    `in_session(session)` and `PLACE.pack(sequence, LOWEST, lowest)`."""

    head: bytes
    tail: bytes
    before_session: bytes = b""
    before_sequence: bytes = b""

    def in_session(self, session: int) -> bytes:
        return self.tail + self.before_session + _NUMBER.pack(session) + self.before_sequence


PLACE = struct.Struct(">Q8sQ")
LOWEST = msgpack.packb("lowest") + b"\xcf"  # and eight bytes: an unsigned integer


def put_body(key: bytes, value: bytes, ttl_ms: int, *, in_session: bool) -> Body:
    """Of puts whose keys are as long as `key`."""
    command = pack_command("put", value=value, key=key)
    request: dict[str, Any] = {"ttl_ms": ttl_ms, "burst": True, "command": command}
    if in_session:
        request |= {"session": _SESSION, "sequence": _SEQUENCE, "lowest": _LOWEST}
    packed = msgpack.packb(_known(request))
    if not in_session:
        return Body(*_cut(packed, key))
    head, rest = _cut(packed, key)
    tail, rest = _cut(rest, _NUMBER.pack(_SESSION))
    before_sequence, rest = _cut(rest, _NUMBER.pack(_SEQUENCE))
    assert rest == LOWEST + _NUMBER.pack(_LOWEST)
    return Body(head, b"", tail, before_sequence)


def get_body(key: bytes, ttl_ms: int, level: str) -> Body:
    """Of gets whose keys are as long as `key`."""
    command = pack_command("get", key=key)
    request = {"ttl_ms": ttl_ms, "burst": True, "level": level, "command": command}
    return Body(*_cut(msgpack.packb(_known(request)), key))


def list_of(bodies: list[bytes]) -> bytes:
    """Several requests in one message."""
    header: bytes = msgpack.Packer().pack_array_header(len(bodies))
    return header + b"".join(bodies)


def _known(request: dict[str, Any]) -> dict[str, Any]:
    """`burst` is a wish that an older node does not know, and ignores."""
    assert request.keys() <= HEADER.keys() | {"burst"}
    return request


def _cut(packed: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """Before and after the last place where it stands: a value may look like a key."""
    before, found, after = packed.rpartition(mark)
    assert found
    return before, after
