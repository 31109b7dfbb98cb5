"""The port behind which versions and sessions are kept.

Owns: what the state may ask of a store. Two keep it: SQLite in a node, memory in the simulator,
which forgets what was not committed; one contract test drives both alike. Reads see everything
added, committed or not.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from dkv.errors import Fault
from dkv.kv.version import Version
from dkv.limits import INT_MAX, SCAN_SLICE_BYTES

SUM_MASK = 2**64 - 1


class Meta(NamedTuple):
    """What is committed together with the versions, so that a restart finds one moment.

    `held` sums the checks of the versions that are kept, `remembered` those of the sessions: a
    start must find the same. `written` sums everything ever added and every recorded answer, never
    subtracted: replicas compare it. None of them depends on when commits were made, or on what
    stands together in a chunk.
    """

    disk: int
    applied: int = 0
    term: int = 0
    check: bytes = bytes(8)
    revision: int = 0
    compacted: int = 0
    held: int = 0
    written: int = 0
    sessions: int = 0  # ids given so far
    diverged: bool = False
    remembered: int = 0
    swept: int = 0  # through which row superseded versions have been deleted
    tick: int = 0  # of the applied entry
    installed: int = 0  # the entry at which this state was installed from a snapshot, if it was
    configuration: bytes = b""  # and what held there, packed


class Store(Protocol):
    @property
    def errors(self) -> type[Exception]:
        """What its methods raise when the disk fails; `fault` puts it in words."""

    def fault(self, error: Exception) -> Fault: ...

    def meta(self) -> Meta: ...

    def sessions(self) -> Iterable[tuple[int, bytes]]:
        """Every session's id and packed state, as last committed."""

    def add(self, row: int, packed: bytes, new: bytes | None) -> None:
        """A packed version; rows come in rising order. `new` is its key if the table of keys
        does not have it yet. Durable with the next `commit`."""

    def version(self, row: int) -> Version:
        """A version by its row id. Raises `Fault` if it is missing or damaged."""

    def keys(self, start: bytes, end: bytes, count: int) -> list[bytes]:
        """Up to `count` keys, in order, from `start` to before `end` (empty: no end): every key
        that was added and not forgotten."""

    def commit(
        self, meta: Meta, changed: Iterable[tuple[int, bytes]], ended: Iterable[int]
    ) -> None:
        """Make everything added durable, with `meta` and the sessions that changed or ended."""

    def mark_diverged(self, meta: Meta) -> None:
        """Drop what is not committed, and keep for ever that this replica's state is wrong."""

    def scan(self, after: int, size: int = SCAN_SLICE_BYTES, through: int = INT_MAX) -> list[bytes]:
        """The next packed versions behind row `after`, none behind row `through`, about `size`
        bytes of them; empty when there are no more. Both are any row ids: where what is kept
        together begins and ends plays no part, so that another replica may go on. Raises `Fault`
        where content does not fit its check."""

    def drop(self, rows: list[int]) -> tuple[int, int]:
        """Delete the first of these versions (rising row ids, at least one) that stand together.
        How many of `rows` are done, those included that were not there; and the sum of the checks
        of those that were. Durable with the next `commit`, as all changes."""

    def forget(self, keys: list[bytes]) -> None:
        """Take keys out of the table of keys."""

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, of them in use (`live_bytes`) and free (`free_bytes`), for `status`."""

    def tidy(self, *, idle: bool) -> bool:
        """Right after a commit, or in an idle moment: checkpoint if it is due; a hard cap holds
        under steady load too. Give space back if there is much and nobody waits; whether to come
        again for more."""

    def close(self) -> None: ...


class Stores(Protocol):
    """Where stores are: the state's own, and one beside it into which a snapshot is received."""

    def table(self, disk: int) -> Store:
        """The state's: the one with the highest applied entry that is no unfinished snapshot.
        Older ones are deleted."""

    def staged(self) -> Store | None:
        """What was received before, by this life or another, and is not finished."""

    def stage(self, number: int) -> Store:
        """An empty one, in place of what was staged before. `number` grows with each."""

    def adopt(self) -> None:
        """The staged one, whose last commit said `installed`, is the state's; the other, which is
        closed, is deleted."""

    def discard(self) -> None:
        """Delete what was staged."""

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be staged, and the disk has its margin still."""
