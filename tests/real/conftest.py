"""A cluster in a folder of the test's own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cluster import Cluster


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """Programs inherit which signals are ignored, and a shell's background job ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three secured nodes that serve."""
    with Cluster(tmp_path / "cluster") as started:
        started.start()
        started.wait_serving()
        yield started


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Cluster]:
    """One secured node that is not started yet."""
    with Cluster(tmp_path / "cluster", size=1) as made:
        yield made
