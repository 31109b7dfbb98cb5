"""What the kit tells who wrote a client: the mistake itself, in its own words, and where it is."""

import sys
from typing import Any

import msgpack
import pytest

from cli import conformance as command
from dkv.conformance import judging
from dkv.conformance.judging import judge_client
from dkv.conformance.node import Node, Reply, Seen
from dkv.conformance.notes import hint, said, why_no_message
from dkv.conformance.scene import PLAYS
from dkv.conformance.store import Store
from dkv.conformance.verdicts import BROKEN
from dkv.frames import join, part
from dkv.requests import PROTOCOL
from tests.conformance.test_client_kit import judge

ID = b"\0\0\0\7"


def node(react: Any = lambda _seen: None) -> Node:
    return Node("n1", Store(), None, react, dict)


def ask(asked: Node, body: Any) -> list[dict[str, Any]]:
    posts = asked.receive(b"client", (join(ID, msgpack.packb(body)),), 1.0, 1)
    parts = [part(post.frames[0]) for post in posts]
    return [msgpack.unpackb(found[1]) for found in parts if found is not None]


def put(key: Any, **header: Any) -> dict[str, Any]:
    return {"command": msgpack.packb({"op": "put", "key": key, "value": b"v"}), **header}


# -- what is no request --------------------------------------------------------------------------
def test_a_request_that_is_not_sound_is_answered_as_a_live_node_does() -> None:
    asked = node()
    (reply,) = ask(asked, put(b"k", ttl_ms=-1))
    assert reply["error"]["code"] == "bad_request"
    assert reply["error"]["words"] == "`ttl_ms` must be between 0 and 600000"
    assert [breach.rule for breach in asked.breaches] == ["C3"]


def test_of_an_array_only_the_request_that_is_not_sound_is_refused() -> None:
    replies = ask(node(), [put(b"k"), put("k")])
    refused = {reply["position"]: "error" in reply for reply in replies}
    assert refused == {0: False, 1: True}


def test_a_body_that_is_none_has_one_error_without_a_position() -> None:
    (reply,) = ask(node(), [])
    assert reply["error"]["code"] == "bad_request"
    assert "position" not in reply


def test_the_trace_has_what_was_not_sound_and_what_was_answered() -> None:
    asked = node()
    ask(asked, put("k"))
    ask(asked, put(b"k"))
    words = [note.words for note in asked.notes]
    assert words == [
        "got id 00000007, not sound: `key` must be a bin",
        "said to id 00000007: bad_request, applied no, retry never",
        "got put b'k' id 00000007 ttl 5000 ms",
        "said to id 00000007: a result",
    ]


def test_the_trace_tells_silence_and_garbage() -> None:
    silent = node(lambda _seen: [])
    ask(silent, put(b"k"))
    assert silent.notes[-1].words == "says nothing to id 00000007"

    def babble(_seen: Seen) -> list[Reply]:
        return [Reply(b"\xc1\xff")]

    strange = node(babble)
    strange.receive(b"client", (join(ID, msgpack.packb(put(b"k"))),), 1.0, 1)
    assert strange.notes[-1].words == "said to id 00000007 what is no reply: c1ff"


def test_a_bin_that_was_packed_as_a_str_is_guessed() -> None:
    assert "bin" in hint(b"\x81\xa3key\xa2\x00\xff")
    assert hint(b"\xc1") == ""
    assert hint(msgpack.packb({"op": "get"})) == ""


def test_fields_that_no_reply_has_today_are_named() -> None:
    assert said({"result": {}, "novel": 1}, "id 07") == "said to id 07: a result, and also `novel`"


NO_MESSAGES = {
    "4 frames": (PROTOCOL, ID, b"\x80", b""),
    "does not begin with `DKV1`": (b"DKV2", ID, b"\x80"),
    "does not begin": (b"GET / HTTP/1.1",),
    "id has 33 bytes": (PROTOCOL, bytes(33), b"\x80"),
    "id has 0 bytes": (join(b"", b"\x80"),),
    "ends before its body": (PROTOCOL + b"\x09short",),
}


@pytest.mark.parametrize("why", NO_MESSAGES)
def test_why_frames_are_no_message(why: str) -> None:
    frames = NO_MESSAGES[why]
    assert why in why_no_message(frames)
    asked = node()
    assert asked.receive(b"client", frames, 1.0, 1) == []
    assert [breach.rule for breach in asked.breaches] == ["C1"]


def test_a_driver_that_only_says_so_is_found() -> None:
    """One that is not finished answers every line alike."""
    (dead, mute) = judge_client((sys.executable, "-c", _SAYS_SO), ("C40",))
    words = "a put is said to have succeeded: no node was asked"
    assert {(verdict.outcome, verdict.words) for verdict in (dead, mute)} == {(BROKEN, words)}


_SAYS_SO = """
import json, sys
print('{"ready": "stub"}', flush=True)
for line in sys.stdin:
    print(json.dumps({"n": json.loads(line)["n"], "ok": {"key_revision": 1}}), flush=True)
"""


# -- verdicts ------------------------------------------------------------------------------------
def test_a_rule_of_the_wire_alone_is_tried_by_every_play(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was said to be kept, and nothing had been played."""
    one = [play for play in PLAYS if play.name == "a_partial_reply"]
    monkeypatch.setattr(judging, "PLAYS", one)
    (verdict,) = judge("reference", "never_presents", rules=("C4",))
    assert (verdict.rule, verdict.outcome) == ("C4", BROKEN)


def test_a_play_that_failed_names_the_rule_of_the_wire_behind_it() -> None:
    verdicts = judge("reference", "speaks_another_version", rules=("C16",))
    (play,) = [verdict for verdict in verdicts if verdict.rule == "C16"]
    assert "on the way C1 was broken" in play.words


def test_a_session_whose_time_is_over_is_not_tried_first() -> None:
    """Who asks under it, is told so and takes another one, was said to keep the rule."""
    mistakes = ("trusts_idle_sessions", "takes_a_second_session")
    (verdict,) = judge("reference", *mistakes, rules=("C72",))
    assert (verdict.outcome, verdict.words) == (
        BROKEN,
        "it was sent in the session whose time was over",
    )


def test_advice_that_was_not_taken_is_not_counted_as_kept() -> None:
    assert command._summary({"C10"}, set()) == "1 rule is kept"
    assert command._summary({"C10", "C11", "C43"}, {"C43"}) == (
        "2 rules are kept; of those that are advice (SHOULD), not: C43"
    )


@pytest.mark.parametrize("rule", ["C1", "C5"])
def test_a_client_that_sends_nothing_has_kept_no_rule_of_the_wire(rule: str) -> None:
    (verdict,) = judge_client([sys.executable, "-c", ""], [rule], jobs=8)
    assert (verdict.rule, verdict.outcome) == (rule, BROKEN)
    assert verdict.words == "no request came by which it could be judged"
