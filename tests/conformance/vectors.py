"""Golden vectors: each message of the client protocol once, as bytes and as what they mean.

Owns: the examples, and the files of docs/vectors, which are made once and never changed. Must never
know who reads them. A new request, code or field gets a file of its own beside the others:

    python -m tests.conformance.vectors NAME      (writes what no file has yet)
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from actors import replies
from actors.admission import DELIMITED, JOINED, PLAIN, Slip
from dkv.errors import RULES, Code
from dkv.frames import join
from dkv.kv.sessions import pack_answer
from dkv.messages import ToClient
from dkv.requests import HEADER, PROTOCOL, TABLE, Field, pack_command

FOLDER = Path(__file__).parents[2] / "docs" / "vectors"
Vector = dict[str, Any]
_NUMBERS = {"limit": 10, "depth": 2, "revision": 7, "expected": 6, "disk": 2**62 + 1}
_BYTES = {"value": b"hello", "key": b"greeting", "prefix": b"config/", "start": b"a", "end": b"b"}
_TEXTS = {"name": "n4", "peer_address": "10.0.0.4:2380", "client_address": "10.0.0.4:3000"}
_HEADER = {
    "session": 7,
    "sequence": 12,
    "lowest": 9,
    "retry": True,
    "ttl_ms": 2_500,
    "level": "serializable",
    "burst": True,
}
_ITEMS = [(b"config/a", b"1", 5, 5, 1), (b"config/b", None, 2**40, 6, 2**32)]
_MEMBER = {"name": "n1", "peer_address": "10.0.0.1:2380", "client_address": "10.0.0.1:3000"}
_RESULTS: dict[str, dict[str, Any]] = {
    "put": {"key_revision": 2**53 + 1},
    "delete": {"deleted": 1, "key_revision": 6},
    "open_session": {"session": 7, "ttl_ms": 600_000},
    "get": {
        "found": True,
        "value": bytes(range(256)),
        "key_revision": 128,
        "created": 5,
        "version": 3,
        "author": "app",
        "wall": 1_700_000_001_556,
    },
    "list": {"items": _ITEMS, "count": 2, "token": b"\x92\x07\xc4\x08config/c"},
    "members": {"leader": "n1", "term": 3, "members": [_MEMBER], "limits": {"key_bytes_max": 4096}},
}
_BY_TYPE: dict[str, Any] = {"int": 65_536, "bool": True, "str": "n1", "bin": b"\x00\xff", "map": {}}


# -- requests --------------------------------------------------------------------------------------
def _example(field: Field) -> Any:
    if field.type is bool:
        return True
    if field.type is int:
        return _NUMBERS.get(field.name, 255)
    if field.type is str:
        return _TEXTS.get(field.name, "text")
    return _BYTES.get(field.name, b"\x00bytes\xff")


def _commands() -> Iterator[tuple[str, bytes]]:
    """Of each request the least and the most that can be said, and what only a newer one would."""
    for op, request in TABLE.items():
        fields = {f.name: _example(f) for f in request.fields}
        if fields.get("prefix") is not None and "start" in fields:
            yield f"{op}, a range", pack_command(op, **{**fields, "prefix": None})
            del fields["start"], fields["end"]
        least = {f.name: fields[f.name] for f in request.fields if f.required}
        yield f"{op}, least", pack_command(op, **least)
        yield f"{op}, all fields", pack_command(op, **fields)
        yield f"{op}, a field of a newer client", pack_command(op, **least, novel={"a": 1})


def _request(name: str, body: Any, form: int = PLAIN, request_id: bytes = b"\0\0\0\1") -> Vector:
    packed = msgpack.packb(body)
    frames = (PROTOCOL, request_id, packed)
    if form & JOINED:
        frames = (join(request_id, packed),)
    if form & DELIMITED:
        frames = (b"", *frames)
    return _vector(f"request: {name}", frames, body)


def _requests() -> Iterator[Vector]:
    commands = dict(_commands())
    for name, command in commands.items():
        op = name.partition(",")[0]
        more = {"session": 7} if op in ("keep_alive", "close_session") else {}
        yield _request(name, {"command": command, **more})
    put, get = commands["put, all fields"], commands["get, least"]
    for field in _HEADER:
        place = {k: _HEADER[k] for k in ("session", "sequence", "lowest")}
        more = place if field in place else {field: _HEADER[field]}
        yield _request(f"with {field}", {"command": put, **more})
    full = {"command": put, **_HEADER, "level": "linearizable"}
    assert full.keys() == HEADER.keys()
    yield _request("every field of a request", full)
    yield _request("a field of a newer client around it", {"command": put, "novel": {"a": 1}})
    several = [{"command": put, "burst": True}, {"command": get}, full]
    for form, words in ((PLAIN, "three frames"), (JOINED, "one frame"), (DELIMITED, "a REQ's")):
        yield _request(f"{words}, alone", {"command": get}, form)
        if form != DELIMITED:
            yield _request(f"{words}, an array", several, form)
    yield _request("an id of 1 byte", {"command": get}, JOINED, b"\0")
    yield _request("an id of 32 bytes", {"command": get}, JOINED, bytes(range(32)))


# -- replies ---------------------------------------------------------------------------------------
def _result(op: str) -> dict[str, Any]:
    returns = TABLE[op].returns
    words = {name: said.split(":")[0].split(",")[0] for name, said in returns}
    return _RESULTS.get(op) or {
        name: [] if kind.startswith("array") else _BY_TYPE[kind] for name, kind in words.items()
    }


def _slip(form: int = PLAIN, position: int = -1, burst: bool = False, number: int = 1) -> Slip:
    return Slip(b"", form, number.to_bytes(4), position, burst)


def _reply(name: str, outbox: Any) -> Vector:
    """Of what the gateway would post, in one message."""
    ((_to, message),) = replies.in_bursts(list(outbox))
    assert type(message) is ToClient
    frames = message.frames
    packed = frames[-1]
    if frames[-1].startswith(PROTOCOL):
        packed = packed[len(PROTOCOL) + 1 + packed[len(PROTOCOL)] :]
    return _vector(f"reply: {name}", frames, msgpack.unpackb(packed))


def _replies() -> Iterator[Vector]:
    for op in TABLE:
        revision = 0 if TABLE[op].edge in ("here", "lead") else 129
        yield _reply(op, [replies.result(_slip(), "n1", revision, _result(op))])
    absent = {"found": False, "key_revision": 0}
    yield _reply("get, absent", [replies.result(_slip(), "n1", 129, absent)])
    lag = {**_result("get"), "lag_ms": 12}
    yield _reply("get, serializable", [replies.result(_slip(), "n1", 129, lag)])
    for code in RULES:
        applied: Any = {Code.ANSWER_DROPPED: "yes", Code.TIMEOUT: "unknown"}.get(code, "no")
        more = {"key_revision": 6} if code is Code.CONDITION_FAILED else None
        said = replies.error(_slip(), "n2", code, "it was so", applied, "n1", 129, more)
        yield _reply(f"error {code.name.lower()}", [said])
    yield from _forms()


def _forms() -> Iterator[Vector]:
    for form, words in ((PLAIN, "three frames"), (JOINED, "one frame"), (DELIMITED, "to a REQ")):
        put = replies.result(_slip(form, 3), "n1", 129, _result("put"))
        yield _reply(f"{words}, of an array", [put])
    for form, words in ((PLAIN, "three frames"), (JOINED, "one frame")):
        yield _reply(f"{words}, a burst", [_in_a_burst(form, n) for n in range(3)])
        yield _reply(f"{words}, alone in its turn", [_in_a_burst(form, 2)])


def _in_a_burst(form: int, number: int) -> Any:
    slip = _slip(form, number - 1, True, number + 1)
    if number == 1:
        return replies.error(slip, "n1", Code.BUSY, "it was so", "no", "n1")
    return replies.answer_of(slip, msgpack.packb("n1"), pack_answer(Code.OK, 300, {"a": number}))


# -- as JSON ---------------------------------------------------------------------------------------
def to_json(value: Any) -> Any:
    """Bytes as {"hex": ...}; everything else is itself."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: to_json(each) for key, each in value.items()}
    return [to_json(each) for each in value] if isinstance(value, list | tuple) else value


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: from_json(each) for key, each in value.items()}
    return [from_json(each) for each in value] if isinstance(value, list) else value


def _vector(name: str, frames: tuple[bytes, ...], body: Any) -> Vector:
    found: Vector = {"name": name, "frames": [frame.hex() for frame in frames]}
    found["body"] = to_json(body)
    if name.startswith("request"):
        bodies = body if isinstance(body, list) else [body]
        found["commands"] = [to_json(msgpack.unpackb(each["command"])) for each in bodies]
    return found


def vectors() -> list[Vector]:
    """All that today's version would say."""
    return [*_requests(), *_replies()]


def kept() -> dict[str, list[Vector]]:
    """By file, in the order of their names."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def main(name: str) -> None:
    known = {vector["name"] for found in kept().values() for vector in found}
    new = [vector for vector in vectors() if vector["name"] not in known]
    FOLDER.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in new)
    with (FOLDER / f"{name}.json").open("x") as file:  # FileExistsError: they are never changed
        file.write(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.conformance.vectors NAME, a file that does not exist yet")
    main(sys.argv[1])
