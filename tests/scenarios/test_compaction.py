"""History ends everywhere at once; what it held goes from each disk in its own time."""

from typing import Any

import pytest

from dkv.errors import Code
from dkv.kv.retention import Policy
from dkv.limits import MS, SECOND
from tests.scenarios.seeds import seeds
from tests.world import World

KEYS = [b"k%02d" % n for n in range(12)]


def under(policy: Policy, seed: int) -> World:
    world = World(seed)
    for node in world.nodes.values():
        node.plan = node.plan._replace(policy=policy)
    return world


def churn(world: World, node: str, rounds: int, dead: int = 3) -> None:
    """Every key is put so many times; the last few are deleted at the end of each round."""
    for number in range(rounds):
        asked = [world.ask(node, "put", key=key, value=b"%d" % number) for key in KEYS]
        assert all(world.reply(x).ok for x in asked)
        asked = [world.ask(node, "delete", key=key) for key in KEYS[-dead:]]
        assert all(world.reply(x).ok for x in asked)


def kept(world: World, name: str) -> int:
    return len(world.nodes[name].disk.versions)


def is_swept(world: World) -> bool:
    """Everything that may go has gone, and that is committed."""
    return all(
        node.disk.meta.swept == node.state.floor  # type: ignore[union-attr]
        for node in world.nodes.values()
        if node.actors is not None
    )


