"""The stores of the simulated world: in memory, behind the same ports as the real ones.

`tests/contract` drives them and the real ones alike.
"""

from tests.stores.disk import SimDisk
from tests.stores.fuse import Crash, DiskError, Fuse
from tests.stores.journal import MemoryJournal
from tests.stores.margin import MemoryMargin
from tests.stores.table import MemoryStores, MemoryTable
from tests.stores.witness import MemoryWitness

__all__ = [
    "Crash",
    "DiskError",
    "Fuse",
    "MemoryJournal",
    "MemoryMargin",
    "MemoryStores",
    "MemoryTable",
    "MemoryWitness",
    "SimDisk",
]
