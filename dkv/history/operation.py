"""An operation of a history, and the line that holds it.

Owns: the format (docs/correctness.md#a-history). Must never know what an operation does to a key.

A line is a JSON object. Times are integers of any unit, intervals closed: equal times are
concurrent. `ret` null: the outcome is unknown; the operation may have happened at any later time,
or never. Bytes are strings where they are UTF-8, otherwise {"base64": "..."}.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, NamedTuple

from dkv.errors import Misconfigured

OPS = ("get", "put", "append", "delete", "cas", "cap")


class Operation(NamedTuple):
    """What one client asked of one key, and what it was told. Fields that are None were not said.

    `revision` is the key's own: that of a get's answer (0: absent), the one that a write was given,
    or where a refused condition found the key. `store` is the store's when it answered.
    """

    op: str
    key: bytes
    call: int
    ret: int | None
    value: bytes | None = None  # of put, append, cap; what a cas sets
    source: bytes | None = None  # `from`: what a cas needs; None: an absent key
    out: bytes | None = None  # what a get found; None: nothing
    ok: bool = True  # False: the condition was not met, and nothing was changed
    expected: int | None = None  # the revision that a cap or delete needs; 0: an absent key
    found: bool | None = None  # whether a delete found something
    revision: int | None = None
    store: int | None = None
    client: int | str = 0
    node: str = ""

    @property
    def is_known(self) -> bool:
        return self.ret is not None

    @property
    def observes(self) -> bool:
        """Its answer speaks of the key, and it changes nothing."""
        return self.op == "get" or not self.ok or self.found is False

    @property
    def is_blind(self) -> bool:
        """It changes the key whatever is there, and its answer does not tell what was."""
        if self.op == "put":
            return self.expected is None
        return self.op == "delete" and self.expected is None and self.found is None


class BadLine(Misconfigured):
    """A line that is no operation; the sentence names the line."""


# -- reading -------------------------------------------------------------------------------------
def read_history(lines: Iterable[str]) -> list[Operation]:
    """The operations of a file; empty lines are skipped. Raises `BadLine`."""
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(read_line(line))
            except ValueError as error:
                raise BadLine(f"line {number}: {error}") from None
    return found


def read_line(line: str) -> Operation:
    """Raises ValueError with a sentence."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if type(fields) is not dict:
        raise ValueError("it is not a JSON object")
    op = fields.get("op")
    if op not in OPS:
        raise ValueError(f"`op` must be one of {', '.join(OPS)}")
    call, ret = _whole(fields, "call"), _whole(fields, "ret")
    if call is None:
        raise ValueError("`call` is missing")
    if ret is not None and ret < call:
        raise ValueError(f"`ret` {ret} is before `call` {call}")
    key = _bytes(fields, "key")
    if key is None:
        raise ValueError("`key` is missing")
    known = Operation(
        op,
        key,
        call,
        ret,
        value=_bytes(fields, "value"),
        source=_bytes(fields, "from"),
        out=_bytes(fields, "out"),
        ok=_flag(fields, "ok") is not False,
        expected=_count(fields, "expected"),
        found=_flag(fields, "found"),
        revision=_count(fields, "revision"),
        store=_count(fields, "store"),
        client=_client(fields),
        node=str(fields.get("node", "")),
    )
    _demand(known, fields)
    return known


def _demand(known: Operation, fields: dict[str, Any]) -> None:
    """What each op cannot do without. Where the outcome is unknown, `ok` and answers are not
    looked at."""
    if known.op in ("put", "append", "cas", "cap") and known.value is None:
        raise ValueError(f"a {known.op} needs `value`")
    if known.op == "cap" and known.expected is None:
        raise ValueError("a cap needs `expected`")
    if known.op == "cas" and "from" not in fields:
        raise ValueError("a cas needs `from`")
    if known.op == "get" and known.is_known and "out" not in fields:
        raise ValueError("a get that was answered needs `out`")
    if known.op in ("cas", "cap") and known.is_known and _flag(fields, "ok") is None:
        raise ValueError(f"a {known.op} that was answered needs `ok`")
    conditional = known.op in ("cas", "cap") or known.expected is not None
    if not known.ok and known.is_known and not conditional:
        raise ValueError(f"a {known.op} without a condition cannot be `ok` false: leave it out")
    if known.expected is not None and known.op not in ("cap", "delete"):
        raise ValueError(f"a {known.op} has no `expected`: a put with one is a cap")


def _whole(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and type(value) is not int:
        raise ValueError(f"`{name}` must be a whole number")
    return value


def _count(fields: dict[str, Any], name: str) -> int | None:
    value = _whole(fields, name)
    if value is not None and value < 0:
        raise ValueError(f"`{name}` must not be negative")
    return value


def _flag(fields: dict[str, Any], name: str) -> bool | None:
    value = fields.get(name)
    if value is not None and type(value) is not bool:
        raise ValueError(f"`{name}` must be true or false")
    return value


def _client(fields: dict[str, Any]) -> int | str:
    value = fields.get("client", 0)
    if type(value) is not int and type(value) is not str:
        raise ValueError("`client` must be a number or a string")
    return value


def _bytes(fields: dict[str, Any], name: str) -> bytes | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        if type(value) is str:
            return value.encode()
        if type(value) is dict and list(value) == ["base64"] and type(value["base64"]) is str:
            return b64decode(value["base64"], validate=True)
    except ValueError:
        pass
    raise ValueError(f'`{name}` must be a string, or {{"base64": "..."}}')


# -- writing -------------------------------------------------------------------------------------
_ALWAYS = {
    "get": ("out",),
    "put": ("value",),
    "append": ("value",),
    "delete": (),
    "cas": ("from", "value", "ok"),
    "cap": ("expected", "value", "ok"),
}


def write_line(operation: Operation) -> str:
    """The line, without its end. Reading it gives the same operation."""
    fields = operation._asdict()
    fields["from"] = fields.pop("source")
    always = _ALWAYS[operation.op]
    line = {"client": operation.client, "op": operation.op, "key": _text(operation.key)}
    for name in ("expected", "from", "value", "out", "found", "ok", "revision", "store", "node"):
        value = fields[name]
        said = value is not None and value != "" and not (name == "ok" and value)
        if said or name in always:
            line[name] = _text(value) if isinstance(value, bytes) else value
    line["call"], line["ret"] = operation.call, operation.ret
    return json.dumps(line, ensure_ascii=True)


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}
