"""A node's log, looked at: an entry is seen on its way, and nothing is missing or false in the end,
whatever became of log and node meanwhile."""

from typing import Any

import pytest

from dkv.limits import MS, SECOND, Retention
from tests.scenarios.seeds import seeds
from tests.world import Reply, World

SHORT = Retention(tail=4, entries=8, step=4)


class Reader:
    """Follows a node's log as a client does: what it was told of every entry, by index."""

    def __init__(self, world: World, node: str, **fields: Any) -> None:
        self.world, self.node, self.fields = world, node, fields
        self.entries: dict[int, dict[str, Any]] = {}
        self.next = {"after": 0, "after_term": 0, "settled": 0}
        self.page: dict[str, Any] = {}

    def ask(self, **more: Any) -> bytes:
        return self.world.ask(self.node, "tail", **{**self.fields, **self.next, **more})

    def take(self, reply: Reply) -> dict[str, Any]:
        page = self.page = reply.result
        if page["replaced"]:
            settled = self.next["settled"]
            self.entries = {i: e for i, e in self.entries.items() if i <= settled}
        for item in page["items"]:
            self.entries[item["index"]] = item
        for index, term, *reached, _outcomes in page["marks"]:
            if index in self.entries:
                assert self.entries[index]["term"] == term
                times = zip(("saved_us", "committed_us", "applied_us"), reached, strict=True)
                self.entries[index].update(times)
        self.next = {name: page[name] for name in self.next}
        return page

    def read(self, **more: Any) -> dict[str, Any]:
        return self.take(self.world.reply(self.ask(**more)))

    @property
    def commands(self) -> list[Any]:
        return [c for _index, e in sorted(self.entries.items()) for c in e.get("commands", ())]


def others(world: World, name: str) -> list[str]:
    return [n for n in world.names if n != name]


def indexes(page: dict[str, Any]) -> list[int]:
    return [item["index"] for item in page["items"]]


# -- an entry on its way ---------------------------------------------------------------------------
def test_a_put_is_seen_at_every_node_with_who_and_what_and_how_long_it_took() -> None:
    world = World(seed=1)
    leader = world.serve()
    asked = others(world, leader)[0]
    readers = [Reader(world, name) for name in world.names]
    for reader in readers:
        reader.read()
    assert world.put(asked, b"key", b"value").revision == 1
    for reader in readers:
        page = reader.read(wait_ms=1_000)
        (item,) = page["items"]
        assert item["commands"] == [["put", b"key", "insecure", 1, 5, 0, "ok"]]
        assert (item["origin"], item["kind"], item["count"]) == (asked, "commands", 1)
        assert item["saved_us"] >= 0
        assert 0 < item["committed_us"] <= item["applied_us"]
        assert 0 <= item["received"] - item["proposed"] < 10
        assert page["last"] == page["saved"] == page["applied"] == item["index"]
        assert (page["role"] == "leader", page["leader"]) == (reader.node == leader, leader)


def test_nothing_of_a_value_is_told() -> None:
    world = World(seed=2)
    leader = world.serve()
    assert world.put(leader, b"key", b"secret").ok
    reply = world.reply(world.ask(leader, "tail", after=1))
    assert b"secret" not in repr(reply.body).encode()


def test_whoever_waits_is_answered_soon_after_something_came_and_at_the_end_anyway() -> None:
    world = World(seed=3)
    leader = world.serve()
    reader = Reader(world, leader)
    reader.read()
    waits = reader.ask(wait_ms=2_000)
    world.run(700 * MS)
    began_us = world.now_us
    assert world.put(leader, b"k", b"v").ok
    assert len(reader.take(world.reply(waits))["items"]) == 1
    assert world.now_us - began_us < 100 * MS
    reader.read(wait_ms=100)  # it may have been told before it was committed
    began_us = world.now_us
    assert reader.read(wait_ms=2_000)["items"] == []
    assert 2_000 * MS <= world.now_us - began_us < 2_100 * MS


def test_no_wait_is_longer_than_the_request_lives() -> None:
    world = World(seed=4)
    leader = world.serve()
    began_us = world.now_us
    request = world.ask(leader, "tail", {"ttl_ms": 1_500}, wait_ms=10_000)
    assert world.reply(request).ok
    assert 1_000 * MS <= world.now_us - began_us < 1_100 * MS


