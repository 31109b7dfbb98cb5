"""The disk's margin: met before SQLite meets the end of the disk.

Owns: the low-water mark and the reserve file. A failed statement on a full disk rolls back a whole
transaction, and then not even a delete works; so growth is refused while there is still room for
no-ops, ticks, deletes and what is under way. The reserve is given up when the room is nearly gone
(somebody else fills the disk), so that what was accepted can still be finished.

What SQLite has in its WALs counts as used twice: a checkpoint copies it into the files.

    free >= mark       0 enough
    free <  mark       1 low: refuse what grows
    free <  mark / 4   2 critical: accept no entries; the reserve file is deleted
"""

import os
from collections.abc import Callable
from pathlib import Path

from dkv.limits import LOW_WATER_BYTES_MAX, LOW_WATER_SHARE, RESERVE_SHARE

ENOUGH, LOW, CRITICAL = 0, 1, 2


def mark_of(disk: os.statvfs_result) -> int:
    """Bytes free below which growth is refused."""
    return min(LOW_WATER_BYTES_MAX, disk.f_blocks * disk.f_frsize // LOW_WATER_SHARE)


def has_room(folder: Path, size: int) -> bool:
    """Whether so many bytes more leave the disk above the mark."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= mark_of(disk) + size


class DiskMargin:
    def __init__(self, folder: Path, unsettled: Callable[[], int] = lambda: 0) -> None:
        """`unsettled`: bytes by which the files will yet grow without a new command."""
        self._folder, self._unsettled = folder, unsettled
        self._reserve = folder / "reserve"
        self._reserved = self._reserve.exists()
        self.mark = mark_of(os.statvfs(folder))
        self._reserve_bytes = max(self.mark // RESERVE_SHARE, 1)
        self.level()

    def level(self) -> int:
        """Looked at before each Write, so it costs one system call when nothing is wrong."""
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize - self._unsettled()
        if free < self.mark // 4:
            self._release()
            return CRITICAL
        if not self._reserved and free > 2 * self._reserve_bytes + self.mark // 4:
            self._allocate()
        return LOW if free < self.mark else ENOUGH

    def _release(self) -> None:
        if self._reserved:
            self._reserve.unlink(missing_ok=True)
            self._reserved = False

    def _allocate(self) -> None:
        handle = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, self._reserve_bytes)
            self._reserved = True
        except OSError:
            self._reserve.unlink(missing_ok=True)
        finally:
            os.close(handle)
