"""A sync that fails, or a write that ends halfway: the node ends, and claims nothing any more."""

from pathlib import Path
from random import Random

import pytest

from tests.crash.disk import Disk
from tests.crash.history import History
from tests.crash.marks import Faulted, Kept, Promised, unpack
from tests.crash.recording import Event, Recording, build_recorder, compiler
from tests.crash.replay import judge_image, take

SEED = 5
FILES = ("witness", "log.db", "log.db-wal", "state.db", "state.db-wal")
ORDERS = {"fail_sync": ("S", "E"), "fail_write": ("W", "H")}

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler to build the recorder")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def undisturbed(recorder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The same life without a failure: where in it each file is written and synced."""
    recording = Recording(recorder, tmp_path_factory.mktemp("undisturbed").resolve(), SEED)
    assert recording.live()
    return recording.events()


def number_of(events: list[Event], kind: str, name: str, when: float) -> int:
    """The how-manieth call of this kind concerns this file, so far into its calls."""
    calls = [e.name for e in events if e.kind == kind and e.name != "marks"]
    own = [number for number, file in enumerate(calls, 1) if file == name]
    return own[int(when * len(own))]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("when", [0.0, 0.6])
def test_after_a_failure_the_node_ends_and_has_promised_no_more_than_is_on_the_disk(
    recorder: Path, undisturbed: list[Event], tmp_path: Path, order: str, name: str, when: float
) -> None:
    kind, failing = ORDERS[order]
    recording = Recording(recorder, tmp_path.resolve(), SEED)
    orders = {order: number_of(undisturbed, kind, name, when)}
    assert not recording.live("full", **orders)
    disk, history, kinds = Disk(), History(), []
    failed = False
    for event in recording.events():
        failed |= (event.kind, event.name) == (failing, name)
        if failed and (event.kind, event.name) == ("W", "marks"):
            kinds.append(type(unpack(event.content)))
        take(event, disk, history)
    assert kinds[-1:] == [Faulted]
    assert not {Promised, Kept} & set(kinds), kinds
    for how in ("lost", "kept"):
        assert not judge_image(tmp_path / "image", disk, history, how, Random(SEED))
