"""A look at the log, on paper: its bounds at the gateway, at the log after what must be written, at
the state machine a part a turn; and an entry that makes no sense."""

from typing import Any

import msgpack
import pytest

from actors.log import Log
from actors.tailing import Outcomes, Tailing, Tails
from dkv.address import Instant, Local
from dkv.entries import Batch, Entry, Kind, pack_batch
from dkv.kv.state import Command, pack_command_of
from dkv.limits import OUTCOMES_MAX, TAIL_SHOW_US, TAILS_MAX, TAILS_PER_NAME_MAX
from dkv.messages import Found, Observe, Show, Shown, Stop
from dkv.requests import pack_command
from tests.unit.front import Front
from tests.unit.replica import Replica
from tests.world import World

TAIL = pack_command("tail", wait_ms=1_000)


# -- the gateway -----------------------------------------------------------------------------------
def asked(front: Front) -> list[Observe]:
    found = [letter for letter in front.inside if isinstance(letter, Observe)]
    front.inside.clear()
    return found


def test_so_many_of_one_name_wait_and_no_more() -> None:
    front = Front(secure=True)
    front.present("anna", "admin", "a")
    front.present("bert", "admin", "b")
    for _ in range(TAILS_PER_NAME_MAX + 1):
        front.command(TAIL, user="a")
    letters = asked(front)
    assert len(letters) == TAILS_PER_NAME_MAX
    ((_client, refused),) = front.replies
    assert refused["error"]["code"] == "busy"
    assert "16 tails of anna wait at n1: end some of them" in refused["error"]["words"]
    front.command(TAIL, user="b")
    assert len(asked(front)) == 1
    front.handle(Found(letters[0].batch, 0, (msgpack.packb((0, 1, {})),)))
    front.command(TAIL, user="a")
    assert len(asked(front)) == 1


def test_so_many_wait_at_a_node_and_no_more() -> None:
    front = Front(secure=True)
    for number in range(TAILS_MAX + 1):
        name = f"user{number // 8}"
        front.present(name, "admin", name)
        front.command(TAIL, user=name)
    assert len(asked(front)) == TAILS_MAX
    assert "64 tails wait at n1" in front.replies[-1][1]["error"]["words"]


def test_only_an_admin_may_look() -> None:
    front = Front(secure=True)
    front.present("anna", "writer", "a")
    front.command(TAIL, user="a")
    assert front.error() == ("denied", "no")


def test_a_node_whose_disk_hangs_says_so_at_the_deadline() -> None:
    front = Front()
    front.command(TAIL, {"ttl_ms": 2_000})
    assert asked(front)[0].wait_ms == 1_000
    front.wait(2_000_000)
    assert front.error() == ("timeout", "no")
    front.command(TAIL)
    assert len(asked(front)) == 1


def test_whoever_waits_is_told_that_the_node_stops() -> None:
    front = Front()
    front.command(TAIL)
    asked(front)
    front.handle(Stop())
    assert front.replies[0][1]["error"]["code"] == "stopping"


# -- the log ---------------------------------------------------------------------------------------
def test_what_must_be_written_is_not_kept_waiting_by_who_looks() -> None:
    world = World(seed=1)
    leader = world.serve()
    log: Log = world.nodes[leader].actors.log  # type: ignore[union-attr]
    last, now = log._last.index, world.instant(world.nodes[leader])
    show = Show(7, 0, 1, last, last, TAIL, b"", ())
    held = [letter for letter in _write(world, leader) if letter is not None]
    out = log.handle([show, *held], now)
    assert [x for to, x in out if to is Local.MACHINE] == []
    assert log.deadline == 0
    (shown,) = [x for to, x in log.handle([], now) if to is Local.MACHINE]
    assert [e.index for e in shown.entries] == list(range(2, last + 1))
    busy = Instant(now.us + TAIL_SHOW_US, now.wall_ms)
    log.handle([show, *_write(world, leader)], now)
    assert any(to is Local.MACHINE for to, _x in log.handle(_write(world, leader), busy))


def test_what_the_log_lost_since_is_not_looked_for() -> None:
    world = World(seed=2)
    log: Log = world.nodes[world.serve()].actors.log  # type: ignore[union-attr]
    last = log._last.index
    show = Show(7, 0, last, last + 3, last, TAIL, b"", ((last + 1, 1, 5, 0),))
    out = log.handle([show], Instant(world.now_us, 0))
    ((entries, saved_us),) = [(x.entries, x.saved_us) for to, x in out if to is Local.MACHINE]
    assert (entries, saved_us) == ((), (0,))