def test_a_busy_node_answers_a_few_times_a_second_with_many_entries() -> None:
    world = World(seed=5)
    leader = world.serve()
    reader = Reader(world, leader)
    reader.read()
    pages = 0
    end_us = world.now_us + SECOND
    while world.now_us < end_us:
        waits = reader.ask(wait_ms=1_000)
        while waits not in world.replies:
            assert world.put(leader, b"k", b"v").ok
        reader.take(world.replies[waits])
        pages += 1
    assert pages <= 21 < len(reader.entries)


def test_what_was_seen_before_a_majority_had_it_is_marked_when_it_has() -> None:
    world = World(seed=6)
    leader = world.serve()
    reader = Reader(world, leader)
    assert world.put(leader, b"before", b"").ok
    reader.read()
    world.cut(leader)
    put = world.ask(leader, "put", key=b"k", value=b"v")
    (item,) = reader.read(wait_ms=500)["items"]
    assert (item["saved_us"] is None, item["committed_us"], item["applied_us"]) == (
        False,
        None,
        None,
    )
    assert item["commands"] == [["put", b"k", "insecure", None, 1, 0, None]]
    assert reader.page["commit"] < item["index"] == reader.page["saved"]
    brief = Reader(world, leader, brief=True)
    brief.next = dict(reader.next)
    world.heal()
    assert world.reply(put).ok
    began_us = world.now_us
    page = reader.read(wait_ms=1_000)
    assert world.now_us - began_us < 100 * MS
    ((index, term, *reached, outcomes),) = page["marks"]
    assert outcomes == [[2, "ok"]]
    assert (index, term, page["items"]) == (item["index"], item["term"], [])
    assert None not in reached
    assert brief.read()["marks"] == [[index, term, *reached, None]]
    assert reader.read(wait_ms=100)["marks"] == []


def test_where_only_what_is_committed_is_asked_for_that_is_told_once_and_whole() -> None:
    world = World(seed=17)
    leader = world.serve()
    reader = Reader(world, leader, committed=True)
    reader.read()
    world.cut(leader)
    put = world.ask(leader, "put", key=b"k", value=b"v")
    began_us = world.now_us
    assert reader.read(wait_ms=300)["items"] == []
    assert world.now_us - began_us >= 300 * MS
    world.heal()
    assert world.reply(put).ok
    assert reader.read(wait_ms=1_000)["applied"] == reader.page["after"]
    assert reader.commands == [["put", b"k", "insecure", 1, 1, 0, "ok"]]


def test_a_log_that_ends_before_where_is_asked_from_is_waited_for() -> None:
    world = World(seed=18)
    leader = world.serve()
    reader = Reader(world, leader)
    last = reader.read()["last"]
    reader.next = {"after": last + 2, "after_term": 0, "settled": 0}
    waits = reader.ask(wait_ms=1_000)
    world.run(200 * MS)
    began_us = world.now_us
    for key in (b"1", b"2", b"3"):
        assert world.put(leader, key, b"").ok
    assert indexes(reader.take(world.reply(waits))) == [last + 3]
    assert not reader.page["replaced"]
    assert world.now_us - began_us < 100 * MS


# -- the log changes -------------------------------------------------------------------------------
def test_an_entry_that_was_replaced_is_said_to_be_and_the_one_in_its_place_is_told() -> None:
    world = World(seed=7)
    old = world.serve()
    reader = Reader(world, old)
    assert world.put(old, b"before", b"").ok
    world.run(SECOND)
    reader.read(after=1)
    world.cut(old)
    for n in range(3):
        world.ask(old, "put", {"ttl_ms": 1_000}, key=b"lost %d" % n, value=b"v")
        world.run(50 * MS)
    reader.read(wait_ms=500)
    assert [c[1] for c in reader.commands] == [b"before", b"lost 0", b"lost 1", b"lost 2"]
    rest = others(world, old)
    world.run_until(lambda: any(world.nodes[n].leads for n in rest))
    new = next(n for n in rest if world.nodes[n].leads)
    assert world.put(new, b"kept", b"").ok
    world.heal()
    world.run(SECOND)
    page = reader.read()
    assert page["replaced"]
    assert [c[1] for c in reader.commands] == [b"before", b"kept"]
    kept = reader.entries[page["items"][-1]["index"]]
    assert kept["received"] >= kept["proposed"]
    assert kept["saved_us"] > 0
    assert not reader.read()["replaced"]


