"""What is asked of a leader about its cluster, and how the answers are made.

Owns: the shape of a question on its way (packed in Ask and RelayAsk) and of the survey of members
that answers most of them. Must never know who asked over which port, nor verify a certificate: the
gateway has.
"""

from typing import Any, NamedTuple

import msgpack


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


def unpack(packed: bytes) -> Question:
    return Question(*msgpack.unpackb(packed, use_list=False))
