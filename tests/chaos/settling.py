"""What the persisted log says of the writes, above all of those whose outcome nobody was told.

Owns: replaying a log, and the comparison of what clients were told with what was committed:

* what was acknowledged is there, at the revision that was told; what was refused is not;
* nothing was executed twice, nothing is there that nobody asked for;
* every value that a read returned is the one written at that revision;
* an unknown write that is absent never happened, and leaves the history; one that is there gets its
  revision, and the end of the first read that saw it, or stays open. (The search for an order stays
  small so: etcd's trick.)

Must never judge the order of operations: that is the checker's.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from actors.journal import SqliteJournal
from dkv.entries import NO_CHECK, Entry, is_sound, read_genesis
from dkv.kv.state import State
from dkv.kv.version import Version
from tests.stores import MemoryTable, SimDisk

Line = dict[str, Any]


def read_log(folder: Path) -> list[Entry]:
    """Every entry of a stopped node's log, its chain verified from the first one."""
    journal = SqliteJournal(folder / "log.db")
    try:
        entries = list(journal.rows(1, 2**62))
    finally:
        journal.close()
    before = NO_CHECK
    for index, entry in enumerate(entries, 1):
        assert entry.index == index, f"entry {index} is missing from {folder}"
        assert is_sound(entry, before), f"entry {index} of {folder} is damaged"
        before = entry.check
    return entries


class Replay(NamedTuple):
    """The state that a log leads to. `entries`: how many were commands, and of all kinds."""

    versions: list[Version]
    final: dict[bytes, tuple[int, bytes]]  # key → (revision, value)


def replay(entries: list[Entry]) -> Replay:
    disk = SimDisk()
    _founding, limits = read_genesis(entries[0])
    state = State(MemoryTable(disk, 1), limits)
    for entry in entries:
        state.apply(entry)
    versions = [version for _row, (version, _check) in sorted(disk.versions.items())]
    final = {}
    for version in versions:
        final.pop(version.key, None)
        if version.value is not None:
            final[version.key] = (version.revision, version.value)
    return Replay(versions, final)


class Settled(NamedTuple):
    history: list[Line]
    problems: list[str]
    unknown: int  # writes whose outcome nobody was told
    happened: int  # of these


class _Books:
    """The log's side of the comparison."""

    def __init__(self, versions: list[Version], history: list[Line]) -> None:
        self.problems: list[str] = []
        self.by_value: dict[str, Version] = {}
        self.deletions: dict[tuple[str, str], list[int]] = defaultdict(list)
        for version in versions:
            key = version.key.decode()
            if version.value is None:
                self.deletions[version.author, key].append(version.revision)
            elif self.by_value.setdefault(version.value.decode(), version) is not version:
                self.problems.append(f"{version.value!r} was written twice")
        self.seen: dict[str, int] = {}  # value → end of the first read that returned it
        for line in history:
            if line["op"] == "get" and line["out"] is not None:
                first = self.seen.get(line["out"], line["ret"])
                self.seen[line["out"]] = min(first, line["ret"])

    def blame(self, line: Line, words: str) -> None:
        self.problems.append(f"{words}: {line}")

    def at(self, line: Line) -> int | None:
        """The revision at which this line's value was written under its key."""
        version = self.by_value.get(line["value"])
        if version is None:
            return None
        if version.key.decode() != line["key"] or version.author != author(line):
            self.blame(line, f"the log has its value otherwise, {version}")
        return version.revision


def author(line: Line) -> str:
    return f"c{line['client'] // 100}"


def settle(history: list[Line], refused: list[Line], versions: list[Version]) -> Settled:
    """Compare, and settle what is unknown."""
    books = _Books(versions, history)
    told = [_told(line, books) for line in history if line["ret"] is not None]
    unknown = [line for line in history if line["ret"] is None]
    kept = [s for line in unknown if line["op"] != "delete" for s in _happened(line, books)]
    for line in refused:
        if line["op"] in ("put", "cap") and books.at(line) is not None:
            books.blame(line, "it was refused, and is in the log")
    deletes = _settle_deletes([line for line in unknown if line["op"] == "delete"], books)
    asked = {line["value"] for line in history if line["op"] in ("put", "cap")}
    for value in books.by_value.keys() - asked:
        books.problems.append(f"nobody wrote {value!r}, and the log has it")
    settled = sorted([*told, *kept, *deletes], key=lambda line: line["call"])
    return Settled(settled, books.problems, len(unknown), len(kept) + len(deletes))


def _told(line: Line, books: _Books) -> Line:
    """A line whose client has an answer."""
    if line["op"] == "get":
        version = books.by_value.get(line["out"]) if line["out"] is not None else None
        if line["out"] is not None and (
            version is None or (version.key.decode(), version.revision) != _place(line)
        ):
            books.blame(line, "a read returned what was not written there")
    elif line["op"] == "delete":
        revisions = books.deletions[author(line), line["key"]]
        if line["found"] and line["revision"] not in revisions:
            books.blame(line, "an acknowledged delete is not in the log")
        elif line["found"]:
            revisions.remove(line["revision"])
    elif (books.at(line) if line["ok"] else line["revision"]) != line["revision"]:
        books.blame(line, "an acknowledged write is not in the log as it was told")
    elif not line["ok"] and books.at(line) is not None:
        books.blame(line, "its condition failed, and it is in the log")
    return line


def _place(line: Line) -> tuple[str, int]:
    return line["key"], line["revision"]


def _happened(line: Line, books: _Books) -> list[Line]:
    """The line as the log completes it, if the log has it. A read of a value before it was written
    is left for the checker to find."""
    revision = books.at(line)
    if revision is None:
        return []
    seen = books.seen.get(line["value"])
    end = seen if seen is not None and seen >= line["call"] else None
    return [line | {"revision": revision, "ret": end}]


def _settle_deletes(unknown: list[Line], books: _Books) -> list[Line]:
    """What is left of the log's deletions belongs to them; which to which nobody can tell, so they
    stay open, unless there is none left."""
    places = Counter((author(line), line["key"]) for line in unknown)
    for place, revisions in books.deletions.items():
        if len(revisions) > places[place]:
            books.problems.append(f"deletions by {place} that nobody asked for: {revisions}")
    return [line for line in unknown if books.deletions[author(line), line["key"]]]
