"""Trials of a node: each rule of a server, asked for over real connections.

Owns: what is asked and what must come back. Must never know a socket option. A trial writes only
keys below the door's name, which are deleted in the end.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgpack

from dkv.conformance.asking import Caller, Door, Reply, unpacked
from dkv.conformance.driver import Broken
from dkv.conformance.scene import expect
from dkv.conformance.verdicts import BROKEN, PASSED, SKIPPED, Verdict
from dkv.errors import CODE_BY_NAME, RULES
from dkv.frames import join, part
from dkv.limits import LIST_LIMIT_MAX, REQUEST_TTL_MS_MAX, REQUESTS_PER_MESSAGE_MAX, SEQUENCE_WINDOW
from dkv.requests import PROTOCOL, TABLE, pack_command

_Trial = Callable[[Door, Caller], None]
_TYPES = {"int": int, "bool": bool, "str": str, "bin": bytes, "map": dict, "array": list}
_WRONG = {bytes: 7, int: b"7", str: 7, bool: 1}
_NOISE = (
    (b"DKV2", b"id", b"\x80"),
    (PROTOCOL, b"", b"\x80"),
    (PROTOCOL, bytes(33), b"\x80"),
    (PROTOCOL, b"id"),
    (PROTOCOL, b"id", b"\x80", b"\x80"),
    (b"",),
    (PROTOCOL + b"\x00\x80",),
    (PROTOCOL + b"\x21" + bytes(40),),
)


class Trial(NamedTuple):
    rule: str
    go: _Trial
    secured: bool


TRIALS: list[Trial] = []


def trial(rule: str, *, secured: bool = False) -> Callable[[_Trial], _Trial]:
    """Declares a trial of a rule; `secured`: only where there is security."""

    def declare(go: _Trial) -> _Trial:
        TRIALS.append(Trial(rule, go, secured))
        return go

    return declare


def judge_server(door: Door, rules: tuple[str, ...] = ()) -> Iterator[Verdict]:
    """A verdict for each trial of these rules (none: all). Raises `Broken` if the node cannot be
    asked at all, or may not be written to."""
    try:
        with door.caller() as caller:
            limits = _result(caller.ask("members")).get("limits", {})
            known = {k: v for k, v in limits.items() if k in door.limits._fields}
            door.limits = door.limits._replace(**known)
            _close(caller, _open(caller))
        for each in TRIALS:
            if not rules or each.rule in rules:
                yield _try(door, each)
        with door.caller() as caller:
            caller.ask("delete_range", prefix=door.name)
    finally:
        door.close()


def _try(door: Door, each: Trial) -> Verdict:
    name = each.go.__name__
    if each.secured and door.identity is None:
        return Verdict(each.rule, SKIPPED, name, "the cluster runs without security")
    try:
        with door.caller() as caller:
            each.go(door, caller)
    except Broken as broken:
        return Verdict(each.rule, BROKEN, name, str(broken))
    return Verdict(each.rule, PASSED, name)


# -- what comes back -----------------------------------------------------------------------------
def _result(reply: Reply) -> dict[str, Any]:
    found = reply.get("result")
    if type(found) is not dict:
        raise Broken(f"it should have succeeded: {reply}"[:300])
    return found


def _error(reply: Reply, *codes: str) -> dict[str, Any]:
    """An error with one of these codes, and `applied: no`."""
    found = reply.get("error")
    if type(found) is not dict:
        raise Broken(f"it should be refused as {' or '.join(codes)}: {reply}"[:300])
    words = f"it should be {' or '.join(codes)} and is {found.get('code')}: {found.get('words')}"
    expect(found.get("code") in codes, words)
    expect(found.get("applied") == "no", f"{found.get('code')} with applied {found.get('applied')}")
    return found


def _open(caller: Caller) -> int:
    session = _result(caller.ask("open_session")).get("session")
    if type(session) is not int:
        raise Broken(f"a session's id is {session!r}")
    return session


def _close(caller: Caller, session: int) -> None:
    _result(caller.ask("close_session", {"session": session}))


def _place(session: int, sequence: int, lowest: int | None = None, **more: Any) -> dict[str, Any]:
    return {"session": session, "sequence": sequence, "lowest": lowest or sequence, **more}


def _is_absent(caller: Caller, key: bytes) -> None:
    found = _result(caller.ask("get", key=key))
    expect(found.get("found") is False, f"{key!r} was refused, and is there: {found}")


# -- messages ------------------------------------------------------------------------------------
@trial("S1")
def each_form_in_its_form(_door: Door, caller: Caller) -> None:
    body = msgpack.packb({"command": pack_command("members")})
    for delimiter, joined in itertools.product(((), (b"",)), (False, True)):
        frames = (join(b"id", body),) if joined else (PROTOCOL, b"id", body)
        caller.say(*delimiter, *frames)
        answer = caller.hear() or ()
        shape = [len(f) for f in answer]
        expect(len(answer) == len(delimiter) + len(frames), f"answered in frames of {shape}")
        expect(answer[: len(delimiter)] == delimiter, "the delimiter is missing")
        found = part(answer[-1]) if joined else (answer[-2], answer[-1])
        expect(found is not None and found[0] == b"id", f"no id in frames of {shape}")
        _result(unpacked(found[1] if found else b""))


@trial("S2")
def ids_come_back(_door: Door, caller: Caller) -> None:
    body = msgpack.packb({"command": pack_command("members")})
    for request_id in (b"\0", bytes(32), bytes(range(224, 256)), b"DKV1"):
        caller.say(PROTOCOL, request_id, body)
        answered, _body = caller.reply()
        expect(answered == request_id, f"asked under {request_id!r}, answered under {answered!r}")


@trial("S3")
def noise_gets_no_answer(_door: Door, caller: Caller) -> None:
    for frames in _NOISE:
        caller.say(*frames)
    expect("result" in caller.ask("members"), "after noise nothing is answered any more")


@trial("S4")
def fields_of_a_newer_client(door: Door, caller: Caller) -> None:
    around = {"novel": {"a": 1}, "other": None}
    _result(caller.ask("put", around, key=door.name + b"novel", value=b"v", novel={"a": 1}))
    item = _result(caller.ask("get", around, key=door.name + b"novel", novel=b"x"))
    expect(item.get("value") == b"v", f"the value became {item}")


@trial("S5")
def a_request_of_a_newer_client(_door: Door, caller: Caller) -> None:
    _error(caller.ask("novel_request", key=b"k"), "unsupported")
    _error(caller.body({"command": msgpack.packb({"op": 7})}), "unsupported")
    _error(caller.body({"command": msgpack.packb({})}), "unsupported")


@trial("S6")
def types_are_strict(door: Door, caller: Caller) -> None:
    for op, request in TABLE.items():
        for field in request.fields:
            sound = {f.name: _sound(f.type) for f in request.fields if f.required}
            wrong = {**sound, field.name: _WRONG[field.type]}
            _error(caller.ask(op, **wrong), "bad_request", "unsupported")
            if field.required:
                del sound[field.name]
                _error(caller.ask(op, **sound), "bad_request", "unsupported")
    for around in ({"ttl_ms": b"1"}, {"session": -1}, {"retry": 1}, {"burst": b""}, {"level": 1}):
        reply = caller.ask("get", around, key=door.name)
        _error(reply, "bad_request")
    _error(caller.body({"novel": 1}), "bad_request")
    absent = {"op": "get", "key": door.name, "expected": None}
    _result(caller.body({"command": msgpack.packb(absent)}))
    ranged = {"op": "list", "prefix": door.name, "start": None, "token": None, "limit": None}
    _result(caller.body({"command": msgpack.packb(ranged)}))


def _sound(kind: Any) -> Any:
    return {bytes: b"k", int: 1, str: "x", bool: True}[kind]


@trial("S7")
def limits_to_the_byte(door: Door, caller: Caller) -> None:
    limits = door.limits
    longest = door.name.ljust(limits.key_bytes_max, b"k")
    largest = bytes(limits.value_bytes_max)
    _result(caller.ask("put", key=longest, value=b""))
    _result(caller.ask("put", key=door.name + b"large", value=largest))
    _error(caller.ask("put", key=longest + b"k", value=b""), "too_large")
    _error(caller.ask("put", key=door.name + b"huge", value=largest + b"v"), "too_large")
    _error(caller.ask("get", key=longest + b"k"), "too_large")
    _error(caller.ask("get", key=b""), "bad_request")
    _result(caller.ask("list", prefix=door.name, limit=LIST_LIMIT_MAX, keys_only=True))
    for count in (0, LIST_LIMIT_MAX + 1):
        _error(caller.ask("list", prefix=door.name, limit=count), "bad_request")
    _result(caller.ask("get", {"ttl_ms": REQUEST_TTL_MS_MAX}, key=door.name))
    _error(caller.ask("get", {"ttl_ms": REQUEST_TTL_MS_MAX + 1}, key=door.name), "bad_request")


@trial("S8")
def results_have_their_fields(door: Door, caller: Caller) -> None:
    key = door.name + b"shape"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("put", {"key": key, "value": b"v"}),
        ("get", {"key": key}),
        ("list", {"prefix": door.name}),
        ("members", {}),
        ("status", {}),
        ("space", {"prefix": door.name}),
        ("hash", {}),
        ("member_list", {}),
        ("delete", {"key": key}),
        ("delete_range", {"prefix": key}),
    ]
    for op, fields in asked:
        reply = caller.ask(op, **fields)
        found = _result(reply)
        expect(type(reply.get("revision")) is int, f"{op}: revision is {reply.get('revision')!r}")
        expect(type(reply.get("node")) is str, f"{op}: node is {reply.get('node')!r}")
        for name, words in TABLE[op].returns:
            kind = words.replace(",", ":").partition(":")[0].split()[0]
            is_sound = type(found.get(name)) is _TYPES[kind]
            may_be_absent = "absent on the last" in words
            expect(is_sound or may_be_absent, f"{op}: {name} is {found.get(name)!r}, no {kind}")


@trial("S9")
def errors_have_their_fields(door: Door, caller: Caller) -> None:
    key = door.name + b"absent"
    for reply in (
        caller.ask("put", key=key, value=b"v", expected=2**62),
        caller.ask("nope"),
        caller.ask("get"),
        caller.ask("close_session", {"session": 2**62}),
    ):
        error = reply.get("error", {})
        code = CODE_BY_NAME.get(error.get("code"))
        if code is None:
            raise Broken(f"the code {error.get('code')!r} is not in the table")
        expect(error.get("retry") == RULES[code].retry, f"{code.name} with {error.get('retry')!r}")
        for name in ("applied", "leader", "words"):
            expect(type(error.get(name)) is str, f"{code.name}: {name} is {error.get(name)!r}")
        expect(type(reply.get("node")) is str, f"{code.name}: node is {reply.get('node')!r}")


# -- arrays and bursts ---------------------------------------------------------------------------
def _gather(caller: Caller, request_id: bytes, count: int) -> tuple[list[Reply], int]:
    """So many replies to a message, each once; how many of them came in bursts."""
    found: dict[Any, Reply] = {}
    in_bursts = 0
    while len(found) < count:
        answered, body = caller.reply()
        several = body if type(body) is list else [body]
        if type(body) is list:
            expect(answered == b"", f"a burst under the id {answered!r}")
            in_bursts += len(several)
        for reply in several:
            own = reply.get("id", b"") if type(body) is list else answered
            expect(own == request_id, f"asked under {request_id!r}, answered under {own!r}")
            position = reply.get("position")
            expect(position not in found, f"position {position} was answered twice")
            found[position] = reply
    expect(set(found) == set(range(count)), f"answered were the positions {sorted(found)}")
    return [found[position] for position in range(count)], in_bursts


@trial("S10")
def an_array(door: Door, caller: Caller) -> None:
    key = door.name + b"array"
    requests: list[Any] = [
        {"command": pack_command("put", key=key, value=b"v")},
        {"command": pack_command("nope")},
        {"command": pack_command("get", key=b"")},
        {},
        {"command": pack_command("members")},
    ]
    replies, in_bursts = _gather(caller, caller.send(requests), len(requests))
    expect(not in_bursts, "replies came in a burst that nobody asked for")
    for place in (0, 4):
        _result(replies[place])
    _error(replies[1], "unsupported")
    for place in (2, 3):
        _error(replies[place], "bad_request")


@trial("S11")
def a_bad_array(door: Door, caller: Caller) -> None:
    key = door.name + b"bad array"
    put = {"command": pack_command("put", key=key, value=b"v")}
    for body in (
        b"\xc1",
        b"",
        b"\x81",
        [],
        [[put]],
        [put, [put]],
        [put] * (REQUESTS_PER_MESSAGE_MAX + 1),
    ):
        reply = caller.body(body)
        _error(reply, "bad_request")
        expect("position" not in reply, "the error of a whole array has a position")
    for scalar in (7, "text", None):
        _error(caller.body(scalar), "bad_request")
    _is_absent(caller, key)


@trial("S12")
def bursts(door: Door, caller: Caller) -> None:
    get = {"command": pack_command("get", key=door.name)}
    _replies, in_bursts = _gather(caller, caller.send([{**get, "burst": True}] * 64), 64)
    plain = [get if place % 2 else {**get, "burst": True} for place in range(64)]
    _replies, in_bursts = _gather(caller, caller.send(plain), 64)
    expect(in_bursts <= 32, f"{in_bursts} replies came in bursts, 32 were asked so")


@trial("S22")
def what_is_no_request(door: Door, caller: Caller) -> None:
    command = msgpack.packb(pack_command("get", key=door.name))
    twice = b"\x82" + (msgpack.packb("command") + command) * 2
    _error(caller.body(twice), "bad_request")
    extension = msgpack.ExtType(5, b"x")
    _error(caller.body({"command": pack_command("get", key=extension)}), "bad_request")
    _error(caller.body({"command": extension}), "bad_request")
    _error(caller.body({"command": pack_command("get", key=[b"k"])}), "bad_request")


# -- writes --------------------------------------------------------------------------------------
@trial("S13")
def refused_and_nothing_changed(door: Door, caller: Caller) -> None:
    key = door.name + b"refused"
    _error(caller.ask("put", key=key, value=b"v", expected=2**62), "condition_failed")
    _error(caller.ask("put", {"ttl_ms": -1}, key=key, value=b"v"), "bad_request")
    huge = bytes(door.limits.value_bytes_max + 1)
    _error(caller.ask("put", key=key, value=huge), "too_large")
    lost = caller.ask("put", _place(2**62, 1), key=key, value=b"v")
    _error(lost, "session_lost")
    _is_absent(caller, key)


@trial("S14")
def a_retry_is_not_executed_again(door: Door, caller: Caller) -> None:
    session, key = _open(caller), door.name + b"once"
    command = {"key": key, "value": b"v"}
    before = _result(caller.ask("put", _place(session, 1), **command))
    for _ in range(3):
        again = _result(caller.ask("put", _place(session, 1, retry=True), **command))
        expect(again == before, f"answered with {before}, and on a retry with {again}")
    version = _result(caller.ask("get", key=key)).get("version")
    expect(version == 1, f"after three retries the key has version {version}")
    late = {**command, "expected": 0}
    refused = _error(caller.ask("put", _place(session, 2), **late), "condition_failed")
    _result(caller.ask("delete", _place(session, 3, 2), key=key))
    again = _error(caller.ask("put", _place(session, 2, retry=True), **late), "condition_failed")
    same = again.get("key_revision") == refused.get("key_revision")
    expect(same, f"refused with {refused}, and on a retry with {again}")
    _is_absent(caller, key)
    _close(caller, session)


@trial("S15")
def a_sequence_that_is_taken(door: Door, caller: Caller) -> None:
    session, key = _open(caller), door.name + b"taken"
    _result(caller.ask("put", _place(session, 1), key=key, value=b"1"))
    other = caller.ask("put", _place(session, 1), key=key, value=b"2")
    _error(other, "sequence_reused")
    found = _result(caller.ask("get", key=key)).get("value")
    expect(found == b"1", f"it was executed: the value is {found!r}")
    _close(caller, session)


@trial("S16")
def sequences_out_of_the_window(door: Door, caller: Caller) -> None:
    session, key = _open(caller), door.name + b"window"
    put = {"key": key, "value": b"v"}
    _error(caller.ask("put", _place(session, SEQUENCE_WINDOW + 1, 1), **put), "sequence_window")
    for sequence, lowest in ((0, 1), (1, 0)):
        around = {"session": session, "sequence": sequence, "lowest": lowest}
        _error(caller.ask("put", around, **put), "bad_request")
    _error(caller.ask("put", _place(session, 1, 2), **put), "stale")
    _result(caller.ask("put", _place(session, SEQUENCE_WINDOW, 1), **put))
    _result(caller.ask("put", _place(session, SEQUENCE_WINDOW + 1), **put))
    _error(caller.ask("put", _place(session, 2), **put), "stale")
    _close(caller, session)


@trial("S17")
def a_session_that_is_closed(door: Door, caller: Caller) -> None:
    session, key = _open(caller), door.name + b"closed"
    _result(caller.ask("keep_alive", {"session": session}))
    _close(caller, session)
    lost = caller.ask("put", _place(session, 1), key=key, value=b"v")
    _error(lost, "session_lost")
    _error(caller.ask("keep_alive", {"session": session}), "session_lost")
    _error(caller.ask("keep_alive"), "bad_request")
    _is_absent(caller, key)


@trial("S18")
def an_expected_revision(door: Door, caller: Caller) -> None:
    key = door.name + b"expected"
    put = _result(caller.ask("put", key=key, value=b"1", expected=0))
    at = put.get("key_revision", 0)
    error = _error(caller.ask("put", key=key, value=b"2", expected=0), "condition_failed")
    expect(error.get("key_revision") == at, f"it is at {at}, and the error says {error}")
    error = _error(caller.ask("delete", key=key, expected=at + 1), "condition_failed")
    expect(error.get("key_revision") == at, f"it is at {at}, and the error says {error}")
    swapped = _result(caller.ask("put", key=key, value=b"2", expected=at))
    then = swapped.get("key_revision", 0)
    expect(then > at, f"a put at revision {at} made {then}")
    gone = _result(caller.ask("delete", key=key, expected=then))
    expect(gone.get("deleted") == 1, f"a delete says {gone}")
    expect(gone.get("key_revision") == then, f"it was at {then}, and the delete says {gone}")
    nothing = _result(caller.ask("delete", key=key, expected=0))
    expect(nothing.get("deleted") == 0, f"a delete of nothing says {nothing}")


# -- reads ---------------------------------------------------------------------------------------
_NAMES = [b"a", b"a\x00", b"a\xff", b"b", b"c\xff\xff"]


def _fill(caller: Caller, prefix: bytes) -> list[bytes]:
    for name in _NAMES:
        _result(caller.ask("put", key=prefix + name, value=name))
    return [prefix + name for name in _NAMES]


@trial("S19")
def pages_of_one_moment(door: Door, caller: Caller) -> None:
    prefix = door.name + b"list/"
    names = _fill(caller, prefix)
    found, token, revisions = [], None, set()
    while True:
        page = caller.ask("list", prefix=prefix, limit=2, token=token)
        result = _result(page)
        found += [item[0] for item in result["items"]]
        revisions.add(page["revision"])
        token = result.get("token")
        if token is None:
            break
        _result(caller.ask("put", key=prefix + b"b%d" % len(found), value=b"meanwhile"))
    expect(found == names, f"the pages have {found}")
    expect(len(revisions) == 1, f"the pages are of the revisions {sorted(revisions)}")
    ranged = _result(caller.ask("list", start=names[1], end=names[3], keys_only=True))
    got = [item[:2] for item in ranged["items"]]
    expect(got == [[n, None] for n in names[1:3]], f"a range has its start, not its end: {got}")
    count = _result(caller.ask("list", prefix=prefix, count_only=True)).get("count")
    expect(count == len(names) + 2, f"count_only says {count}")


@trial("S20")
def tokens_belong_to_their_range(door: Door, caller: Caller) -> None:
    prefix = door.name + b"token/"
    _fill(caller, prefix)
    token = _result(caller.ask("list", prefix=prefix, limit=2)).get("token")
    other = caller.ask("list", prefix=door.name + b"other/", token=token)
    _error(other, "bad_request")
    _error(caller.ask("list", prefix=prefix, token=b"\xc1"), "bad_request")
    _result(caller.ask("list", prefix=prefix, token=token))


@trial("S21")
def levels_of_reading(door: Door, caller: Caller) -> None:
    found = _result(caller.ask("get", {"level": "serializable"}, key=door.name))
    lag = found.get("lag_ms", "")
    expect(lag is None or type(lag) is int, f"lag_ms is {lag!r}")
    expect("lag_ms" not in _result(caller.ask("get", key=door.name)), "lag_ms without being asked")
    _error(caller.ask("get", {"level": "dirty"}, key=door.name), "bad_request")


# -- guests --------------------------------------------------------------------------------------
@trial("S23", secured=True)
def a_guest(door: Door, _caller: Caller) -> None:
    get = {"command": pack_command("get", key=door.name)}
    with door.guest() as guest:
        for body in (get, [get, get]):
            reply = guest.body(body)
            _error(reply, "certificate_needed")
            expect("position" not in reply, "the error of a guest's array has a position")


@trial("S24", secured=True)
def another_ones_certificate(door: Door, caller: Caller) -> None:
    assert door.identity is not None
    with door.guest() as guest:
        stolen = guest.ask("present", certificate=door.identity.text)
        _error(stolen, "certificate_refused")
        _error(guest.ask("present", certificate=b"no certificate"), "certificate_refused")
        _error(guest.ask("get", key=door.name), "certificate_needed")
    again = _result(caller.ask("present", certificate=door.identity.text))
    name = door.identity.certificate.name
    expect(again.get("name") == name, f"{name} presented again is {again}")
