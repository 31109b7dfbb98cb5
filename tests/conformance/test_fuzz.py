"""Mutated frames of the golden vectors against what a node does with what arrives: nothing gets
out but refusals, within a bounded time and memory each.

Time is that of the thread, and a frame that seems slow is tried again: its own cost comes back, a
neighbour's or the collector's does not. Memory is that of Python, which makes everything slower, so
a frame below 4 KiB is traced only now and then: a byte of msgpack becomes an object of 64 bytes and
a pointer at most, so it cannot cost a megabyte. The long run traces all.
"""

import gc
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import msgpack
import pytest

from actors.admission import Admission, Asked, Refusal
from dkv.address import Instant
from dkv.counters import Counters
from dkv.errors import Code
from dkv.limits import MIB, ClusterLimits, client_frame_bytes_max
from dkv.messages import FromClient
from dkv.requests import PROTOCOL, Malformed
from tests.conformance.vectors import kept

LONG = bool(os.environ.get("DKV_LONG"))
COUNT = 1_000_000 if LONG else 200_000
TRACED_EVERY = 1 if LONG else 10
SEED = int(os.environ.get("DKV_SEED", "1"))
SECONDS_MAX = 0.010
BYTES_MAX = 10 * MIB
_TRIES = 5
_TOGETHER = 10_000
_NOW = Instant(1_000_000, 1_700_000_000_000)
_LIMITS = ClusterLimits()
# First bytes of msgpack that promise much, or are none; and lengths at the edges.
_EDGES = (
    *(b"\xc1", b"\xc0", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"),
    *(b"\xdb\xff\xff\xff\xff", b"\xde\xff\xff", b"\xdc\xff\xff", b"\xc9\xff\xff\xff\xff\x01"),
    *(b"\x80", b"\x90", b"\x8f", b"\x9f", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7)),
    *(b"\xa0", b"\xc4\0", b"\xcb\x7f\xf8" + bytes(6), b"\xd4\0\0", b"\xd9\xff", b"\x91" * 64),
    *(b"\x81\xa1a" * 40, b"\x82\xa1a\x01\xa1a\x01", b"DKV1", b"DKV2", b""),
)


def _sound() -> list[tuple[bytes, ...]]:
    found = [vector for file in kept().values() for vector in file]
    return [tuple(map(bytes.fromhex, vector["frames"])) for vector in found]


def mutated(dice: Random, sound: list[tuple[bytes, ...]]) -> Iterator[tuple[bytes, ...]]:
    """Bytes flipped, cut, repeated, taken from another message or from the edges of msgpack; and
    frames dropped, doubled or in another order."""
    while True:
        frames = list(dice.choice(sound))
        for _ in range(dice.randint(1, 4)):
            place = len(frames) - 1 if dice.random() < 0.8 else dice.randrange(len(frames))
            frames[place] = _harmed(dice, frames[place], sound)
        if dice.random() < 0.05:
            frames = dice.choices(frames, k=dice.randint(1, 8))
        yield tuple(frames)


def _harmed(dice: Random, frame: bytes, sound: list[tuple[bytes, ...]]) -> bytes:
    place = dice.randint(0, len(frame))
    how = dice.randrange(6)
    if how == 0:
        return frame[:place]
    if how == 1:
        return frame[:place] + dice.randbytes(dice.randint(1, 4)) + frame[place + 1 :]
    if how == 2:
        return frame[:place] + dice.choice(_EDGES) + frame[place + dice.randint(0, 3) :]
    if how == 3:
        return frame[:place] + frame[max(0, place - 40) : place] * dice.randint(2, 60)
    if how == 4:
        other = dice.choice(dice.choice(sound))
        return frame[:place] + other[dice.randint(0, len(other)) :]
    if not frame:
        return frame
    place = min(place, len(frame) - 1)
    return frame[:place] + bytes((frame[place] ^ (1 << dice.randrange(8)),)) + frame[place + 1 :]


# -- a node's door ---------------------------------------------------------------------------------
def _stranger(_text: bytes, _user: str, _wall_s: int) -> None:
    raise Malformed(Code.CERTIFICATE_REFUSED, "unknown")


def _doors() -> list[Admission]:
    """One without security, where everything is read; one where everybody is a guest."""
    open_door = Admission(_LIMITS, None, "", Counters())
    closed = Admission(_LIMITS, _stranger, "probe", Counters())  # type: ignore[arg-type]
    return [open_door, closed]


def _enter(door: Admission, frames: tuple[bytes, ...]) -> float:
    """Seconds of this thread that it takes. Whatever comes is a request or a refusal."""
    message = FromClient(b"client", "probe", frames)  # on whom no bound of guests applies
    began = time.thread_time()
    found = list(door.read(message, _NOW))
    took = time.thread_time() - began
    for each in found:
        assert isinstance(each, Asked | Refusal)
    return took


