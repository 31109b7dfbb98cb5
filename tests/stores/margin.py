"""The room on a simulated disk, as it was set."""

from tests.stores.disk import SimDisk


class MemoryMargin:
    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def level(self) -> int:
        return self._disk.space_level
