"""A cluster restored from a backup of another: the same keys, and not one word between the two."""

import io
from collections.abc import Callable
from typing import Any

import pytest

from actors.restoring import begin_log, fill, first_session
from dkv.ids import Founding
from dkv.kv.backup import Contents, Reader, Writer, examine, origin_of
from dkv.limits import SECOND
from tests.stores import MemoryJournal, MemoryTable, MemoryWitness
from tests.world import World

SALT = b"s" * 16
NAMES = ("n1", "n2", "n3")


def save(
    world: World,
    node: Callable[[int], str],
    between: Callable[[], Any] = int,
    level: str = "linearizable",
) -> bytes:
    """As `dkvctl snapshot save` does it; `node` is asked for the part with this number."""
    file, number, how = io.BytesIO(), 0, {"level": level}
    part = world.call(node(0), "snapshot", how).result
    begun = {k: part["of"][k] for k in ("cluster", "index", "revision", "compacted")}
    writer = Writer(file, origin_of(part["of"], 1))
    while part["versions"]:
        writer.add(part["versions"])
        between()
        number += 1
        part = world.call(node(number), "snapshot", how, **begun, after=part["next"]).result
    writer.finish()
    return file.getvalue()


def restore(world: World, name: str, data: bytes, salt: bytes = SALT) -> Contents:
    """An empty disk becomes the member's of a new cluster."""
    founding = Founding(b"", "", world.names, salt)
    contents = examine(Reader(io.BytesIO(data), "f"))
    world.wipe(name)
    disk, number = world.nodes[name].disk, 50 + world.names.index(name)
    store = MemoryTable(disk, number)
    fill(store, founding, contents, Reader(io.BytesIO(data), "f").versions())
    begin_log(MemoryJournal(disk), MemoryWitness(disk), name, number, founding, contents)
    return contents


def filled(seed: int, keys: int = 30) -> World:
    world = World(seed)
    world.serve()
    for number in range(keys):
        node = world.names[number % 3]
        assert world.put(node, b"%d" % (number % 20), b"v%d" % number).ok
    assert world.call("n1", "delete", key=b"7").ok
    return world


def items(world: World, node: str) -> Any:
    return world.call(node, "list").result["items"]


@pytest.mark.parametrize("seed", range(3))
def test_a_restored_cluster_has_keys_revisions_and_hash_of_the_backup(seed: int) -> None:
    world = filled(seed)
    named, expected = world.call("n2", "hash").result, items(world, "n2")
    data = save(world, lambda _: "n2")
    contents = {restore(world, name, data) for name in world.names}
    assert len(contents) == 1
    assert {c.origin.index for c in contents} == {named["index"]}
    world.new_era()
    world.serve()
    for name in world.names:
        assert items(world, name) == expected
        assert world.call(name, "hash", index=named["index"]).result == named
    before = contents.pop().origin.revision
    assert world.put("n3", b"new", b"v").revision == before + 1
    for name in world.names:
        world.restart(name)
    world.run_until(world.is_serving)
    assert len(items(world, "n1")) == len(expected) + 1


def test_a_backup_goes_on_at_another_node_when_one_dies_and_is_of_its_first_moment() -> None:
    world = filled(4, keys=1_300)  # three parts
    expected = items(world, "n1")

    def trouble() -> None:
        if "n1" in world.running():
            world.crash("n1")
            world.run_until(lambda: world.is_serving("n2", "n3"))
        assert world.put("n2", b"meanwhile", b"v").ok

    data = save(world, lambda part: ("n1", "n2", "n3", "n2", "n3")[part], trouble)
    for name in world.names:
        restore(world, name, data)
    world.new_era()
    world.serve()
    assert items(world, "n2") == expected


def test_without_a_majority_one_node_gives_what_it_has() -> None:
    world = filled(9)
    for _ in range(10):
        world.run(SECOND)
        assert world.put("n1", b"last", b"v").ok
    world.run(SECOND)
    for name in ("n2", "n3"):
        world.crash(name)
    world.run(5 * SECOND)
    assert world.get("n1", b"last").code == "no_leader"
    data = save(world, lambda _: "n1", level="serializable")
    for name in world.names:
        contents = restore(world, name, data)
    world.new_era()
    world.serve()
    assert world.get("n2", b"last").result["value"] == b"v"
    ticks = [world.nodes[name].raft.tick for name in world.names]
    assert min(ticks) >= contents.tick > 4_000  # cluster time does not go back


