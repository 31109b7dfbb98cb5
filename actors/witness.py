"""The witness: a second small file that knows what the log must at least hold.

Owns: two alternating checksummed slots, each in a block of its own. Must never know SQLite: it is
there because a damaged or shortened SQLite file opens as if nothing had happened, and a node that
votes with a shortened log breaks what a majority has promised.

Never a slot is written while the other's write is unsynced, so one of them is always whole.
"""

import os
import struct
from errno import ENOSPC
from hashlib import blake2b
from pathlib import Path

from actors.database import fault_of, sync_folder
from actors.keeping import Testimony
from dkv.limits import CHECK_BYTES

SLOT_BYTES = 4096
_MAGIC = b"dkvwitn1"
_SLOT = struct.Struct(f">8sQqqqq{CHECK_BYTES}s")  # magic, sequence, index, term, hard term, vote
_SUM_BYTES = 16


class FileWitness:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._sequence = 0
        self.created = not path.exists()
        try:
            self._open()
        except OSError as error:
            raise fault_of(path, error) from error

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if self.created:
            os.pwrite(self._file, bytes(2 * SLOT_BYTES), 0)
        os.fsync(self._file)  # what a killed process wrote is seen by us, and perhaps not durable
        if self.created:
            sync_folder(self._path.parent)

    def read(self) -> Testimony | None:
        found = [slot for slot in map(self._read_slot, (0, 1)) if slot is not None]
        if not found:
            return None
        self._sequence, testimony = max(found)
        return testimony

    def _read_slot(self, number: int) -> tuple[int, Testimony] | None:
        raw = os.pread(self._file, _SLOT.size + _SUM_BYTES, number * SLOT_BYTES)
        body, digest = raw[: _SLOT.size], raw[_SLOT.size :]
        if len(body) < _SLOT.size or _sum(body) != digest:
            return None
        magic, sequence, index, term, hard_term, vote, check = _SLOT.unpack(body)
        if magic != _MAGIC:
            return None
        return sequence, Testimony(index, term, check, hard_term, vote)

    def write(self, testimony: Testimony) -> None:
        index, term, check, hard_term, vote = testimony
        self._sequence += 1
        body = _SLOT.pack(_MAGIC, self._sequence, index, term, hard_term, vote, check)
        slot = body + _sum(body)
        try:
            if os.pwrite(self._file, slot, self._sequence % 2 * SLOT_BYTES) < len(slot):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            os.fdatasync(self._file)
        except OSError as error:
            raise fault_of(self._path, error) from error

    def close(self) -> None:
        os.close(self._file)


def _sum(body: bytes) -> bytes:
    return blake2b(body, digest_size=_SUM_BYTES, person=b"dkv witness").digest()
