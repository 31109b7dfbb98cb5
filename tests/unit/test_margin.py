"""The disk's margin: the reserve file, and the level that a real folder has."""

import os
from pathlib import Path

import pytest

from actors.keeping import Margin
from actors.margin import CRITICAL, ENOUGH, LOW, DiskMargin
from dkv.limits import LOW_WATER_BYTES_MAX, RESERVE_SHARE
from tests.stores import MemoryMargin, SimDisk


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_disk_with_room_is_at_level_enough(tmp_path: Path, kind: str) -> None:
    margin: Margin = MemoryMargin(SimDisk()) if kind == "memory" else DiskMargin(tmp_path)
    assert margin.level() == ENOUGH


def test_the_levels_are_what_the_simulated_disk_says() -> None:
    disk = SimDisk()
    for level in (ENOUGH, LOW, CRITICAL):
        disk.space_level = level
        assert MemoryMargin(disk).level() == level


def test_a_reserve_is_kept_beside_the_files_and_found_again(tmp_path: Path) -> None:
    margin = DiskMargin(tmp_path)
    reserve = tmp_path / "reserve"
    assert margin.mark <= LOW_WATER_BYTES_MAX
    assert reserve.stat().st_size == margin.mark // RESERVE_SHARE
    made = reserve.stat().st_mtime_ns
    assert DiskMargin(tmp_path).level() == ENOUGH
    assert reserve.stat().st_mtime_ns == made


def test_below_the_mark_it_is_low_and_the_reserve_stays(tmp_path: Path) -> None:
    margin = DiskMargin(tmp_path)
    margin.mark = _free(tmp_path) * 2
    assert margin.level() == LOW
    assert (tmp_path / "reserve").exists()


def test_far_below_the_mark_it_is_critical_and_the_reserve_is_given_up(tmp_path: Path) -> None:
    margin = DiskMargin(tmp_path)
    mark = margin.mark
    margin.mark = _free(tmp_path) * 8
    assert margin.level() == CRITICAL
    assert not (tmp_path / "reserve").exists()
    margin.mark = mark
    assert margin.level() == ENOUGH
    assert (tmp_path / "reserve").exists()


def _free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