def _time(door: Admission, frames: tuple[bytes, ...]) -> None:
    took = _enter(door, frames)
    if took > SECONDS_MAX:
        took = min(_enter(door, frames) for _ in range(_TRIES))
    assert took <= SECONDS_MAX, f"{took * 1e3:.1f} ms: {[f.hex() for f in frames]}"[:2_000]


def _trace(door: Admission, frames: tuple[bytes, ...]) -> None:
    """While memory is traced."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    _enter(door, frames)
    grown = tracemalloc.get_traced_memory()[1] - before
    assert grown <= BYTES_MAX, f"{grown:,} bytes: {[f.hex() for f in frames]}"[:2_000]


@contextmanager
def _tracing() -> Iterator[None]:
    tracemalloc.start(1)
    yield
    tracemalloc.stop()


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
def test_no_mutated_frame_escapes_or_costs_much() -> None:
    doors, found = _doors(), mutated(Random(SEED), _sound())
    for _ in range(COUNT // _TOGETHER):
        some = [(doors[n % 8 == 0], next(found)) for n in range(_TOGETHER)]
        for door, frames in some:
            _time(door, frames)
        with _tracing():
            for n, (door, frames) in enumerate(some):
                if n % TRACED_EVERY == 0 or sum(map(len, frames)) > 4_096:
                    _trace(door, frames)
        gc.collect()


def _large() -> Iterator[tuple[str, bytes]]:
    """The worst that fits into the largest frame."""
    room = client_frame_bytes_max(_LIMITS) - 100
    pair = b"\x81\xa7command\xc4\x00"
    yield "empty maps", b"\xdd" + room.to_bytes(4) + b"\x80" * room
    yield "empty arrays", b"\xdd" + room.to_bytes(4) + b"\x90" * room
    yield "nested arrays", b"\x91" * room
    yield "nested maps", b"\x81\xa0" * (room // 2)
    yield "nils", b"\xdd" + room.to_bytes(4) + b"\xc0" * room
    yield "requests", b"\xdc\xff\xff" + pair * 65_535
    yield "a promise", b"\xdd\xff\xff\xff\xff"
    yield (
        "keys",
        b"\xdf\x00\x0f\x42\x40"
        + b"".join(b"\xce" + n.to_bytes(4) + b"\xc0" for n in range(room // 6)),
    )
    for name, filling in (("maps", b"\x80"), ("pairs", b"\x81\xa1a\xc0"), ("deep", b"\x81\xa1a")):
        inner = b"\xde\xff\xff" + filling * ((_LIMITS.request_bytes_max - 20) // len(filling))
        yield f"a command of {name}", msgpack.packb({"command": inner})
    tree = b"\x80"
    for _ in range(3):
        tree = b"\xde\x00\x20" + b"".join(b"\xa1%c" % n + tree for n in range(32))
    count = room // len(tree)
    yield "trees of maps", b"\xdc" + count.to_bytes(2) + tree * count
    count = _LIMITS.request_bytes_max // len(tree)
    trees = b"\xde" + count.to_bytes(2) + b"".join(b"\xa1%c" % n + tree for n in range(count))
    yield "a command of trees", msgpack.packb({"command": trees})
    text = b"\x82\xa2op\xdb\x00\x16\x00\x00" + b"a" * 0x160000
    yield "a command of one text", msgpack.packb({"command": text})


@pytest.mark.parametrize(("name", "body"), list(_large()), ids=[name for name, _ in _large()])
@pytest.mark.usefixtures("_no_collector")
def test_no_large_frame_costs_much(name: str, body: bytes) -> None:
    """A frame of 4 MiB is no mutation of a vector: what it may cost beyond itself is bounded."""
    for door in _doors():
        _time(door, (PROTOCOL, b"id", body))
        with _tracing():
            _trace(door, (PROTOCOL, b"id", body))


# -- evolution -----------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", [b"DKV2", b"DKV0", b"dkv1", b"DKV", b"DKV11", b""])
def test_another_version_gets_no_answer_and_is_counted(protocol: bytes) -> None:
    counters = Counters()
    door, count = Admission(_LIMITS, None, "", counters), 0
    for vector in _sound():
        joined = len(vector) - (not vector[0]) == 1
        if joined:
            frames = tuple(frame and protocol + frame[len(PROTOCOL) :] for frame in vector)
        else:
            frames = tuple(protocol if frame == PROTOCOL else frame for frame in vector)
        if not (joined and frames[-1].startswith(PROTOCOL)):  # an id may begin with anything
            assert list(door.read(FromClient(b"c", "insecure", frames), _NOW)) == []
            count += 1
    assert counters.facts() == {"client_frames_malformed": count}


def test_an_unknown_request_is_refused_definitely() -> None:
    door = Admission(_LIMITS, None, "", Counters())
    command = msgpack.packb({"op": "watch", "key": b"k", "of": {"a": "newer version"}})
    body = msgpack.packb({"command": command})
    (found,) = door.read(FromClient(b"c", "insecure", (PROTOCOL, b"id", body)), _NOW)
    assert isinstance(found, Refusal)
    assert found.code is Code.UNSUPPORTED
