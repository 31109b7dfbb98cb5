"""The store's counter across keys: what no single key can show."""

import pytest

from dkv.history import Operation, Verdict, check


def put(key: bytes, revision: int | None, call: int, ret: int | None) -> Operation:
    return Operation("put", key, call, ret, value=key, revision=revision, store=revision)


def get(key: bytes, out: bytes | None, at: int, store: int, call: int, ret: int) -> Operation:
    return Operation("get", key, call, ret, out=out, revision=at, store=store)


A = put(b"a", 5, 0, 10)
WRONG = {
    "the same revision": [A, put(b"b", 5, 5, 12)],
    "not at a later revision": [A, put(b"b", 4, 11, 12)],
    "is at an earlier revision": [A, get(b"b", None, 0, 4, 11, 12)],
    "does not see it": [
        put(b"a", 3, 0, 1),
        put(b"a", 5, 2, 9),
        get(b"a", b"a", 3, 6, 2, 9),  # it may come first, were it not as of revision 6
    ],
}
GOOD = {
    "concurrent": [A, put(b"b", 4, 10, 12), get(b"b", None, 0, 3, 0, 10)],
    "unknown": [A, put(b"b", None, 11, None), put(b"c", 6, 12, 13)],
    "as of its revision": [A, get(b"b", None, 0, 5, 11, 12), get(b"b", None, 0, 9, 11, 12)],
    "a newer write": [put(b"a", 5, 0, 9), put(b"a", 7, 0, 9), get(b"a", b"a", 5, 6, 0, 9)],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_revisions_forbid(words: str) -> None:
    report = check(WRONG[words])
    assert report.verdict is Verdict.NOT_LINEARIZABLE
    assert report.window is not None
    assert words in report.window.words
    assert report.window.operations == tuple(WRONG[words][-2:])


@pytest.mark.parametrize("words", GOOD)
def test_what_they_allow(words: str) -> None:
    assert check(GOOD[words]).verdict is Verdict.LINEARIZABLE


def test_a_failed_condition_is_no_write() -> None:
    refused = Operation("cap", b"b", 11, 12, value=b"v", expected=4, ok=False, revision=3, store=9)
    assert check([put(b"b", 3, 0, 1), A, refused]).verdict is Verdict.LINEARIZABLE