@pytest.mark.parametrize("seed", seeds(4))
def test_all_delete_the_same_in_their_own_time(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    churn(world, leader, 6)
    before = world.call(leader, "list").result
    away = next(n for n in world.names if n != leader)
    world.crash(away)
    assert world.call(leader, "compact").ok
    churn(world, leader, 2)
    world.run_until(lambda: is_swept(world))
    world.start(away)
    assert world.call(leader, "compact").ok
    world.run_until(lambda: is_swept(world))
    assert {kept(world, name) for name in world.names} == {len(KEYS) - 3}
    assert [i[:1] for i in world.call(away, "list").result["items"]] == [
        i[:1] for i in before["items"]
    ]
    hashes = {world.call(n, "hash", index=world.nodes[away].state.applied).result["hash"]
              for n in world.names}  # fmt: skip
    assert len(hashes) == 1


@pytest.mark.parametrize("seed", seeds(4))
def test_a_list_across_a_compaction_ends_with_compacted_and_is_never_short(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    churn(world, leader, 3)
    first = world.call(leader, "list", limit=4)
    whole = [i[0] for i in world.call(leader, "list").result["items"]]
    churn(world, leader, 1)
    second = world.call(leader, "list", limit=4, token=first.result["token"])
    assert world.call(leader, "compact", revision=first.revision).ok  # its own: still there
    world.run_until(lambda: is_swept(world))
    third = world.call(leader, "list", limit=4, token=second.result["token"])
    pages = (first, second, third)
    assert [i[0] for page in pages for i in page.result["items"]] == whole
    assert world.call(leader, "compact", revision=first.revision + 1).ok
    for name in world.names:
        ended = world.call(name, "list", limit=4, token=second.result["token"])
        assert (ended.code, ended.applied) == ("compacted", "no")


@pytest.mark.parametrize("seed", seeds(6))
def test_a_crash_in_the_middle_of_deletion_brings_nothing_back(seed: int) -> None:
    world = World(seed)
    leader = world.serve()
    churn(world, leader, 8, dead=6)
    whole = world.call(leader, "list").result["items"]
    assert world.call(leader, "compact").ok
    for _ in range(6):
        world.run(world.rng.randint(1, 900) * MS)
        world.restart(world.rng.choice(world.names))
        world.run_until(lambda: world.is_serving(*world.names))
    for name in world.names:
        assert world.call(name, "list").result["items"] == whole
    world.run_until(lambda: is_swept(world))
    assert {kept(world, name) for name in world.names} == {len(KEYS) - 6}
    for name in world.names:
        world.restart(name)
    world.run_until(lambda: world.is_serving(*world.names))
    assert world.call(world.names[0], "list").result["items"] == whole


def test_the_leader_ends_history_by_itself_as_its_policy_says() -> None:
    world = under(Policy(50, 0), seed=3)
    leader = world.serve()
    churn(world, leader, 30)
    world.run_until(lambda: world.nodes[leader].state.compacted > 0)
    world.run(3 * SECOND)
    state = world.nodes[leader].state
    assert 50 <= state.revision - state.compacted <= 55 + len(KEYS)
    assert len({world.nodes[n].state.compacted for n in world.names}) == 1
    world.run_until(lambda: is_swept(world))
    assert kept(world, leader) < 50 + 2 * len(KEYS)


def test_history_younger_than_the_age_stays_however_many_revisions_there_are() -> None:
    world = under(Policy(10, 60_000), seed=4)
    leader = world.serve()
    assert world.call(leader, "open_session").ok  # with one, cluster time passes while idle, too
    churn(world, leader, 20)
    world.run(30 * SECOND)
    churn(world, leader, 1)
    assert world.nodes[leader].state.compacted == 0
    young = world.nodes[leader].state.revision
    world.run(60 * SECOND)
    for _ in range(6):
        world.run(5 * SECOND)
        churn(world, leader, 1)
    world.run(3 * SECOND)
    assert world.nodes[leader].state.compacted > 0
    assert world.nodes[leader].state.compacted >= young - len(KEYS) - 3


def big(world: World, node: str, number: int) -> Any:
    return world.put(node, b"big%d" % number, bytes(2_000))


@pytest.mark.parametrize("through", ["leader", "follower"])
def test_at_the_quota_puts_are_refused_until_there_is_room_again(through: str) -> None:
    world = under(Policy(100_000, 600_000, quota=50_000), seed=5)
    leader = world.serve()
    node = leader if through == "leader" else next(n for n in world.names if n != leader)
    written = 0
    while (reply := big(world, node, written % 40)).ok:
        written += 1
        world.run(100 * MS)
    assert (reply.code, reply.applied) == ("quota", "no")
    assert 25 <= written <= 40
    facts = world.call(leader, "status").result["machine"]
    assert facts["quota_reached"] is True
    assert world.get(node, b"big0").ok
    deleted = world.call(node, "delete_range", prefix=b"big", limit=10)
    assert deleted.result["deleted"] == 10
    world.run_until(lambda: big(world, node, 99).ok)
    assert world.call(leader, "status").result["machine"]["quota_reached"] is False


def test_a_compaction_is_the_same_when_it_is_tried_again() -> None:
    world = World(seed=6)
    leader = world.serve()
    session = world.call(leader, "open_session").result["session"]
    churn(world, leader, 1)
    place = {"session": session, "sequence": 1, "lowest": 1}
    first = world.call(leader, "compact", place, keep=1)
    churn(world, leader, 1)
    again = world.call(leader, "compact", {**place, "retry": True}, keep=1)
    assert again.result == first.result
    beyond = world.call(leader, "compact", revision=10_000)
    assert beyond.code == Code.FUTURE_REVISION.name.lower()


def test_space_is_told_in_parts_by_the_levels_of_names() -> None:
    world = World(seed=7)
    leader = world.serve()
    for key in (b"a/1", b"a/2", b"a/b/3", b"c/4", b"top"):
        assert world.put(leader, key, b"old").ok
        assert world.put(leader, key, b"value").ok
    assert world.call(leader, "delete", key=b"a/2").ok
    rows = world.call(leader, "space").result["rows"]
    assert rows == [[b"", 1, 8, 6], [b"a/", 2, 18, 31], [b"c/", 1, 8, 6]]
    deeper = world.call(leader, "space", prefix=b"a/", depth=2).result["rows"]
    assert [row[0] for row in deeper] == [b"a/", b"a/b/"]
    assert world.call(leader, "compact").ok
    world.run_until(lambda: is_swept(world))
    rows = world.call(leader, "space").result["rows"]
    assert rows == [[b"", 1, 8, 0], [b"a/", 2, 18, 0], [b"c/", 1, 8, 0]]
