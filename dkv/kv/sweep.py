"""Compaction's second half: what no read can reach any more is deleted, a little at a time.

Owns: which versions may go, and in which order. Must never know when there is time for it, nor how
rows are stored. That history ends at a revision is replicated state (`State.compacted`); how far
this replica has come with the deletion is its own business, and no answer depends on it.

Up to the compacted revision every version that another one follows may go, and so may a deletion.
They are found by who follows them: `swept` is the row through which that was asked. What is found
comes together in a round, is sorted, and goes in rising order, so never a deletion before what it
hides: a crash in between would bring that back. A round that was cut short is begun again; what
has gone already is passed over.
"""

from typing import TYPE_CHECKING

from dkv.kv.heads import row_of
from dkv.kv.store import SUM_MASK
from dkv.kv.version import read_rows
from dkv.limits import SWEEP_ROUND_ROWS, SWEEP_SLICE_BYTES, SWEEP_STEP_DROPS

if TYPE_CHECKING:
    from dkv.kv.state import State

_TOGETHER = 64  # of the rows to go, how many are shown to the store at a time


class Sweep:
    def __init__(self, state: "State") -> None:
        self._state = state
        self._begin()

    def _begin(self) -> None:
        self._asked = self._state.swept  # through which row this round has asked who follows whom
        self._dead: list[int] = []
        self._deletions: dict[int, bytes] = {}  # among them: whose they are
        self._dropping = False

    @property
    def is_due(self) -> bool:
        return self._state.swept < self._state.floor

    def step(self) -> int:
        """Read a slice, or delete what stands in a few places; how many versions have gone."""
        if self._dropping:
            return self._drop()
        self._find()
        return 0

    def _find(self) -> None:
        floor = self._state.floor
        found = self._state.store.scan(self._asked, SWEEP_SLICE_BYTES)
        asked = floor
        for row, key, _value, _created, version, *_rest, previous in read_rows(found):
            if row > floor:
                asked = floor
                break
            asked = row
            if version != 1:  # else it follows nothing, or a deletion, which went by itself
                self._dead.append(previous)
            if not version:
                self._dead.append(row)
                self._deletions[row] = key
        self._asked = asked
        self._dropping = asked == floor or len(self._dead) >= SWEEP_ROUND_ROWS
        if self._dropping:
            self._state.doomed = max(self._state.doomed, self._asked)
            self._dead.sort(reverse=True)  # the lowest is taken first, from the end

    def _drop(self) -> int:
        state, gone = self._state, 0
        for _ in range(SWEEP_STEP_DROPS):
            if not self._dead:
                state.swept = self._asked
                self._begin()
                break
            rows = self._dead[: -_TOGETHER - 1 : -1]
            count, checks = state.store.drop(rows)
            state.held = (state.held - checks) & SUM_MASK
            self._forget(rows[:count])
            del self._dead[-count:]
            gone += count
        return gone

    def _forget(self, rows: list[int]) -> None:
        """The keys of which a deletion was all that was left."""
        heads, keys = self._state.heads, []
        for row in rows:
            key = self._deletions.pop(row, None)
            if key is not None and row_of(heads.get(key, 0)) == row:
                del heads[key]
                keys.append(key)
        if keys:
            self._state.store.forget(keys)
