"""Plays a cluster to the counter of a binding: does it know a late step from a lost one?

    python -m tests.bindings.counting CMD ARG...

CMD is a binding's `dkv-counter`. Owns: what the one node does with its third step. Must never know
how a binding is built. A write whose outcome is unknown may be carried out behind the read that
looked for it: that is no step too many. One that is missing, or there twice, must be found.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dkv.conformance.cast import Cast
from dkv.conformance.node import Reply, Seen
from dkv.conformance.scene import SILENCE
from dkv.conformance.stage import Stage

_STEP = b"3"
_ENDS_S = 60
_CALL_S = 5  # a call's deadline, where the program names none

Act = Callable[[Stage, Seen], list[Reply] | None]


class Play(NamedTuple):
    name: str
    seconds: int
    is_exact: bool
    act: Callable[[], Act]


def _late() -> Act:
    """The third step is not heard of. It is done behind the read that looks for it."""
    held: list[Seen] = []
    carried_out = False

    def act(stage: Stage, seen: Seen) -> list[Reply] | None:
        nonlocal carried_out
        if seen.op == "put" and seen.fields["value"] == _STEP and not carried_out:
            held.append(seen)
            return SILENCE
        if seen.op == "get" and held and not carried_out:
            reply = Reply(stage.nodes[seen.node].carry_out(seen, time.monotonic()))
            stage.nodes[seen.node].carry_out(held[0], time.monotonic())
            carried_out = True
            return [reply]
        return None

    return act


def _lost() -> Act:
    """The third step is acknowledged, and gone."""

    def act(stage: Stage, seen: Seen) -> list[Reply] | None:
        if seen.op != "put" or seen.fields["value"] != _STEP:
            return None
        before = stage.store.keys[seen.fields["key"]]
        reply = Reply(stage.nodes[seen.node].carry_out(seen, time.monotonic()))
        stage.store.keys[seen.fields["key"]] = before
        return [reply]

    return act


def _twice() -> Act:
    """As before, and another step is done that nobody asked for."""
    late = _late()

    def act(stage: Stage, seen: Seen) -> list[Reply] | None:
        told = late(stage, seen)
        key = seen.fields.get("key")
        if seen.op == "get" and key is not None and told is not None:
            after = stage.store.keys[key]
            stage.store.keys[key] = after._replace(value=b"4", key_revision=99)
        return told

    return act


PLAYS = (
    Play("a late step", 2 * _CALL_S, True, _late),
    Play("a late step that is the last", _CALL_S - 1, True, _late),
    Play("a lost step", 2, False, _lost),
    Play("a step too many", 2 * _CALL_S, False, _twice),
)


def run(command: list[str], seconds: int, stage: Stage) -> tuple[int | None, str]:
    """The counter's exit code, None if it did not end; and what it said."""
    names = "DKV_TRUST", "DKV_CERTIFICATE", "DKV_KEY"
    files = dict(zip(names, map(str, stage.cast.plain), strict=True))
    counter = subprocess.Popen(
        [*command, "--counters", "1", "--seconds", str(seconds)],
        env={**os.environ, **files, "DKV_ENDPOINTS": ",".join(stage.endpoints)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    ended = stage.run(lambda: counter.poll() is not None, _ENDS_S)
    counter.kill()
    return counter.wait() if ended else None, counter.communicate()[0].strip()


def fault(play: Play, command: list[str], cast: Cast) -> str:
    """What is wrong, in words; empty: nothing."""
    with Stage((), cast) as stage:
        act = play.act()
        stage.react = lambda seen: act(stage, seen)
        code, said = run(command, play.seconds, stage)
    if code is None:
        return f"it did not end within {_ENDS_S} s: {said}"
    return "" if (code == 0) == play.is_exact else f"ended with {code}: {said}"


def main(command: list[str]) -> int:
    is_sound = True
    with tempfile.TemporaryDirectory() as folder:
        cast = Cast(Path(folder), time.time_ns() // 1_000_000)
        for play in PLAYS:
            words = fault(play, command, cast)
            print(f"{play.name}: {words or 'passed'}", flush=True)
            is_sound = is_sound and not words
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
