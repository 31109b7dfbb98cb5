"""A member that is behind its leader's log is sent the state, and goes on by itself.

Chunks are small here, so that a few values take many of them.
"""

from collections.abc import Iterator

import pytest

from actors import copying, staging
from dkv.address import Local
from dkv.codec import unseal
from dkv.limits import MS, SECOND, Retention
from dkv.messages import Append, Chunk
from tests.scenarios.seeds import seeds
from tests.stores import Fuse
from tests.world import World, everything

SHORT = Retention(tail=4, entries=8, step=4)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "CHUNK_BYTES", 200)
    monkeypatch.setattr(staging, "STAGED_BYTES", 500)


def left_behind(world: World, values: int = 30) -> tuple[str, str]:
    """(leader, a follower whose next entry is in no log any more)."""
    leader = world.serve()
    behind = next(n for n in world.names if n != leader)
    assert world.put(leader, b"before", b"").ok
    world.run(SECOND)
    world.cut(behind)
    write(world, leader, values)
    world.run(3 * SECOND)
    assert is_behind(world, leader, behind)
    return leader, behind


def write(world: World, at: str, values: int) -> None:
    for number in range(values):
        assert world.put(at, b"%03d" % (number % 20), b"%03d" % number * 10).ok


def is_behind(world: World, leader: str, behind: str) -> bool:
    base = world.nodes[leader].raft.tail.base.index
    return bool(base > world.nodes[behind].raft.tail.last.index)


def becomes_equal(world: World) -> None:
    """All serve, take a write, have it, and are alike."""
    world.run_until(world.is_serving)
    leader = world.leader() or ""
    assert world.put(leader, b"after", b"").ok
    commit = world.nodes[leader].raft.commit
    nodes = world.nodes.values()
    world.run_until(lambda: all(n.actors and n.state.applied >= commit for n in nodes))
    world.run(SECOND)
    states = [n.state for n in nodes]
    assert len({(s.written, s.held, s.sessions.remembered(), len(s.heads)) for s in states}) == 1


def installs(world: World, name: str) -> int:
    return int(world.nodes[name].raft.counters.get("snapshots_installed"))


def begins(world: World, behind: str, chunks: int) -> None:
    """Run until so many chunks have come, and the last has not."""
    world.heal()
    machine = world.nodes[behind].actors.machine  # type: ignore[union-attr]
    seen: list[Chunk] = []

    def count(_name: str, _actor: object, letter: object) -> bool:
        if isinstance(letter, Chunk):
            seen.append(letter)
        return True

    world.letter_filter = count
    world.run_until(lambda: len(seen) >= chunks)
    world.letter_filter = everything
    assert machine._staging.store is not None


def chunks_from_now(world: World) -> list[int]:
    """Behind which rows they are."""
    rows: list[int] = []

    def look(_sender: str, _receiver: str, letter: object) -> bool:
        if isinstance(letter, Chunk):
            rows.append(letter.row)
        return True

    world.peer_filter = look
    return rows


@pytest.mark.parametrize("seed", seeds(6))
def test_a_member_behind_the_log_is_sent_the_state_and_returns_to_replication(seed: int) -> None:
    world = World(seed, retention=SHORT)
    _leader, behind = left_behind(world)
    world.heal()
    becomes_equal(world)
    world.run(5 * SECOND)
    assert installs(world, behind) == 1
    world.restart(behind)
    becomes_equal(world)
    assert installs(world, behind) == 0


@pytest.mark.parametrize("seed", seeds(6))
def test_another_sender_goes_on_where_the_first_one_was_killed(seed: int) -> None:
    world = World(seed, retention=SHORT)
    leader, behind = left_behind(world)
    begins(world, behind, 5)
    row = world.nodes[behind].actors.machine._staging.row  # type: ignore[union-attr]
    world.crash(leader)
    asked = chunks_from_now(world)
    world.run_until(lambda: installs(world, behind) == 1)
    assert asked[0] >= row > 0
    world.peer_filter = everything
    world.start(leader)
    becomes_equal(world)


@pytest.mark.parametrize("seed", seeds(6))
def test_a_receiver_that_was_killed_goes_on_behind_what_is_on_its_disk(seed: int) -> None:
    world = World(seed, retention=SHORT)
    _leader, behind = left_behind(world, 60)
    begins(world, behind, 10)
    world.restart(behind)
    asked = chunks_from_now(world)
    world.run_until(lambda: installs(world, behind) == 1)
    assert asked[0] > 0
    world.peer_filter = everything
    becomes_equal(world)


