"""A backup's file: what is written comes back, and nothing else is ever believed."""

import io
from collections.abc import Callable

import msgpack
import pytest

from dkv.kv.backup import BackupError, Contents, Origin, Reader, Writer, examine, origin_of
from dkv.kv.saving import facts_of
from dkv.kv.version import pack_version, unpack_version, version_check
from dkv.limits import ClusterLimits
from tests.unit.replica import Replica

CLUSTER = bytes(range(16))


def replica() -> Replica:
    """Put, put again, deleted, put after that; a value that is not text; two in one revision."""
    made = Replica()
    made.state.cluster = CLUSTER
    made.tick = 70
    made.session()
    for key in (b"a", b"b", b"c", b"\xff"):
        made.put(key, b"of " + key)
    made.put(b"a", b"\xff\0")
    made.do("delete_range", start=b"b", end=b"d")
    made.tick = 71
    made.put(b"b", b"again")
    return made


def origin(made: Replica) -> Origin:
    return origin_of(facts_of(made.state), wall=1_700_000_000_000)


def saved(parts: int = 3) -> bytes:
    """A small file, its versions in several records."""
    made = replica()
    versions = made.state.store.span(0, 2**62)
    file = io.BytesIO()
    writer = Writer(file, origin(made))
    size = -(-len(versions) // parts)
    for first in range(0, len(versions), size):
        writer.add(versions[first : first + size])
    digest = writer.finish()
    assert (writer.versions, writer.bytes) == (len(versions), len(file.getvalue()))
    assert digest in file.getvalue()
    return file.getvalue()


def read(data: bytes) -> Contents:
    return examine(Reader(io.BytesIO(data), "a.dkv"))


SAVED = saved()


def test_what_was_saved_is_read() -> None:
    found = read(SAVED)
    made = replica()
    assert found.origin == origin(made)
    assert (found.origin.cluster, found.origin.sessions) == (CLUSTER, 1)
    assert (found.origin.index, found.origin.revision) == (8, 7)
    assert (found.versions, found.keys, found.tick, found.size) == (8, 3, 71, len(SAVED))
    reader = Reader(io.BytesIO(SAVED), "a.dkv")
    versions = [v for part in reader.versions() for v in part]
    assert versions == made.state.store.span(0, 2**62)
    assert reader.digest == found.digest
    assert sum(map(version_check, versions)) == found.origin.held


def test_an_empty_store_is_saved_too() -> None:
    made, file = Replica(), io.BytesIO()
    made.session()
    Writer(file, origin(made)).finish()
    found = read(file.getvalue())
    assert (found.versions, found.keys, found.origin.revision) == (0, 0, 0)


def test_every_flipped_bit_is_refused() -> None:
    """By the file's name, and but for its first line and its end by the record's place."""
    for place in range(len(SAVED)):
        for bit in range(8):
            damaged = bytearray(SAVED)
            damaged[place] ^= 1 << bit
            with pytest.raises(BackupError, match=r"a\.dkv") as caught:
                read(bytes(damaged))
            assert place < 13 or "at byte " in str(caught.value), (place, str(caught.value))


def test_where_it_is_damaged_is_said() -> None:
    starts = [13]
    while starts[-1] < len(SAVED):
        size = int.from_bytes(SAVED[starts[-1] + 1 : starts[-1] + 5])
        starts.append(starts[-1] + 5 + size + 4)
    assert len(starts) == 6  # head, three of versions, end
    for start in starts[:-1]:
        damaged = bytearray(SAVED)
        damaged[start + 9] ^= 4
        with pytest.raises(BackupError, match=f"damaged in the record at byte {start}"):
            read(bytes(damaged))


def test_whatever_is_cut_off_is_missed() -> None:
    for size in range(len(SAVED)):
        with pytest.raises(BackupError, match=r"cut short|no backup"):
            read(SAVED[:size])


@pytest.mark.parametrize("more", [b"\0", b"\n", SAVED])
def test_nothing_may_follow_its_end(more: bytes) -> None:
    with pytest.raises(BackupError, match=f"follows its end, at byte {len(SAVED)}"):
        read(SAVED + more)


@pytest.mark.parametrize("data", [b"", b"\n", b"dkv", bytes(500), b"SQLite format 3\0" * 9])
def test_what_is_no_backup_is_called_so(data: bytes) -> None:
    with pytest.raises(BackupError, match=r"a\.dkv is no backup of dkv"):
        read(data)


def test_a_newer_format_is_called_so() -> None:
    newer = SAVED.replace(b"dkv-backup 1\n", b"dkv-backup 2\n")
    with pytest.raises(BackupError, match=r"has format 2, and this version of dkv reads 1"):
        read(newer)


def records() -> list[bytes]:
    """The first line, then record by record."""
    found, place = [SAVED[:13]], 13
    while place < len(SAVED):
        size = 9 + int.from_bytes(SAVED[place + 1 : place + 5])
        found.append(SAVED[place : place + size])
        place += size
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda r: [*r[:2], *r[3:]],
        lambda r: [*r[:3], *r[4:]],
        lambda r: [r[0], r[1], r[3], r[2], *r[4:]],
        lambda r: [*r[:3], r[2], *r[3:]],
        lambda r: [*r[:2], r[1], *r[2:]],
        lambda r: [r[0], *r[2:]],
    ],
)
def test_a_whole_record_that_is_missing_moved_or_twice_is_found(
    change: Callable[[list[bytes]], list[bytes]],
) -> None:
    with pytest.raises(BackupError):
        read(b"".join(change(records())))


