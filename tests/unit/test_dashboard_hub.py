"""What the dashboard makes of the nodes' words: the log's ring, who led, what pages are told."""

import asyncio
import gc
from typing import Any

import pytest

from cli.dashboard.feed import ROWS_MAX, Feed
from cli.dashboard.hub import SAMPLES_MAX, Hub, Node
from cli.dashboard.ring import BYTES_MAX, COMMANDS_MAX, Command, Entry, Filter, Ring, Sight
from cli.dashboard.tailing import Tail
from cli.dashboard.terms import Terms

ALL = Filter()


def put(key: bytes, author: str = "web", revision: int = 0) -> Command:
    return Command("put", key, author, revision, 5, "")


def entry(index: int, *keys: bytes, term: int = 1) -> Entry:
    return Entry(index, term, 1_000, [put(key) for key in keys or (b"k",)])


def ring_of(*entries: Entry) -> Ring:
    ring = Ring()
    for each in entries:
        assert ring.add(each)
    return ring


def keys(rows: list[list[Any]]) -> list[str]:
    return [row[4] for row in rows]


# -- the ring ------------------------------------------------------------------------------------
def test_rows_come_in_order_once_and_the_newest_where_there_are_more_than_fit() -> None:
    ring = ring_of(entry(1, b"a", b"b"), entry(2, b"c"), entry(3, b"d"))
    assert ring.newest(0, ALL, 3) == (entry(1, b"a", b"b").rows[1:] + ring.newest(1, ALL, 9)[0], 1)
    assert keys(ring.newest(1, ALL, 9)[0]) == ["c", "d"]
    assert ring.newest(3, ALL, 9) == ([], 0)


def test_an_entry_that_was_told_before_or_is_older_is_passed_over() -> None:
    ring = ring_of(entry(4), entry(5))
    assert not ring.add(entry(5))
    assert not ring.add(entry(3))
    assert len(ring) == 2


def test_another_leaders_entry_replaces_what_was_there_and_pages_are_told_from_where() -> None:
    ring = ring_of(entry(1, b"a"), entry(2, b"lost"), entry(3, b"lost"))
    assert ring.add(entry(2, b"b", term=2))
    assert keys(ring.newest(0, ALL, 9)[0]) == ["a", "b"]
    assert ring.cut_since(3) == 2
    assert ring.cut_since(4) is None