def test_a_restored_cluster_forms_like_any_other_when_all_have_voted() -> None:
    world = filled(5)
    data = save(world, lambda _: "n1")
    for name in world.names:
        restore(world, name, data)
    world.new_era()
    world.start("n1", "n2")
    world.run(10 * SECOND)
    assert world.invariants.leaders == {}
    assert world.get("n1", b"1").code == "forming"
    world.start("n3")
    world.run_until(world.is_serving)


@pytest.mark.parametrize("what", ["an old member", "an empty one", "another salt", "another file"])
def test_whoever_is_not_of_the_very_same_restoration_is_not_heard(what: str) -> None:
    world = filled(6)
    data = save(world, lambda _: "n1")
    assert world.put("n1", b"later", b"v").ok
    other = save(world, lambda _: "n1")
    old = world.nodes["n3"].disk
    for name in world.names:
        restore(world, name, data)
    match what:
        case "an old member":
            world.nodes["n3"].disk = old
        case "an empty one":
            world.wipe("n3")
        case "another salt":
            restore(world, "n3", data, b"t" * 16)
        case "another file":
            restore(world, "n3", other)
    world.new_era()
    world.invariants.distrusted.add("n3")  # it is not of this history
    world.start()
    world.run(10 * SECOND)
    assert world.invariants.leaders == {}
    said = [s.words for s in world.nodes["n1"].said if s.reason == "misfit"]
    assert any("n3 was told another cluster" in x and "restored from a backup" in x for x in said)
    assert all(node.ended is None for node in world.nodes.values())
    restore(world, "n3", data)
    world.new_era()
    world.start("n3")
    world.run_until(world.is_serving)
    assert not world.get("n3", b"later").result["found"]


def test_an_old_member_moves_nothing_in_a_new_cluster_that_serves() -> None:
    world = filled(7)
    data = save(world, lambda _: "n1")
    old = world.nodes["n3"].disk
    for name in world.names:
        restore(world, name, data)
    world.new_era()
    world.serve()
    world.crash("n3")
    world.run_until(lambda: world.is_serving("n1", "n2"))
    terms = [world.nodes[n].raft.term for n in ("n1", "n2")]
    mine, world.nodes["n3"].disk = world.nodes["n3"].disk, old
    old.hard = old.hard._replace(term=old.hard.term + 90)  # type: ignore[union-attr]
    world.invariants.distrusted.add("n3")
    world.start("n3")
    world.run(5 * SECOND)
    assert [world.nodes[n].raft.term for n in ("n1", "n2")] == terms
    assert world.nodes["n1"].actors.consensus.counters.get("peer_of_another_cluster")  # type: ignore[union-attr]
    assert world.put("n1", b"k", b"v").ok
    world.crash("n3")
    world.nodes["n3"].disk = mine
    world.start("n3")
    world.run_until(world.is_serving)


def test_sessions_end_with_their_cluster_and_their_numbers_are_not_given_again() -> None:
    world = filled(8)
    session = world.call("n1", "open_session").result["session"]
    header = {"session": session, "sequence": 1, "lowest": 1}
    assert world.call("n1", "put", header, key=b"once", value=b"v").ok
    data = save(world, lambda _: "n1")
    for name in world.names:
        contents = restore(world, name, data)
    assert contents.origin.sessions == 1
    world.new_era()
    world.serve()
    again = world.call("n2", "put", {**header, "retry": True}, key=b"once", value=b"v")
    assert (again.code, again.applied) == ("session_lost", "unknown")
    assert world.get("n2", b"once").result["version"] == 1
    fresh = world.call("n2", "open_session").result["session"]
    first, other = (first_session(Founding(b"", "", world.names, s)) for s in (SALT, b"t" * 16))
    assert fresh == first + 1
    assert abs(first - other) > 2**32
    assert fresh > 2**32
