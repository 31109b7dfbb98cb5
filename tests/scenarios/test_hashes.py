"""Replicas compared online: all answer for the very entry that one of them named."""

from tests.world import World


def test_all_nodes_answer_for_the_entry_that_one_named_although_more_was_written() -> None:
    world = World(seed=11)
    leader = world.serve()
    for n in range(20):
        assert world.put(leader, b"k%d" % n, b"v").ok
    named = world.call(leader, "hash").result
    for n in range(20):
        assert world.put(leader, b"k%d" % n, b"w").ok
    asked = [world.ask(node, "hash", index=named["index"]) for node in world.names]
    answers = [world.reply(request).result for request in asked]
    assert answers == [named] * len(world.names)
    assert world.call(leader, "hash").result["hash"] != named["hash"]


def test_a_node_that_was_away_comes_as_far_before_it_answers() -> None:
    world = World(seed=12)
    leader = world.serve()
    away = next(n for n in world.names if n != leader)
    world.crash(away)
    for n in range(20):
        assert world.put(leader, b"k%d" % n, b"v").ok
    named = world.call(leader, "hash").result
    world.restart(away)
    world.run_until(lambda: world.is_serving(*world.names))
    assert world.call(away, "hash", index=named["index"]).result == named
