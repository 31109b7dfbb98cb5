"""The ports of the log actor: what it may ask of its files.

Owns: the protocols of journal, witness and disk space. SQLite and a small file keep them in a node;
memory keeps them in the simulator, and loses what was not synced. One contract test drives both.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgpack

from dkv.entries import NO_CHECK, Entry, Position
from dkv.errors import Fault
from dkv.raft import configuration
from dkv.raft.configuration import Configuration, founders, read_seats
from dkv.release import FIRST_LEVEL


class Hard(NamedTuple):
    """What a data directory is, and the promises made from it; one row, in the entries' file.

    `base` is the last entry that was cut; what a configuration said before it is kept here too.
    """

    format: int
    name: str
    disk: int
    joining: bool
    genesis: bytes  # payload of the first entry: founding and cluster-wide limits
    genesis_check: bytes
    term: int = 0
    vote: int = 0
    base: Position = Position(0, 0, NO_CHECK)
    base_tick: int = 0
    formed_index: int = 0
    formed: bytes = NO_CHECK
    members: bytes = b""
    opened_index: int = 0
    changed_index: int = 0
    removed: bytes = b""
    level: int = FIRST_LEVEL

    def configuration(self) -> Configuration:
        """What the log said of it through `base`; nobody's where that was nothing."""
        if not self.formed_index:
            return founders(())
        seats, removed = (
            read_seats(msgpack.unpackb(rows, use_list=False)) if rows else ()
            for rows in (self.members, self.removed)
        )
        index = max(self.formed_index, self.opened_index, self.changed_index)
        return Configuration(
            *(seats, self.formed_index, self.formed, self.opened_index, index, removed, self.level)
        )

    def configured(self, config: Configuration) -> "Hard":
        return self._replace(
            formed_index=config.formed_index,
            formed=config.formed,
            members=msgpack.packb(config.seats),
            opened_index=config.opened_index,
            changed_index=config.index,
            removed=msgpack.packb(config.removed),
            level=config.level,
        )

    def packed(self) -> bytes:
        """Only `journal` keeps it. Nodes of the first level know no field for it."""
        told = self[:-1] if self.level == FIRST_LEVEL else self
        return msgpack.packb(told)  # type: ignore[no-any-return]


def rebased(hard: Hard, base: Position, tick: int, packed: bytes) -> Hard:
    """Of a log that begins behind `base`, with the configuration that held there, packed. Its term
    is at least the base's, and no vote was given in a term that it had not heard of."""
    if hard.term < base.term:
        hard = hard._replace(term=base.term, vote=0)
    return hard.configured(configuration.unpack(packed))._replace(base=base, base_tick=tick)


class Journal(Protocol):
    """Entries and hard state. Nothing is durable, nor to be spoken of, before `commit` returns."""

    @property
    def errors(self) -> type[Exception]:
        """What its methods raise when the disk fails; `fault` puts it in words."""

    def hard(self) -> Hard | None:
        """The directory's hard state; None when creation was never finished."""

    def create(self, hard: Hard, entries: Iterable[Entry]) -> None:
        """The first transaction: hard state and first entry, durable on return."""

    def rows(self, first: int, last: int) -> Iterator[Entry]:
        """Entries as found, in order; the caller verifies their checks."""

    def configurations(self, through: int) -> list[Entry]:
        """The entries up to `through` that configure (`CONFIGURING`), in order."""

    def replace(self, cut_from: int, entries: Iterable[Entry]) -> None:
        """Drop rows from `cut_from` on (0: none), then add."""

    def keep(self, hard: Hard) -> None: ...

    def cut(self, through: int) -> None:
        """Drop rows through this index (`keep` the new base in the same transaction)."""

    def commit(self) -> int:
        """One transaction, one sync. The durability barrier. How many microseconds it took, where
        that is known."""

    def fault(self, error: Exception) -> Fault: ...

    def sizes(self) -> dict[str, int]:
        """For `status`: bytes on disk, and what the syncs cost, where that is known."""

    def tidy(self, *, idle: bool) -> None:
        """Checkpoint and give space back, between transactions, when it is due."""

    def close(self) -> None: ...


class Testimony(NamedTuple):
    """What a witness says: the last entry known committed and saved, and the last promise."""

    index: int
    term: int
    check: bytes
    hard_term: int
    vote: int


class Witness(Protocol):
    def read(self) -> Testimony | None:
        """The newest intact slot; None when there is none."""

    def write(self, testimony: Testimony) -> None:
        """Durable on return; the other slot stays intact meanwhile."""

    def close(self) -> None: ...


class Margin(Protocol):
    def level(self) -> int:
        """0 enough, 1 low, 2 critical; see `actors.margin`."""
