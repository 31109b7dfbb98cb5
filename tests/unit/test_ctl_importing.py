"""Import: what is taken from a folder or from lines, and how the puts are made."""

import asyncio
import io
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from cli.importing import OUTSTANDING, Limits, Pair, Skip, Tally, put_all, read_lines, walk
from dkv.errors import Code, RequestError, request_error

LIMITS = Limits(key_bytes=20, value_bytes=10)


def _walk(folder: Path, prefix: bytes = b"") -> dict[Any, Any]:
    """Key → value of what is taken, name → reason of what is not."""
    return dict(found for found in walk(folder, prefix, LIMITS))


# -- a folder ------------------------------------------------------------------------------------
def test_paths_below_the_folder_become_keys(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"\xff\0")
    (tmp_path / ".hidden").write_bytes(b"")
    assert _walk(tmp_path, b"p/") == {b"p/a/b/c": b"\xff\0", b"p/.hidden": b""}


def test_a_name_that_is_not_text_is_a_key_all_the_same(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"v")
    assert _walk(tmp_path) == {b"\xff": b"v"}


def test_links_are_followed_within_the_folder_and_not_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "file").write_bytes(b"v")
    (folder / "same").symlink_to("file")
    (folder / "out").symlink_to("../secret")
    (folder / "all").symlink_to(tmp_path)
    (folder / "sibling").symlink_to(tmp_path / "in2")
    found = _walk(folder)
    assert {k: v for k, v in found.items() if isinstance(k, bytes)} == {
        b"file": b"v",
        b"same": b"v",
    }
    leads_out = "a link that leads out of the folder"
    assert found["out"] == found["all"] == found["sibling"] == leads_out


def test_a_link_to_the_folder_itself_is_named_and_ends(tmp_path: Path) -> None:
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing")
    assert set(_walk(tmp_path)) == {"again", "loop", "nowhere"}


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert _walk(tmp_path) == {"pipe": "not a regular file"}


def test_what_is_over_a_limit_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a-value").write_bytes(b"v" * 11)
    (tmp_path / ("k" * 21)).write_bytes(b"v")
    (tmp_path / "z").write_bytes(b"v" * 10)
    assert _walk(tmp_path) == {
        "a-value": "it has 11 bytes, the limit of a value is 10",
        "k" * 21: "its key has 21 bytes, the limit is 20",
        b"z": b"v" * 10,
    }


def test_a_hostile_name_is_said_escaped(tmp_path: Path) -> None:
    (tmp_path / "\x1b[2J").write_bytes(b"v" * 11)
    assert list(_walk(tmp_path)) == ["\\x1b[2J"]


# -- JSON lines ----------------------------------------------------------------------------------
def _lines(*lines: bytes, prefix: bytes = b"") -> list[Pair | Skip]:
    return list(read_lines(io.BytesIO(b"\n".join(lines)), prefix, LIMITS))


def test_lines_are_taken_as_list_prints_them() -> None:
    text = b'{"key": "a", "revision": 7, "value": "x"}'
    assert _lines(text, b"", b'{"key": {"base64": "/w=="}, "value": ""}', prefix=b"p/") == [
        Pair(b"p/a", b"x"),
        Pair(b"p/\xff", b""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b'{"key": "a"}',
        b'{"key": 1, "value": "x"}',
        b'{"key": "a", "value": null}',
        b'{"key": "", "value": "x"}',
        b'{"key": "a", "value": {"base64": "?"}}',
        b'{"key": "' + b"k" * 21 + b'", "value": "x"}',
        b'{"key": "a", "value": "' + b"v" * 11 + b'"}',
        b"[" * 500,
        b"\xff",
        b'{"key": "a", "value": "' + b"v" * 5_000 + b'"}',
    ],
)
def test_a_bad_line_is_named_and_the_next_is_taken(line: bytes) -> None:
    bad, good = _lines(line, b'{"key": "a", "value": "x"}')
    assert isinstance(bad, Skip)
    assert bad.name == "line 1"
    assert good == Pair(b"a", b"x")


# -- the puts ------------------------------------------------------------------------------------
class Shelf:
    """A cluster as far as an import sees it. `refuse` says which puts fail, and how."""

    def __init__(self, refuse: Callable[[bytes], RequestError | None] = lambda _key: None) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.asked = 0
        self.most = self._now = 0
        self._refuse = refuse

    async def put(self, key: bytes, value: bytes) -> None:
        self.asked += 1
        self._now += 1
        self.most = max(self.most, self._now)
        for _ in range(100 - self.asked % 100):  # the later overtake the earlier
            await asyncio.sleep(0)
        self._now -= 1
        if error := self._refuse(key):
            raise error
        self.kept[key] = value


def _put(shelf: Shelf, source: Iterable[Pair | Skip]) -> Tally:
    tally = Tally(Progress(console=Console(file=io.StringIO()), disable=True))
    tally.progress.add_task("")
    asyncio.run(put_all(shelf, iter(source), tally))  # type: ignore[arg-type]
    return tally


def _pairs(count: int) -> list[Pair]:
    return [Pair(b"%d" % i, b"v") for i in range(count)]


def test_many_are_under_way_and_never_too_many() -> None:
    shelf = Shelf()
    tally = _put(shelf, _pairs(1_000))
    assert (tally.put, len(shelf.kept), tally.under_way) == (1_000, 1_000, {})
    assert OUTSTANDING // 4 < shelf.most <= OUTSTANDING


def test_the_last_of_several_values_of_a_key_stays() -> None:
    shelf = Shelf()
    _put(shelf, [Pair(b"k", b"%d" % i) for i in range(200)])
    assert shelf.kept == {b"k": b"199"}


def test_a_put_that_is_invalid_is_skipped_and_the_others_go_on() -> None:
    refused = request_error(Code.TOO_LARGE, "too large", "no")
    shelf = Shelf(lambda key: refused if key == b"3" else None)
    tally = _put(shelf, [*_pairs(100), Skip("x", "y")])
    assert (tally.put, tally.skipped, tally.error) == (99, 2, None)


def test_without_a_leader_it_ends_and_does_not_try_them_all() -> None:
    refused = request_error(Code.NO_LEADER, "no leader", "no")
    shelf = Shelf(lambda key: refused if int(key) >= 100 else None)
    tally = _put(shelf, _pairs(1_000))
    assert tally.error is refused
    assert shelf.asked <= 100 + OUTSTANDING
    assert tally.unknown == []


def test_keys_of_unknown_outcome_are_remembered() -> None:
    refused = request_error(Code.TIMEOUT, "no answer", "unknown")
    tally = _put(Shelf(lambda key: refused if key == b"5" else None), _pairs(10))
    assert tally.unknown == [b"5"]


def test_what_list_prints_can_be_imported() -> None:
    line = json.dumps({"key": "a", "value": {"base64": "AP8="}, "version": 1}).encode()
    assert _lines(line) == [Pair(b"a", b"\0\xff")]
