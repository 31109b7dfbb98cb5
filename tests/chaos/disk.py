"""The disk of a node: a small file system in memory, which can be filled, and files damaged in it.

Owns: mounts, the file that fills, flipped bits. Made inside an enclosure, whose end unmounts it.
Must never know whether a node runs on it.
"""

import os
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.chaos.network import do

_PAGE_BYTES = 4096
_WRITTEN_BYTES = 80  # of a witness's slot
STORES = ("log.db", "state.db", "witness")


class Disk:
    def __init__(self, place: Path, mib: int) -> None:
        self.place = place
        self.data = place / "data"
        place.mkdir(parents=True)
        do("mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", str(place))

    @property
    def size(self) -> int:
        disk = os.statvfs(self.place)
        return disk.f_blocks * disk.f_frsize

    # -- full ------------------------------------------------------------------------------------
    def fill(self, leave: int) -> None:
        """Somebody else takes all but `leave` bytes, or what the node leaves of them meanwhile."""
        handle = os.open(self.place / "taken", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while (room := self._room() - leave) > 0:
                with suppress(OSError):  # the node was faster
                    os.posix_fallocate(handle, os.fstat(handle).st_size, room)
        finally:
            os.close(handle)

    def _room(self) -> int:
        disk = os.statvfs(self.place)
        return disk.f_bavail * disk.f_frsize

    def free(self) -> None:
        (self.place / "taken").unlink(missing_ok=True)

    # -- damaged ---------------------------------------------------------------------------------
    def damage(self, store: str, rng: Random) -> str:
        """Flip bits of one of a store's files, or lose a page of it; what was done, in words."""
        files = [self.data / f"{store}{end}" for end in ("", "-wal")]
        path = rng.choice([file for file in files if file.exists() and file.stat().st_size])
        size = path.stat().st_size
        with path.open("r+b", buffering=0) as file:
            if rng.random() < 0.25:
                page = rng.randrange(-(-size // _PAGE_BYTES)) * _PAGE_BYTES
                os.pwrite(file.fileno(), bytes(min(_PAGE_BYTES, size - page)), page)
                return f"{path.name} lost its page at {page}"
            flips = rng.choice((1, 8, 64))
            for _ in range(flips):
                self._flip(file.fileno(), size, rng)
        return f"{path.name} has {flips} flipped bits"

    @staticmethod
    def _flip(handle: int, size: int, rng: Random) -> None:
        """Somewhere; in a small file, where something is written."""
        place = rng.randrange(size)
        if size <= 2 * _PAGE_BYTES:
            place = place % _PAGE_BYTES % _WRITTEN_BYTES + place // _PAGE_BYTES * _PAGE_BYTES
        [byte] = os.pread(handle, 1, place)
        os.pwrite(handle, bytes((byte ^ 1 << rng.randrange(8),)), place)