def _write(world: World, leader: str) -> list[Any]:
    """An empty Write, as consensus makes it."""
    raft = world.nodes[leader].raft
    raft.write()
    return [raft.out.pop()[1]]


# -- the state machine -----------------------------------------------------------------------------
def shown(*entries: Entry, commit: int = 0, wait_ms: int = 0, **fields: Any) -> Shown:
    question = pack_command("tail", **fields)
    known = msgpack.packb({"after_term": 0, "replaced": False})
    last = entries[-1].index if entries else 0
    return Shown(1, wait_ms, 0, commit, question, known, (), (), 0, last, entries)


def entry(payload: bytes, kind: int = Kind.COMMANDS) -> Entry:
    return Entry(1, 1, kind, 0, 0, payload, bytes(8))


def told(*entries: Entry, **fields: Any) -> dict[str, Any]:
    tailing = Tailing(Replica().state, Outcomes(0), shown(*entries, **fields), 0)
    answer = None
    while answer is None:
        answer = tailing.step(Instant(0, 0))
    return dict(msgpack.unpackb(answer)[2])


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"\xc1", b"\x94", msgpack.packb(7), msgpack.packb((1, 2))),
        *(msgpack.packb(("n", 1, 1, 5)), msgpack.packb(("n", 1, 1, "text"))),
        msgpack.packb((None, None, None, (None, 1, b"", b"\xc1", []))),
        msgpack.packb(("n", 1, 1, (msgpack.packb((1, float("inf"), 1, 1, 1, b"")),))),
        pack_batch(Batch("n", 1, 1, (pack_command_of(Command("a", 1, 1, 1, 1, b"\x80")),))),
    ],
)
def test_what_makes_no_sense_is_told_as_such(payload: bytes) -> None:
    for kind in (Kind.COMMANDS, 99):
        for filters in ({}, {"prefix": b"k"}, {"author": "a"}, {"brief": True}):
            for item in told(entry(payload, kind), **filters)["items"]:
                assert all(row[0] == "" for row in item.get("commands", ()))


def test_what_is_committed_and_not_applied_yet_is_left_to_the_next_answer() -> None:
    found = told(entry(commands(1)), committed=True)
    assert (found["items"], found["after"]) == ([], 0)


def test_an_unknown_kind_is_told_by_its_number() -> None:
    assert told(entry(b"", 99))["items"][0]["kind"] == "kind 99"


def test_times_are_of_the_entry_that_is_told_and_not_of_the_one_it_replaced() -> None:
    for term, received in ((1, 0), (2, None)):
        letter = shown(entry(b""))._replace(moments=((1, term, 500, 600),), saved_us=(700,))
        answer = Tailing(Replica().state, Outcomes(0), letter, 0).step(Instant(900, 0))
        assert answer is not None
        assert msgpack.unpackb(answer)[2]["items"][0]["received"] == received


def commands(count: int) -> bytes:
    packed = pack_command_of(Command("a", 0, 0, 0, 0, pack_command("put", key=b"k", value=b"v")))
    return pack_batch(Batch("n1", 1, 1, (packed,) * count))


def test_many_entries_are_told_a_part_a_turn_in_turn() -> None:
    state, tails = Replica().state, Tails()
    entries = [entry(commands(150))._replace(index=n) for n in range(1, 5)]
    for batch in (1, 2):
        letter = shown(*entries)._replace(batch=batch)
        tails.add(Tailing(state, Outcomes(0), letter, 0))
    done = [tails.step(0, Instant(0, 0)) for _ in range(8)]
    assert done[:6] == [None] * 6
    assert [found and found[0] for found in done[6:]] == [1, 2]
    assert tails.due_us is None


def test_what_is_committed_is_told_when_it_is_applied_or_after_a_moment() -> None:
    state, tails = Replica().state, Tails()
    tails.add(Tailing(state, Outcomes(0), shown(commit=5, wait_ms=400), 0))
    assert tails.step(4, Instant(0, 0)) is None
    assert tails.due_us == 400_000
    assert tails.step(4, Instant(400_000, 0)) is not None
    tails.add(Tailing(state, Outcomes(0), shown(commit=5, wait_ms=400), 0))
    assert tails.step(5, Instant(0, 0)) is not None


def test_outcomes_are_remembered_up_to_a_bound() -> None:
    outcomes = Outcomes(0)
    results = ((0, 0, b""),) * 1_000
    for index in range(1, 100):
        outcomes.keep(index, results)
    assert outcomes.of(1) == ()
    assert outcomes.of(99) == results
    assert sum(map(len, outcomes._kept.values())) <= OUTCOMES_MAX
