"""A backup as a file: how it is written, read and believed.

Owns: the format and what is wrong with a file, in words. Must never know where versions come from
or go to, nor open a file itself.

    dkv-backup 1\\n
    record…      kind (1 byte), length (4), content, CRC-32 of these (4); big-endian

    1  head      a msgpack map: which cluster, entry and revision, its sums and limits. The first
    2  versions  a msgpack array of packed versions (`dkv/kv/version.py`), rows ascending
    3  end       a msgpack map: how many versions, and the BLAKE2b (32 bytes) of all before this
                 record. The last; nothing follows it

A record's CRC says where a file is damaged, the hash that nothing was changed, moved or left out,
the sum of the versions (`held`) that the store was saved as it was at that entry.
"""

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import IO, Any, NamedTuple
from zlib import crc32

import msgpack

from dkv.errors import Misconfigured
from dkv.kv.heads import Heads, Unfollowed, follow, is_live
from dkv.kv.store import SUM_MASK
from dkv.kv.version import read_rows, version_check
from dkv.limits import MIB, SUB_MAX, ClusterLimits

FORMAT = 1
DIGEST_BYTES = 32
_MAGIC = b"dkv-backup "
_LINE_BYTES_MAX = 32
_RECORD_BYTES_MAX = 64 * MIB
_FRAME = struct.Struct(">BI")
_CRC = struct.Struct(">I")
_HEAD, _VERSIONS, _END = 1, 2, 3
_KINDS: dict[int, type] = {_VERSIONS: list, _END: dict}  # of what follows the head


class BackupError(Misconfigured):
    """A file that is no backup, is damaged, cut short or of a newer format; or versions that do not
    add up to the store that they were said to be."""


class Origin(NamedTuple):
    """What a backup is of. `index`, `term` and `revision`: the last entry that the store had
    applied, and where it was. `held`, `written`: as in `Meta`. `sessions`: how many there were;
    they end with their cluster, and are not saved. `wall`: Unix ms when it was begun."""

    cluster: bytes
    index: int
    term: int
    revision: int
    compacted: int
    held: int
    written: int
    sessions: int
    limits: ClusterLimits
    wall: int

    def pack(self) -> bytes:
        fields = self._asdict() | {"limits": self.limits._asdict()}
        return msgpack.packb(fields)  # type: ignore[no-any-return]


def origin_of(fields: dict[str, Any], wall: int = 0) -> Origin:
    """From a map, as a node tells it (it does not tell `wall`) or a head has it. Fields that are
    not known are of a newer version, and ignored; limits are not: they decide what a command means.
    Raises KeyError, TypeError or ValueError where it is none."""
    known = {"wall": wall} | {name: fields[name] for name in Origin._fields if name in fields}
    known["limits"] = ClusterLimits(**fields["limits"])
    origin = Origin(**known)
    for value, kind in zip(origin, Origin.__annotations__.values(), strict=True):
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
    return origin


class Contents(NamedTuple):
    """A backup that was read to its end and believed. `tick`: cluster time of its last version."""

    origin: Origin
    versions: int
    keys: int
    tick: int
    size: int  # bytes of the file
    digest: bytes


# -- writing -------------------------------------------------------------------------------------
class Writer:
    """Into a file that is open for writing. `finish` raises `BackupError`; until it has returned,
    what is in the file is no backup."""

    def __init__(self, file: IO[bytes], origin: Origin) -> None:
        self._file, self._origin = file, origin
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self._held = 0
        self.versions = self.bytes = 0
        self._write(_MAGIC + b"%d\n" % FORMAT)
        self._record(_HEAD, origin.pack())

    def add(self, versions: list[bytes]) -> None:
        self.versions += len(versions)
        self._held += sum(map(version_check, versions))
        self._record(_VERSIONS, msgpack.packb(versions))

    def finish(self) -> bytes:
        """The hash. Everything is written then, and not yet synced."""
        _compare_sums(self._held, self._origin)
        digest = self._hash.digest()
        self._record(_END, msgpack.packb({"versions": self.versions, "hash": digest}))
        return digest

    def _record(self, kind: int, content: bytes) -> None:
        framed = _FRAME.pack(kind, len(content)) + content
        self._write(framed + _CRC.pack(crc32(framed)))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)


