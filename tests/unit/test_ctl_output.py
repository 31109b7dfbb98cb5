"""What `dkvctl` prints is unambiguous, comes back whole, and never drives the terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.output import Table, as_json, from_json, json_text, shown

ANYTHING = st.one_of(st.binary(), st.text().map(str.encode))


@given(ANYTHING)
def test_whatever_is_shown_prints(value: bytes) -> None:
    assert shown(value).isprintable()
    assert shown(value, keep="\n").replace("\n", "").isprintable()


@given(ANYTHING, ANYTHING)
def test_different_bytes_are_shown_differently(one: bytes, other: bytes) -> None:
    assert (shown(one) == shown(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        ("grün 漢".encode(), "grün 漢"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"a\nb\t", "a\\nb\\t"),
        (b"C:\\new", "C:\\\\new"),
        (b"\xff", "\\xff"),
        ("\x85".encode(), "\\u0085"),
        ("\u202etxt".encode(), "\\u202etxt"),
    ],
)
def test_what_does_not_print_is_escaped(value: bytes, text: str) -> None:
    assert shown(value) == text


@given(ANYTHING)
def test_json_brings_every_value_back(value: bytes) -> None:
    assert from_json(json.loads(json_text(value))) == value


@given(ANYTHING)
def test_json_prints_too(value: bytes) -> None:
    assert json_text({"key": value}).isprintable()


@pytest.mark.parametrize("value", [5, None, [], {"base64": "!!"}, {"base64": 1}, {"other": "x"}])
def test_other_json_is_no_value(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(value)


def test_bytes_that_are_not_text_are_base64_wherever_they_are() -> None:
    assert as_json({"a": [b"\xff", b"x"]}) == {"a": [{"base64": "/w=="}, "x"]}


def test_a_table_is_in_line_and_has_one_head(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(("key", "key_revision"))
    table.add([{"key": "漢漢漢".encode(), "key_revision": 1}])  # two cells each
    table.add([{"key": b"a", "key_revision": None}, {"key": b"b", "key_revision": True}])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["KEY     KEY REVISION", "漢漢漢  1", "a", "b       yes"]


def test_nothing_is_cut_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Table(("key", "value")).add([{"key": b"k", "value": b"v" * 500}])
    assert "v" * 500 in capsys.readouterr().out
