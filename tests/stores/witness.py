"""The witness in memory: two slots, the one that was being written torn by a crash."""

from actors.keeping import Testimony
from tests.stores.disk import LOG, Change, SimDisk
from tests.stores.fuse import Crash, DiskError
from tests.stores.port import Port


class MemoryWitness(Port):
    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk)
        self._sequence = 0

    def read(self) -> Testimony | None:
        found = [s for s in self.disk.slots if s is not None]
        if not found:
            return None
        self._sequence, testimony = max(found)
        return testimony

    def write(self, testimony: Testimony) -> None:
        self._sequence += 1
        slot = self._sequence % 2
        before = self.disk.slots[slot]

        def do() -> None:
            self.disk.slots[slot] = (self._sequence, testimony)
            # In the step: a power cut right behind it may undo the transaction before it, and then
            # this slot too.
            self.disk.committed(LOG, [Change("slot", slot, before)])

        try:
            self.disk.step("witness.write", do)
        except DiskError as error:
            raise self.fault(error) from error
        except Crash:
            if self.disk.slots[slot] != (self._sequence, testimony):
                self.disk.slots[slot] = None  # torn: the slot that was being written is no slot
                self.disk.committed(LOG, [Change("slot", slot, before)])
            raise
