"""What the stores in memory have in common: a disk under them, and errors as a disk has them."""

from pathlib import Path
from typing import Any

from actors.database import fault_of
from dkv.errors import Fault
from tests.stores.disk import SimDisk
from tests.stores.fuse import DiskError
from tests.stores.rot import Place


class Port:
    errors = DiskError
    part = ""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk

    def read_pages(self) -> None:
        """Before anything is read: SQLite finds some damage by itself."""
        if Place(self.part, "pages") in self.disk.rotten:
            raise DiskError("database disk image is malformed")

    def fault(self, error: Exception) -> Fault:
        assert isinstance(error, DiskError)
        return fault_of(Path("memory"), error)

    def tidy(self, *, idle: bool) -> Any:
        pass

    def close(self) -> None:
        pass
