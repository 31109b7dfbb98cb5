"""Pipeline: many calls of a `Client` under way at once, each with an outcome of its own.

Owns: the outcomes, in the order of the calls; how many calls it lets wait. Must never know how a
request is sent, nor a socket: it is handed how a call is begun, and how time is let pass.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from dkv.client import calls
from dkv.client.attempts import Done
from dkv.client.calls import Ask, Deleted, Item, Key, Written
from dkv.errors import RequestError
from dkv.limits import KIB

T = TypeVar("T")
_CALLS_HELD = 256  # begun and not sent yet
_BYTES_HELD = 64 * KIB
_UNDER_WAY_MAX = 4_096  # a node takes 32,768, of all its clients

Begin = Callable[[Ask[Any], Done], None]
Run = Callable[[Callable[[], bool]], None]  # sends what is held; goes on until that is so


class Later(Generic[T]):
    """The outcome of one call of a pipeline."""

    def __init__(self, ask: Ask[T], run: Run) -> None:
        self._read, self._run = ask.read, run
        self._body: dict[str, Any] | None = None
        self._error: RequestError | None = None

    @property
    def is_known(self) -> bool:
        return self._body is not None or self._error is not None

    def result(self) -> T:
        """What the call of the same name of `Client` returns or raises; waits for it."""
        if not self.is_known:
            self._run(lambda: self.is_known)
        if self._error is not None:
            raise self._error
        assert self._body is not None
        return self._read(self._body)

    def _settle(self, body: dict[str, Any] | None, error: RequestError | None) -> None:
        self._body, self._error = body, error


class Pipeline:
    """Made by `Client.pipeline`:

        with kv.pipeline() as many:
            for key, value in pairs:
                many.put(key, value)
        for outcome in many.results():
            ...

    A call returns at once, or waits while 4,096 are under way; `timeout` counts from there. Leaving
    the block waits until every outcome is known. Nothing is rolled back, and no order of execution
    is promised: who needs one call to follow another takes its `result()` in between. If the block
    raises, nothing is waited for, and what was begun may yet happen. One thread uses a pipeline;
    others may use the client meanwhile.
    """

    def __init__(self, begin: Begin, run: Run, read_level: str) -> None:
        self._begin, self._run, self._read_level = begin, run, read_level
        self._laters: list[Later[Any]] = []
        self._known = 0  # of them; written only while time passes, so under the client's lock
        self._calls_held = 0
        self._bytes_held = 0

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.wait()

    def put(self, key: Key, value: Key, *, expected: int | None = None) -> Later[Written]:
        return self._start(calls.put(key, value, expected))

    def get(self, key: Key, *, level: str | None = None) -> Later[Item | None]:
        return self._start(calls.get(key, level or self._read_level))

    def delete(self, key: Key, *, expected: int | None = None) -> Later[Deleted]:
        return self._start(calls.delete(key, expected))

    def delete_range(
        self, start: Key, end: Key = b"", *, limit: int | None = None
    ) -> Later[Deleted]:
        return self._start(calls.delete_range(start, end, limit))

    def wait(self) -> None:
        """Until every outcome is known."""
        self._send(0)

    def results(self) -> list[Any]:
        """Of each call in order what it returned, or the `RequestError` that it ended with, as a
        value; waits for all."""
        self.wait()
        return [later._error or later.result() for later in self._laters]

    def _start(self, ask: Ask[T]) -> Later[T]:
        later = Later(ask, self._run)

        def done(body: dict[str, Any] | None, error: RequestError | None) -> None:
            self._known += 1
            later._settle(body, error)

        self._begin(ask, done)
        self._laters.append(later)
        self._calls_held += 1
        self._bytes_held += sum(len(v) for v in ask.fields.values() if isinstance(v, bytes))
        if self._calls_held >= _CALLS_HELD or self._bytes_held >= _BYTES_HELD:
            self._send(_UNDER_WAY_MAX)
        return later

    def _send(self, under_way_max: int) -> None:
        self._calls_held = self._bytes_held = 0
        self._run(lambda: len(self._laters) - self._known <= under_way_max)
