"""Reads: ranges in order, pages as of one revision, never short without saying so."""

from typing import Any

import msgpack
import pytest

from dkv.errors import Code
from dkv.kv.reading import Reading
from dkv.kv.version import Version
from dkv.limits import LIST_BYTES_MAX
from dkv.requests import pack_command
from tests.stores import MemoryTable
from tests.unit.replica import Replica


def holding(*keys: bytes) -> Replica:
    replica = Replica()
    for key in keys:
        replica.put(key, b"of " + key)
    return replica


def keys(replica: Replica, **fields: Any) -> list[bytes]:
    """All pages of a list."""
    found: list[bytes] = []
    while True:
        page = replica.read("list", **fields).detail
        found += [item[0] for item in page["items"]]
        assert page["count"] == len(page["items"])
        if "token" not in page:
            return found
        fields["token"] = page["token"]


TREE = (b"a", b"a/1", b"a/2", b"a\xff", b"b", b"\xff\xff")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, sorted(TREE)),
        ({"prefix": b"a/"}, [b"a/1", b"a/2"]),
        ({"prefix": b"a"}, [b"a", b"a/1", b"a/2", b"a\xff"]),
        ({"prefix": b"\xff"}, [b"\xff\xff"]),
        ({"prefix": b""}, sorted(TREE)),
        ({"start": b"a/2"}, [b"a/2", b"a\xff", b"b", b"\xff\xff"]),
        ({"end": b"a/2"}, [b"a", b"a/1"]),
        ({"start": b"a/1", "end": b"b"}, [b"a/1", b"a/2", b"a\xff"]),
        ({"prefix": b"c"}, []),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 1_000])
def test_a_range_has_its_keys_in_order_on_pages_of_any_size(
    fields: dict[str, bytes], expected: list[bytes], limit: int
) -> None:
    assert keys(holding(*reversed(TREE)), **fields, limit=limit) == expected


def test_an_item_is_key_value_and_revisions() -> None:
    replica = holding(b"a", b"b")
    replica.put(b"a", b"again")
    items = replica.read("list").detail["items"]
    assert items == [[b"a", b"again", 3, 1, 2], [b"b", b"of b", 2, 2, 1]]


def test_keys_only_leaves_the_values_out() -> None:
    assert holding(b"a").read("list", keys_only=True).detail["items"] == [[b"a", None, 1, 1, 1]]


def test_count_only_counts_the_whole_range_whatever_the_limit() -> None:
    replica = holding(*[b"%03d" % i for i in range(450)])  # more than two turns
    replica.do("delete", key=b"007")
    page = replica.read("list", count_only=True, limit=1).detail
    assert page == {"items": [], "count": 449}


def test_a_page_token_pins_the_first_pages_revision() -> None:
    replica = holding(b"a", b"b", b"c")
    first = replica.read("list", limit=1)
    replica.do("delete", key=b"b")
    replica.put(b"c", b"later")
    replica.put(b"d", b"new")
    second = replica.read("list", token=first.detail["token"])
    assert second.revision == first.revision == 3
    assert [item[:3] for item in second.detail["items"]] == [[b"b", b"of b", 2], [b"c", b"of c", 3]]
    assert keys(replica) == [b"a", b"c", b"d"]


def test_a_list_is_of_one_revision_although_writes_come_between_its_turns() -> None:
    replica = holding(*[b"%03d" % i for i in range(450)])
    reading = Reading(replica.state, pack_command("list", count_only=True))
    assert reading.step() is None
    replica.do("delete", key=b"449")
    replica.put(b"zzz", b"")
    assert reading.step() is None
    packed = reading.step()
    assert packed is not None
    assert msgpack.unpackb(packed)[1:] == [450, {"items": [], "count": 450}]


def test_a_page_of_an_older_revision_has_what_was_there_then() -> None:
    """Put again, deleted, deleted and put again, put for the first time, deleted before."""
    replica = holding(b"a", b"b", b"c", b"d", b"gone")
    replica.do("delete", key=b"gone")
    replica.put(b"d", b"second")
    first = replica.read("list", limit=1)
    for _ in range(3):
        replica.put(b"b", b"later")
        replica.do("delete", key=b"c")
        replica.put(b"c", b"later")
        replica.put(b"gone", b"back")
    replica.do("delete", key=b"d")
    replica.put(b"bb", b"new")
    token = first.detail["token"]
    then = [[b"b", b"of b", 2, 2, 1], [b"c", b"of c", 3, 3, 1], [b"d", b"second", 7, 4, 2]]
    assert replica.read("list", token=token).detail["items"] == then
    bare = [[key, None, *rest] for key, _value, *rest in then]
    assert replica.read("list", token=token, keys_only=True).detail["items"] == bare
    assert replica.read("list", token=token, count_only=True).detail["count"] == 3


