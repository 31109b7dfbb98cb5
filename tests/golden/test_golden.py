"""Files of earlier versions, and of this one: each is opened, and says what it said then.

What a later version adds to an answer is not compared; what was there must be there. How the files
were made is in `life.py` and `letters.py`; they are never changed.
"""

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dkv.codec import seal, unseal
from dkv.messages import CATALOGUE
from tests.golden import letters, life
from tests.real.cluster import Cluster
from tests.real.strangers import Dealer

VERSIONS = sorted(path.parent for path in Path(__file__).parent.glob("v*/facts.json"))
NAMES = [folder.name for folder in VERSIONS]
OF_EACH = pytest.mark.parametrize("version", VERSIONS, ids=NAMES)
LETTERS: list[Any] = [
    pytest.param(record, id=f"{folder.name} {record['letter']}")
    for folder in VERSIONS
    for record in json.loads((folder / "letters.json").read_text())
]
BY_NAME: dict[str, Any] = {letter.__name__: letter for letter in CATALOGUE.values()}


def facts_of(version: Path) -> Any:
    return json.loads((version / "facts.json").read_text())


def still_says(found: Any, then: Any) -> bool:
    """Whether everything that was said then is said now; maps may have grown."""
    if isinstance(then, dict):
        return isinstance(found, dict) and all(
            key in found and still_says(found[key], value) for key, value in then.items()
        )
    if isinstance(then, list):
        same = isinstance(found, list) and len(found) == len(then)
        return same and all(map(still_says, found, then))
    return bool(found == then)


# -- a directory -----------------------------------------------------------------------------------
@OF_EACH
def test_a_directory_is_believed_and_says_what_it_is(version: Path, tmp_path: Path) -> None:
    folder = life.unpack(version / "directory.tar.gz", tmp_path / "n1")
    assert still_says(life.read(folder), facts_of(version)["directory"])


@OF_EACH
def test_a_node_starts_on_a_directory_and_has_everything(version: Path, tmp_path: Path) -> None:
    then = facts_of(version)
    with Cluster(tmp_path, size=1, secure=False) as cluster:
        life.unpack(version / "directory.tar.gz", cluster.data_dir("n1"))
        cluster.start()
        cluster.wait_serving()
        with cluster.client() as kv:
            now = {**life.told(kv), "earlier": life.earlier(kv)}
        assert still_says(now, {name: then[name] for name in now})
        with Dealer(cluster.clients["n1"]) as dealer:
            session = then["session"]
            again = life.ask(dealer, "put", session["place"], **life.RETRIED)
            assert still_says(again, session["answer"])
            read = life.ask(dealer, "get", {}, key=life.RETRIED["key"])
        assert read["result"]["version"] == 1  # the retry was not executed again
        with cluster.client() as kv:
            assert kv.put(b"new", b"v").revision == then["revision"] + 1
        assert cluster.stop() == {"n1": 0}


# -- letters ---------------------------------------------------------------------------------------
def letter_of(record: dict[str, Any]) -> Any:
    return BY_NAME[record["letter"]](*map(letters.from_json, record["fields"].values()))


@pytest.mark.parametrize("record", LETTERS)
def test_a_letter_is_read_as_it_was_meant(record: dict[str, Any]) -> None:
    envelope, found = unseal(bytes.fromhex(record["frame"]))
    assert repr(found) == repr([letter_of(record)])
    assert envelope == letters.ENVELOPE


@pytest.mark.parametrize("record", LETTERS)
def test_a_letter_is_written_so_that_the_version_of_then_reads_it(record: dict[str, Any]) -> None:
    """The same bytes; a letter that has grown since then begins with the same fields."""
    written = seal(letters.ENVELOPE, [letter_of(record)])
    version, envelope, [letter] = msgpack.unpackb(written, use_list=False)
    known = msgpack.packb((version, envelope, [letter[: 1 + len(record["fields"])]]))
    assert known.hex() == record["frame"]


@pytest.mark.parametrize("record", LETTERS)
def test_a_field_of_a_letter_is_where_it_was(record: dict[str, Any]) -> None:
    """Two numbers that changed places are the same bytes. (Another name is no harm.)"""
    now = BY_NAME[record["letter"]]._fields
    places = {name: place for place, name in enumerate(record["fields"])}
    assert {n: now.index(n) for n in now if n in places} == {
        n: places[n] for n in now if n in places
    }


def test_the_files_of_the_first_version_are_here() -> None:
    """Without files there would be no tests, and nothing would fail."""
    assert "v1" in NAMES
    assert len(LETTERS) >= 25 * len(NAMES)


# -- a backup --------------------------------------------------------------------------------------
@OF_EACH
def test_a_backup_is_believed_and_says_what_it_is_of(version: Path) -> None:
    found = json.loads(life.ctl("snapshot", "inspect", str(version / "backup.dkv"), "-o", "json"))
    assert still_says(found, facts_of(version)["backup"])