def _compare_sums(held: int, origin: Origin) -> None:
    if held & SUM_MASK != origin.held:
        raise BackupError(
            f"the versions are not those that the store had at entry {origin.index}: their sum "
            "differs, so some are missing or changed"
        )


# -- reading -------------------------------------------------------------------------------------
class Reader:
    """Of a file that is open for reading, from its beginning; `name` is how it is called to people.
    `origin` is there at once; the hash is compared when `versions` has come to its end."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        self.offset = 0
        self.digest = b""
        self._read_line()
        kind, content = self._record()
        if kind != _HEAD:
            raise self._error("its first record is no head")
        try:
            self.origin = origin_of(msgpack.unpackb(content))
        except (ValueError, TypeError, KeyError) as error:
            raise self._error(f"its head cannot be understood ({error}): is it newer?") from error

    def _read_line(self) -> None:
        line = self._file.readline(_LINE_BYTES_MAX)
        number = line.removeprefix(_MAGIC).removesuffix(b"\n")
        if not line.startswith(_MAGIC) or not line.endswith(b"\n") or not number.isdigit():
            raise BackupError(f"{self._name} is no backup of dkv, or its beginning is damaged")
        if int(number) != FORMAT:
            raise BackupError(
                f"{self._name} has format {int(number)}, and this version of dkv reads {FORMAT}: "
                "use the version that saved it, or a newer one"
            )
        self._take(line)

    def versions(self) -> Iterator[list[bytes]]:
        """Packed versions, some hundred KiB at a time. Raises `BackupError` at what is damaged."""
        count = 0
        while True:
            before = self._hash.digest()
            kind, content = self._record()
            found = self._unpack(kind, content)
            if kind == _END:
                break
            count += len(found)
            yield found
        if found.get("versions") != count or found.get("hash") != before:
            raise self._error("its hash is not that of its content: it was changed")
        if self._file.read(1):
            raise self._error(f"something follows its end, at byte {self.offset}")
        self.digest = before

    def _unpack(self, kind: int, content: bytes) -> Any:
        try:
            found = msgpack.unpackb(content)
        except (ValueError, TypeError) as error:
            raise self._error("a record cannot be understood") from error
        if type(found) is not _KINDS.get(kind):
            raise self._error(f"a record is of an unknown kind ({kind})")
        return found

    def _record(self) -> tuple[int, bytes]:
        where = self.offset
        frame = self._file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            raise self._cut_short(where)
        kind, size = _FRAME.unpack(frame)
        if size > _RECORD_BYTES_MAX:
            raise self._damaged(where)
        rest = self._file.read(size + _CRC.size)
        if len(rest) < size + _CRC.size:
            raise self._cut_short(where)
        content = rest[:size]
        if _CRC.unpack(rest[size:])[0] != crc32(content, crc32(frame)):
            raise self._damaged(where)
        self._take(frame + rest)
        return kind, content

    def _take(self, data: bytes) -> None:
        self._hash.update(data)
        self.offset += len(data)

    # -- what is wrong ---------------------------------------------------------------------------
    def _error(self, words: str) -> BackupError:
        return BackupError(f"{self._name}: {words}. Use another backup")

    def _damaged(self, where: int) -> BackupError:
        return self._error(f"it is damaged in the record at byte {where}")

    def _cut_short(self, where: int) -> BackupError:
        words = f"it ends within the record at byte {where}: it was cut short, or is damaged there"
        return self._error(words)


def examine(reader: Reader) -> Contents:
    """Read it all, and believe it: hash, sum and order of the versions. Raises `BackupError`."""
    origin = reader.origin
    heads: Heads = {}
    held = versions = tick = last = 0
    try:
        for found in reader.versions():
            held += sum(map(version_check, found))
            versions += len(found)
            last, _new = follow(heads, read_rows(found), last)
            tick = max((row[7] for row in read_rows(found[-1:])), default=tick)
    except (Unfollowed, ValueError, TypeError) as error:
        raise BackupError(f"its versions cannot be those of a store: {error}") from error
    _compare_sums(held, origin)
    if last // SUB_MAX > origin.revision:
        raise BackupError(f"it has versions beyond its revision, {origin.revision}")
    keys = sum(map(is_live, heads.values()))
    return Contents(origin, versions, keys, tick, reader.offset, reader.digest)
