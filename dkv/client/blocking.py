"""Client: every method returns when its outcome is known.

Owns: waiting, in the caller's thread. Must never know how a request is sent. One thread at a time
may be in a call; others wait for it.
"""

import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import zmq
from zmq.backend import zmq_poll

from dkv.client import calls
from dkv.client.attempts import Done
from dkv.client.calls import Ask, Deleted, Item, Key, Page, SpaceRow, Written
from dkv.client.engine import Engine, FilePath
from dkv.client.pipeline import Pipeline
from dkv.errors import RequestError
from dkv.security.certificate import CLIENT_ROLES

T = TypeVar("T")
_CLOSE_US = 500_000
_POLLIN = int(zmq.POLLIN)


class Client:
    """A client of a dkv cluster.

    `endpoints` are host:port, one or several. `cert`, `key` and `cacert` are files that `dkvctl
    certs` makes; `insecure` is for a cluster without them. `timeout` is each call's deadline in
    seconds. `read_level` serializable: reads are answered by any node as it is, perhaps older.
    `pin` keeps to the nodes named; else reads are spread over the cluster, and writes go to its
    leader. `pipeline` False: one request a message, also in a `pipeline()`, for comparison.
    `role` "node": the certificate is a node's, which may join its cluster and nothing else.

    Writes are made within a session, so that a retry after a lost answer is executed once. Raises
    `Misconfigured` for bad endpoints or files, `CertificateError` for bad certificates; each call
    raises `Rejected` (it did not happen) or `Uncertain` (it may have).
    """

    def __init__(
        self,
        endpoints: str | list[str],
        *,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        cacert: FilePath | None = None,
        insecure: bool = False,
        timeout: float = 5.0,
        read_level: str = "linearizable",
        pin: bool = False,
        passphrase: str | None = None,
        pipeline: bool = True,
        role: str = "",
    ) -> None:
        self.timeout, self.read_level = timeout, read_level
        self._lock = threading.RLock()
        roles = (role,) if role else CLIENT_ROLES
        self._engine = Engine(
            endpoints, cert, key, cacert, insecure, pin, passphrase, pipeline, roles
        )
        self._poll_set: list[tuple[Any, int]] = []
        self._places: dict[Any, tuple[int, bool]] = {}  # socket -> (line, is its monitor)
        self._register()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- keys ------------------------------------------------------------------------------------
    def put(self, key: Key, value: Key, *, expected: int | None = None) -> Written:
        """Set a key; with `expected` only if its revision is that (0: only if it is absent), else
        `ConditionFailed`."""
        return self._do(calls.put(key, value, expected))

    def get(self, key: Key, *, level: str | None = None) -> Item | None:
        """The key as it is, or None."""
        return self._do(calls.get(key, level or self.read_level))

    def delete(self, key: Key, *, expected: int | None = None) -> Deleted:
        """Delete a key, if it exists; with `expected` only at that revision."""
        return self._do(calls.delete(key, expected))

    def delete_range(self, start: Key, end: Key = b"", *, limit: int | None = None) -> Deleted:
        """Delete the first keys from `start` to before `end`, in one revision."""
        return self._do(calls.delete_range(start, end, limit))

    def delete_prefix(self, prefix: Key) -> int:
        """Delete all keys that begin so, in steps; how many went."""
        count, more = 0, True
        while more:
            deleted = self._do(calls.delete_prefix(prefix))
            count, more = count + deleted.count, deleted.more
        return count

    def page(self, prefix: Key | None = None, *, level: str | None = None, **options: Any) -> Page:
        """One page of a list, by prefix or by range. Options: `start`, `end`, `limit`, `token` (of
        the page before), `revision` (as of which), `keys_only`, `count_only`."""
        return self._do(calls.page(prefix, level or self.read_level, options))

    def list(self, prefix: Key | None = None, **options: Any) -> Iterator[Item]:
        """All keys of a prefix or range, page by page, as of the first page's revision."""
        page = self.page(prefix, **options)
        yield from page.items
        while page.token:
            page = self.page(prefix, **{**options, "token": page.token})
            yield from page.items

    def count(self, prefix: Key | None = None, **options: Any) -> int:
        """How many keys a prefix or range has."""
        return self.page(prefix, count_only=True, **options).count

    def pipeline(self) -> Pipeline:
        """Many calls at once, each with its own outcome; see `Pipeline`."""
        return Pipeline(self._begin, self._run, self.read_level)

    # -- space -----------------------------------------------------------------------------------
    def compact(self, revision: int | None = None, *, keep: int | None = None) -> int:
        """End history at `revision`, or `keep` revisions before the newest (default: 0 of them).
        The first revision that can still be read. Needs the role admin."""
        return self._do(calls.compact(revision, keep))

    def space(
        self, prefix: Key = b"", *, depth: int = 1, level: str | None = None
    ) -> tuple[SpaceRow, ...]:
        """Keys and bytes by the first levels of the keys' names, in order."""
        found: dict[bytes, SpaceRow] = {}
        token = b""
        while True:
            part = self._do(calls.space(prefix, depth, token, level or self.read_level))
            calls.add_up(found, part)
            token = part.token
            if not token:
                return tuple(sorted(found.values()))

    # -- the cluster -----------------------------------------------------------------------------
    def members(self) -> dict[str, Any]:
        """Members, leader, term, limits, as one node knows them."""
        return self._do(calls.members())

    def status(self, endpoint: int | None = None) -> dict[str, Any]:
        """A node's own facts: any node's, or that of the endpoint with this number."""
        return self._do(calls.status(endpoint))

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """A request about the cluster itself, by its name in docs/protocol.md: `member_list`,
        `member_add`, `leader_transfer`, …; its result."""
        return self._do(calls.ask(op, fields))

    def state_hash(self, index: int = 0, *, level: str | None = None) -> dict[str, Any]:
        """`index` and `hash`: the sum of the state of the node that answers, as of a log entry (0:
        the last one applied). Whoever has the same entry has the same hash."""
        return self._do(calls.state_hash(index, level or self.read_level))

    def snapshot_part(self, *, level: str | None = None, **fields: int | bytes) -> dict[str, Any]:
        """A part of a backup (role admin); the fields are those of op `snapshot`. Linearizable, any
        node has what the first part told of; serializable, one that has not refuses."""
        return self._do(calls.snapshot_part(fields, level or self.read_level))

    def tail(self, **fields: Any) -> dict[str, Any]:
        """What is new in the log of the node that answers (role admin); the fields and the result
        are those of op `tail` in docs/protocol.md. Of one node only where the client has one
        endpoint and `pin`. Wait 1,000 ms at most: a silent node is asked again after 1.5 s."""
        return self._do(calls.tail(fields))

    def tails(self, **fields: Any) -> Iterator[dict[str, Any]]:
        """One `tail` after another, each behind the one before; a page is also what nothing new has
        come to for a second. Ends with `RequestError`, from which the last page goes on."""
        fields = {"wait_ms": calls.TAIL_WAIT_MS, **fields}
        while True:
            page = self.tail(**fields)
            yield page
            fields = calls.tail_on(fields, page)

    def close(self) -> None:
        """End the session and the connections."""
        done: list[object] = []
        with self._lock:
            if self._engine.core.close_session(lambda *_: done.append(1), _CLOSE_US):
                while not done:
                    self._turn()
            self._engine.close()

    # -- waiting ---------------------------------------------------------------------------------
    def _do(self, ask: Ask[T]) -> T:
        outcome: list[tuple[dict[str, Any] | None, RequestError | None]] = []
        with self._lock:
            self._engine.start(ask, self.timeout, lambda *found: outcome.append(found))
            while not outcome:
                self._turn()
        body, error = outcome[0]
        if error is not None:
            raise error
        assert body is not None
        return ask.read(body)

    def _begin(self, ask: Ask[Any], done: Done) -> None:
        with self._lock:
            self._engine.start(ask, self.timeout, done)

    def _run(self, is_over: Callable[[], bool]) -> None:
        with self._lock:
            self._turn(waits=False)
            while not is_over():
                self._turn()

    def _turn(self, waits: bool = True) -> None:
        """Send what is ready, take what has come; wait for something if nothing has."""
        engine = self._engine
        engine.flush()
        for socket, _event in zmq_poll(self._poll_set, self._patience_ms() if waits else 0):
            number, is_monitor = self._places[socket]
            if is_monitor:
                engine.watch(number)
            else:
                engine.read(number)
        if engine.tick():
            self._register()

    def _patience_ms(self) -> int:
        wake_us = self._engine.wake_us()
        return -1 if wake_us is None else self._engine.patience_us(wake_us) // 1_000 + 1

    def _register(self) -> None:
        self._places = {}
        for number, line in enumerate(self._engine.lines):
            self._places[line.socket] = (number, False)
            self._places[line.monitor] = (number, True)
        self._poll_set = [(socket, _POLLIN) for socket in self._places]
