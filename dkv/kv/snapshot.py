"""What a snapshot is on its way from one state machine to another.

Owns: the bytes of its head, and the running check of its chunks. Must never know who sends it, nor
where it is kept. A snapshot is logical: all versions in the order of their rows, then, of one
entry, the head (what the state is there) and the sessions.
"""

from collections.abc import Iterable
from hashlib import blake2b

import msgpack

from dkv.kv.state import State
from dkv.kv.store import Meta
from dkv.limits import CHECK_BYTES

Sessions = tuple[tuple[int, bytes], ...]


def pack_head(state: State, configuration: bytes) -> bytes:
    """The state as it is now; whose disk it is on, the receiver knows."""
    meta = state.meta()._replace(disk=0, installed=state.applied, configuration=configuration)
    return msgpack.packb(meta)  # type: ignore[no-any-return]


def read_head(packed: bytes, disk: int) -> Meta:
    """What `pack_head` put in, for this disk. Raises `ValueError` or `TypeError` on other bytes."""
    return Meta(*msgpack.unpackb(packed, use_list=False))._replace(disk=disk)


def running_check(
    before: bytes, row: int, versions: Iterable[bytes], sessions: Sessions, head: bytes
) -> bytes:
    """The check of everything up to and with this chunk, which follows a chunk with `before`."""
    digest = blake2b(before, digest_size=CHECK_BYTES, person=b"dkv snapshot")
    digest.update(msgpack.packb((row, head, sessions)))
    for packed in versions:
        digest.update(packed)
    return digest.digest()
