"""Plays about refusals: what is sent again, when, and when it ends.

Owns: rules C50 to C57. Must never know how a stage works.
"""

import time
from itertools import pairwise

from dkv.conformance.node import Reply, Seen
from dkv.conformance.scene import (
    SILENCE,
    always,
    done,
    expect,
    first,
    play,
    refuse,
    rejected,
    uncertain,
)
from dkv.conformance.stage import LATE_S, Stage

_FINAL = ("denied", "too_large", "bad_request", "unsupported", "compacted")
_REFUSALS = 5  # of a call, until it is answered
_SPREAD = 0.15  # pauses that differ less, among six, are not drawn
_TIMER_S = 0.003  # what a clock and a scheduler may take from a pause


@play("C50")
def refused_for_good(stage: Stage) -> None:
    for place, code in enumerate(_FINAL):
        value = b"%d" % place
        stage.react = always("put", lambda _seen, code=code: refuse(code))  # type: ignore[misc]
        error = rejected(stage, stage.tell("put", key=b"k", value=value), f"a put: {code}")
        expect(error.get("code") == code, f"the code {code} became {error.get('code')}")
        count = sum(seen.fields["value"] == value for seen in stage.asked("put"))
        expect(count == 1, f"after {code} it was sent {count - 1} times more")


def _pauses(stage: Stage, calls: int) -> list[list[float]]:
    """Of each of so many calls, the pauses between its attempts (s)."""
    found = []
    for call in range(calls):
        value = b"%d" % call
        stage.react = first("put", _REFUSALS, lambda _seen: refuse("busy"))
        done(stage, stage.tell("put", key=b"k", value=value), "a put refused as busy at first")
        times = [seen.at_s for seen in stage.asked("put") if seen.fields["value"] == value]
        found.append([b - a for a, b in pairwise(times)])
    return found


@play("C51")
def pauses_grow(stage: Stage) -> None:
    pauses = _pauses(stage, 3)
    for gaps in pauses:
        expect(len(gaps) == _REFUSALS, f"{len(gaps)} attempts more after {_REFUSALS} refusals")
        shortest = min(gaps)
        expect(shortest > 0.010 - _TIMER_S, f"the next attempt came {shortest * 1e3:.1f} ms later")
        expect(max(gaps) < 2.0, f"a pause of {max(gaps):.1f} s")
    means = [sum(gaps) / len(pauses) for gaps in zip(*pauses, strict=True)]
    grown = means[-1] > 2 * means[0]
    expect(grown, f"mean pauses of {', '.join(f'{m * 1e3:.0f}' for m in means)} ms do not grow")


@play("C52")
def pauses_are_drawn(stage: Stage) -> None:
    """Of the later pauses of six calls at least one must be spread."""
    later = list(zip(*_pauses(stage, 6), strict=True))[1:]
    spreads = [(max(gaps) - min(gaps)) / (sum(gaps) / len(gaps)) for gaps in later]
    alike = sum(spread < _SPREAD for spread in spreads)
    expect(alike < 2, f"the pauses of six calls are alike: spread {spreads}")


@play("C53", size=2)
def refused_for_now(stage: Stage) -> None:
    stage.react = first("put", 1, lambda _seen: refuse("not_leader"))
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put after `not_leader`")
    times = [seen.at_s for seen in stage.asked("put")]
    expect(len(times) == 2, f"it was sent {len(times)} times, not twice")
    expect(times[1] - times[0] < 0.5, f"it was sent again after {times[1] - times[0]:.2f} s")


@play("C54", size=2)
def a_node_that_stops(stage: Stage) -> None:
    left: list[str] = []

    def react(seen: Seen) -> list[Reply] | None:
        if seen.op == "put" and not left:
            left.append(seen.node)
        return refuse("stopping") if seen.op == "put" and seen.node in left else None

    stage.react = react
    done(stage, stage.tell("put", key=b"k", value=b"v", timeout_ms=3_000), "a put at two nodes")
    count = sum(seen.node in left for seen in stage.asked("put"))
    expect(count <= 3, f"the node that stops was asked {count} times")


@play("C55", size=2)
def a_read_without_an_answer(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"v"), "a put")
    stage.react = first("get", 1, lambda _seen: SILENCE)
    item = done(stage, stage.tell("get", key=b"k", timeout_ms=6_000), "a get")
    expect(item.get("value") == b"v".hex(), f"the value became {item.get('value')}")


@play("C56")
def a_deadline(stage: Stage) -> None:
    done(stage, stage.tell("get", key=b"k"), "a get")
    stage.react = lambda _seen: SILENCE
    began = time.monotonic()
    number = stage.tell("put", key=b"k", value=b"v", timeout_ms=900)
    stage.answer(number)
    took = time.monotonic() - began
    expect(took > 0.7, f"a call with 900 ms ended after {took:.2f} s")
    expect(took < 0.9 + 2 * LATE_S, f"a call with 900 ms ended after {took:.2f} s")
    puts = [s for s in stage.asked("put", "open_session") if s.at_s > began]
    longest = max((seen.header.ttl_ms for seen in puts), default=0)
    expect(puts, "nothing of it was sent")
    expect(longest <= 900, f"a call with 900 ms was sent with a ttl_ms of {longest}")


@play("C57")
def refused_in_every_attempt(stage: Stage) -> None:
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    stage.react = always("put", lambda _seen: refuse("busy"))
    number = stage.tell("put", key=b"k", value=b"2", timeout_ms=900)
    rejected(stage, number, "a put refused as busy in each attempt")


@play("C63")
def one_attempt_without_an_answer(stage: Stage) -> None:
    """The first attempt is lost; every later one is refused, definitely, as an attempt."""
    done(stage, stage.tell("put", key=b"k", value=b"1"), "a put")
    heard = first("put", 1, lambda _seen: SILENCE)
    later = always("put", lambda _seen: refuse("busy"))
    stage.react = lambda seen: later(seen) if (told := heard(seen)) is None else told
    number = stage.tell("put", key=b"k", value=b"2", timeout_ms=3_500)
    uncertain(stage, number, "a put of which one attempt is without an answer")
