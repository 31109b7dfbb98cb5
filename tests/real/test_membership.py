"""Real nodes: members come, go, move and are replaced, and nothing acknowledged is lost."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dkv.client import Client, RequestError
from dkv.errors import Code, Ending
from tests.real.churn import Operator
from tests.real.cluster import Cluster
from tests.real.strangers import wait_until
from tests.real.test_faults import Counter


async def count_while(cluster: Cluster, work: Callable[[], None]) -> None:
    """Two users increment a counter while the work is done; then it must be what they know."""
    books = Counter()
    names = list(cluster.names)
    async with (
        cluster.async_client(*names, timeout=30.0, pin=False) as one,
        cluster.async_client(*names, timeout=30.0, pin=False) as two,
    ):
        users = [asyncio.create_task(books.run(client, b"count")) for client in (one, two)]
        await books.reach(20)
        await asyncio.to_thread(work)
        await books.reach(20)
        books.running = False
        await asyncio.gather(*users)
        item = await one.get(b"count")
    assert item is not None
    value = int(item.value or b"0")
    assert books.acknowledged <= value <= books.acknowledged + books.unknown


def test_three_become_five_and_three_again_the_leader_among_those_who_go(cluster: Cluster) -> None:
    operator = Operator(cluster)

    def work() -> None:
        operator.grow()
        operator.grow()
        operator.remove(operator.leader())
        operator.remove("n1" if "n1" in operator.survey() else "n2")

    asyncio.run(count_while(cluster, work))
    left = operator.survey()
    assert len(left) == 3
    assert {m["alive"] for m in left.values()} == {True}


def test_who_was_removed_stays_out_and_moves_nobody(cluster: Cluster) -> None:
    operator = Operator(cluster)
    leader = operator.leader()
    gone = next(n for n in cluster.names if n != leader)
    operator.remove(gone)
    for _ in range(2):
        cluster.start(gone)
        assert cluster.wait(gone) == Ending.REMOVED
    assert f"{gone} was removed from its cluster" in cluster.lines(gone)
    assert operator.leader() == leader


def test_a_removed_learner_ends_though_nobody_writes_to_it_any_more(cluster: Cluster) -> None:
    operator = Operator(cluster)
    operator.invite("n4", learner=True)
    cluster.wait_serving("n4")
    operator.remove("n4")  # waits until it has ended
    cluster.start("n4", join="")
    assert cluster.wait("n4") == Ending.REMOVED


def test_a_lost_disk_is_replaced_under_its_name(cluster: Cluster) -> None:
    operator = Operator(cluster)
    with cluster.client() as kv:
        kv.put(b"before", b"1")
    lost = next(n for n in cluster.names if n != operator.leader())
    asyncio.run(count_while(cluster, lambda: operator.replace(lost)))
    with cluster.client(lost, read_level="serializable") as kv:
        item = kv.get(b"before")
    assert item is not None
    cluster.kill(lost)
    cluster.start(lost, join="")  # as a member like any other, by what it has noted
    cluster.wait_serving(lost)


def test_an_empty_disk_under_a_known_name_is_told_what_to_type(cluster: Cluster) -> None:
    lost = next(n for n in cluster.names if n != cluster.leader())
    cluster.kill(lost)
    shutil.rmtree(cluster.data_dir(lost))
    cluster.newcomer(lost)
    cluster.start(lost)
    assert cluster.wait(lost) == Ending.NOT_JOINED
    assert f"dkvctl member replace {lost} {lost}" in cluster.lines(lost)


def test_who_was_not_invited_is_told_what_to_type_and_joins_later(cluster: Cluster) -> None:
    cluster.newcomer("n4")
    cluster.start("n4")
    assert cluster.wait("n4") == Ending.NOT_JOINED
    assert "dkvctl member add n4" in cluster.lines("n4")
    operator = Operator(cluster)
    operator.invite("n4")
    assert "n4" in operator.survey()


def test_all_nodes_come_back_on_new_ports_at_once(cluster: Cluster) -> None:
    with cluster.client() as kv:
        kv.put(b"before", b"1")
    assert set(cluster.stop().values()) == {0}
    cluster.renumber()
    cluster.start()
    cluster.wait_serving()
    with cluster.client() as kv:
        item = kv.get(b"before")
        assert item is not None
        assert kv.put(b"after", b"2").revision > item.key_revision

    def where() -> set[str]:
        return {str(m["peer_address"]) for m in Operator(cluster).survey().values()}

    expected = {f"127.0.0.1:{port}" for port in cluster.peers.values()}
    asyncio.run(_until(lambda: where() == expected))


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.05)


def test_leadership_goes_to_who_is_named_and_a_stop_hands_it_over(cluster: Cluster) -> None:
    operator = Operator(cluster)
    heir = next(n for n in cluster.names if n != operator.leader())
    operator.transfer(heir)
    asyncio.run(_until(lambda: operator.leader() == heir))
    cluster.stop(heir)
    others = [n for n in cluster.names if n != heir]
    with cluster.client(*others) as kv:
        kv.put(b"k", b"v")
        status = [kv.status(place) for place in range(len(others))]
    counters = [s["consensus"]["counters"] for s in status]
    assert sum(c.get("takeovers", 0) for c in counters) >= 1


def refused(ask: Callable[[], object]) -> Code:
    with pytest.raises(RequestError) as caught:
        ask()
    return caught.value.code


def test_what_cannot_be_done_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.client() as kv:
        assert refused(lambda: kv.ask("member_remove", name="n9")) is Code.NO_SUCH_MEMBER
        assert refused(lambda: kv.ask("member_add", name="n1")) is Code.ALREADY_MEMBER
        assert refused(lambda: kv.ask("member_add", name="../x")) is Code.BAD_REQUEST
        assert refused(lambda: kv.ask("member_promote", name="n1")) is Code.NOT_A_LEARNER
        assert refused(lambda: kv.ask("leader_transfer", name="n9")) is Code.NO_SUCH_MEMBER
        garbage = b"no certificate"
        ask = {"name": "n1", "certificate": garbage}
        assert refused(lambda: kv.ask("member_update", **ask)) is Code.CERTIFICATE_REFUSED
        joined = {"name": "n4", "disk": 5}
        assert refused(lambda: kv.ask("join", **joined)) is Code.NOT_INVITED
    with cluster.client(who="writer") as kv:
        assert refused(lambda: kv.ask("member_remove", name="n1")) is Code.DENIED
        assert refused(lambda: kv.ask("introduce")) is Code.DENIED
    certs = cluster.folder / "certs"
    files = {"cert": certs / "n1.cert", "key": certs / "n1.key", "cacert": certs / "trust"}
    with Client(cluster.endpoints(), role="node", **files) as kv:  # type: ignore[arg-type]
        assert kv.ask("introduce")["names"] == ["n1", "n2", "n3"]
        assert refused(lambda: kv.ask("join", name="n2", disk=5)) is Code.DENIED
        assert refused(lambda: kv.put(b"k", b"v")) is Code.DENIED
        assert refused(lambda: kv.ask("member_list")) is Code.DENIED


def test_a_newcomer_that_dies_before_it_heard_of_the_members_finds_them_again(
    cluster: Cluster,
) -> None:
    """It was told of itself alone; until they hear of its new boot, they speak to its dead."""
    with cluster.client() as kv:
        kv.ask("member_add", name="n4", learner=False, peer_address="", client_address="")
    cluster.newcomer("n4")
    itself = {
        "initial_cluster": f"n4={cluster.hosts['n4']}:{cluster.peers['n4']}",
        "advertise_nodes": f"n4={cluster.hosts['n4']}:{cluster.clients['n4']}",
    }
    cluster.start("n4", **itself)
    while "is a member now" not in cluster.lines("n4"):
        assert cluster.processes["n4"].poll() is None
    cluster.kill("n4")
    cluster.start("n4", **itself)
    cluster.wait_serving("n4")


def test_a_newcomer_with_no_certificate_but_its_own_remembers_the_members_keys(
    cluster: Cluster, tmp_path: Path
) -> None:
    """They are in the log, of which it has nothing yet when it dies: it was told them as it joined.
    Without them it would let nobody in, and could reach nobody, for ever."""
    with cluster.client() as kv:
        kv.ask("member_add", name="n4", learner=False, peer_address="", client_address="")
    cluster.newcomer("n4")
    for file in ("n4.cert", "n4.key"):
        shutil.copy(cluster.folder / "certs" / file, tmp_path)
    own = {"peer_cert_file": f"{tmp_path}/n4.cert", "peer_key_file": f"{tmp_path}/n4.key"}
    members = list(cluster.processes)
    cluster.start("n4", **own)
    while "is a member now" not in cluster.lines("n4"):
        assert cluster.processes["n4"].poll() is None
    for name in members:  # before its port is open
        cluster.pause(name)
    wait_until(lambda: "listening" in cluster.lines("n4"), "n4 has noted that it has joined")
    cluster.kill("n4")
    for name in members:
        cluster.resume(name)
    cluster.start("n4", **own)
    cluster.wait_serving("n4")
