"""Plays about replies: what must be taken, what skipped, what ignored.

Owns: rules C10 to C20. Must never know how a stage works.
"""

import time
from collections.abc import Iterable
from typing import Any

from dkv.conformance.node import Reply, Seen, refusal
from dkv.conformance.scene import SILENCE, always, done, expect, first, play, rejected, uncertain
from dkv.conformance.stage import Stage
from dkv.requests import PROTOCOL

_BEYOND_DOUBLES = 2**53 + 1
_MANY = 48
_LARGE_MS = 10_000
_NO_MESSAGES = (
    (b"",),
    (b"", b""),
    (PROTOCOL,),
    (PROTOCOL, b"\x00\x00\x00\x01"),
    (PROTOCOL + b"\x20short",),
    (PROTOCOL, b"", b""),
    (PROTOCOL, b"", b"\x90", b"\x90"),
    (b"noise",) * 5,
)
_BEFORE_SILENCE_MS = 1_100  # who takes no notice of the error finds out later than that


def _carried_out(stage: Stage, seen: Seen) -> dict[str, Any]:
    return stage.nodes[seen.node].carry_out(seen, time.monotonic())


@play("C10")
def bytes_and_ints_survive(stage: Stage) -> None:
    stage.store.revision = _BEYOND_DOUBLES - 1
    every = bytes(range(256))
    put = done(stage, stage.tell("put", key=b"\x00\xff", value=every), "a put")
    expect(put.get("key_revision") == _BEYOND_DOUBLES, f"{_BEYOND_DOUBLES} became {put}")
    done(stage, stage.tell("put", key=b"empty", value=b""), "a put of nothing")
    for key, value in ((b"\x00\xff", every), (b"empty", b"")):
        item = done(stage, stage.tell("get", key=key), "a get")
        expect(item.get("found") is True, f"what was put is not found: {item}")
        expect(item.get("value") == value.hex(), _unlike(value, item.get("value")))
    revision = _BEYOND_DOUBLES
    swap = stage.tell("put", key=b"\x00\xff", value=b"new", expected=revision)
    done(stage, swap, "a put at the right revision")
    late = rejected(stage, stage.tell("put", key=b"\x00\xff", value=b"x", expected=revision))
    expect(late.get("code") == "condition_failed", f"its code became {late.get('code')}")
    expect(late.get("key_revision") == revision + 2, f"{revision + 2} became {late}")
    gone = done(stage, stage.tell("delete", key=b"\x00\xff"), "a delete")
    expect(gone.get("deleted") == 1, f"a delete of a key says {gone}")
    absent = done(stage, stage.tell("get", key=b"\x00\xff"), "a get")
    expect(absent.get("found") is False, f"what was deleted is found: {absent}")
    status = done(stage, stage.tell("status"), "a status")
    expect(status.get("node") == "n1", f"status names {status}")


def _unlike(value: bytes, became: Any) -> str:
    """Where a value that came back is another."""
    try:
        found = bytes.fromhex(became)
    except (TypeError, ValueError):
        return f"a value of {len(value)} bytes came back as no hex: {str(became)[:80]}"
    pairs = zip(value, found, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(value), len(found)))
    parts = f"{value[same : same + 8].hex()}… became {found[same : same + 8].hex()}…"
    return f"a value of {len(value)} bytes came back with {len(found)}: from byte {same} on {parts}"


@play("C11")
def a_list_of_several_pages(stage: Stage) -> None:
    names = [b"p/%d\xff" % number for number in range(5)]
    for name in (*names, b"q"):
        done(stage, stage.tell("put", key=name, value=name), "a put")
    found = done(stage, stage.tell("list", prefix=b"p/", limit=2), "a list")
    items = [item[:2] for item in found.get("items", [])]
    true = [[n.hex(), n.hex()] for n in names]
    expect(items == true, f"the pages together were {items}, and not {true}")
    pages = stage.asked("list")
    expect(len(pages) == 3, f"{len(pages)} pages were asked for, not 3")
    ranged = done(stage, stage.tell("list", start=names[1], end=names[3], limit=10), "a list")
    items = [item[0] for item in ranged.get("items", [])]
    expect(items == [n.hex() for n in names[1:3]], f"a range has its start, not its end: {items}")