def test_a_head_that_was_exchanged_is_found_by_the_hash() -> None:
    """All its checks are sound, and so are its versions."""
    made, file = replica(), io.BytesIO()
    Writer(file, origin(made)._replace(written=1))
    with pytest.raises(BackupError, match="its hash is not that of its content"):
        read(file.getvalue() + b"".join(records()[2:]))


def test_versions_that_are_not_those_of_the_entry_are_refused() -> None:
    made, file = replica(), io.BytesIO()
    writer = Writer(file, origin(made))
    writer.add(made.state.store.span(0, 2**62)[:-1])
    writer._held = made.state.held
    writer.finish()
    with pytest.raises(BackupError, match="not those that the store had at entry 8"):
        read(file.getvalue())


def forged(change: Callable[[list[bytes]], list[bytes]], head: dict[str, object]) -> bytes:
    """A file with sound checks whose content is a lie. (`held` is made to fit.)"""
    made = replica()
    versions = change(made.state.store.span(0, 2**62))
    held = sum(map(version_check, versions))
    file = io.BytesIO()
    writer = Writer(file, origin(made)._replace(**{"held": held, **head}))
    writer.add(versions)
    writer.finish()
    return file.getvalue()


def _revalued(packed: bytes) -> bytes:
    return pack_version(unpack_version(packed)._replace(previous=4096))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: [v[1], v[0], *v[2:]], "out of order"),
        (lambda v: v[1:], "does not follow"),
        (lambda v: [*v[:3], _revalued(v[3]), *v[4:]], "does not follow"),
        (lambda v: [*v, msgpack.packb((1, 2))], "cannot be those of a store"),
        (lambda v: [*v, b"\xc1"], "cannot be those of a store"),
        (lambda v: [*v, msgpack.packb(7)], "cannot be those of a store"),
        (lambda v: [*v, msgpack.packb(("x",) * 10)], "cannot be those of a store"),
        (lambda v: [*v, msgpack.packb((2**50, [], *range(8)))], "cannot be those of a store"),
    ],
)
def test_versions_that_cannot_be_are_refused_whatever_their_checks_say(
    change: Callable[[list[bytes]], list[bytes]], words: str
) -> None:
    with pytest.raises(BackupError, match=words):
        read(forged(change, {}))


def test_versions_beyond_its_revision_are_refused() -> None:
    with pytest.raises(BackupError, match="beyond its revision, 6"):
        read(forged(lambda v: v, {"revision": 6}))


@pytest.mark.parametrize(
    "head", [{"index": "x"}, {"cluster": 7}, {"limits": ClusterLimits(), "term": None}]
)
def test_a_head_that_cannot_be_is_refused(head: dict[str, object]) -> None:
    with pytest.raises(BackupError, match="its head cannot be understood"):
        read(forged(lambda v: v, head))


def test_a_save_that_lacks_a_version_does_not_end_well() -> None:
    made = replica()
    writer = Writer(io.BytesIO(), origin(made))
    writer.add(made.state.store.span(0, 2**62)[:-1])
    with pytest.raises(BackupError, match="some are missing or changed"):
        writer.finish()
