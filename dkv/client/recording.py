"""A client whose every operation becomes a line of a history, to be checked afterwards.

Owns: what an outcome says: an answer is an observation, a definite refusal is nothing (or, of a
condition, an observation), and anything else may happen yet. Must never judge a history.

    recorder = Recorder(client, number=3)
    recorder.put(b"k", b"v")
    write_line(recorder.history[0])

Each method returns the operation as it was recorded, or None where nothing is to be recorded. Times
are nanoseconds of this machine's monotonic clock: histories of one machine may be put together.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dkv.client import calls
from dkv.client.aio import AsyncClient
from dkv.client.blocking import Client
from dkv.client.calls import Ask
from dkv.errors import ConditionFailed, Rejected, RequestError
from dkv.history.operation import Operation

Body = dict[str, Any]


class _Attempt:
    """One operation, from before it is sent until its outcome is known."""

    def __init__(self, operation: Operation, ask: Ask[Any]) -> None:
        self.operation = operation._replace(call=time.monotonic_ns())
        self.ask: Ask[Body] = Ask(ask.op, ask.fields, lambda body: body, ask.level)
        self.found: Operation | None = None  # what there is to record

    def answered(self, body: Body) -> None:
        o, result = self.operation, body["result"]
        told: dict[str, Any] = {"store": body["revision"], "node": body["node"]}
        if o.op == "get":
            told |= {"out": result.get("value"), "revision": result["key_revision"]}
        elif o.op == "delete":
            told["found"] = bool(result["deleted"])
            told["revision"] = body["revision"] if result["deleted"] else None
        else:
            told["revision"] = result["key_revision"]
        self.found = o._replace(ret=time.monotonic_ns(), **told)

    def refused(self, error: RequestError) -> None:
        """A definite refusal did nothing; of a condition it says where the key was."""
        if isinstance(error, ConditionFailed):
            ret = time.monotonic_ns()
            self.found = self.operation._replace(ret=ret, ok=False, revision=error.key_revision)
        elif not isinstance(error, Rejected):
            self.lost()

    def lost(self) -> None:
        """A write may have happened, or may yet; of a read nothing is left."""
        self.found = self.operation if self.operation.op != "get" else None


class _Book:
    """What both recorders share. `errors` are those of the operations that did not succeed."""

    def __init__(self, number: int | str) -> None:
        self.history: list[Operation] = []
        self.errors: list[RequestError] = []
        self._number = number

    def _blank(self, op: str, key: bytes, **fields: Any) -> Operation:
        return Operation(op, key, 0, None, client=self._number, **fields)

    def _get(self, key: bytes) -> _Attempt:
        return _Attempt(self._blank("get", key), calls.get(key, "linearizable"))

    def _put(self, key: bytes, value: bytes, expected: int | None) -> _Attempt:
        op = "put" if expected is None else "cap"
        blank = self._blank(op, key, value=value, expected=expected)
        return _Attempt(blank, calls.put(key, value, expected))

    def _delete(self, key: bytes, expected: int | None) -> _Attempt:
        blank = self._blank("delete", key, expected=expected)
        return _Attempt(blank, calls.delete(key, expected))

    @contextmanager
    def _recording(self, attempt: _Attempt) -> Iterator[None]:
        """Whatever else ends it, an interruption too, leaves it without an outcome."""
        try:
            yield
        except RequestError as error:
            attempt.refused(error)
            self.errors.append(error)
        except BaseException:
            attempt.lost()
            raise
        finally:
            if attempt.found is not None:
                self.history.append(attempt.found)


class Recorder(_Book):
    """Around a `Client`, which one thread uses."""

    def __init__(self, client: Client, number: int | str = 0) -> None:
        super().__init__(number)
        self._client = client

    def get(self, key: bytes) -> Operation | None:
        return self._run(self._get(key))

    def put(self, key: bytes, value: bytes, expected: int | None = None) -> Operation | None:
        return self._run(self._put(key, value, expected))

    def delete(self, key: bytes, expected: int | None = None) -> Operation | None:
        return self._run(self._delete(key, expected))

    def _run(self, attempt: _Attempt) -> Operation | None:
        with self._recording(attempt):
            attempt.answered(self._client._do(attempt.ask))
        return attempt.found


class AsyncRecorder(_Book):
    """Around an `AsyncClient`."""

    def __init__(self, client: AsyncClient, number: int | str = 0) -> None:
        super().__init__(number)
        self._client = client

    async def get(self, key: bytes) -> Operation | None:
        return await self._run(self._get(key))

    async def put(self, key: bytes, value: bytes, expected: int | None = None) -> Operation | None:
        return await self._run(self._put(key, value, expected))

    async def delete(self, key: bytes, expected: int | None = None) -> Operation | None:
        return await self._run(self._delete(key, expected))

    async def _run(self, attempt: _Attempt) -> Operation | None:
        with self._recording(attempt):
            attempt.answered(await self._client._do(attempt.ask))
        return attempt.found


def merged(*books: _Book) -> Iterator[Operation]:
    """The operations of several, in the order in which they began."""
    return iter(sorted((o for book in books for o in book.history), key=lambda o: o.call))
