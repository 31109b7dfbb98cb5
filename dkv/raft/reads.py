"""Reads that must be linearizable: ReadIndex (thesis §6.4).

Owns: which reads wait for which round of heartbeats. Must never know what a read asks for.

1. A read arrives at the leader. It must wait until an entry of the leader's own term is committed:
   only then is the commit index known to cover everything acknowledged before.
2. It notes the commit index and joins the NEXT round: acknowledgements of a round under way may
   be older than the read.
3. A majority answered that round: nobody else led when it began. The read may be answered by any
   state machine that has applied the noted index.

Round numbers are the leader's own, one counter a term: an answer from an earlier round or term
confirms nothing newer.
"""

from collections import deque

from dkv.address import Peer

Asker = tuple[Peer | None, int]  # who relayed it (None: this node's gateway), its batch


class Reads:
    def __init__(self) -> None:
        self.waiting: list[Asker] = []
        self._rounds: deque[tuple[int, int, list[Asker]]] = deque()

    @property
    def under_way(self) -> bool:
        return bool(self._rounds)

    def join(self, round_number: int, commit: int) -> None:
        """A round begins: whoever waits is part of it, at this commit index."""
        if self.waiting:
            self._rounds.append((round_number, commit, self.waiting))
            self.waiting = []

    def confirm(self, round_number: int) -> list[tuple[Asker, int]]:
        """A majority has answered through `round_number`: the reads that this lets go."""
        released: list[tuple[Asker, int]] = []
        while self._rounds and self._rounds[0][0] <= round_number:
            _number, index, askers = self._rounds.popleft()
            released.extend((asker, index) for asker in askers)
        return released

    def abandon(self) -> list[Asker]:
        """Leadership ended: everyone who still waits."""
        left = [asker for _number, _index, askers in self._rounds for asker in askers]
        left += self.waiting
        self._rounds.clear()
        self.waiting = []
        return left
