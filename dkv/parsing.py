"""Requests as they arrive: from hostile bytes to checked fields.

Owns: the bounds on what is built from a message, the words for what is wrong with it, and the short
way for what is sound. Must never know who asks or how a request is carried out.

Each check is there twice: in words, field by field, and as one compiled expression (`dkv.sound`)
for the many requests with which nothing is wrong. The expression only ever says "sound"; everything
else goes the long way, which decides.
"""

from collections.abc import Callable
from typing import Any

import msgpack

from dkv.errors import Code
from dkv.limits import KIB, REQUESTS_PER_MESSAGE_MAX, ClusterLimits
from dkv.requests import HEADER, LEVELS, TABLE, Field, Header, Malformed, Request
from dkv.sound import Rule, reader


def _header_rule(name: str) -> Rule:
    kind, largest = HEADER[name]
    among = frozenset(LEVELS) if name == "level" else None
    default = Header._field_defaults.get(name)
    required = name not in Header._field_defaults
    return Rule(name, kind, 0, largest if kind is int else None, required, default, False, among)


# The `Header` of a map in which nothing is wrong, else None: `read_header` finds the words.
sound_header = reader(map(_header_rule, Header._fields), Header)


def read_body(body: bytes, bytes_max: int) -> tuple[list[Any], bool]:
    """The requests of a message, not yet checked one by one, and whether they came as a list.

    Bounded before it allocates: no ext types, no nested arrays, at most as many maps as requests.
    Raises `Malformed`.
    """
    found = _read_sound_body(body) if len(body) <= _SOUND_BYTES else None
    return _read_any_body(body, bytes_max) if found is None else found


def _read_sound_body(body: bytes) -> tuple[list[Any], bool] | None:
    """The most frequent messages without a call for each container: one small request, or a list
    of them in which no key is twice (a map's first byte tells how many keys it was made of)."""
    try:
        if body[0] < 0x90 and len(body) <= _SMALL_BYTES:
            found = msgpack.unpackb(body, ext_hook=_no_ext, max_array_len=0, max_map_len=32)
            return ([found], False) if len(found) == body[0] & 15 else None
        unpacker = msgpack.Unpacker(ext_hook=_no_ext, max_array_len=0, max_map_len=32)
        unpacker.feed(body)
        count, requests = unpacker.read_array_header(), []
        if not 0 < count <= REQUESTS_PER_MESSAGE_MAX:
            return None
        for _ in range(count):
            declared = body[unpacker.tell()] ^ 0x80
            requests.append(unpacker.unpack())
            if len(requests[-1]) != declared:
                return None
        return (requests, True) if unpacker.tell() == len(body) else None
    except Exception:  # `_read_any_body` finds the words
        return None


def _read_any_body(body: bytes, bytes_max: int) -> tuple[list[Any], bool]:
    budget = _Budget()
    try:
        outer = msgpack.unpackb(
            body,
            object_pairs_hook=budget.map,
            list_hook=budget.array,
            ext_hook=_no_ext,
            max_array_len=REQUESTS_PER_MESSAGE_MAX,
            max_map_len=32,
            max_str_len=256,
            max_bin_len=bytes_max,
            max_ext_len=0,
        )
    except Malformed:
        raise
    except Exception as error:  # msgpack raises six unrelated kinds on bad bytes
        raise Malformed(Code.BAD_REQUEST, "the body is not msgpack within the limits") from error
    if type(outer) is not list:
        return [outer], False
    if not outer:
        raise Malformed(Code.BAD_REQUEST, "an empty list of requests")
    return outer, True


class _Flat:
    """Ends a command that is nothing but maps within maps: they take 30 times their bytes."""

    def __init__(self) -> None:
        self._maps = 0

    def map(self, found: dict[Any, Any]) -> dict[Any, Any]:
        self._maps += 1
        if self._maps > _INNER_MAPS_MAX:
            raise ValueError("a command is one map")
        return found


