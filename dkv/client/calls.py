"""What each method asks, and what its reply becomes: once, for both clients.

Owns: the fields of every request the library makes, the shapes an application sees. Must never
know sockets, retries or loops.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from dkv.requests import end_of_prefix

Key = str | bytes
T = TypeVar("T")
TAIL_WAIT_MS = 1_000  # less than after what a silent node is asked again


class Written(NamedTuple):
    """A put took place. `revision` is the store's and, for this put, the key's own."""

    revision: int
    key_revision: int
    node: str


class Deleted(NamedTuple):
    """How many keys went; `more` says that a range delete has not come to the range's end."""

    revision: int
    count: int
    more: bool
    node: str


class Item(NamedTuple):
    """A key as it was found. `value` is None in a list of keys only. `author` and `wall` (Unix ms)
    say who put it and when, where the reply has them."""

    key: bytes
    value: bytes | None
    key_revision: int
    created: int
    version: int
    author: str = ""
    wall: int = 0


class Page(NamedTuple):
    """A part of a list, as of `revision`; `token` asks for the next (empty: this was the last)."""

    items: tuple[Item, ...]
    count: int
    revision: int
    token: bytes


class Ask(NamedTuple, Generic[T]):
    op: str
    fields: dict[str, Any]
    read: Callable[[dict[str, Any]], T]
    level: str | None = None
    only: int | None = None


def as_bytes(text: Key) -> bytes:
    """Text is UTF-8."""
    return text.encode() if isinstance(text, str) else text


# -- writes --------------------------------------------------------------------------------------
def put(key: Key, value: Key, expected: int | None) -> Ask[Written]:
    fields = {"key": as_bytes(key), "value": as_bytes(value), "expected": expected}
    return Ask("put", fields, _written)


def delete(key: Key, expected: int | None) -> Ask[Deleted]:
    return Ask("delete", {"key": as_bytes(key), "expected": expected}, _deleted)


def delete_range(start: Key, end: Key, limit: int | None) -> Ask[Deleted]:
    fields = {"start": as_bytes(start), "end": as_bytes(end), "limit": limit}
    return Ask("delete_range", fields, _deleted)


def delete_prefix(prefix: Key) -> Ask[Deleted]:
    """A step of it: `more` asks for the next."""
    return delete_range(prefix, end_of_prefix(as_bytes(prefix)), None)


def _written(body: dict[str, Any]) -> Written:
    return Written(body["revision"], body["result"].get("key_revision", 0), body["node"])


def _deleted(body: dict[str, Any]) -> Deleted:
    result = body["result"]
    count, more = result.get("deleted", 0), result.get("more", False)
    return Deleted(body["revision"], count, more, body["node"])


# -- reads ---------------------------------------------------------------------------------------
def get(key: Key, level: str) -> Ask[Item | None]:
    name = as_bytes(key)

    def read(body: dict[str, Any]) -> Item | None:
        found = body["result"]
        if not found["found"]:
            return None
        rest = (found[f] for f in ("key_revision", "created", "version", "author", "wall"))
        return Item(name, found["value"], *rest)

    return Ask("get", {"key": name}, read, level)


def page(prefix: Key | None, level: str, options: dict[str, Any]) -> Ask[Page]:
    """`options`: start, end, limit, token, revision, keys_only, count_only."""
    fields = {k: as_bytes(v) if isinstance(v, str) else v for k, v in options.items() if v}
    if prefix is not None:
        fields["prefix"] = as_bytes(prefix)
    return Ask("list", fields, _page, level)


def _page(body: dict[str, Any]) -> Page:
    result = body["result"]
    items = tuple(Item(*row) for row in result["items"])
    return Page(items, result["count"], body["revision"], result.get("token", b""))


# -- space ---------------------------------------------------------------------------------------
class SpaceRow(NamedTuple):
    """The keys below `name`: how many, what they take, and what their history takes (bytes)."""

    name: bytes
    keys: int
    live_bytes: int
    history_bytes: int


class SpacePart(NamedTuple):
    """A part of the answer; `token` asks for the next (empty: this was the last)."""

    rows: tuple[SpaceRow, ...]
    token: bytes


def compact(revision: int | None, keep: int | None) -> Ask[int]:
    fields = {"revision": revision, "keep": keep}
    return Ask("compact", fields, lambda body: int(body["result"]["compacted"]))


def space(prefix: Key, depth: int, token: bytes, level: str) -> Ask[SpacePart]:
    fields = {"prefix": as_bytes(prefix), "depth": depth, "token": token or None}
    return Ask("space", fields, _space, level)


def _space(body: dict[str, Any]) -> SpacePart:
    result = body["result"]
    rows = tuple(SpaceRow(*row) for row in result["rows"])
    return SpacePart(rows, result.get("token", b""))


def add_up(totals: dict[bytes, SpaceRow], part: SpacePart) -> None:
    """Add a part's rows to those of the parts before it, by name."""
    for row in part.rows:
        before = totals.get(row.name, SpaceRow(row.name, 0, 0, 0))
        sums = (a + b for a, b in zip(before[1:], row[1:], strict=True))
        totals[row.name] = SpaceRow(row.name, *sums)


# -- the cluster ---------------------------------------------------------------------------------
def members() -> Ask[dict[str, Any]]:
    return Ask("members", {}, _result)


def ask(op: str, fields: dict[str, Any]) -> Ask[dict[str, Any]]:
    """Any request of the table whose result is a map."""
    return Ask(op, fields, _result)


def state_hash(index: int, level: str) -> Ask[dict[str, Any]]:
    return Ask("hash", {"index": index}, _result, level)


def snapshot_part(fields: dict[str, Any], level: str) -> Ask[dict[str, Any]]:
    return Ask("snapshot", fields, _result, level)


def status(endpoint: int | None) -> Ask[dict[str, Any]]:
    return Ask("status", {}, _result, None, endpoint)


def tail(fields: dict[str, Any]) -> Ask[dict[str, Any]]:
    """What is new in a node's log; `fields` are those of op `tail`."""
    known = {k: as_bytes(v) if k == "prefix" else v for k, v in fields.items()}
    return Ask("tail", known, _result)


def tail_on(fields: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    """The fields with which to go on behind a page."""
    return {**fields, **{name: page[name] for name in ("after", "after_term", "settled")}}


def _result(body: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = body["result"]
    return result
