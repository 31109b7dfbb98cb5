"""The one table of what a client may ask: fields, types, limits, rights, results.

Owns: the wire's vocabulary. It validates what comes from outside, and what docs/protocol.md says
is checked against it. Must never know who asks or how a request is carried out.

A request is a msgpack map. Its `command` is a bin: the bytes of another map, `op` and that op's
fields, which a client packs once and sends unchanged in every retry.
"""

from enum import IntEnum
from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from dkv.errors import Code
from dkv.limits import (
    INT_MAX,
    LIST_LIMIT_DEFAULT,
    LIST_LIMIT_MAX,
    NAME_BYTES_MAX,
    RANGE_DELETE_MAX,
    REQUEST_TTL_MS_DEFAULT,
    REQUEST_TTL_MS_MAX,
    SPREAD_DEPTH_MAX,
    TAIL_ENTRIES_MAX,
    TAIL_WAIT_MS_MAX,
)
from dkv.release import FIRST_LEVEL

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
    """One op. `edge`: `write` goes through the log, `read` to the state, `here` to the gateway,
    `lead` to the leader's consensus."""

    op: str
    edge: str
    role: Role
    words: str
    fields: tuple[Field, ...]
    returns: tuple[tuple[str, str], ...] = ()
    grows: bool = False  # refused while disks are low
    numbered: bool = False  # in a session it takes a sequence, and is executed once
    nodes: bool = False  # with a node's certificate, else an admin's
    waits: bool = False  # on purpose: a long one is not slow


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
_NAME = Field("name", str, "a member", NAME_BYTES_MAX, required=True, least=1)
_ADDRESS_BYTES = 300
_PEER = Field("peer_address", str, "host:port for the others", _ADDRESS_BYTES, default="")
_CLIENT = Field("client_address", str, "host:port for clients", _ADDRESS_BYTES, default="")
_FORCE = Field("force", bool, "also if a majority would then be silent", 0, default=False)
_SURVEY = (
    ("leader", "str"),
    ("term", "int"),
    ("index", "int: the log entry that says who the members are"),
    ("pending", "bool: that entry is not committed yet"),
    ("commit", "int"),
    ("level", "int: what every member's software knows"),
    (
        "members",
        "array of {name, role, promote, disk, peer_address, client_address, since, alive, "
        "heard_ms, match, lag_entries, lag_ms, space, version}",
    ),
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
            "compact",
            "write",
            Role.ADMIN,
            "End history: reads as of a revision before this one are refused, and what only they "
            "could reach is deleted by and by.",
            (
                Field("revision", int, "the first revision that can still be read", INT_MAX),
                Field("keep", int, "instead of `revision`: the newest less so many", INT_MAX),
            ),
            (("compacted", "int: the first revision that can still be read, now"),),
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
                Field("revision", int, "as of this revision; 0: the newest", INT_MAX, default=0),
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
            "snapshot",
            "read",
            Role.ADMIN,
            "A part of a backup: versions in the order in which they were written.",
            (
                Field("revision", int, "up to this one; 0: begin, as of now", INT_MAX, default=0),
                Field("after", int, "`next` of the part before", INT_MAX, default=0),
                Field("index", int, "the `index` that it began with", INT_MAX, default=0),
                Field("compacted", int, "the `compacted` it began with", INT_MAX, default=0),
                Field("cluster", bytes, "the `cluster` it began with", 16, default=b""),
            ),
            (
                ("versions", "array of bin: packed versions"),
                ("next", "int: ask with it as `after` for the next part; absent on the last"),
                ("of", "map, when it begins: `cluster`, `index`, `revision` and more, to be kept"),
            ),
        ),
        Request(
            "space",
            "read",
            Role.READER,
            "Keys and bytes by the first levels of the keys' names (`a/b/`), in parts to be added.",
            (
                Field("prefix", bytes, "keys that begin so", "key_bytes_max", default=b""),
                Field("depth", int, "levels below `prefix`", SPREAD_DEPTH_MAX, default=1),
                Field("token", bytes, "`token` of the part before", 64),
            ),
            (
                ("rows", "array of [levels, keys, live bytes, bytes of history]"),
                ("token", "bin: ask with it for the next part; absent on the last"),
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
            "tail",
            "here",
            Role.ADMIN,
            "What is new in this node's own log; perhaps after waiting for it.",
            (
                Field("after", int, "entries beyond it; 0: the log's end", INT_MAX, default=0),
                Field("after_term", int, "that entry's term, as it was told", INT_MAX, default=0),
                Field("settled", int, "`settled` as it was told; 0: no marks", INT_MAX, default=0),
                Field("limit", int, "entries", TAIL_ENTRIES_MAX, default=TAIL_ENTRIES_MAX, least=1),
                Field("wait_ms", int, "wait so long for news", TAIL_WAIT_MS_MAX, default=0),
                Field("prefix", bytes, "only commands on keys that begin so", "key_bytes_max"),
                Field("author", str, "only commands of this certificate name", NAME_BYTES_MAX),
                Field("brief", bool, "no commands", 0, default=False),
                Field("committed", bool, "only what is applied here", 0, default=False),
            ),
            (
                ("items", "array of entries, as maps; see docs/protocol.md"),
                ("marks", "array of [index, term, saved_us, committed_us, applied_us, outcomes]"),
                ("after", "int: for the next request, as are `after_term` and `settled`"),
                ("after_term", "int"),
                ("settled", "int"),
                ("compacted", "bool: entries before the first item are gone"),
                ("replaced", "bool: entries beyond `settled` as asked were never committed"),
                ("role", "str"),
                ("leader", "str: empty if none is known"),
                ("term", "int"),
                ("wall", "int: Unix ms, now"),
                ("first", "int: the first entry kept"),
                ("last", "int: the last one"),
                ("saved", "int: the last one on this node's disk"),
                ("commit", "int"),
                ("applied", "int"),
            ),
            waits=True,
        ),
        Request(
            "member_list",
            "lead",
            Role.READER,
            "The members as the leader sees them.",
            (),
            _SURVEY,
        ),
        Request(
            "member_add",
            "lead",
            Role.ADMIN,
            "Invite a node: once it has joined it is a learner, and votes when it is close.",
            (
                _NAME,
                _PEER,
                _CLIENT,
                Field("learner", bool, "it stays a learner", 0, default=False),
            ),
            _SURVEY,
        ),
        Request(
            "member_remove",
            "lead",
            Role.ADMIN,
            "Remove a member: its disk never counts again.",
            (_NAME, _FORCE),
            _SURVEY,
        ),
        Request(
            "member_promote",
            "lead",
            Role.ADMIN,
            "Let a learner vote.",
            (_NAME, _FORCE),
            _SURVEY,
        ),
        Request(
            "member_update",
            "lead",
            Role.ADMIN,
            "Another address of a member, or another certificate (and so key).",
            (
                _NAME,
                _PEER,
                _CLIENT,
                Field("certificate", bytes, "the file's text", 4096, default=b""),
            ),
            _SURVEY,
        ),
        Request(
            "leader_transfer",
            "lead",
            Role.ADMIN,
            "Hand leadership over, to a voter that is up.",
            (Field("name", str, "to whom; empty: the furthest", NAME_BYTES_MAX, default=""),),
            (("leader", "str: who was told to take over, and began to"),),
        ),
        Request(
            "join",
            "lead",
            Role.GUEST,
            "An invited node has come with this disk; or a member says where it is now.",
            (
                _NAME,
                Field("disk", int, "its disk id", INT_MAX, required=True, least=1),
                _PEER,
                _CLIENT,
                Field("level", int, "what its software knows", INT_MAX, default=FIRST_LEVEL),
            ),
            _SURVEY,
            nodes=True,
        ),
        Request(
            "introduce",
            "here",
            Role.GUEST,
            "What an empty disk needs to be made a member's of this cluster.",
            (),
            (
                ("authority", "bin"),
                ("token", "str"),
                ("names", "array of str: the founders"),
                ("salt", "bin"),
                ("limits", "map: the cluster-wide limits by name"),
                ("members", "array of {name, peer_address, client_address, key}"),
            ),
            nodes=True,
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