def test_what_was_never_shown_is_known_to_be_replaced_too() -> None:
    """Who begins at the end of a log is told of the last entry there, which may never be."""
    world = World(seed=19)
    old = world.serve()
    world.cut(old)
    world.ask(old, "put", {"ttl_ms": 1_000}, key=b"lost", value=b"")
    world.run(50 * MS)
    reader = Reader(world, old)
    last = reader.read()["last"]
    reader.read()  # nothing is new; the place is kept
    world.run_until(lambda: any(world.nodes[n].leads for n in others(world, old)))
    world.heal()
    world.run(SECOND)
    page = reader.read()
    assert page["replaced"]
    assert last in indexes(page)


def test_where_the_head_was_cut_it_is_said_and_what_is_left_is_told() -> None:
    world = World(seed=8, retention=SHORT)
    leader = world.serve()
    for n in range(40):
        assert world.put(leader, b"%d" % n, b"").ok
    world.run(3 * SECOND)
    page = Reader(world, leader).read(after=2)
    assert page["compacted"]
    assert page["first"] > 3
    assert indexes(page) == list(range(page["first"], page["last"] + 1))
    base = page["first"] - 1
    assert not Reader(world, leader).read(after=base)["compacted"]
    assert Reader(world, leader).read(after=base - 1)["compacted"]


def test_a_node_that_is_sent_the_state_says_what_it_does_not_have() -> None:
    world = World(seed=9, retention=SHORT)
    leader = world.serve()
    behind = others(world, leader)[0]
    reader = Reader(world, behind)
    reader.read(after=1)
    world.cut(behind)
    for n in range(30):
        assert world.put(leader, b"%d" % n, b"").ok
    world.run(3 * SECOND)
    assert reader.read()["leader"] == ""  # it answers, also alone
    world.heal()
    commit = world.nodes[leader].raft.commit
    world.run_until(lambda: world.nodes[behind].state.applied >= commit)
    assert world.put(leader, b"after", b"").ok
    world.run(200 * MS)
    page = reader.read()
    assert page["compacted"]
    assert indexes(page) == list(range(page["first"], page["last"] + 1))
    assert reader.commands[-1][1] == b"after"


def test_a_restarted_node_tells_its_log_and_no_times_that_it_does_not_know() -> None:
    world = World(seed=10)
    leader = world.serve()
    asked = others(world, leader)[0]
    reader = Reader(world, asked)
    assert world.put(asked, b"k", b"v").ok
    world.run(3 * SECOND)  # state.db has it
    reader.read(after=1)
    told = dict(reader.entries)
    world.restart(asked)
    world.run(SECOND)
    reader.read(wait_ms=0)
    assert not reader.page["replaced"]
    again = Reader(world, asked).read(after=1)["items"]
    assert [i["index"] for i in again][: len(told)] == sorted(told)
    of_put = next(i for i in again if i["count"])
    assert [of_put[name] for name in ("received", "saved_us", "applied_us")] == [None] * 3
    assert of_put["commands"] == [["put", b"k", "insecure", None, 1, 0, None]]
    assert reader.page["applied"] >= of_put["index"]


@pytest.mark.parametrize("seed", seeds(6))
def test_a_reader_ends_with_the_log_that_the_node_has(seed: int) -> None:
    """Leaders change, nodes crash and are cut off; it may see what never was, and is told so."""
    world = World(seed=seed, retention=SHORT)
    world.serve()
    readers = [Reader(world, name) for name in world.names]
    waiting: dict[str, bytes] = {}
    for reader in readers:
        reader.read(after=1)
    for number in range(40):
        _disturb(world)
        for name in world.running():
            world.ask(name, "put", {"ttl_ms": 500}, key=b"%d" % number, value=b"v")
        world.run(world.between(20, 400) * MS)
        for reader in readers:
            _go_on(world, reader, waiting)
    world.heal()
    for name in world.names:
        if name not in world.running():
            world.start_node(name)
    world.run_until(world.is_serving)
    world.run(2 * SECOND)
    for reader in readers:
        while True:
            if not reader.read(wait_ms=0)["items"]:
                break
        _compare(world, reader)


def _disturb(world: World) -> None:
    name = world.rng.choice(world.names)
    match world.rng.randrange(6):
        case 0 if len(world.running()) == 3:
            world.crash(name)
        case 1:
            world.cut(world.leader() or name)
        case 2 | 3:
            world.heal()
        case 4:
            for down in set(world.names) - set(world.running()):
                world.start_node(down)
        case _:
            pass


