"""What a power cut may leave of the files of a folder.

Owns: the crash model. Contents: each file is written back by itself; of what was written since its
last sync, any 512-byte sectors may have reached the disk, in any order. Names: what was created,
removed or renamed since the last sync of the folder may be undone, the newest first. Must never
know what the files are.
"""

from pathlib import Path
from random import Random

from tests.crash.recording import Event

SECTOR_BYTES = 512
CUTS = ("kept", "lost", "sectors", "torn", "mixed")

Change = tuple[int, bytes | None]  # offset and bytes; or the new size and None


class File:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.unsynced: list[Change] = []

    def sync(self) -> None:
        for change in self.unsynced:
            _change(self.durable, change)
        self.unsynced.clear()

    def after(self, cut: str, rng: Random) -> bytearray:
        if cut == "mixed":
            cut = rng.choice(CUTS[:-1])
        found = bytearray(self.durable)
        for change in _surviving(self.unsynced, cut, rng):
            _change(found, change)
        return found


class Disk:
    def __init__(self) -> None:
        self._names: dict[str, File] = {}
        self._durable: dict[str, File] = {}
        self._unsynced: list[dict[str, File | None]] = []

    def take(self, event: Event) -> None:
        kind, name, offset, content = event
        match kind:
            case "C":
                self._rename({name: File()})
            case "U":
                self._rename({name: None})
            case "R":
                self._rename({name: None, content.decode(): self._names[name]})
            case "F":
                for change in self._unsynced:
                    _rename(self._durable, change)
                self._unsynced.clear()
            case "W":
                self._names[name].unsynced.append((offset, content))
            case "T":
                self._names[name].unsynced.append((offset, None))
            case "S":
                self._names[name].sync()
            case "E":  # the kernel says so once, and has forgotten what it could not write
                self._names[name].unsynced.clear()

    def _rename(self, change: dict[str, File | None]) -> None:
        self._unsynced.append(change)
        _rename(self._names, change)

    def leave(self, folder: Path, cut: str, rng: Random) -> None:
        """Fill an empty folder with what is found after the power has come back."""
        names = dict(self._durable)
        survived = {"kept": len(self._unsynced), "lost": 0}.get(cut)
        if survived is None:
            survived = rng.randint(0, len(self._unsynced))
        for change in self._unsynced[:survived]:
            _rename(names, change)
        for name, file in names.items():
            (folder / name).write_bytes(file.after(cut, rng))


def _rename(names: dict[str, File], change: dict[str, File | None]) -> None:
    for name, file in change.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _change(content: bytearray, change: Change) -> None:
    offset, written = change
    if written is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(written)] = written


def _surviving(changes: list[Change], cut: str, rng: Random) -> list[Change]:
    match cut:
        case "kept":
            return changes
        case "lost":
            return []
        case "sectors":
            some = rng.random()
            return [part for whole in changes for part in _sectors(whole) if rng.random() < some]
    ended = rng.randint(0, len(changes))  # torn: in their order, and in the middle of one
    parts = _sectors(changes[ended]) if ended < len(changes) else []
    return changes[:ended] + parts[: rng.randint(0, len(parts))]


def _sectors(change: Change) -> list[Change]:
    """A write as the disk does it. A change of size is one thing."""
    offset, written = change
    if written is None:
        return [change]
    first = offset - offset % SECTOR_BYTES
    edges = range(first, offset + len(written), SECTOR_BYTES)
    return [
        (max(edge, offset), written[max(edge - offset, 0) : edge + SECTOR_BYTES - offset])
        for edge in edges
    ]