@pytest.mark.parametrize("seed", seeds(6))
def test_the_sender_cuts_its_log_and_writes_go_on_meanwhile(seed: int) -> None:
    world = World(seed, retention=SHORT)
    leader, behind = left_behind(world)
    begins(world, behind, 3)
    base = world.nodes[leader].raft.tail.base.index
    write(world, leader, 60)
    world.run(2 * SECOND)
    assert world.nodes[leader].raft.tail.base.index > base
    becomes_equal(world)
    assert installs(world, behind) >= 1


@pytest.mark.parametrize("seed", seeds(6))
def test_letters_of_a_snapshot_lost_doubled_and_late_do_no_harm(seed: int) -> None:
    world = World(seed, retention=SHORT)
    _leader, behind = left_behind(world)
    world.loss, world.duplication, world.delay_us = 0.2, 0.5, (30, 20_000)
    world.heal()
    world.run_until(lambda: installs(world, behind) == 1, 60 * SECOND)
    world.loss = world.duplication = 0.0
    becomes_equal(world)


def test_a_snapshot_that_comes_late_is_not_installed_over_newer_state() -> None:
    world = World(1, retention=SHORT)
    leader, behind = left_behind(world)
    world.peer_filter = lambda _a, _b, x: not (isinstance(x, Chunk) and x.head and not x.more)
    world.heal()
    world.run_until(lambda: bool(world.held))
    late = [*world.held]
    world.peer_filter = everything
    world.run_until(lambda: installs(world, behind) == 1)
    becomes_equal(world)
    world.held = late
    world.release()
    applied = world.nodes[behind].state.applied
    world.run(SECOND)
    assert installs(world, behind) == 1
    assert world.nodes[behind].state.applied >= applied
    becomes_equal(world)
    assert world.leader() == leader


@pytest.mark.parametrize("seed", seeds(3))
def test_two_members_are_sent_the_state_at_once(seed: int) -> None:
    world = World(seed, ("n1", "n2", "n3", "n4", "n5"), retention=SHORT)
    leader = world.serve()
    behind = [n for n in world.names if n != leader][:2]
    for _ in range(5):
        assert world.call(leader, "open_session").ok
    world.run(SECOND)
    world.cut(*behind)
    write(world, leader, 40)
    world.run(3 * SECOND)
    world.heal()
    becomes_equal(world)
    assert [installs(world, name) for name in behind] == [1, 1]


@pytest.mark.parametrize("seed", seeds(4))
def test_a_retry_at_who_was_sent_the_state_is_answered_from_the_session(seed: int) -> None:
    world = World(seed, retention=SHORT)
    leader = world.serve()
    behind = next(n for n in world.names if n != leader)
    world.run(SECOND)
    world.cut(behind)
    session = world.call(leader, "open_session").result["session"]
    place = {"session": session, "sequence": 1, "lowest": 1}
    first = world.put(leader, b"once", b"1", **place)
    assert first.ok
    write(world, leader, 30)
    world.run(3 * SECOND)
    world.heal()
    world.run_until(lambda: installs(world, behind) == 1)
    again = world.put(behind, b"once", b"1", **place, retry=True)
    assert again.result == first.result
    assert world.get(behind, b"once").result["version"] == 1
    becomes_equal(world)


@pytest.mark.parametrize("seed", seeds(4))
def test_what_the_receiver_had_proposed_is_answered_though_it_never_applied_the_entry(
    seed: int,
) -> None:
    world = World(seed, retention=SHORT)
    leader = world.serve()
    behind = next(n for n in world.names if n != leader)
    session = world.call(behind, "open_session").result["session"]
    world.run(SECOND)
    world.peer_filter = lambda _a, to, x: not (to == behind and isinstance(x, Append))
    place = {"session": session, "sequence": 1, "lowest": 1, "ttl_ms": 60_000}
    asked = world.ask(behind, "put", place, key=b"once", value=b"1")
    write(world, leader, 40)
    world.run(3 * SECOND)
    assert asked not in world.replies
    world.peer_filter = everything
    world.held.clear()
    world.run_until(lambda: installs(world, behind) == 1)
    assert world.reply(asked, 300 * MS).ok  # long before it would have asked again by itself
    assert world.get(behind, b"once").result["version"] == 1
    becomes_equal(world)


