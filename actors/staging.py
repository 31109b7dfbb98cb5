"""Another node's state, received in chunks into a store beside the own one.

Owns: what has been received, whether it is whole, what to ask for next. Must never know who sends
it, nor when it becomes the state. A sender may be replaced by any other in between, and this node
may be restarted: what is on the disk by then is verified, and receiving goes on behind it.

    versions   as they come, each naming the one before it of its key; on disk now and then
    the end    head and sessions of one entry: the sums in the head must be those of what was
               received, else all of it is dropped and asked for again
"""

import msgpack

from dkv.counters import Counters
from dkv.entries import NO_CHECK
from dkv.kv.heads import Heads, Unfollowed, follow
from dkv.kv.sessions import Sessions
from dkv.kv.snapshot import read_head, running_check
from dkv.kv.store import SUM_MASK, Meta, Store, Stores
from dkv.kv.version import read_rows, version_check
from dkv.limits import INT_MAX, STAGED_BYTES, ClusterLimits
from dkv.messages import AskChunk, Chunk

_NOT_A_CHUNK = (Unfollowed, ValueError, TypeError, OverflowError, msgpack.UnpackException)

_ROOM_BYTES = 3 * STAGED_BYTES  # until the next commit: rows, their keys, and both in the WAL


class Staging:
    def __init__(
        self, stores: Stores, limits: ClusterLimits, disk: int, counters: Counters
    ) -> None:
        self._stores, self._limits, self._disk = stores, limits, disk
        self._counters = counters
        self.waits_for_space = False
        self._begin(stores.staged())
        self._reads = self.store is not None  # what an earlier life has received

    def _begin(self, store: Store | None) -> None:
        self.store = store
        self.heads: Heads = {}
        self.row = 0
        self._held = 0
        self._check = NO_CHECK
        self._bytes = 0  # since the last commit
        self._reads = False
        self._forget_end()

    def _forget_end(self) -> None:
        self._head: bytes = b""
        self._copy = 0
        self.sessions: list[tuple[int, bytes]] = []

    @property
    def busy(self) -> bool:
        return self._reads

    def begin(self, base: int) -> None:
        """There is something to ask for; `base` names a new store if there is none."""
        if self.store is None:
            self._begin(self._stores.stage(base))

    def step(self) -> None:
        """A slice of what an earlier life has received: is it as it was written?"""
        assert self.store is not None
        slice_ = self.store.scan(self.row or -1)
        self._reads = bool(slice_)
        try:
            self._follow(slice_)
        except Unfollowed:
            self._counters.add("snapshots_damaged")
            self.discard()

    def _follow(self, versions: list[bytes]) -> None:
        """What compaction has left of a chain is told by the sums in the end, not here."""
        self.row, _new = follow(self.heads, read_rows(versions), self.row, INT_MAX)
        self._held = (self._held + sum(map(version_check, versions))) & SUM_MASK

    def ask(self) -> AskChunk | None:
        """None also where the disk has no room: the leader says again that there is a snapshot, and
        by then there may be. (Nobody else looks: the log is not written meanwhile.)"""
        if self.store is None or self._reads:
            return None
        self.waits_for_space = not self._stores.has_room(_ROOM_BYTES)
        if self.waits_for_space:
            self._counters.add("snapshot_waits_for_space")
            return None
        return AskChunk(self.row, self._copy, len(self.sessions), self._check)

    def take(self, chunk: Chunk) -> Meta | None:
        """One chunk; what the state will be, once it is whole. An old one, or one that does not fit
        what was asked for, changes nothing."""
        if self.store is None or self._reads or chunk.row != self.row:
            return None
        again = chunk.head != self._head  # the end is of another entry, or begins
        if chunk.place != (0 if again else len(self.sessions)):
            return None
        parts = (chunk.row, chunk.versions, chunk.sessions, chunk.head)
        if running_check(self._check, *parts) != chunk.check:
            self._counters.add("chunks_unsound")
            return None
        try:
            return self._keep(chunk, again=again)
        except _NOT_A_CHUNK:
            self._counters.add("snapshots_damaged")
            self.discard()
            return None

    def _keep(self, chunk: Chunk, *, again: bool) -> Meta | None:
        self._add(list(chunk.versions))
        self._check = chunk.check
        if again:
            self._forget_end()
        self._head = chunk.head
        self.sessions.extend(chunk.sessions)
        if not chunk.head:
            return None
        meta = read_head(chunk.head, self._disk)
        self._copy = meta.applied
        return None if chunk.more else self._whole(meta)

    def _add(self, versions: list[bytes]) -> None:
        assert self.store is not None
        rows = [(fields[0], fields[1]) for fields in read_rows(versions)]
        seen = {key for _row, key in rows if key in self.heads}
        self._follow(versions)
        for packed, (row, key) in zip(versions, rows, strict=True):
            self.store.add(row, packed, None if key in seen else key)
            seen.add(key)
        self._bytes += sum(map(len, versions))
        if self._bytes >= STAGED_BYTES:
            self._bytes = 0
            self.store.commit(Meta(self._disk), (), ())
            self.store.tidy(idle=False)

    def _whole(self, meta: Meta) -> Meta:
        sessions = Sessions(self._limits, dict(self.sessions), meta.sessions)
        if (self._held, sessions.remembered()) != (meta.held, meta.remembered):
            raise ValueError("the sums are not those of what was received")
        return meta._replace(swept=0)

    def install(self, meta: Meta) -> Store:
        """This commit is the install: a start takes it for the state from here on."""
        store = self.store
        assert store is not None
        store.commit(meta, self.sessions, ())
        self._stores.adopt()
        self._begin(None)
        return store

    def discard(self) -> None:
        self._stores.discard()
        self._begin(None)