def _go_on(world: World, reader: Reader, waiting: dict[str, bytes]) -> None:
    """A node that ends takes its questions with it: they are asked again."""
    request = waiting.pop(reader.node, b"")
    if request in world.replies:
        reply = world.replies[request]
        if reply.ok:
            reader.take(reply)
    if reader.node in world.running():
        waiting[reader.node] = reader.ask(wait_ms=world.rng.choice((0, 100, 1_000)))


def _compare(world: World, reader: Reader) -> None:
    entries, base = world.nodes[reader.node].disk.entries, reader.page["first"] - 1
    told = {i: e["term"] for i, e in reader.entries.items() if i > base}
    assert told == {i: e.term for i, e in entries.items() if i >= min(told, default=0)}
    assert all(e["applied_us"] is None or e["applied_us"] >= 0 for e in reader.entries.values())


# -- part of it ------------------------------------------------------------------------------------
def test_filters_leave_out_commands_and_go_on_nevertheless() -> None:
    world = World(seed=11)
    leader = world.serve()
    for key in (b"a/1", b"b/1", b"a/2"):
        assert world.put(leader, key, b"v").ok
    assert world.reply(world.ask(leader, "delete_range", prefix=b"a/")).ok
    reader = Reader(world, leader, prefix=b"a/")
    page = reader.read(after=1)
    assert [(c[0], c[1]) for c in reader.commands] == [
        ("put", b"a/1"),
        ("put", b"a/2"),
        ("delete_range", b"a/"),
    ]
    assert page["after"] == page["last"]
    assert Reader(world, leader, author="nobody").read(after=1)["items"] == []
    assert len(Reader(world, leader, author="insecure").read(after=1)["items"]) == 4
    brief = Reader(world, leader, prefix=b"b/", brief=True).read(after=1)["items"]
    assert [(i["count"], "commands" in i) for i in brief] == [(1, False)]


def test_pages_have_so_many_entries_and_follow_each_other_without_a_gap() -> None:
    world = World(seed=12)
    leader = world.serve()
    for n in range(10):
        assert world.put(leader, b"%d" % n, b"").ok
    reader = Reader(world, leader, limit=3)
    pages = [indexes(reader.read(after=1))]
    while pages[-1]:
        assert len(pages[-1]) <= 3
        pages.append(indexes(reader.read()))
    assert [i for page in pages for i in page] == list(range(2, reader.page["last"] + 1))


def test_large_entries_come_one_at_a_time() -> None:
    world = World(seed=13)
    leader = world.serve()
    for n in range(3):
        assert world.put(leader, b"%d" % n, bytes(400_000)).ok
    reader = Reader(world, leader)
    first = world.nodes[leader].raft.tail.last.index - 3
    assert [len(reader.read(after=first + n)["items"]) for n in range(4)] == [1, 1, 1, 0]


def test_a_refused_command_is_told_with_why() -> None:
    world = World(seed=14)
    leader = world.serve()
    assert world.put(leader, b"k", b"v").ok
    refused = world.reply(world.ask(leader, "put", key=b"k", value=b"w", expected=7))
    assert refused.code == "condition_failed"
    reader = Reader(world, leader)
    reader.read(after=1)
    assert reader.commands[-1] == ["put", b"k", "insecure", 1, 1, 0, "condition_failed"]


def test_whatever_a_stranger_asks_for_nothing_ends() -> None:
    world = World(seed=15)
    leader = world.serve()
    largest = 2**63 - 1
    for after, term, settled in (
        (largest, 0, 0),
        (largest, 1, largest),
        (1, largest, 0),
        (1, 0, 3),
    ):
        fields = {"after": after, "after_term": term, "settled": settled}
        assert world.reply(world.ask(leader, "tail", **fields, wait_ms=10)).ok
    for wrong in ({"limit": 0}, {"limit": 257}, {"wait_ms": 10_001}, {"after": -1}, {"brief": 1}):
        assert world.reply(world.ask(leader, "tail", **wrong)).code == "bad_request"
    assert world.put(leader, b"k", b"v").ok


def test_a_node_that_stops_does_not_wait_for_who_waits() -> None:
    world = World(seed=16)
    leader = world.serve()
    waits = Reader(world, leader).ask(wait_ms=3_000)
    world.run(10 * MS)
    began_us = world.now_us
    world.stop(leader)
    assert world.reply(waits).code == "stopping"
    assert world.now_us - began_us < 2 * SECOND
