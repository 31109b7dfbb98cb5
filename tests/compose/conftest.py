"""One cluster in containers and one load for all steps, which are played in order.

Where no engine runs, every test is skipped and says so.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.compose.load import Load
from tests.compose.project import Missing, Project, base_image

Step = Callable[[str], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def project() -> Iterator[Project]:
    """Three nodes that serve, all in containers."""
    try:
        made = Project("dkv-compose-test", base_image())
    except Missing as missing:
        pytest.skip(str(missing))
    try:
        began = time.monotonic()
        made.compose("build", "certs")
        built = time.monotonic()
        made.compose("up", "--detach")
        made.fetch_certificates()
        made.wait_ready()
        print(f"\n  image built: {built - began:.1f} s; up: {time.monotonic() - built:.1f} s")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def load(project: Project) -> Iterator[Load]:
    started = Load(project)
    started.start()
    try:
        started.flows()
        yield started
    finally:
        started.stop()


@pytest.fixture
def step(load: Load) -> Step:
    """Print how long it took, and for how long nothing was acknowledged meanwhile."""

    @contextmanager
    def played(words: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took, silence = time.monotonic() - began, load.silence(began)
        print(f"  {words}: {took:.1f} s; longest without an acknowledged write {silence:.2f} s")

    return played
