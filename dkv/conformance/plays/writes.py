"""Plays about writes: sessions, outcomes that are not known, what is done once.

Owns: rules C60 to C72. Must never know how a stage works.
"""

import time

from dkv.conformance.driver import Broken
from dkv.conformance.node import Reply, Seen
from dkv.conformance.scene import (
    SILENCE,
    done,
    expect,
    first,
    play,
    refuse,
    rejected,
    uncertain,
)
from dkv.conformance.stage import Stage

_PATIENT_MS = 6_000
_IDLE_MS = 1_200


def _unheard(stage: Stage, seen: Seen) -> list[Reply]:
    """The write is executed; its answer is lost."""
    stage.nodes[seen.node].carry_out(seen, time.monotonic())
    return SILENCE


def _lose_an_answer(stage: Stage, value: bytes, **more: int) -> int:
    """A put whose first attempt is executed and not answered."""
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")
    stage.react = first("put", 1, lambda seen: _unheard(stage, seen))
    return stage.tell("put", key=b"k", value=value, timeout_ms=_PATIENT_MS, **more)


def _attempts(stage: Stage, value: bytes) -> list[Seen]:
    return [seen for seen in stage.asked("put") if seen.fields["value"] == value]


# -- in a session --------------------------------------------------------------------------------
@play("C60", size=2)
def a_write_whose_answer_is_lost(stage: Stage) -> None:
    done(stage, _lose_an_answer(stage, b"once"), "a put whose first answer was lost")
    attempts = _attempts(stage, b"once")
    expect(len(attempts) >= 2, "it was not sent again")
    places = {(s.header.session, s.header.sequence, s.header.command) for s in attempts}
    expect(len(places) == 1, "session, sequence or the command's bytes changed with the retry")
    expect(attempts[0].header.session, "it was sent without a session")
    expect(all(s.header.retry for s in attempts[1:]), "a later attempt has no `retry: true`")
    times = stage.store.executed.count(attempts[0].header.command)
    expect(times == 1, f"it was executed {times} times")


