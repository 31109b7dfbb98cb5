"""How a disk rots: bits flip, and a reader meets them as the real stores would show it.

Owns: the kinds of damage. SQLite returns a row with a flipped bit as good, so its check does not
fit; a damaged page may hide rows, or be found malformed by SQLite itself; a damaged slot of the
witness is no slot. Must never know what a node makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from dkv.entries import Entry
from dkv.kv.version import Version

if TYPE_CHECKING:
    from tests.stores.disk import SimDisk


class Place(NamedTuple):
    """Something whose check does not fit any more, where memory keeps no check."""

    part: str  # log, state
    what: str  # hard, pages; session, meta, pages
    number: int = 0


def _flip(value: Any, dice: Random) -> Any:
    """One bit of a field is another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1 << dice.randrange(40)
    if isinstance(value, str):
        return value + "\x7f"
    if not value:
        return b"\1"
    place = dice.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << dice.randrange(8)]) + value[place + 1 :]


# -- log.db ----------------------------------------------------------------------------------------
def _entry(disk: SimDisk, dice: Random) -> str:
    if not disk.entries:
        return ""
    index = dice.choice(sorted(disk.entries))
    field = dice.choice(("term", "kind", "tick", "wall", "payload", "check"))
    found: Entry = disk.entries[index]
    disk.entries[index] = found._replace(**{field: _flip(getattr(found, field), dice)})
    return f"entry {index}: its {field}"


def _entry_hidden(disk: SimDisk, dice: Random) -> str:
    if not disk.entries:
        return ""
    index = dice.choice(sorted(disk.entries))
    del disk.entries[index]
    return f"entry {index} is hidden"


def _hard(disk: SimDisk, _dice: Random) -> str:
    disk.rotten.add(Place("log", "hard"))
    return "term and vote" if disk.hard else ""


def _log_pages(disk: SimDisk, _dice: Random) -> str:
    disk.rotten.add(Place("log", "pages"))
    return "a page of log.db"


# -- state.db --------------------------------------------------------------------------------------
def _version(disk: SimDisk, dice: Random) -> str:
    if not disk.versions:
        return ""
    row = dice.choice(sorted(disk.versions))
    version, check = disk.versions[row]
    field = dice.choice(("key", "value", "created", "version", "author", "tick", "previous"))
    damaged: Version = version._replace(**{field: _flip(getattr(version, field), dice)})
    disk.versions[row] = (damaged, check)
    return f"version {row}: its {field}"


def _version_hidden(disk: SimDisk, dice: Random) -> str:
    if not disk.versions:
        return ""
    row = dice.choice(sorted(disk.versions))
    del disk.versions[row]
    return f"version {row} is hidden"


def _key_hidden(disk: SimDisk, dice: Random) -> str:
    """No reader can see this: only the scan at start does."""
    if not disk.keys:
        return ""
    key = dice.choice(list(disk.keys))
    disk.keys.remove(key)
    return f"the key {key[:20]!r} is hidden in the table of keys"


def _key(disk: SimDisk, dice: Random) -> str:
    if not disk.keys:
        return ""
    key = dice.choice(list(disk.keys))
    other = _flip(key, dice)
    disk.keys.remove(key)
    if other not in disk.keys:
        disk.keys.add(other)
    return f"the key {key[:20]!r} is {other[:20]!r} in the table of keys"


def _session(disk: SimDisk, dice: Random) -> str:
    if not disk.sessions:
        return ""
    number = dice.choice(sorted(disk.sessions))
    disk.rotten.add(Place("state", "session", number))
    return f"session {number}"


def _meta(disk: SimDisk, _dice: Random) -> str:
    disk.rotten.add(Place("state", "meta"))
    return "meta" if disk.meta else ""


def _state_pages(disk: SimDisk, _dice: Random) -> str:
    disk.rotten.add(Place("state", "pages"))
    return "a page of state.db"


# -- the witness -----------------------------------------------------------------------------------
def _slot(disk: SimDisk, dice: Random) -> str:
    """The newer or the older one; with one alone left, there is no witness."""
    held = [number for number, slot in enumerate(disk.slots) if slot is not None]
    if not held:
        return ""
    number = dice.choice(held)
    disk.slots[number] = None
    return f"slot {number} of the witness"


def _slots(disk: SimDisk, _dice: Random) -> str:
    disk.slots = [None, None]
    return "both slots of the witness"


DAMAGES: dict[str, Callable[[SimDisk, Random], str]] = {
    "entry": _entry,
    "entry_hidden": _entry_hidden,
    "hard": _hard,
    "log_pages": _log_pages,
    "version": _version,
    "version_hidden": _version_hidden,
    "key": _key,
    "key_hidden": _key_hidden,
    "session": _session,
    "meta": _meta,
    "state_pages": _state_pages,
    "slot": _slot,
    "slots": _slots,
}

# What a running node reads with a check, or holds in memory: never a wrong answer meanwhile. The
# others only the scan at start can see, so they belong under a node that is down.
NOTICED_WHILE_RUNNING = tuple(sorted(DAMAGES.keys() - {"key", "key_hidden"}))
