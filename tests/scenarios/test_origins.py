"""Who is answered, with what, and how often a write is applied: origins, sequences, retries."""

from typing import Any

import pytest

from dkv.limits import MS, SECOND, ClusterLimits
from dkv.messages import Append, PreVote, Relay
from dkv.requests import pack_command
from tests.load import LoadClient, settle
from tests.scenarios.seeds import seeds
from tests.world import Reply, World


def in_session(number: int, sequence: int, **more: Any) -> dict[str, Any]:
    return {"session": number, "sequence": sequence, "lowest": 1, **more}


def open_session(world: World, node: str) -> int:
    number: int = world.call(node, "open_session").result["session"]
    return number


def test_a_result_is_never_taken_for_that_of_another_life_of_its_origin() -> None:
    """The first batch of the origin's first life is applied when its second life waits for its own
    first batch: the same node, the same number, another boot."""
    world = World(seed=1)
    leader = world.serve()
    origin = next(n for n in world.names if n != leader)
    world.run(SECOND)  # its witness knows that the cluster is open
    world.peer_filter = lambda _a, _b, x: not (isinstance(x, Append) and x.rows)
    first = world.ask(origin, "put", key=b"first", value=b"")
    world.run(20 * MS)
    world.restart(origin)
    world.run_until(world.is_serving)
    second = world.ask(origin, "put", key=b"second", value=b"")
    world.run(20 * MS)
    assert world.nodes[leader].raft.tail.last.index == world.nodes[leader].raft.commit + 2
    world.release()
    assert world.reply(second).result["key_revision"] == 2
    world.run(SECOND)
    assert first not in world.replies
    assert world.get(origin, b"first").result["key_revision"] == 1
    assert world.get(origin, b"second").result["key_revision"] == 2


@pytest.mark.parametrize("through", ["the same node", "two nodes", "one message"])
def test_of_two_commands_under_one_sequence_one_is_executed(through: str) -> None:
    world = World(seed=2)
    leader = world.serve()
    session = open_session(world, leader)
    other = next(n for n in world.names if n != leader)
    header = in_session(session, 1)
    if through == "one message":
        one, two = both_in_one_message(world, leader, header)
    else:
        asked = world.ask(leader, "put", header, key=b"a", value=b"")
        node = leader if through == "the same node" else other
        again = world.ask(node, "put", header, key=b"b", value=b"")
        one, two = world.reply(asked), world.reply(again)
    assert sorted((one.code, two.code)) == ["ok", "sequence_reused"]
    executed, refused = (b"a", b"b") if one.ok else (b"b", b"a")
    assert {one.applied, two.applied} == {"yes", "no"}
    assert world.get(leader, executed).result["found"]
    assert not world.get(leader, refused).result["found"]


def both_in_one_message(world: World, node: str, header: dict[str, Any]) -> tuple[Reply, Reply]:
    """A list of requests: they are in one turn, hence in one entry."""
    commands = (pack_command("put", key=key, value=b"") for key in (b"a", b"b"))
    replies = world.ask_list(node, [{"command": command, **header} for command in commands])
    return replies[0], replies[1]


def test_a_retry_is_answered_as_the_first_attempt_was() -> None:
    world = World(seed=3)
    leader = world.serve()
    session = open_session(world, leader)
    replies = [
        world.call(node, "put", in_session(session, 1, retry=True), key=b"k", value=b"v")
        for node in world.names
    ]
    assert [r.result["key_revision"] for r in replies] == [1, 1, 1]
    assert world.get(leader, b"k").result["version"] == 1
    refused = world.call(leader, "put", in_session(session, 2), key=b"k", value=b"w", expected=99)
    assert world.put(leader, b"k", b"other").ok
    again = world.call(
        leader, "put", in_session(session, 2, retry=True), key=b"k", value=b"w", expected=99
    )
    assert refused.code == again.code == "condition_failed"
    assert refused.body["error"]["key_revision"] == again.body["error"]["key_revision"] == 1


def test_a_retry_after_its_session_expired_is_unknown_and_executes_nothing() -> None:
    world = World(seed=4, limits=ClusterLimits(session_ttl_ms=2_000))
    leader = world.serve()
    session = open_session(world, leader)
    assert world.call(leader, "put", in_session(session, 1), key=b"k", value=b"1").ok
    world.run(5 * SECOND)  # idle: the leader writes the passing of time down
    again = world.call(leader, "put", in_session(session, 1, retry=True), key=b"k", value=b"1")
    assert (again.code, again.applied) == ("session_lost", "unknown")
    new = world.call(leader, "put", in_session(session, 2), key=b"k", value=b"2")
    assert (new.code, new.applied) == ("session_lost", "no")
    assert world.get(leader, b"k").result["version"] == 1


