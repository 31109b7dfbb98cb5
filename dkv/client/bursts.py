"""How many requests make a message, and which replies one holds.

Owns: the bounds of a message, and the two shapes of what comes back: a reply under the request id
that it answers, or a burst, an array of replies under no id, each with its own. Must never know
what a reply says.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from dkv.client.attempts import Call
from dkv.limits import KIB
from dkv.requests import PROTOCOL

# What a gateway takes in a turn: a larger message would keep the node's heartbeats waiting.
_MESSAGE_BYTES = 64 * KIB
_REQUEST_BYTES = 96  # what a request adds to its command, at most


def messages_of(calls: list[Call], together: int) -> Iterable[list[Call]]:
    """The calls in order, cut into messages of at most so many and of about _MESSAGE_BYTES; a
    larger command goes alone."""
    if len(calls) == 1:
        return (calls,)
    return _parts_of(calls, together)


def _parts_of(calls: list[Call], together: int) -> Iterable[list[Call]]:
    part: list[Call] = []
    size = 0
    for call in calls:
        more = len(call.command) + _REQUEST_BYTES
        if part and (size + more > _MESSAGE_BYTES or len(part) == together):
            yield part
            part, size = [], 0
        part.append(call)
        size += more
    yield part


def replies_of(frames: Sequence[bytes]) -> Iterable[tuple[bytes, dict[str, Any]]]:
    """(request id, body) of each reply of a message, final ones only; what is none is dropped."""
    try:
        protocol, request_id, packed = frames
        body = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException):
        return ()
    if protocol != PROTOCOL:
        return ()
    if type(body) is dict:
        return () if body.get("partial") else ((request_id, body),)
    if type(body) is not list or request_id:
        return ()
    return [(reply["id"], reply) for reply in body if _is_of_burst(reply)]


def _is_of_burst(reply: Any) -> bool:
    return type(reply) is dict and type(reply.get("id")) is bytes and not reply.get("partial")
