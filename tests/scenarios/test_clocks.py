"""Wall clocks are for people: no jump of one ends a session, elects or deposes anybody."""

from dkv.limits import SECOND, ClusterLimits
from tests.world import World

TEN_YEARS_MS = 10 * 365 * 86_400_000


def test_a_wall_clock_ten_years_ahead_for_a_second_changes_nothing_but_what_people_read() -> None:
    world = World(seed=1, limits=ClusterLimits(session_ttl_ms=10_000))
    leader = world.serve()
    session = world.call(leader, "open_session").result["session"]
    began = world.now_us
    terms = dict(world.invariants.leaders)
    world.nodes[leader].wall_offset_ms = TEN_YEARS_MS
    assert world.put(leader, b"during", b"").ok
    world.run(SECOND)
    world.nodes[leader].wall_offset_ms = 0
    place = {"session": session, "sequence": 1, "lowest": 1}
    assert world.put(leader, b"after", b"", **place).ok
    during = world.get(leader, b"during").result["wall"]
    after = world.get(leader, b"after").result["wall"]
    assert TEN_YEARS_MS - 10_000 < during - after < TEN_YEARS_MS
    assert world.nodes[leader].raft.tick <= (world.now_us - began) // 1_000 + 1_000
    world.run(5 * SECOND)
    assert world.call(leader, "keep_alive", {"session": session}).ok
    assert world.invariants.leaders == terms


def test_an_outage_lengthens_sessions_and_ends_none() -> None:
    """Nobody could use them meanwhile: cluster time goes on from the last entry's."""
    world = World(seed=2, limits=ClusterLimits(session_ttl_ms=3_000))
    leader = world.serve()
    session = world.call(leader, "open_session").result["session"]
    for name in world.names:
        world.crash(name)
    world.run(60 * SECOND)
    world.serve()
    place = {"session": session, "sequence": 1, "lowest": 1}
    assert world.put("n1", b"k", b"", **place).ok


def test_clocks_at_half_and_double_speed_still_make_one_leader() -> None:
    world = World(seed=3)
    world.nodes["n1"].clock_rate, world.nodes["n2"].clock_rate = 0.5, 2.0
    world.serve()
    for number in range(20):
        for name in world.names:
            world.put(name, b"%d" % number, name.encode())
    world.run(10 * SECOND)
    world.run_until(world.is_serving)
    assert world.put("n1", b"k", b"").ok