# == a crash at every point ======================================================================
def play(fuse: Fuse) -> list[str]:
    """A snapshot is received and installed, with a fuse in the receiver's disk; its steps."""
    world = World(5, retention=SHORT)
    leader, behind = left_behind(world, 12)
    world.nodes[behind].disk.fuse = fuse
    world.heal()
    node = world.nodes[behind]
    world.run_until(lambda: node.actors is None or installs(world, behind) == 1)
    world.run(300 * MS)
    steps = [*fuse.steps]
    world.restart(behind)
    assert node.ended is None, node.ended
    becomes_equal(world)
    assert world.leader() == leader
    return steps


@pytest.fixture(scope="module")
def steps() -> Iterator[list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "CHUNK_BYTES", 200)
        patch.setattr(staging, "STAGED_BYTES", 500)
        yield play(Fuse())


def test_the_install_has_every_kind_of_step(steps: list[str]) -> None:
    commit = len(steps) - 1 - steps[::-1].index("table.commit")
    assert {"table.add", "table.commit"} <= set(steps[:commit])
    assert {"journal.keep", "journal.replace", "journal.commit"} <= set(steps)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_power_cut_at_any_step_leaves_a_node_that_comes_back(
    steps: list[str], after: bool
) -> None:
    for step in range(len(steps)):
        fuse = Fuse()
        fuse.blow_at, fuse.after = step, after
        assert play(fuse) == steps[: step + 1]


def test_a_last_chunk_changes_nothing_where_the_log_has_brought_more() -> None:
    """The receiver met a leader whose log reached back to it, while the last chunk was on its way;
    what it had staged is still there, and fits."""
    world = World(3, retention=SHORT)
    leader = world.serve()
    behind, keeper = (n for n in world.names if n != leader)
    world.nodes[keeper].plan = world.nodes[keeper].plan._replace(retention=None)
    world.restart(keeper)
    world.run(SECOND)
    world.cut(behind)
    write(world, leader, 30)
    world.run(3 * SECOND)
    world.peer_filter = lambda _a, _b, x: not (isinstance(x, Chunk) and x.head)
    world.heal()
    world.run_until(lambda: bool(world.held))
    _envelope, (chunk,) = unseal(world.held[0][2])
    world.held.clear()
    world.crash(leader)
    machine = world.nodes[behind].actors.machine  # type: ignore[union-attr]
    world.run_until(lambda: world.leader() == keeper)
    assert world.put(keeper, b"newer", b"").ok
    world.run_until(lambda: world.get(behind, b"newer", "serializable").result["found"])
    applied = world.nodes[behind].state.applied
    assert machine._staging.row == chunk.row
    world.deliver(behind, Local.MACHINE, chunk)
    world.run(SECOND)
    assert world.nodes[behind].state.applied >= applied
    assert installs(world, behind) == 0
    world.peer_filter = everything
    world.start(leader)
    becomes_equal(world)


@pytest.mark.parametrize("seed", seeds(3))
def test_a_snapshot_waits_for_space_on_the_disk_and_goes_on_behind_what_it_has(seed: int) -> None:
    world = World(seed, retention=SHORT)
    leader, behind = left_behind(world)
    begins(world, behind, 3)
    node = world.nodes[behind]
    node.disk.space_level = 1
    world.run(SECOND)
    held = node.actors.machine._staging.row
    assert held > 0
    world.run(5 * SECOND)
    assert node.actors.machine._staging.row == held
    assert node.actors.machine._staging.waits_for_space
    assert world.put(leader, b"meanwhile", b"").ok
    assert installs(world, behind) == 0
    rows = chunks_from_now(world)
    node.disk.space_level = 0
    world.run_until(lambda: installs(world, behind) > 0)
    assert min(rows) == held  # nothing is sent twice
    becomes_equal(world)


def test_a_snapshot_does_not_begin_on_a_disk_without_room() -> None:
    world = World(1, retention=SHORT)
    _leader, behind = left_behind(world)
    node = world.nodes[behind]
    node.disk.space_level = 1
    world.heal()
    world.run(3 * SECOND)
    assert node.actors.machine._staging.row == 0
    assert node.ended is None
    node.disk.space_level = 0
    becomes_equal(world)
