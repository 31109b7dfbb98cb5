"""What an outcome leaves in a history."""

from collections.abc import Callable

import pytest

from dkv.client.recording import _Attempt, _Book
from dkv.errors import Code, RequestError, request_error
from dkv.history import Operation

MAKE: dict[str, Callable[[_Book], _Attempt]] = {
    "get": lambda book: book._get(b"k"),
    "put": lambda book: book._put(b"k", b"v", None),
    "cap": lambda book: book._put(b"k", b"v", 4),
    "delete": lambda book: book._delete(b"k", 4),
}


def recorded(op: str, error: BaseException | None = None, **result: object) -> list[Operation]:
    book = _Book("me")
    attempt = MAKE[op](book)
    try:
        with book._recording(attempt):
            if error is not None:
                raise error
            attempt.answered({"result": result, "revision": 9, "node": "n2"})
    except KeyboardInterrupt:
        pass
    assert book.errors == ([error] if isinstance(error, RequestError) else [])
    return book.history


def test_an_answer_is_an_observation() -> None:
    (get,) = recorded("get", found=True, value=b"x", key_revision=7)
    assert (get.out, get.revision, get.store, get.node) == (b"x", 7, 9, "n2")
    (absent,) = recorded("get", found=False, key_revision=0)
    assert (absent.out, absent.revision) == (None, 0)
    (put,) = recorded("cap", key_revision=9)
    assert (put.op, put.expected, put.ok, put.revision) == ("cap", 4, True, 9)
    (gone,) = recorded("delete", deleted=1, key_revision=4)
    assert (gone.found, gone.revision) == (True, 9)
    (nothing,) = recorded("delete", deleted=0, key_revision=0)
    assert (nothing.found, nothing.revision) == (False, None)
    assert all(o.ret is not None and o.ret >= o.call for o in (get, put, gone))


@pytest.mark.parametrize("op", ["cap", "delete"])
def test_a_condition_that_was_not_met_is_one_too(op: str) -> None:
    error = request_error(Code.CONDITION_FAILED, "", "no")
    error.key_revision = 6  # type: ignore[attr-defined]
    (found,) = recorded(op, error)
    assert (found.ok, found.revision, found.is_known) == (False, 6, True)


@pytest.mark.parametrize("op", MAKE)
def test_a_definite_refusal_leaves_nothing(op: str) -> None:
    assert recorded(op, request_error(Code.NO_LEADER, "", "no")) == []


@pytest.mark.parametrize(
    "error", [request_error(Code.TIMEOUT, "", "unknown"), KeyboardInterrupt()], ids=str
)
def test_anything_else_may_happen_yet(error: BaseException) -> None:
    assert recorded("get", error) == []
    for op in ("put", "cap", "delete"):
        (found,) = recorded(op, error)
        assert (found.ret, found.ok, found.client) == (None, True, "me")
