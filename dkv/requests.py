"""The one table of what a client may ask: fields, types, limits, rights, results.

Owns: the wire's vocabulary. It validates what comes from outside, and what docs/protocol.md says
is checked against it. Must never know who asks or how a request is carried out.

A request is a msgpack map. Its `command` is a bin: the bytes of another map, `op` and that op's
fields, which a client packs once and sends unchanged in every retry.
"""

from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from dkv.errors import Code
from dkv.limits import (
    INT_MAX,
    LIST_LIMIT_DEFAULT,
    LIST_LIMIT_MAX,
    RANGE_DELETE_MAX,
    REQUEST_TTL_MS_DEFAULT,
    REQUEST_TTL_MS_MAX,
    REQUESTS_PER_MESSAGE_MAX,
    ClusterLimits,
)
from dkv.sound import Reader, Rule, reader

PROTOCOL = b"DKV1"


class Role(IntEnum):
    """What a certificate allows; each includes the ones below it."""

    GUEST = 0
    READER = 1
    WRITER = 2
    ADMIN = 3


class Field(NamedTuple):
    """A field of a command. `limit`: bytes of a bin or str, the largest of an int."""

    name: str
    type: Any  # bytes, int, str or bool
    words: str
    limit: int | str  # a number, or the name of one of ClusterLimits
    required: bool = False
    default: Any = None
    least: int = 0


class Request(NamedTuple):
    """One op. `edge`: `write` goes through the log, `read` to the state, `here` to the gateway."""

    op: str
    edge: str
    role: Role
    words: str
    fields: tuple[Field, ...]
    returns: tuple[tuple[str, str], ...] = ()
    grows: bool = False  # refused while disks are low
    numbered: bool = False  # in a session it takes a sequence, and is executed once


_KEY = Field("key", bytes, "the key", "key_bytes_max", required=True, least=1)
_EXPECTED = Field(
    "expected",
    int,
    "only if the key's revision is this; 0: only if the key is absent",
    INT_MAX,
)
_RANGE = (
    Field(
        "prefix", bytes, "keys that begin with this; excludes `start` and `end`", "key_bytes_max"
    ),
    Field("start", bytes, "keys from this on", "key_bytes_max", default=b""),
    Field("end", bytes, "keys before this; empty: no end", "key_bytes_max", default=b""),
)
_KEY_REVISION = ("key_revision", "int: the revision of the key's newest change; 0: absent")

TABLE: dict[str, Request] = {
    r.op: r
    for r in (
        Request(
            "put",
            "write",
            Role.WRITER,
            "Set a key, perhaps only if it is at an expected revision.",
            (_KEY, Field("value", bytes, "the value", "value_bytes_max", required=True), _EXPECTED),
            (_KEY_REVISION,),
            grows=True,
            numbered=True,
        ),
        Request(
            "delete",
            "write",
            Role.WRITER,
            "Delete a key, perhaps only if it is at an expected revision.",
            (_KEY, _EXPECTED),
            (
                ("deleted", "int: 1, or 0 where there was nothing"),
                ("key_revision", "int: where the key was; 0: absent"),
            ),
            numbered=True,
        ),
        Request(
            "delete_range",
            "write",
            Role.WRITER,
            "Delete the first keys of a range, in one revision; `more` says to go on.",
            (
                *_RANGE,
                Field(
                    "limit", int, "at most so many", RANGE_DELETE_MAX, False, RANGE_DELETE_MAX, 1
                ),
            ),
            (("deleted", "int"), ("more", "bool: the range has more keys")),
            numbered=True,
        ),
        Request(
            "open_session",
            "write",
            Role.WRITER,
            "Open a session, within which a retried write is executed once.",
            (),
            (("session", "int: its id"), ("ttl_ms", "int: it ends so long after its last use")),
        ),
        Request(
            "keep_alive",
            "write",
            Role.WRITER,
            "Use the session named in the request, so that it does not expire.",
            (),
        ),
        Request("close_session", "write", Role.WRITER, "End the session named in the request.", ()),
        Request(
            "get",
            "read",
            Role.READER,
            "The value of a key.",
            (_KEY,),
            (
                ("found", "bool"),
                ("value", "bin, if found"),
                _KEY_REVISION,
                ("created", "int: the revision at which the key came to be"),
                ("version", "int: how many times it was put since"),
                ("author", "str: the certificate name that put it"),
                ("wall", "int: Unix ms at the leader when it was put, for people"),
            ),
        ),
        Request(
            "list",
            "read",
            Role.READER,
            "Keys of a range in order, a page at a time, as of the first page's revision.",
            (
                *_RANGE,
                Field(
                    "limit", int, "keys a page", LIST_LIMIT_MAX, default=LIST_LIMIT_DEFAULT, least=1
                ),
                Field("token", bytes, "`token` of the page before", 2 * 4096),
                Field("keys_only", bool, "no values", 0, default=False),
                Field("count_only", bool, "only `count`, of the whole range", 0, default=False),
            ),
            (
                ("items", "array of [key, value or nil, key_revision, created, version]"),
                ("count", "int: keys in this page, or in the range with count_only"),
                ("token", "bin: ask with it for the next page; absent on the last"),
            ),
        ),
        Request(
            "hash",
            "read",
            Role.READER,
            "The sum of everything ever written, as of an entry: replicas must have the same.",
            (Field("index", int, "the entry; 0: the last one applied", INT_MAX, default=0),),
            (
                ("index", "int: the entry"),
                ("hash", "str: 16 hexadecimal digits"),
            ),
        ),
        Request(
            "members",
            "here",
            Role.READER,
            "The members as this node knows them.",
            (),
            (
                ("leader", "str: name, empty if none is known"),
                ("term", "int"),
                ("members", "array of {name, peer_address, client_address}"),
                ("limits", "map: the cluster-wide limits by name"),
            ),
        ),
        Request(
            "status",
            "here",
            Role.READER,
            "What this node knows of itself: leader, indexes, sizes, counters of its actors.",
            (),
            (
                ("node", "map"),
                ("gateway", "map"),
                ("consensus", "map"),
                ("log", "map"),
                ("machine", "map"),
            ),
        ),
        Request(
            "present",
            "here",
            Role.GUEST,
            "Show the certificate of the key that this connection was made with.",
            (Field("certificate", bytes, "the file's text", 4096, required=True, least=1),),
            (("name", "str"), ("role", "str"), ("not_after", "int: Unix seconds")),
        ),
    )
}