def test_the_ring_keeps_so_many_commands_and_so_many_bytes() -> None:
    ring = Ring()
    for index in range(1, COMMANDS_MAX // 100 + 20):
        ring.add(entry(index, *[b"k"] * 100))
    assert len(ring) == COMMANDS_MAX // 100
    ring = Ring()
    key = b"k" * 4096
    for index in range(1, BYTES_MAX // 4096 // 100 + 20):
        ring.add(entry(index, *[key] * 100))
    assert len(ring) * 100 * 4096 <= BYTES_MAX


def test_what_has_left_the_ring_is_kept_by_nothing_else() -> None:
    others, ring = _entries_alive(), Ring()
    commands = [put(b"k")] * 100
    for index in range(1, COMMANDS_MAX // 100 + 400):
        ring.add(Entry(index, 1, 1_000, commands))
        latest = ring.find(index, 1)
        assert latest is not None
        ring.see(index, 1, "n1", Sight(1_000, 1.0, 2.0, 3.0))
        ring.settle(latest, commands, 3.0)
    assert _entries_alive() - others == len(ring)


def _entries_alive() -> int:
    gc.collect()
    return sum(isinstance(o, Entry) for o in gc.get_objects())


def test_older_rows_are_found_before_a_row_in_the_middle_of_an_entry() -> None:
    ring = ring_of(entry(1, b"a", b"b"), entry(2, b"c", b"d", b"e"))
    assert keys(ring.before(2, 1, ALL, 9)) == ["a", "b", "c"]
    assert keys(ring.before(2, 1, ALL, 2)) == ["b", "c"]
    assert ring.before(1, 0, ALL, 9) == []


def test_a_filter_takes_keys_that_begin_so_and_whole_authors() -> None:
    ring = Ring()
    ring.add(Entry(1, 1, 0, [put(b"ab", "web"), put(b"ac", "job"), put(b"ba", "web")]))
    ring.add(Entry(2, 1, 0, [Command("time", None, "", 0, None, "")]))
    assert keys(ring.newest(0, Filter(b"a"), 9)[0]) == ["ab", "ac"]
    assert keys(ring.newest(0, Filter(b"", "web"), 9)[0]) == ["ab", "ba"]
    assert keys(ring.newest(0, Filter(b"a", "web"), 9)[0]) == ["ab"]
    assert ring.newest(0, Filter(b"", "we"), 9) == ([], 0)


def test_what_a_node_tells_before_the_leader_has_told_the_entry_is_kept_for_it() -> None:
    ring = Ring()
    ring.see(1, 1, "n2", Sight(1_000, 0.5))
    ring.see(1, 2, "n3", Sight(2_000))
    ring.add(entry(1))
    found = ring.find(1, 1)
    assert found is not None
    assert found.sights == {"n2": Sight(1_000, 0.5)}
    for index in range(10_000):
        ring.see(index + 100, 1, "n2", Sight())
    assert len(ring._early) == 4_096


# -- who led -------------------------------------------------------------------------------------
def stretches(terms: Terms) -> list[tuple[int, str, int, int | None]]:
    return [(s["term"], s["leader"], s["since"], s["until"]) for s in terms.stretches]


def test_an_election_is_a_stretch_without_a_leader_between_two_with_one() -> None:
    terms = Terms()
    terms.tell([(1, "n1"), (1, "n1")], 10)
    terms.tell([(1, "n1")], 20)
    terms.tell([(1, ""), (2, "")], 30)
    terms.tell([(1, "n1"), (2, "")], 35)
    terms.tell([(1, "n1"), (2, "n2")], 40)
    assert stretches(terms) == [(1, "n1", 10, 30), (2, "", 30, 40), (2, "n2", 40, None)]


def test_no_answer_is_nobody_and_nothing_is_told_before_the_first_answer() -> None:
    terms = Terms()
    terms.tell([], 5)
    assert terms.stretches == []
    terms.tell([(3, "n1")], 10)
    terms.tell([], 20)
    assert stretches(terms) == [(3, "n1", 10, 20), (3, "", 20, None)]


# -- what a page is told -------------------------------------------------------------------------
def hub_of(*names: str) -> Hub:
    hub = Hub()
    for name in names:
        hub.nodes[name] = Node(name, name)
    return hub


def test_the_first_message_is_whole_and_the_next_has_only_what_is_new() -> None:
    hub = hub_of("n1")
    hub.heard(hub.nodes["n1"], 5, role="leader", term=1, leader="n1", applied=1, saved=2)
    hub.ring.add(entry(1, b"a"))
    hub.sample(7)
    feed = Feed(hub, ALL, "token")
    first = feed.next(9)
    assert first["whole"]
    assert (first["token"], first["now"]) == ("token", 9)
    assert keys(first["rows"]) == ["a"]
    assert first["marks"] == {"n1": (2, 1)}
    assert first["nodes"][0]["role"] == "leader"
    assert [t["leader"] for t in first["terms"]] == ["n1"]
    assert len(first["samples"]) == 1
    assert feed.next(10) == {}
    hub.ring.add(entry(2, b"b"))
    assert feed.next(11) == {"rows": entry(2, b"b").rows, "now": 11}


def test_a_page_that_was_slow_gets_the_newest_and_is_told_how_many_were_left_out() -> None:
    hub = hub_of()
    feed = Feed(hub, ALL, "")
    feed.next(1)
    for index in range(1, 31):
        hub.ring.add(entry(index, *[b"k%d" % index] * 100))
    news = feed.next(2)
    assert len(news["rows"]) == ROWS_MAX
    assert news["skipped"] == 3_000 - ROWS_MAX
    assert news["rows"][-1][0] == 30
    assert feed.next(3) == {}


def test_what_became_of_an_entry_is_told_once_it_is_applied() -> None:
    hub = hub_of()
    feed = Feed(hub, ALL, "")
    one = entry(1, b"a", b"b")
    hub.ring.add(one)
    assert feed.next(1)["rows"][0][6] == 0
    done = [put(b"a", revision=7), Command("put", b"b", "web", 7, 5, "condition_failed")]
    hub.ring.settle(one, done, 2.5)
    assert feed.next(2)["settled"] == [[1, 1, 2.5, [(7, ""), (7, "condition_failed")]]]
    assert feed.next(3) == {}
    late = Feed(hub, ALL, "").next(4)
    assert late["rows"][0][6:10] == [7, 5, 1_000, 2.5]
    assert "settled" not in late


def test_samples_are_bounded_and_a_silent_cluster_has_no_throughput() -> None:
    hub = hub_of("n1")
    for second in range(SAMPLES_MAX + 50):
        hub.sample(second)
    news = Feed(hub, ALL, "").next(1)
    assert len(news["samples"]) == SAMPLES_MAX
    assert news["samples"][-1] == [SAMPLES_MAX + 49, None, None, None, None]


def test_the_teller_is_the_leader_of_the_newest_term_else_one_that_answers() -> None:
    hub = hub_of("n1", "n2", "n3")
    assert hub.teller is None
    hub.heard(hub.nodes["n3"], 1, role="follower", term=2)
    assert hub.teller is hub.nodes["n3"]
    hub.heard(hub.nodes["n1"], 1, role="leader", term=1)
    hub.heard(hub.nodes["n2"], 1, role="leader", term=2)
    assert hub.teller is hub.nodes["n2"]
    hub.silent(hub.nodes["n2"], "gone", 2)
    assert hub.teller is hub.nodes["n1"]


# -- asking a node for its log -------------------------------------------------------------------
class NodeLog:
    """A node's answers to `tail`, and what it was asked."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.applied = 0
        self.asked: list[dict[str, Any]] = []

    def write(self, term: int = 1) -> None:
        index = len(self.entries) + 1
        times = {"received": 5, "saved_us": 10, "committed_us": 20, "applied_us": None}
        item = {"index": index, "term": term, "kind": "commands", "proposed": 5, **times}
        item["commands"] = [["put", b"k%d" % index, "web", None, 3, 0, None]]
        self.entries.append(item)

    def apply(self, through: int) -> None:
        self.applied = through
        for item in self.entries[:through]:
            item["applied_us"] = 1_500
            item["commands"][0][3] = item["index"] * 10
            item["commands"][0][6] = "ok"

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        assert op == "tail"
        self.asked.append(fields)
        last = len(self.entries)
        after = fields["after"] or last
        items = self.entries[after : after + fields["limit"]]
        term = self.entries[-1]["term"] if self.entries else 1
        facts = {"role": "leader", "term": term, "leader": "n1", "last": last, "saved": last}
        facts |= {"commit": self.applied, "applied": self.applied}
        return {**facts, "after": after + len(items), "items": items}


@pytest.fixture
def log() -> NodeLog:
    return NodeLog()


def follow(log: NodeLog, hub: Hub, tail: Tail, questions: int) -> None:
    for _ in range(questions):
        asyncio.run(tail.ask(log))  # type: ignore[arg-type]


def test_an_entry_is_asked_for_again_until_it_is_applied(log: NodeLog) -> None:
    hub = hub_of("n1")
    hub.heard(hub.nodes["n1"], 1, role="leader", term=1, leader="n1")
    tail = Tail(hub, hub.nodes["n1"])
    for _ in range(3):
        log.write()
    log.apply(2)
    follow(log, hub, tail, 2)
    feed = Feed(hub, ALL, "")
    assert [row[6] for row in feed.next(1)["rows"]] == [20, 0]
    log.apply(3)
    follow(log, hub, tail, 1)
    assert log.asked[-1]["after"] == 2
    assert feed.next(2)["settled"] == [[3, 1, 1.5, [(30, "")]]]
    follow(log, hub, tail, 1)
    assert log.asked[-1]["after"] == 3


def test_an_entry_that_was_replaced_before_it_was_applied_is_shown_as_the_new_one(
    log: NodeLog,
) -> None:
    hub = hub_of("n1")
    hub.heard(hub.nodes["n1"], 1, role="leader", term=1, leader="n1")
    tail = Tail(hub, hub.nodes["n1"])
    log.write()
    log.write()
    log.write()
    log.apply(2)
    follow(log, hub, tail, 2)
    feed = Feed(hub, ALL, "")
    feed.next(1)
    del log.entries[2:]
    log.write(term=2)
    follow(log, hub, tail, 1)
    news = feed.next(2)
    assert news["cut"] == 3
    assert [row[:2] for row in news["rows"]] == [[3, 2]]


def test_far_behind_the_newest_entries_are_shown_and_the_rest_left_out(log: NodeLog) -> None:
    hub = hub_of("n1")
    hub.heard(hub.nodes["n1"], 1, role="leader", term=1, leader="n1")
    tail = Tail(hub, hub.nodes["n1"])
    for _ in range(20_000):
        log.write()
    log.apply(20_000)
    follow(log, hub, tail, 3)
    assert log.asked[0]["after"] == 0
    assert hub.ring.last >= 19_500
    for _ in range(10_000):
        log.write()
    log.apply(30_000)
    follow(log, hub, tail, 3)
    assert hub.ring.last >= 29_500


def test_only_the_teller_is_asked_for_commands(log: NodeLog) -> None:
    hub = hub_of("n1", "n2")
    hub.heard(hub.nodes["n2"], 1, role="leader", term=1, leader="n2")
    log.write()
    follow(log, hub, Tail(hub, hub.nodes["n2"]), 1)
    follow(log, hub, Tail(hub, hub.nodes["n1"]), 1)
    assert [fields["brief"] for fields in log.asked] == [False, True]
