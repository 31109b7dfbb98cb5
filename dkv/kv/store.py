"""The port behind which versions and sessions are kept.

Owns: what the state may ask of a store. Two keep it: SQLite in a node, memory in the simulator,
which forgets what was not committed; one contract test drives both alike. Reads see everything
added, committed or not.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from dkv.errors import Fault
from dkv.kv.version import Version

SUM_MASK = 2**64 - 1


class Meta(NamedTuple):
    """What is committed together with the versions, so that a restart finds one moment.

    `held` and `indexed` sum the checks of the rows that are kept: a scan after a restart must find
    the same. `remembered` is that sum of the sessions (None: of a version before it was kept).
    `written` sums everything ever added, never subtracted: replicas compare it.
    """

    disk: int
    applied: int = 0
    term: int = 0
    check: bytes = bytes(8)
    revision: int = 0
    compacted: int = 0
    held: int = 0
    indexed: int = 0
    written: int = 0
    sessions: int = 0  # ids given so far
    diverged: bool = False
    remembered: int | None = None


class Store(Protocol):
    @property
    def errors(self) -> type[Exception]:
        """What its methods raise when the disk fails; `fault` puts it in words."""

    def fault(self, error: Exception) -> Fault: ...

    def meta(self) -> Meta: ...

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        """Every session's id and packed state, as last committed."""

    def latest(self, key: bytes) -> Version | None:
        """The newest version of a key, a tombstone included. Raises `Fault` on damage."""

    def add(self, version: Version) -> int:
        """Its row check. Durable with the next `commit`."""

    def keys(self, start: bytes, end: bytes, revision: int, count: int) -> list[tuple[bytes, int]]:
        """Up to `count` keys from `start` to before `end` (empty: no end), each with the row id of
        its newest version as of `revision`; tombstones included."""

    def version(self, row: int) -> Version:
        """A version by its row id. Raises `Fault` if it is missing or damaged."""

    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        """Make everything added durable, with `meta` and the sessions that changed or ended."""

    def mark_diverged(self, meta: Meta) -> None:
        """Drop what is not committed, and keep for ever that this replica's state is wrong."""

    def scan(self, after: int, through: int, count: int) -> list[tuple[int, int, int]]:
        """Up to `count` rows with after < id <= through: (id, row check, index check), recomputed
        from the content. Raises `Fault` where a row does not fit its own check."""

    def scan_index(self, after: tuple[bytes, int], count: int) -> list[tuple[bytes, int]]:
        """Up to `count` rows (key, id) of the index behind `after`."""

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, for `status`."""

    def tidy(self, *, idle: bool) -> None:
        """Checkpoint if it is due; a hard cap holds under steady load too."""

    def close(self) -> None: ...
