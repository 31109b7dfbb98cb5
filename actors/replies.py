"""Answers, as they leave: a result or an error in the words of the wire.

Owns: the two shapes of a reply, and the messages that hold several. Must never know how an answer
came to be.

    {"result": {...}, "revision": int, "node": str}
    {"error": {"code", "applied", "retry", "leader", "words"}, "revision": int, "node": str}

and in both `position` where the request was in a list, `lag_ms` where the read was serializable,
`id` where the request said `burst`.

A message costs the node's thread and the client's as much as several replies (measured: about 4 us
here). So what one client may have in a burst, and is answered in one turn, leaves as one message.
"""

from typing import Any

import msgpack

from actors.admission import DELIMITED, JOINED, Slip
from dkv.address import Client, Outbox
from dkv.errors import RULES, Applied, Code
from dkv.frames import join
from dkv.limits import BURST_BYTES_MAX
from dkv.messages import ToClient
from dkv.requests import PROTOCOL

_pack = msgpack.Packer().pack  # of one thread: the gateway's

# What a reply is spliced from: keys, and how many bytes follow the first of a packed number.
_NIL, _EMPTY = 0xC0, b"\x80"
_WIDTHS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_RESULT, _REVISION, _NODE = _pack("result"), _pack("revision"), _pack("node")
_POSITION, _ID = _pack("position"), _pack("id")
_HEADS = {pairs: bytes((0x80 | pairs,)) + _RESULT for pairs in range(3, 6)}


class Answer:
    """A reply to a request that said `burst`: it waits in the outbox for the turn's end."""

    __slots__ = ("packed", "slip")

    def __init__(self, slip: Slip, packed: bytes) -> None:
        self.slip, self.packed = slip, packed


def result(
    slip: Slip, node: str, revision: int, fields: dict[str, Any]
) -> tuple[Client, ToClient | Answer]:
    return _reply(slip, {"result": fields, "revision": revision, "node": node})


def answer_of(slip: Slip, node: bytes, answer: bytes) -> tuple[Client, ToClient | Answer]:
    """The same from the packed answer of apply or a read, (code 0, revision, result), and the
    node's packed name: spliced, for what is in between need not be unpacked."""
    start = 3 + _WIDTHS.get(answer[2], 0)
    detail = answer[start:] if answer[start] != _NIL else _EMPTY
    parts = [_RESULT, detail, _REVISION, answer[2:start], _NODE, node]
    if slip.position >= 0:
        parts += (_POSITION, _pack(slip.position))
    if slip.burst:
        parts += (_ID, _pack(slip.request_id))
    parts[0] = _HEADS[len(parts) // 2]
    packed = b"".join(parts)
    to = Client(slip.client)
    return to, Answer(slip, packed) if slip.burst else _message(slip, slip.request_id, packed)


def error(
    slip: Slip,
    node: str,
    code: Code,
    words: str,
    applied: Applied,
    leader: str,
    revision: int = 0,
    detail: dict[str, Any] | None = None,
) -> tuple[Client, ToClient | Answer]:
    """`words` say what was wrong, the code's rule adds what to do, `detail` more fields."""
    rule = RULES[code]
    sentence = f"{words}. {rule.words}" if words else rule.words
    body = {
        "error": {
            "code": code.name.lower(),
            "applied": applied,
            "retry": rule.retry,
            "leader": leader,
            "words": sentence,
            **(detail or {}),
        },
        "revision": revision,
        "node": node,
    }
    return _reply(slip, body)


def _reply(slip: Slip, body: dict[str, Any]) -> tuple[Client, ToClient | Answer]:
    if slip.position >= 0:
        body["position"] = slip.position
    to = Client(slip.client)
    if slip.burst:
        body["id"] = slip.request_id
        return to, Answer(slip, _pack(body))
    return to, _message(slip, slip.request_id, _pack(body))


def _message(slip: Slip, request_id: bytes, packed: bytes) -> ToClient:
    frames: tuple[bytes, ...] = (PROTOCOL, request_id, packed)
    if slip.form & JOINED:
        frames = (join(request_id, packed),)
    return ToClient((b"", *frames) if slip.form & DELIMITED else frames)


def in_bursts(out: Outbox) -> Outbox:
    """A turn's outbox as it leaves: each client's answers in order, as few messages as hold them,
    behind everything else. A frame has at most BURST_BYTES_MAX, or one reply and its header."""
    whole: Outbox = []
    waiting: dict[tuple[bytes, int], list[Answer]] = {}
    for post in out:
        answer = post[1]
        if type(answer) is Answer:
            way = answer.slip[:2]  # connection and form
            if way in waiting:
                waiting[way].append(answer)
            else:
                waiting[way] = [answer]
        else:
            whole.append(post)
    for (client, _form), answers in waiting.items():
        to = Client(client)
        whole += [(to, message) for message in _messages(answers)]
    return whole


def _messages(answers: list[Answer]) -> list[ToClient]:
    """As few as hold them; an answer that is alone goes under its own request id."""
    messages: list[ToClient] = []
    together: list[Answer] = []
    size = 0
    for answer in answers:
        if together and size + len(answer.packed) > BURST_BYTES_MAX:
            messages.append(_one_message(together))
            together, size = [], 0
        together.append(answer)
        size += len(answer.packed)
    messages.append(_one_message(together))
    return messages


def _one_message(answers: list[Answer]) -> ToClient:
    slip = answers[0].slip
    if len(answers) == 1:
        return _message(slip, slip.request_id, answers[0].packed)
    header: bytes = msgpack.Packer().pack_array_header(len(answers))
    return _message(slip, b"", b"".join((header, *(a.packed for a in answers))))