def test_a_list_of_a_revision_that_was_named() -> None:
    replica = holding(b"a", b"b", b"c")
    replica.do("delete", key=b"a")
    replica.put(b"b", b"later")
    for limit in (1, 9):
        assert keys(replica, revision=3, limit=limit) == [b"a", b"b", b"c"]
        assert keys(replica, revision=1, limit=limit) == [b"a"]
    page = replica.read("list", revision=4)
    assert (page.detail["items"][0][:3], page.detail["count"]) == ([b"b", b"of b", 2], 2)
    assert keys(replica, revision=0) == keys(replica, revision=5) == [b"b", b"c"]
    assert replica.read("list", revision=6).code is Code.FUTURE_REVISION
    replica.disk.meta = replica.state.meta()._replace(compacted=4)
    assert replica.read("list", revision=3).code is Code.COMPACTED


@pytest.mark.parametrize("size", [0, 100_000])
def test_the_way_back_to_an_older_revision_is_gone_in_turns(size: int) -> None:
    """However often a key was put since, a turn walks over a bounded part of it; and puts between
    the turns change nothing."""
    replica = holding(b"a", b"b", b"c")
    token = replica.read("list", limit=1).detail["token"]
    for number in range(500):
        replica.put(b"b", bytes(size))
        replica.put(b"c", b"%d" % number)
    store, walked = _Counting(replica.disk, 1), []
    replica.state.store = store
    reading = Reading(replica.state, pack_command("list", token=token))
    packed = None
    while packed is None:
        store.read_bytes = store.read = 0
        packed = reading.step()
        walked.append((store.read, store.read_bytes))
        assert len(walked) < 100, "it does not come nearer"
        replica.put(b"b", b"between")
    assert msgpack.unpackb(packed)[2]["items"] == [
        [b"b", b"of b", 2, 2, 1],
        [b"c", b"of c", 3, 3, 1],
    ]
    assert len(walked) >= 5
    assert max(read for read, _bytes in walked) <= 205
    assert max(read_bytes for _read, read_bytes in walked) <= 1_000_000


class _Counting(MemoryTable):
    read = read_bytes = 0

    def version(self, row: int) -> Version:
        found = super().version(row)
        self.read += 1
        self.read_bytes += len(found.value or b"")
        return found


def test_a_deleted_key_is_neither_found_nor_listed() -> None:
    replica = holding(b"a", b"b")
    replica.do("delete", key=b"a")
    assert replica.read("get", key=b"a").detail == {"found": False, "key_revision": 0}
    assert keys(replica) == [b"b"]


def test_a_list_that_compaction_has_passed_ends_with_compacted_and_not_short() -> None:
    replica = holding(*[b"%03d" % i for i in range(450)])
    token = replica.read("list", limit=1).detail["token"]
    reading = Reading(replica.state, pack_command("list"))
    assert reading.step() is None
    replica.put(b"k", b"v")
    replica.disk.meta = replica.state.meta()._replace(compacted=451)
    packed = reading.step()
    assert packed is not None
    assert msgpack.unpackb(packed)[0] == Code.COMPACTED
    assert replica.read("list", token=token).code is Code.COMPACTED


def test_a_page_ends_when_its_bytes_are_full() -> None:
    replica = Replica()
    for i in range(5):
        replica.put(b"%d" % i, bytes(LIST_BYTES_MAX // 2))
    assert replica.read("list").detail["count"] == 2
    assert keys(replica) == [b"%d" % i for i in range(5)]
    assert replica.read("list", keys_only=True).detail["count"] == 5


def test_a_token_of_a_revision_to_come_is_refused() -> None:
    token = msgpack.packb((9, b"a"))
    assert holding(b"a").read("list", token=token).code is Code.FUTURE_REVISION


@pytest.mark.parametrize(
    "token",
    [
        *(b"", b"\xc1", msgpack.packb(1), msgpack.packb((1,)), msgpack.packb((1, 2))),
        *(msgpack.packb((-1, b"a")), msgpack.packb((True, b"b")), msgpack.packb((1, b"b", 1))),
        *(msgpack.packb((1, b"a")), msgpack.packb((1, b"c")), b"\xdd\xff\xff\xff\xff"),
    ],
)
def test_a_token_that_is_none_or_of_another_range_is_refused(token: bytes) -> None:
    answer = holding(b"a").read("list", prefix=b"b", token=token)
    assert answer.code is Code.BAD_REQUEST


def test_a_write_is_no_read() -> None:
    assert holding().read("put", key=b"a", value=b"").code is Code.BAD_REQUEST
