"""The log as it was seen lately: entries in order, and what each node has told of them.

Owns: how much is kept, entries that another leader has replaced, when an entry's latency is known.
Must never know who reads: whoever does remembers the last arrival that it has had.

A row is a command as a page shows it: [index, term, position, op, key, author, revision, size,
wall, latency, refused]. It is made once, and shared by all who read.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from cli.output import as_json

COMMANDS_MAX = 50_000
BYTES_MAX = 32 * 1024 * 1024  # of keys and authors
_NEWS_MAX = 4_096  # cuts and latencies that are remembered
_EARLY_MAX = 4_096

_REVISION, _LATENCY, _REFUSED = 6, 9, 10  # where in a row


class Command(NamedTuple):
    """`key` None: an entry of the cluster's own. `size`: bytes of the value, None: it has none.
    `revision` 0: not known (yet). `refused`: why it changed nothing; empty: it did, or may yet."""

    op: str
    key: bytes | None
    author: str
    revision: int
    size: int | None
    refused: str


class Sight(NamedTuple):
    """An entry at one node: when it came there (Unix ms by that node's clock), and how long after
    that it was saved, committed and applied (ms); None: not yet, or not known any more."""

    received: int | None = None
    saved: float | None = None
    committed: float | None = None
    applied: float | None = None


class Entry:
    __slots__ = ("arrival", "index", "keys", "rows", "settled", "sights", "term", "wall")

    def __init__(self, index: int, term: int, wall: int, commands: list[Command]) -> None:
        self.index, self.term, self.wall = index, term, wall
        self.keys = [c.key for c in commands]
        self.rows: list[list[Any]] = [
            [index, term, i, c.op, as_json(c.key), c.author, c.revision, c.size, wall, None, ""]
            for i, c in enumerate(commands)
        ]
        self.sights: dict[str, Sight] = {}  # by the node's name
        self.settled = False
        self.arrival = 0

    @property
    def weight(self) -> int:
        return sum(len(k or b"") + len(r[5]) for k, r in zip(self.keys, self.rows, strict=True))


class Filter(NamedTuple):
    """Which rows a page wants: `prefix` of the key, the whole `author`; empty: all."""

    prefix: bytes = b""
    author: str = ""

    def rows(self, entry: Entry) -> list[list[Any]]:
        if not self.prefix and not self.author:
            return entry.rows
        return [
            row
            for key, row in zip(entry.keys, entry.rows, strict=True)
            if (not self.prefix or (key is not None and key.startswith(self.prefix)))
            and (not self.author or row[5] == self.author)
        ]


class Ring:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._by_index: dict[int, Entry] = {}
        self._commands = self._bytes = 0
        self.arrivals = 0  # of entries, cuts and latencies, counted together
        self._early: dict[tuple[int, int], dict[str, Sight]] = {}  # told before the entry was
        self._cuts: deque[tuple[int, int]] = deque(maxlen=_NEWS_MAX)  # (arrival, index)
        self._settled: deque[tuple[int, Entry]] = deque(maxlen=_NEWS_MAX)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> int:
        """The index of the newest entry; 0: there is none."""
        return self._entries[-1].index if self._entries else 0

    # -- what nodes tell -------------------------------------------------------------------------
    def find(self, index: int, term: int) -> Entry | None:
        entry = self._by_index.get(index)
        return entry if entry is not None and entry.term == term else None

    def add(self, entry: Entry) -> bool:
        """Take an entry that nobody has told of yet; whether it was. One that is older than the
        ring's last has been passed over. One of a newer term replaces what is there from its
        index on, for so did the log."""
        last = self._entries[-1] if self._entries else None
        if last is not None and entry.index <= last.index:
            if entry.term <= last.term:
                return False
            self._cut(entry.index)
        self.arrivals += 1
        entry.arrival = self.arrivals
        self._entries.append(entry)
        self._by_index[entry.index] = entry
        entry.sights |= self._early.pop((entry.index, entry.term), {})
        self._commands += len(entry.rows)
        self._bytes += entry.weight
        while self._commands > COMMANDS_MAX or self._bytes > BYTES_MAX:
            self._forget(self._entries.popleft())
        return True

    def _cut(self, index: int) -> None:
        while self._entries and self._entries[-1].index >= index:
            self._forget(self._entries.pop())
        self.arrivals += 1
        self._cuts.append((self.arrivals, index))

    def _forget(self, entry: Entry) -> None:
        del self._by_index[entry.index]
        self._commands -= len(entry.rows)
        self._bytes -= entry.weight

    def see(self, index: int, term: int, node: str, sight: Sight) -> None:
        """What a node tells of an entry, perhaps before anybody has told what is in it."""
        entry = self.find(index, term)
        if entry is not None:
            entry.sights[node] = sight
            return
        if len(self._early) >= _EARLY_MAX:
            del self._early[next(iter(self._early))]
        self._early.setdefault((index, term), {})[node] = sight

    def settle(self, entry: Entry, commands: list[Command], latency: float | None) -> None:
        """It is applied: what became of its commands, and how long it took (ms; None: not known).
        Once."""
        entry.settled = True
        for row, command in zip(entry.rows, commands, strict=True):
            row[_REVISION], row[_LATENCY] = command.revision, latency
            row[_REFUSED] = command.refused
        self.arrivals += 1
        self._settled.append((self.arrivals, entry))

    # -- what pages ask --------------------------------------------------------------------------
    def newest(self, after: int, wanted: Filter, limit: int) -> tuple[list[list[Any]], int]:
        """Rows of entries that arrived after `after`, the oldest first: the last `limit` of them,
        and how many more there were."""
        found: deque[list[Any]] = deque()
        left_out = 0
        for entry in reversed(self._entries):
            if entry.arrival <= after:
                break
            rows = wanted.rows(entry)
            room = limit - len(found)
            found.extendleft(reversed(rows[-room:] if room else ()))
            left_out += max(len(rows) - room, 0)
        return list(found), left_out

    def before(self, index: int, position: int, wanted: Filter, limit: int) -> list[list[Any]]:
        """The last `limit` rows before that one, the oldest first."""
        found: deque[list[Any]] = deque()
        for entry in reversed(self._entries):
            if entry.index > index:
                continue
            rows = wanted.rows(entry)
            if entry.index == index:
                rows = [row for row in rows if row[2] < position]
            found.extendleft(reversed(rows))
            if len(found) >= limit:
                break
        return list(found)[-limit:]

    def cut_since(self, after: int) -> int | None:
        """The first index that was replaced since that arrival."""
        return min((index for arrival, index in self._cuts if arrival > after), default=None)

    def settled_since(self, after: int) -> Iterator[list[Any]]:
        """[index, term, latency, [[revision, refused] of each command]] of the entries that had
        arrived by then, and were applied since."""
        for arrival, entry in reversed(self._settled):
            if arrival <= after:
                return
            if entry.arrival <= after and entry.rows:
                results = [(row[_REVISION], row[_REFUSED]) for row in entry.rows]
                yield [entry.index, entry.term, entry.rows[0][_LATENCY], results]
