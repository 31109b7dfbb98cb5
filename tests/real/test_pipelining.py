"""Calls that share messages, at real nodes: each is acknowledged once, whatever happens between."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import pytest

from dkv.client import AsyncClient, ConditionFailed, RequestError, Written
from dkv.client.pipeline import Later
from dkv.client.recording import AsyncRecorder, merged
from dkv.history import Operation, Verdict, check
from tests.real.cluster import Cluster

COUNT = 10_000


async def put_all(client: AsyncClient, done: list[int]) -> list[Any]:
    async def one(number: int) -> Written:
        written = await client.put(b"k%05d" % number, b"%d" % number, expected=0)
        done.append(number)
        return written

    return await asyncio.gather(*[one(i) for i in range(COUNT)], return_exceptions=True)


async def put_all_and_kill(cluster: Cluster, leader: str) -> list[Any]:
    """The leader goes when a third is acknowledged."""
    done: list[int] = []
    async with cluster.async_client(timeout=60.0) as client:
        puts = asyncio.create_task(put_all(client, done))
        async with asyncio.timeout(60):
            while len(done) < COUNT // 3:
                await asyncio.sleep(0.001)
        assert len(done) < COUNT, "it was too fast to be harmed"
        cluster.kill(leader)
        return await puts


def test_ten_thousand_pipelined_puts_happen_once_each_while_the_leader_is_killed(
    cluster: Cluster,
) -> None:
    """Each is a put of an absent key: executed twice, it would be a failed condition."""
    leader = cluster.leader()
    outcomes = asyncio.run(put_all_and_kill(cluster, leader))
    assert [o for o in outcomes if not isinstance(o, Written)] == []
    assert len({o.key_revision for o in outcomes}) == COUNT
    cluster.start(leader)
    cluster.wait_serving(leader)
    with cluster.client() as kv:
        items = {item.key: item for item in kv.list(b"k")}
    assert len(items) == COUNT
    for number, outcome in enumerate(outcomes):
        item = items[b"k%05d" % number]
        assert (item.value, item.version) == (b"%d" % number, 1)
        assert item.key_revision == item.created == outcome.key_revision


@pytest.mark.parametrize("pipeline", [True, False])
def test_a_pipeline_has_an_outcome_for_each_call_in_order(cluster: Cluster, pipeline: bool) -> None:
    with cluster.client(pipeline=pipeline) as kv:
        kv.put("there", "1")
        with kv.pipeline() as many:
            first = many.put("a", "1")
            refused = many.put("there", "2", expected=0)
            many.get("there")
            many.get("nowhere")
            many.delete("nothing")
            large = many.put("large", bytes(300_000))
        assert first.is_known
        assert large.is_known
        one, two, three, four, five, six = many.results()
        assert isinstance(two, ConditionFailed)
        with pytest.raises(ConditionFailed):
            refused.result()
        assert (one, three.value, four, five.count) == (first.result(), b"1", None, 0)
        assert isinstance(six, Written)


def test_a_pipeline_takes_more_than_a_session_has_room_for(cluster: Cluster) -> None:
    with cluster.client(timeout=60.0) as kv:
        with kv.pipeline() as many:
            puts = [many.put(b"k%d" % number, b"v") for number in range(6_000)]
            puts[-1].result()  # the one that begins last waits for all of them
            last = many.get(b"k5999")
        assert [o for o in many.results() if isinstance(o, RequestError)] == []
        item = last.result()
        assert item is not None
        assert item.key_revision == puts[-1].result().key_revision
        assert kv.count(b"k") == 6_000


def test_a_recorded_history_of_pipelined_calls_is_linearizable(cluster: Cluster) -> None:
    async def record() -> Iterable[Operation]:
        async with cluster.async_client() as one, cluster.async_client(pipeline=False) as two:
            books = [AsyncRecorder(client, i) for client in (one, two) for i in range(8)]
            for step in range(12):
                calls: list[Coroutine[Any, Any, Any]] = []
                for i, book in enumerate(books):
                    key = b"h%d" % (step % 3)
                    calls.append(book.put(key, b"%d/%d" % (step, i)) if i % 3 else book.get(key))
                await asyncio.gather(*calls)
            assert all(book.errors == [] for book in books)
            return merged(*books)

    history = list(asyncio.run(record()))
    assert len(history) == 12 * 16
    assert check(history).verdict is Verdict.LINEARIZABLE


def test_a_pipeline_that_is_left_by_an_error_waits_for_nothing(cluster: Cluster) -> None:
    with cluster.client() as kv:
        begun: list[Later[Written]] = []

        def begin_and_fail() -> None:
            with kv.pipeline() as many:
                begun.append(many.put("a", "1"))
                raise KeyError

        with pytest.raises(KeyError):
            begin_and_fail()
        (later,) = begun
        assert not later.is_known
        kv.put("b", "1")  # the client goes on, and takes what was begun with it
        assert isinstance(later.result(), Written)
