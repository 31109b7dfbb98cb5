"""Answers, as they leave: a result or an error in the words of the wire.

Owns: the two shapes of a reply. Must never know how an answer came to be.

    {"result": {...}, "revision": int, "node": str}
    {"error": {"code", "applied", "retry", "leader", "words"}, "revision": int, "node": str}

and in both `position` where the request was in a list, `lag_ms` where the read was serializable.
"""

from typing import Any

import msgpack

from actors.admission import Slip
from dkv.address import Client
from dkv.errors import RULES, Applied, Code
from dkv.messages import ToClient
from dkv.requests import PROTOCOL


def result(slip: Slip, node: str, revision: int, fields: dict[str, Any]) -> tuple[Client, ToClient]:
    return _reply(slip, {"result": fields, "revision": revision, "node": node})


def error(
    slip: Slip,
    node: str,
    code: Code,
    words: str,
    applied: Applied,
    leader: str,
    revision: int = 0,
    detail: dict[str, Any] | None = None,
) -> tuple[Client, ToClient]:
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


def _reply(slip: Slip, body: dict[str, Any]) -> tuple[Client, ToClient]:
    if slip.position >= 0:
        body["position"] = slip.position
    frames = (PROTOCOL, slip.request_id, msgpack.packb(body))
    return Client(slip.client), ToClient((b"", *frames) if slip.delimiter else frames)