def test_a_session_in_use_does_not_expire() -> None:
    world = World(seed=5, limits=ClusterLimits(session_ttl_ms=2_000))
    leader = world.serve()
    session = open_session(world, leader)
    for _ in range(6):
        world.run(1_500 * MS)
        assert world.call(leader, "keep_alive", {"session": session}).ok
    assert world.call(leader, "put", in_session(session, 1), key=b"k", value=b"1").ok


def test_a_proposal_stuck_in_a_paused_leader_is_unknown_and_may_still_be_applied() -> None:
    world = World(seed=6)
    leader = world.serve()
    origin = next(n for n in world.names if n != leader)
    world.run(SECOND)
    world.pause(leader)
    asked = world.ask(origin, "put", {"ttl_ms": 100}, key=b"k", value=b"v")
    world.run(200 * MS)
    assert world.replies[asked].code == "timeout"
    assert world.replies[asked].applied == "unknown"
    world.resume(leader)
    world.run(SECOND)
    assert world.leader() == leader


def test_a_proposal_in_a_leader_that_wakes_steps_down_and_leads_again_is_not_refused() -> None:
    """1. The leader and the third stop; the origin has relayed its proposal, and elects nobody.
    2. The leader wakes after more than an election: it appends the proposal, and steps down.
    3. It is elected again, for its log is the longest: the proposal is committed after all."""
    world = World(seed=8)
    leader = world.serve()
    origin, third = (n for n in world.names if n != leader)
    world.run(SECOND)
    world.peer_filter = lambda a, _b, x: a == leader or not isinstance(x, PreVote)
    world.pause(leader)
    world.pause(third)
    asked = world.ask(origin, "put", {"ttl_ms": 10_000}, key=b"k", value=b"v")
    world.run(1_500 * MS)
    term = world.nodes[leader].raft.term
    world.resume(leader)
    world.resume(third)
    world.run_until(lambda: world.leader() == leader and world.nodes[leader].raft.term > term)
    assert world.nodes[leader].raft.counters.get("step_downs") == 1
    reply = world.reply(asked)
    assert reply.ok
    assert world.get(origin, b"k").result["found"]


def test_a_leader_that_wakes_refuses_what_has_been_too_long_on_its_way() -> None:
    """It reads the proposal after a round that its sender had not heard of: nobody waits for it."""
    world = World(seed=7)
    leader = world.serve()
    origin = next(n for n in world.names if n != leader)
    world.run(SECOND)
    world.peer_filter = lambda a, _b, x: not (a == origin and isinstance(x, Relay))
    asked = world.ask(origin, "put", {"ttl_ms": 150}, key=b"k", value=b"v")
    world.run(SECOND)
    assert world.replies[asked].applied == "unknown"
    world.release()
    world.run(SECOND)
    assert not world.get(leader, b"k").result["found"]
    assert world.nodes[leader].raft.counters.get("proposals_expired") == 1


@pytest.mark.parametrize("seed", seeds(12))
def test_what_was_definitely_refused_is_never_applied_later(seed: int) -> None:
    """Leaders pause for up to two seconds and lead again, or not, and sometimes another with them;
    writes without a session, with short deadlines, through every node. Afterwards: yes is there,
    no is not."""
    world = World(seed)
    world.serve()
    asked: dict[bytes, bytes] = {}
    for round_number in range(12):
        for paused in {world.leader() or "n1": 0, world.rng.choice(world.names): 0}:
            world.pause(paused)
            wakes_us = world.now_us + world.rng.randint(0, 2_000) * MS
            world.at(wakes_us, lambda name=paused: world.resume(name))  # type: ignore[misc]
        for step in range(12):
            key = b"%d/%d" % (round_number, step)
            ttl_ms = world.rng.choice((20, 150, 700, 2_000))
            through = world.rng.choice(world.names)
            asked[key] = world.ask(through, "put", {"ttl_ms": ttl_ms}, key=key, value=b"")
            world.run(world.rng.randint(0, 200) * MS)
        world.run(SECOND)
    world.run(5 * SECOND)
    world.run_until(world.is_serving)
    known = {"yes": 0, "no": 0, "unknown": 0}
    for key, request in asked.items():
        applied = world.reply(request).applied
        known[applied] += 1
        found = world.get("n1", key).result["found"]
        assert applied == "unknown" or found == (applied == "yes"), f"seed {seed}: {key!r}"
    assert known["yes"] > 20
    assert known["unknown"] > 5


@pytest.mark.parametrize("seed", seeds(4))
def test_every_sequence_is_executed_once_under_loss_and_duplication(seed: int) -> None:
    world = World(seed)
    world.serve()
    world.loss, world.duplication = 0.10, 0.30
    clients = [LoadClient(world, number) for number in range(5)]
    for client in clients:
        client.start()
    world.run(10 * SECOND)
    world.loss = world.duplication = 0.0
    settle(world, clients)
    assert sum(c.increments for c in clients) > 20
