"""What is asked of a leader about its cluster, and how the answers are made.

Owns: the shape of a question on its way (packed in Ask and RelayAsk) and of the survey of members
that answers most of them. Must never know who asked over which port, nor verify a certificate: the
gateway has.
"""

from typing import Any, NamedTuple

import msgpack

from dkv.release import FIRST_LEVEL


class Question(NamedTuple):
    """`op` is a row of the table of requests; `fields` are its checked fields. `name`, `key` and
    `certificate` are those of the certificate that asks (a node's own, for `join`)."""

    op: str
    fields: dict[str, Any]
    name: str
    key: bytes = b""
    certificate: bytes = b""


def pack(question: Question) -> bytes:
    return msgpack.packb(tuple(question))  # type: ignore[no-any-return]


# What each op's leader reads of its fields. A gateway has checked them; but it may be another
# version's, and a member's letter must not end the leader.
_ADDRESSES = {"peer_address": str, "client_address": str}
_FIELDS: dict[str, dict[str, type]] = {
    "member_list": {},
    "member_add": {"name": str, "learner": bool, **_ADDRESSES},
    "member_remove": {"name": str, "force": bool},
    "member_promote": {"name": str, "force": bool},
    "member_update": {"name": str, "certificate": bytes, **_ADDRESSES},
    "leader_transfer": {"name": str},
    "join": {"name": str, "disk": int, "level": int, **_ADDRESSES},
}
_LATER: dict[str, dict[str, Any]] = {"join": {"level": FIRST_LEVEL}}  # what an older gateway lacks


def unpack(packed: bytes) -> Question | None:
    """None where it is no question with the fields that its op needs."""
    try:
        found = Question(*msgpack.unpackb(packed, use_list=False))
        found = found._replace(fields={**_LATER.get(found.op, {}), **found.fields})
        types = {**_FIELDS.get(found.op, {})}
        sound = all(type(found.fields[name]) is kind for name, kind in types.items())
    except Exception:  # msgpack raises six unrelated kinds on bad bytes
        return None
    shapes = (str, dict, str, bytes, bytes)
    return found if sound and all(map(isinstance, found, shapes)) else None
