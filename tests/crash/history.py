"""What was promised when the power went, from the marks before that moment.

Owns: which states of a directory may be found. Must never know files.
"""

from actors.keeping import Testimony
from dkv.entries import Entry
from dkv.kv.heads import is_live
from dkv.kv.state import State
from dkv.kv.store import Meta
from dkv.limits import ClusterLimits
from tests.crash.marks import Applying, Faulted, Intended, Kept, Mark, Promise, Promised
from tests.stores import MemoryTable, SimDisk


def alive(state: State) -> dict[bytes, int]:
    """The keys that exist."""
    return {key: head for key, head in state.heads.items() if is_live(head)}


class History:
    """`possible`: the last promise, and what a turn under way would have promised at its end."""

    def __init__(self) -> None:
        self.promised: Promise | None = None
        self.possible: set[Promise] = set()
        self.witnessed = Testimony(0, 0, bytes(8), 0, 0)
        self.kept = 0  # the state machine has said that state.db holds this
        self.faulted = ""
        self.metas: dict[int, Meta] = {}  # what state.db must say, having applied so much
        self.alive: dict[int, dict[bytes, int]] = {}  # and which keys there are, with their heads
        self.model = State(MemoryTable(SimDisk(), 1), ClusterLimits())

    def take(self, mark: Mark) -> None:
        match mark:
            case Intended():
                self.possible.add(mark.promise)
            case Promised():
                self.promised = mark.promise
                self.possible = {mark.promise}
                self.witnessed = Testimony(*mark[1:])
            case Applying():
                for entry in mark.entries:
                    self._apply(entry)
            case Kept():
                self.kept = mark.index
            case Faulted():
                self.faulted = mark.words

    def _apply(self, entry: Entry) -> None:
        if entry.index > self.model.applied + 1:  # the first entry is the directory's own
            raise AssertionError(f"{entry.index} is applied after {self.model.applied}")
        if entry.index == self.model.applied + 1:
            self.model.apply(entry)
            self.metas[entry.index] = self.model.meta()
            self.alive[entry.index] = alive(self.model)