@play("C12")
def a_large_reply(stage: Stage) -> None:
    value = bytes(1_048_576)
    done(stage, stage.tell("put", key=b"large/1", value=value, timeout_ms=_LARGE_MS), "a large put")
    done(stage, stage.tell("put", key=b"large/2", value=value, timeout_ms=_LARGE_MS), "a large put")
    found = done(
        stage, stage.tell("list", prefix=b"large/", timeout_ms=_LARGE_MS), "a list of 2 MiB"
    )
    lengths = [len(item[1]) // 2 for item in found.get("items", [])]
    expect(lengths == [len(value)] * 2, f"its values have {lengths} bytes")


@play("C13")
def fields_of_a_newer_node(stage: Stage) -> None:
    news = {"novel": [1, {"deep": b"\x00"}], "another": None}

    def react(seen: Seen) -> list[Reply]:
        reply = _carried_out(stage, seen)
        for part in ("result", "error"):
            if part in reply:
                reply = {**reply, part: {**reply[part], **news}}
        return [Reply({**reply, **news})]

    stage.react = react
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put")
    item = done(stage, stage.tell("get", key=b"k"), "a get")
    expect(item.get("value") == b"v".hex(), f"the value became {item.get('value')}")
    error = rejected(stage, stage.tell("put", key=b"k", value=b"w", expected=0), "a put")
    expect(error.get("code") == "condition_failed", f"its code became {error.get('code')}")


@play("C14")
def codes_of_a_newer_node(stage: Stage) -> None:
    def says(code: str, applied: str, retry: str) -> list[Reply]:
        return [Reply(refusal(code, applied, retry=retry))]

    stage.react = first("put", 1, lambda _seen: says("novel_busy", "no", "later"))
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put that was to be repeated later")
    stage.react = first("put", 1, lambda _seen: says("novel_denied", "no", "never"))
    error = rejected(stage, stage.tell("put", key=b"k", value=b"2"), "a put refused for good")
    expect(error.get("code") == "novel_denied", f"the code became {error.get('code')}")
    stage.react = first("put", 1, lambda _seen: says("novel_doubt", "unknown", "never"))
    uncertain(stage, stage.tell("put", key=b"k", value=b"3"), "a put of unknown outcome")


@play("C15")
def what_is_no_reply(stage: Stage) -> None:
    stranger: dict[str, Any] = {"result": {"found": True, "value": b"wrong", "key_revision": 9}}

    def react(seen: Seen) -> list[Reply]:
        return [
            Reply(b"\xc1\xff"),  # under the true id, and no msgpack
            Reply(b"\x07"),  # msgpack, and no map
            Reply({"novel": 1}),  # neither result nor error
            Reply(stranger, request_id=b"never asked"),
            Reply(stranger, request_id=b""),
            Reply(_carried_out(stage, seen), after_s=0.05),
        ]

    stage.react = always("get", react)
    done(stage, stage.tell("put", key=b"k", value=b"right"), "a put")
    item = done(stage, stage.tell("get", key=b"k"), "a get")
    expect(item.get("value") == b"right".hex(), f"a stranger's reply was taken: {item}")


@play("C15")
def frames_of_all_kinds(stage: Stage) -> None:
    """Whoever counts on three frames, or on one, ends or waits for ever."""

    def react(seen: Seen) -> list[Reply]:
        for frames in _NO_MESSAGES:
            stage.babble(seen, frames)
        return [Reply(_carried_out(stage, seen), after_s=0.05)]

    stage.react = always("get", react)
    done(stage, stage.tell("put", key=b"k", value=b"right"), "a put")
    for _ in range(2):
        item = done(stage, stage.tell("get", key=b"k"), "a get after messages that are none")
        expect(item.get("value") == b"right".hex(), f"noise was taken for a reply: {item}")


@play("C15")
def replies_of_another_protocol(stage: Stage) -> None:
    stage.react = always("get", lambda seen: _then(stage, seen))
    done(stage, stage.tell("put", key=b"k", value=b"right"), "a put")
    item = done(stage, stage.tell("get", key=b"k"), "a get")
    expect(item.get("value") == b"right".hex(), f"another protocol's reply was taken: {item}")


def _then(stage: Stage, seen: Seen) -> list[Reply]:
    wrong = {"result": {"found": True, "value": b"wrong", "key_revision": 9, "created": 9}}
    return [
        Reply({**wrong, "revision": 9}, protocol=b"DKV2"),
        Reply(_carried_out(stage, seen), after_s=0.05),
    ]


@play("C16")
def a_partial_reply(stage: Stage) -> None:
    def react(seen: Seen) -> list[Reply]:
        whole = _carried_out(stage, seen)
        part = {"result": {**whole["result"], "value": b"half"}, "partial": True}
        return [Reply(part), Reply(whole, after_s=0.05)]

    done(stage, stage.tell("put", key=b"k", value=b"whole"), "a put")
    stage.react = always("get", react)
    item = done(stage, stage.tell("get", key=b"k"), "a get")
    expect(item.get("value") == b"whole".hex(), f"a partial reply was taken for the last: {item}")


@play("C17")
def replies_that_come_twice(stage: Stage) -> None:
    def react(seen: Seen) -> list[Reply] | None:
        if seen.op not in ("get", "put"):
            return None
        reply = _carried_out(stage, seen)
        return [Reply(reply), Reply(reply), Reply(reply, after_s=0.03)]

    stage.react = react
    for number in range(4):
        name = b"k%d" % number
        done(stage, stage.tell("put", key=name, value=name), "a put")
        item = done(stage, stage.tell("get", key=name), "a get")
        expect(item.get("value") == name.hex(), f"a get was given another's reply: {item}")


@play("C17")
def a_late_reply(stage: Stage) -> None:
    """The first get ends unanswered; its replies come while the second waits for its own."""
    for name in (b"first", b"second"):
        done(stage, stage.tell("put", key=name, value=name), "a put")
    late: list[Seen] = []

    def keep(seen: Seen) -> list[Reply]:
        late.append(seen)
        return SILENCE

    stage.react = always("get", keep)
    rejected(stage, stage.tell("get", key=b"first", timeout_ms=600), "a get without an answer")

    def react(seen: Seen) -> list[Reply]:
        old = [each for each in late if each.client == seen.client]
        replies = [Reply(_carried_out(stage, each), request_id=each.request_id) for each in old]
        return [*replies, Reply(_carried_out(stage, seen), after_s=0.1)]

    stage.react = always("get", react)
    item = done(stage, stage.tell("get", key=b"second"), "a get")
    expect(item.get("value") == b"second".hex(), f"a late reply was taken for another's: {item}")


@play("C21", size=2)
def a_slow_reply(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put")
    before = len(stage.asked("get"))
    stage.react = always("get", lambda seen: [Reply(_carried_out(stage, seen), after_s=0.9)])
    item = done(stage, stage.tell("get", key=b"k"), "a get answered after 0.9 s")
    expect(item.get("value") == b"v".hex(), f"the value became {item.get('value')}")
    count = len(stage.asked("get")) - before
    expect(count == 1, f"it was sent {count} times while its answer was on its way")


# -- many at once --------------------------------------------------------------------------------
def _put_many(stage: Stage, timeout_ms: int | None = None) -> list[int]:
    count = min(_MANY, stage.outstanding)
    return [
        stage.tell("put", key=b"m/%d" % n, value=b"%d" % n, timeout_ms=timeout_ms)
        for n in range(count)
    ]


def _all_done(stage: Stage, numbers: Iterable[int]) -> None:
    numbers = list(numbers)
    for place, number in enumerate(numbers):
        done(stage, number, "a put of many")
        known = stage.store.keys.get(b"m/%d" % place)
        expect(known and known.value == b"%d" % place, f"the put of m/{place} was not executed")
    count = len(stage.store.executed)
    expect(count == len(numbers), f"{len(numbers)} puts were executed {count} times")


@play("C18", several=True)
def many_at_once_in_any_order(stage: Stage) -> None:
    """What comes later is answered earlier; each answer has a revision of its own."""

    def react(seen: Seen) -> list[Reply]:
        return [Reply(_carried_out(stage, seen), after_s=0.05 - 0.001 * (seen.position % 48))]

    done(stage, stage.tell("put", key=b"before", value=b""), "a put")
    stage.react = always("put", react)
    numbers = _put_many(stage)
    for place, number in enumerate(numbers):
        revision = done(stage, number, "a put of many").get("key_revision")
        known = stage.store.keys.get(b"m/%d" % place)
        expect(known and known.value == b"%d" % place, f"the put of m/{place} was not executed")
        true = known.key_revision if known else 0
        expect(revision == true, f"m/{place} is at revision {true}, its call was told {revision}")
    count = len(stage.store.executed) - 1
    expect(count == len(numbers), f"{len(numbers)} puts were executed {count} times")


@play("C19", several=True)
def many_in_bursts(stage: Stage) -> None:
    stage.nodes["n1"].bursts = True
    _all_done(stage, _put_many(stage))


@play("C20", several=True)
def an_array_refused_as_a_whole(stage: Stage) -> None:
    """Whoever sends no arrays has nothing to fear here."""
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")
    stage.store.executed.clear()
    stage.nodes["n1"].forgets = "array"
    _all_done(stage, _put_many(stage, _BEFORE_SILENCE_MS))