LEVELS = ("linearizable", "serializable")

# The map around a command: name → (type, largest, default). Unknown names are ignored.
HEADER: dict[str, tuple[Any, int]] = {
    "command": (bytes, INT_MAX),
    "session": (int, INT_MAX),
    "sequence": (int, INT_MAX),
    "lowest": (int, INT_MAX),
    "retry": (bool, 1),
    "ttl_ms": (int, REQUEST_TTL_MS_MAX),
    "level": (str, 16),
    "burst": (bool, 1),
}


class Malformed(Exception):
    """A request that cannot be understood: its code, and a sentence that says what is wrong."""

    def __init__(self, code: Code, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class Header(NamedTuple):
    """A request, without the command's fields."""

    command: bytes
    session: int = 0
    sequence: int = 0
    lowest: int = 0
    retry: bool = False
    ttl_ms: int = REQUEST_TTL_MS_DEFAULT
    level: str = "linearizable"
    burst: bool = False  # its reply may come in one message with others


_SOUND_HEADER = reader(
    (
        Rule(
            name,
            *(HEADER[name][0], 0, None if HEADER[name][0] is not int else HEADER[name][1]),
            *(name not in Header._field_defaults, Header._field_defaults.get(name), False),
        )
        for name in Header._fields
    ),
    Header,
)


def read_body(body: bytes, bytes_max: int) -> tuple[list[Any], bool]:
    """The requests of a message, not yet checked one by one, and whether they came as a list.

    Bounded before it allocates: no ext types, no nested arrays, at most as many maps as requests.
    Raises `Malformed`.
    """
    if len(body) <= _SMALL_BYTES and body[:1] < b"\x90":  # one request, the most frequent message
        try:
            found = msgpack.unpackb(body, ext_hook=_no_ext, max_array_len=0, max_map_len=32)
        except Exception:  # it finds its words below
            found = None
        if type(found) is dict and len(found) == body[0] & 15:  # no key twice
            return [found], False
    return _read_any_body(body, bytes_max)


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
    sound = _SOUND_HEADER(request)
    if sound is not None and sound.level in LEVELS:
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
    sound = _sound_readers(limits)[request.op](fields)
    if sound is not None:
        return request, sound
    return request, {f.name: _read_field(f, fields, limits) for f in request.fields}


@lru_cache(8)
def _sound_readers(limits: ClusterLimits) -> dict[str, Reader]:
    """By op: what reads the fields of a command in which nothing is wrong."""
    return {op: reader(_rule(f, limits) for f in request.fields) for op, request in TABLE.items()}


def _rule(field: Field, limits: ClusterLimits) -> Rule:
    most = None if field.type is bool else _limit(field, limits)
    return Rule(field.name, field.type, field.least, most, field.required, field.default, nil=True)


def _limit(field: Field, limits: ClusterLimits) -> int:
    return field.limit if type(field.limit) is int else int(getattr(limits, str(field.limit)))


_SMALL_BYTES = 4_096
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


def range_of(fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """(start, end) of a range's fields; an empty end is no end. Raises `Malformed`."""
    prefix, start, end = fields["prefix"], fields["start"], fields["end"]
    if prefix is None:
        if end and end <= start:
            raise Malformed(Code.BAD_REQUEST, "`end` must be beyond `start`")
        return start, end
    if start or end:
        raise Malformed(Code.BAD_REQUEST, "`prefix` excludes `start` and `end`")
    return prefix, end_of_prefix(prefix)


def end_of_prefix(prefix: bytes) -> bytes:
    """The first key beyond all that begin with `prefix`; empty if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else b""


def operation_digest(command: bytes) -> int:
    """The 8-byte hash by which a retry is known to be the same operation: of its bytes, as sent."""
    return int.from_bytes(blake2b(command, digest_size=8).digest()) & INT_MAX


def pack_command(op: str, **fields: Any) -> bytes:
    """A command's bytes; fields that are None are left out."""
    command = {"op": op, **{k: v for k, v in fields.items() if v is not None}}
    return msgpack.packb(command)  # type: ignore[no-any-return]
