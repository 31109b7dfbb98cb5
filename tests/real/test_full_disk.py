"""A disk that is filled to the last byte in one step: the node ends, and starts again to refuse."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkv.client import RequestError, Unavailable
from dkv.errors import Code, Ending
from tests.chaos.disk import Disk
from tests.chaos.enclosure import why_not
from tests.real.cluster import PATIENCE_S, Cluster


class Small(Cluster):
    """One node on a small file system of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        self.disk = Disk(folder / "disk", 64)

    def data_dir(self, name: str) -> Path:
        return self.disk.data


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    if why_not():
        pytest.skip(why_not())
    with Small(tmp_path / "cluster") as cluster:
        yield cluster
    subprocess.run(["umount", str(cluster.disk.place)], check=True)


def test_a_node_that_a_full_disk_ended_starts_on_it_and_refuses_until_there_is_room(
    small: Small,
) -> None:
    small.start()
    small.wait_serving()
    with small.client() as kv:
        kv.put(b"k", b"v")
    small.disk.fill(0)
    with small.client(timeout=2.0) as kv, pytest.raises(RequestError):
        kv.put(b"more", b"v")
    assert small.wait("n1") == Ending.DISK_UNWRITABLE
    small.start()
    small.wait_serving()
    with small.client() as kv:
        assert kv.get(b"k") is not None
        with pytest.raises(Unavailable) as refused:
            kv.put(b"more", b"v")
        assert (refused.value.code, refused.value.applied) == (Code.DISK_LOW, "no")
        small.disk.free()
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                kv.put(b"more", b"v")
                break
            except Unavailable:
                assert time.monotonic() < give_up