@play("C64", size=2)
def an_answer_that_says_unknown(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")
    stage.react = first("put", 1, lambda _seen: refuse("timeout", "unknown"))
    done(stage, stage.tell("put", key=b"k", value=b"once"), "a put after `unknown`, in a session")
    attempts = _attempts(stage, b"once")
    expect(all(s.header.retry for s in attempts[1:]), "a later attempt has no `retry: true`")
    expect(len({s.header.sequence for s in attempts}) == 1, "the retry has another sequence")


@play("C65", size=2)
def a_condition_that_failed(stage: Stage) -> None:
    number = _lose_an_answer(stage, b"never", expected=99)
    error = rejected(stage, number, "a put whose condition failed, told on its retry")
    expect(error.get("code") == "condition_failed", f"its code became {error.get('code')}")
    expect(error.get("key_revision") == 1, f"key_revision became {error.get('key_revision')}")


@play("C66", size=2)
def a_session_that_is_lost_meanwhile(stage: Stage) -> None:
    _lost_on_retry(stage, "session_lost")


@play("C66", size=2)
def a_sequence_that_is_stale(stage: Stage) -> None:
    _lost_on_retry(stage, "stale")


def _lost_on_retry(stage: Stage, code: str) -> None:
    """A node of old, or one that has not seen the first attempt, says `no` of this attempt."""
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")
    silent = first("put", 1, lambda _seen: SILENCE)
    then = first("put", 9, lambda _seen: refuse(code))
    stage.react = lambda seen: then(seen) if (told := silent(seen)) is None else told
    number = stage.tell("put", key=b"k", value=b"2", timeout_ms=_PATIENT_MS)
    uncertain(stage, number, f"a put whose retry was told {code}")


@play("C67", size=2)
def no_second_session(stage: Stage) -> None:
    number = _lose_an_answer(stage, b"once")
    stage.run(lambda: bool(_attempts(stage, b"once")), 3.0)
    stage.store.sessions.clear()
    stage.answer(number)
    sessions = {seen.header.session for seen in _attempts(stage, b"once")}
    expect(len(sessions) == 1, f"the same write was sent under the sessions {sorted(sessions)}")
    command = _attempts(stage, b"once")[0].header.command
    expect(stage.store.executed.count(command) == 1, "it was executed twice")


@play("C68")
def a_session_that_is_lost(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.store.sessions.clear()
    stage.answer(stage.tell("put", key=b"k", value=b"2"))  # refused, or done in a new session
    done(stage, stage.tell("put", key=b"k", value=b"3"), "the put after `session_lost`")
    session = _attempts(stage, b"3")[-1].header.session
    expect(session in stage.store.sessions, f"it names the session {session}")


@play("C69", size=2)
def an_answer_that_was_not_kept(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")
    silent = first("put", 1, lambda _seen: SILENCE)
    then = first("put", 9, lambda _seen: refuse("answer_dropped", "yes"))
    stage.react = lambda seen: then(seen) if (told := silent(seen)) is None else told
    number = stage.tell("put", key=b"k", value=b"2", timeout_ms=_PATIENT_MS)
    if "ok" not in stage.answer(number):
        error = uncertain(stage, number, "a put that was done, its answer dropped")
        expect(error.get("applied") == "yes", f"`applied` became {error.get('applied')}")


@play("C70", several=True)
def lowest_waits_for_answers(stage: Stage) -> None:
    """The first of three is not answered until the others are."""
    done(stage, stage.tell("put", key=b"k", value=b"before"), "a put")

    def react(seen: Seen) -> list[Reply] | None:
        if seen.op != "put" or seen.fields["value"] != b"slow":
            return None
        return [Reply(stage.nodes[seen.node].carry_out(seen, time.monotonic()), after_s=0.6)]

    stage.react = react
    slow = stage.tell("put", key=b"a", value=b"slow")
    stage.run(lambda: bool(_attempts(stage, b"slow")), 3.0)
    for value in (b"x", b"y"):
        done(stage, stage.tell("put", key=b"b", value=value), "a put beside a slow one")
    held = _attempts(stage, b"slow")[0].header.sequence
    beyond = [s for v in (b"x", b"y") for s in _attempts(stage, v) if s.header.lowest > held]
    expect(not beyond, f"`lowest` passed {held}, which had no answer")
    done(stage, slow, "a slow put")


@play("C71")
def lowest_follows(stage: Stage) -> None:
    for number in range(5):
        done(stage, stage.tell("put", key=b"k", value=b"%d" % number), "a put")
    last = stage.asked("put")[-1].header
    words = f"sequence {last.sequence} came with `lowest` {last.lowest}: all were answered"
    expect(last.lowest == last.sequence, words)


@play("C72")
def a_session_that_idles(stage: Stage) -> None:
    stage.store.session_ttl_ms = _IDLE_MS
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.run(lambda: False, _IDLE_MS * 1.3 / 1_000)
    done(stage, stage.tell("put", key=b"k", value=b"2"), "a put after the session's time")
    old, new = (_attempts(stage, value)[0].header.session for value in (b"1", b"2"))
    words = "it was sent in the session whose time was over"
    expect(new != old or stage.asked("keep_alive"), words)


# -- without a session ---------------------------------------------------------------------------
def _plain(stage: Stage, value: bytes) -> int:
    return stage.tell("put", key=b"k", value=value, session=False, timeout_ms=3_000)


@play("C61", size=2, sessionless=True)
def silence_without_a_session(stage: Stage) -> None:
    done(stage, _plain(stage, b"before"), "a put")
    stage.react = first("put", 9, lambda seen: _unheard(stage, seen))
    uncertain(stage, _plain(stage, b"once"), "a put without a session and without an answer")
    attempts = _attempts(stage, b"once")
    expect(len(attempts) == 1, f"it was sent {len(attempts)} times")
    expect(not attempts[0].header.session, "it was sent in a session")


@play("C61", size=2, sessionless=True)
def unknown_without_a_session(stage: Stage) -> None:
    done(stage, _plain(stage, b"before"), "a put")
    stage.react = first("put", 1, lambda _seen: refuse("timeout", "unknown"))
    uncertain(stage, _plain(stage, b"once"), "a put without a session whose outcome is unknown")
    count = len(_attempts(stage, b"once"))
    expect(count == 1, f"it was sent {count} times")


@play("C62", sessionless=True)
def busy_without_a_session(stage: Stage) -> None:
    stage.react = first("put", 2, lambda _seen: refuse("busy"))
    done(stage, _plain(stage, b"v"), "a put without a session, refused as busy at first")
    if stage.asked("open_session") and any(s.header.session for s in stage.asked("put")):
        raise Broken("it was sent in a session")
