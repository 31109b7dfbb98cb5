"""AsyncClient: the same methods as coroutines, any number of them under way at once.

Owns: driving the engine from an asyncio loop, by the sockets' file descriptors. Must never know how
a request is sent. A ZeroMQ descriptor signals edges, not levels: whoever was woken reads until
nothing is left, and reads again after having sent.

Calls that are started within one turn of the loop leave in one message, at the turn's end: no timer
waits for more.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeVar

import zmq

from dkv.client import calls
from dkv.client.calls import Ask, Deleted, Item, Key, Page, SpaceRow, Written
from dkv.client.engine import Engine, FilePath
from dkv.errors import RequestError

T = TypeVar("T")
_CLOSE_US = 500_000


class AsyncClient:
    """See `Client`, whose options and errors it shares. Made and used within one running loop.

    What is started within one turn of the loop (`asyncio.gather`, many tasks) shares messages and
    replies, which costs client and nodes a fraction of one at a time. `pipeline` False sends one
    request a message, for comparison. Any number may be started: of the writes 1,024 are under way
    at once, the others follow. A call that is cancelled may happen nevertheless.
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
    ) -> None:
        self.timeout, self.read_level = timeout, read_level
        self._engine = Engine(endpoints, cert, key, cacert, insecure, pin, passphrase, pipeline)
        self._loop = asyncio.get_running_loop()
        self._descriptors: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0
        self._flushing = False
        self._closed = False
        self._register()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    # -- keys ------------------------------------------------------------------------------------
    async def put(self, key: Key, value: Key, *, expected: int | None = None) -> Written:
        return await self._do(calls.put(key, value, expected))

    async def get(self, key: Key, *, level: str | None = None) -> Item | None:
        return await self._do(calls.get(key, level or self.read_level))

    async def delete(self, key: Key, *, expected: int | None = None) -> Deleted:
        return await self._do(calls.delete(key, expected))

    async def delete_range(
        self, start: Key, end: Key = b"", *, limit: int | None = None
    ) -> Deleted:
        return await self._do(calls.delete_range(start, end, limit))

    async def delete_prefix(self, prefix: Key) -> int:
        count, more = 0, True
        while more:
            deleted = await self._do(calls.delete_prefix(prefix))
            count, more = count + deleted.count, deleted.more
        return count

    async def page(
        self, prefix: Key | None = None, *, level: str | None = None, **options: Any
    ) -> Page:
        return await self._do(calls.page(prefix, level or self.read_level, options))

    async def list(self, prefix: Key | None = None, **options: Any) -> AsyncIterator[Item]:
        page = await self.page(prefix, **options)
        for item in page.items:
            yield item
        while page.token:
            page = await self.page(prefix, **{**options, "token": page.token})
            for item in page.items:
                yield item

    async def count(self, prefix: Key | None = None, **options: Any) -> int:
        return (await self.page(prefix, count_only=True, **options)).count

    # -- space -----------------------------------------------------------------------------------
    async def compact(self, revision: int | None = None, *, keep: int | None = None) -> int:
        return await self._do(calls.compact(revision, keep))

    async def space(
        self, prefix: Key = b"", *, depth: int = 1, level: str | None = None
    ) -> tuple[SpaceRow, ...]:
        found: dict[bytes, SpaceRow] = {}
        token = b""
        while True:
            part = await self._do(calls.space(prefix, depth, token, level or self.read_level))
            calls.add_up(found, part)
            token = part.token
            if not token:
                return tuple(sorted(found.values()))

    # -- the cluster -----------------------------------------------------------------------------
    async def members(self) -> dict[str, Any]:
        return await self._do(calls.members())

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return await self._do(calls.ask(op, fields))

    async def state_hash(self, index: int = 0, *, level: str | None = None) -> dict[str, Any]:
        return await self._do(calls.state_hash(index, level or self.read_level))

    async def snapshot_part(
        self, *, level: str | None = None, **fields: int | bytes
    ) -> dict[str, Any]:
        return await self._do(calls.snapshot_part(fields, level or self.read_level))

    async def status(self, endpoint: int | None = None) -> dict[str, Any]:
        return await self._do(calls.status(endpoint))

    async def tail(self, **fields: Any) -> dict[str, Any]:
        return await self._do(calls.tail(fields))

    async def tails(self, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        fields = {"wait_ms": calls.TAIL_WAIT_MS, **fields}
        while True:
            page = await self.tail(**fields)
            yield page
            fields = calls.tail_on(fields, page)

    async def close(self) -> None:
        done = asyncio.Event()
        if self._engine.core.close_session(lambda *_: done.set(), _CLOSE_US):
            self._flush_soon()
            await done.wait()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)
        self._engine.close()

    # -- the loop --------------------------------------------------------------------------------
    async def _do(self, ask: Ask[T]) -> T:
        outcome: asyncio.Future[dict[str, Any]] = self._loop.create_future()

        def done(body: dict[str, Any] | None, error: RequestError | None) -> None:
            if outcome.done():
                return  # cancelled: nobody waits
            if error is not None:
                outcome.set_exception(error)
            else:
                assert body is not None
                outcome.set_result(body)

        self._engine.start(ask, self.timeout, done)
        if not self._flushing:
            self._flush_soon()
        return ask.read(await outcome)

    def _register(self) -> None:
        """Listen to every socket; what came before is looked at once."""
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)
        self._descriptors = []
        for number, line in enumerate(self._engine.lines):
            for socket, woken in ((line.socket, self._read), (line.monitor, self._watch)):
                descriptor = int(socket.get(zmq.FD))
                self._descriptors.append(descriptor)
                self._loop.add_reader(descriptor, woken, number)
            self._loop.call_soon(self._watch, number)

    def _read(self, number: int) -> None:
        """Whoever gets an answer runs next, and what it starts is flushed behind it: one turn of
        the loop earlier than if it had to ask for that itself."""
        self._engine.read(number)
        self._flush_soon()

    def _watch(self, number: int) -> None:
        if not self._closed:
            self._engine.watch(number)
            self._look_ahead()

    def _flush_soon(self) -> None:
        """At the end of this turn of the loop, when the application has started what it would."""
        if not self._flushing and not self._closed:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        for number in self._engine.flush():
            self._engine.read(number)
        self._look_ahead()

    def _tick(self) -> None:
        self._timer = None
        if self._engine.tick():
            self._register()
        self._look_ahead()

    def _look_ahead(self) -> None:
        """What the answers call for: more to send, nodes to connect to, an earlier alarm. One that
        is too early is left to ring: putting it off at each answer would cost more."""
        engine = self._engine
        if engine.core.has_ready:
            self._flush_soon()
        if engine.core.found and engine.discover():
            self._register()
        wake_us = engine.wake_us()
        if wake_us is None or (self._timer is not None and self._timer_us <= wake_us):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_us = wake_us
        self._timer = self._loop.call_later(engine.patience_us(wake_us) / 1_000_000, self._tick)
