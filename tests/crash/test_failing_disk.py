"""A sync or a write that fails: the node ends, and claims nothing any more."""

from pathlib import Path

import pytest

from tests.crash.marks import Faulted, Promised, unpack
from tests.crash.recording import Recording, build_recorder, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler to build the recorder")


def marks(recording: Recording) -> list[object]:
    return [unpack(e.content) for e in recording.events() if (e.kind, e.name) == ("W", "marks")]


@pytest.mark.parametrize("order", ["fail_sync", "fail_write"])
@pytest.mark.parametrize("number", [3, 9, 15, 22, 31, 47])
def test_the_node_ends_and_promises_nothing_afterwards(
    tmp_path: Path, order: str, number: int
) -> None:
    place = tmp_path.resolve()
    recording = Recording(build_recorder(place), place, seed=5)
    assert not recording.live(**{order: number})
    kinds = [type(mark) for mark in marks(recording)]
    assert kinds.count(Faulted) == 1
    assert Promised not in kinds[kinds.index(Faulted) :]
