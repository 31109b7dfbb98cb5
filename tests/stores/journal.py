"""log.db in memory."""

from collections.abc import Iterable, Iterator

from actors.keeping import Hard
from dkv.entries import CONFIGURING, Entry
from dkv.errors import Ending, Fault
from tests.stores.disk import LOG, Change
from tests.stores.port import Port
from tests.stores.rot import Place

_HARD = Place(LOG, "hard")


class MemoryJournal(Port):
    part = LOG

    def hard(self) -> Hard | None:
        self.read_pages()
        if _HARD in self.disk.rotten:
            raise Fault(Ending.STORAGE_FAULT, "the hard state (term and vote) is damaged")
        return self.disk.hard

    def create(self, hard: Hard, entries: Iterable[Entry]) -> None:
        self.keep(hard)
        self.replace(0, entries)
        self.commit()

    def rows(self, first: int, last: int) -> Iterator[Entry]:
        self.read_pages()
        entries = self.disk.entries
        last = min(last, max(entries, default=0))
        return iter([entries[i] for i in range(first, last + 1) if i in entries])

    def configurations(self, through: int) -> list[Entry]:
        self.read_pages()
        found = [e for i, e in sorted(self.disk.entries.items()) if i <= through]
        return [e for e in found if e.kind in CONFIGURING]

    def replace(self, cut_from: int, entries: Iterable[Entry]) -> None:
        def do() -> None:
            if cut_from:
                self._drop([i for i in self.disk.entries if i >= cut_from])
            for entry in entries:
                assert entry.index not in self.disk.entries
                self.disk.entries[entry.index] = entry
                self._changed("entry", entry.index, None)

        self.disk.step("journal.replace", do)

    def cut(self, through: int) -> None:
        gone = [i for i in self.disk.entries if i <= through]
        self.disk.step("journal.cut", lambda: self._drop(gone))

    def _drop(self, indexes: list[int]) -> None:
        for index in indexes:
            self._changed("entry", index, self.disk.entries.pop(index))

    def keep(self, hard: Hard) -> None:
        def do() -> None:
            self._changed("hard", 0, self.disk.hard)
            self.disk.hard = hard
            self.disk.rotten.discard(_HARD)

        self.disk.step("journal.keep", do)

    def _changed(self, what: str, number: int, before: object) -> None:
        self.disk.undo.append(Change(what, number, before))

    def commit(self) -> int:
        if not self.disk.undo:
            return 0

        def do() -> None:
            self.disk.committed(LOG, self.disk.undo)
            self.disk.undo.clear()

        self.disk.step("journal.commit", do)
        return 0

    def sizes(self) -> dict[str, int]:
        return {"log_bytes": sum(len(e.payload) for e in self.disk.entries.values())}

    def close(self) -> None:
        self.commit()
