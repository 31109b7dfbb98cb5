"""AsyncClient: the same methods as coroutines, any number of them under way at once.

Owns: driving the engine from an asyncio loop, by the sockets' file descriptors. Must never know how
a request is sent. A ZeroMQ descriptor signals edges, not levels: whoever was woken reads until
nothing is left, and looks again after having sent.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, TypeVar

import zmq

from dkv.client import calls
from dkv.client.calls import Ask, Deleted, Item, Key, Page, Written
from dkv.client.engine import Engine, FilePath
from dkv.errors import RequestError

T = TypeVar("T")
_CLOSE_US = 500_000


class AsyncClient:
    """See `Client`, whose options and errors it shares. Made and used within one running loop."""

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
    ) -> None:
        self.timeout, self.read_level = timeout, read_level
        self._engine = Engine(endpoints, cert, key, cacert, insecure, pin, passphrase)
        self._loop = asyncio.get_running_loop()
        self._descriptors: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
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

    # -- the cluster -----------------------------------------------------------------------------
    async def members(self) -> dict[str, Any]:
        return await self._do(calls.members())

    async def state_hash(self, index: int = 0, *, level: str | None = None) -> dict[str, Any]:
        return await self._do(calls.state_hash(index, level or self.read_level))

    async def status(self, endpoint: int | None = None) -> dict[str, Any]:
        return await self._do(calls.status(endpoint))

    async def close(self) -> None:
        done = asyncio.Event()
        if self._engine.core.close_session(lambda *_: done.set(), _CLOSE_US):
            self._pump_soon()
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
        self._pump_soon()
        return ask.read(await outcome)

    def _register(self) -> None:
        for descriptor in self._descriptors:
            self._loop.remove_reader(descriptor)
        self._descriptors = []
        for line in self._engine.lines:
            for socket in (line.socket, line.monitor):
                descriptor = int(socket.get(zmq.FD))
                self._descriptors.append(descriptor)
                self._loop.add_reader(descriptor, self._pump_soon)
        self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pumping and not self._closed:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closed:
            return
        engine = self._engine
        for number, line in enumerate(engine.lines):
            if line.has_news():
                engine.watch(number)
            else:
                engine.read(number)
        if engine.tick():
            self._register()
        self._arm()

    def _arm(self) -> None:
        """Look again at the next deadline, and at once if something came while this was read."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        patience_us = self._engine.patience_us()
        if patience_us is not None:
            self._timer = self._loop.call_later(patience_us / 1_000_000, self._pump_soon)
        if any(line.has_replies() for line in self._engine.lines):
            self._pump_soon()