class _Budget:
    """Counts containers while msgpack builds them, so that a megabyte of empty maps ends early."""

    def __init__(self, maps: int = REQUESTS_PER_MESSAGE_MAX, arrays: int = 1) -> None:
        self.maps = maps
        self.arrays = arrays

    def map(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self.maps -= 1
        found = dict(pairs)
        if self.maps < 0 or len(found) != len(pairs):
            words = "a key occurs twice in a map" if self.maps >= 0 else "too many maps"
            raise Malformed(Code.BAD_REQUEST, words)
        return found

    def array(self, items: list[Any]) -> list[Any]:
        self.arrays -= 1
        if self.arrays < 0:
            raise Malformed(Code.BAD_REQUEST, "arrays are not nested in a request")
        return items


def _no_ext(_code: int, _body: bytes) -> None:
    raise Malformed(Code.BAD_REQUEST, "extension types are not used")


def read_header(request: Any) -> Header:
    """The fields around a command, checked; `Malformed` says what is wrong."""
    if type(request) is not dict:
        raise Malformed(Code.BAD_REQUEST, "a request is a map")
    sound = sound_header(request)
    if sound is not None:
        return sound  # type: ignore[no-any-return]
    known = {name: value for name, value in request.items() if name in HEADER}
    for name, value in known.items():
        kind, largest = HEADER[name]
        if type(value) is not kind:
            raise Malformed(Code.BAD_REQUEST, f"`{name}` must be {_TYPE_WORDS[kind]}")
        if kind is int and not 0 <= value <= largest:
            raise Malformed(Code.BAD_REQUEST, f"`{name}` must be between 0 and {largest}")
    if "command" not in known:
        raise Malformed(Code.BAD_REQUEST, "`command` is missing")
    header = Header(**known)
    if header.level not in LEVELS:
        raise Malformed(Code.BAD_REQUEST, f"`level` must be one of {', '.join(LEVELS)}")
    return header


def read_command(command: bytes, limits: ClusterLimits) -> tuple[Request, dict[str, Any]]:
    """A command's row of the table and its fields, checked. Decided from bytes and replicated
    limits only, so that every member decides alike. Raises `Malformed`."""
    if len(command) > limits.request_bytes_max:
        words = f"the command has {len(command)} bytes, the limit is {limits.request_bytes_max}"
        raise Malformed(Code.TOO_LARGE, words)
    nested = _Flat() if len(command) > _SMALL_BYTES else None  # it would cost each small one more
    try:
        fields = msgpack.unpackb(
            command,
            object_hook=nested and nested.map,
            max_array_len=0,
            max_map_len=32,
            max_ext_len=0,
        )
    except Exception as error:  # msgpack raises six unrelated kinds on bad bytes
        raise Malformed(Code.BAD_REQUEST, "`command` is not a msgpack map") from error
    if type(fields) is not dict:
        raise Malformed(Code.BAD_REQUEST, "`command` is not a msgpack map")
    op = fields.get("op")
    request = TABLE.get(op) if type(op) is str else None
    if request is None:
        raise Malformed(Code.UNSUPPORTED, f"there is no op {str(op)[:40]!r}")
    return request, {f.name: _read_field(f, fields, limits) for f in request.fields}


def command_reader(limits: ClusterLimits) -> Callable[[bytes], tuple[Request, dict[str, Any]]]:
    """`read_command` under these limits, for who reads many: a small command in which nothing is
    wrong takes a quarter of the time."""
    readers = {
        op: (request, reader(_rule(f, limits) for f in request.fields))
        for op, request in TABLE.items()
    }

    def read(command: bytes) -> tuple[Request, dict[str, Any]]:
        if len(command) <= _SMALL_BYTES:
            try:
                fields = msgpack.unpackb(command, ext_hook=_no_ext, max_array_len=0, max_map_len=32)
                request, sound = readers[fields["op"]]
                found = sound(fields)
            except Exception:  # `read_command` finds the words
                found = None
            if found is not None:
                return request, found
        return read_command(command, limits)

    return read


def _rule(field: Field, limits: ClusterLimits) -> Rule:
    most = None if field.type is bool else _limit(field, limits)
    return Rule(field.name, field.type, field.least, most, field.required, field.default, nil=True)


def _limit(field: Field, limits: ClusterLimits) -> int:
    return field.limit if type(field.limit) is int else int(getattr(limits, str(field.limit)))


_SMALL_BYTES = 4_096
_SOUND_BYTES = 64 * KIB  # of maps within maps that are not counted: a few megabytes at most
_INNER_MAPS_MAX = 64  # of fields that are not known here: they are ignored

_TYPE_WORDS: dict[Any, str] = {
    bytes: "a bin",
    int: "an integer",
    str: "a str",
    bool: "true or false",
}


def _read_field(field: Field, fields: dict[str, Any], limits: ClusterLimits) -> Any:
    value: Any = fields.get(field.name)
    if value is None:
        if field.required:
            raise Malformed(Code.BAD_REQUEST, f"`{field.name}` is missing")
        return field.default
    if type(value) is not field.type:
        raise Malformed(Code.BAD_REQUEST, f"`{field.name}` must be {_TYPE_WORDS[field.type]}")
    if field.type is bool:
        return value
    limit = _limit(field, limits)
    size = value if field.type is int else len(value)
    unit = "" if field.type is int else " bytes"
    if size < field.least:
        raise Malformed(Code.BAD_REQUEST, f"`{field.name}` must be at least {field.least}{unit}")
    if size > limit:
        code = Code.BAD_REQUEST if field.type is int else Code.TOO_LARGE
        raise Malformed(code, f"`{field.name}` has {size}{unit}, the limit is {limit}")
    return value
