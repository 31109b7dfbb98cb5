"""What must be true in every simulated world, after everything that anybody says.

    one leader a term
    one history        whatever any state machine is handed at an index is the same
    disk before word   an entry is in the node's own log before its state machine has it; a vote, a
                       candidacy, an acknowledgement are on the disk before they leave the node

Owns: what was seen so far. Must never know why something is said. A letter may be older than its
node's term: the disk has then gone on, as if the network had been slow.
"""

from collections.abc import Iterable
from typing import Any

from dkv.codec import unseal
from dkv.entries import Entry
from dkv.messages import Appended, RequestVote, Voted
from tests.stores import SimDisk


class Invariants:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.leaders: dict[int, str] = {}  # term -> who led it
        self.applied: dict[int, bytes] = {}  # index -> check, as handed to any state machine

    def _hold(self, holds: bool, *words: object) -> None:
        assert holds, f"seed {self._seed}: {' '.join(map(str, words))}"

    def leads(self, name: str, term: int) -> None:
        other = self.leaders.setdefault(term, name)
        self._hold(other == name, "two leaders of term", term, other, name)

    def applies(self, name: str, disk: SimDisk, entries: Iterable[Entry]) -> None:
        for entry in entries:
            check = self.applied.setdefault(entry.index, entry.check)
            self._hold(check == entry.check, name, "applies another entry", entry.index)
            self._hold(disk.holds(entry.index, entry.check), name, "has not saved", entry.index)

    def says(self, name: str, disk: SimDisk, frame: bytes) -> None:
        """What a frame promises is on the disk."""
        envelope, letters = unseal(frame)
        for letter in letters:
            match letter:
                case Appended():
                    held = disk.holds(letter.index, letter.check)
                    self._hold(held or disk.term > letter.term, name, "says", letter)
                case RequestVote():
                    self._promised(name, disk, letter, envelope.disk)
                case Voted(granted=True):
                    self._promised(name, disk, letter, envelope.to_disk)

    def _promised(self, name: str, disk: SimDisk, letter: Any, chosen: int) -> None:
        """In the log and in the witness: the vote of that term for that disk, or a newer term."""
        for place, (term, vote) in disk.promises().items():
            kept = term > letter.term or (term, vote) == (letter.term, chosen)
            self._hold(kept, name, "says", letter, "but its", place, "has", (term, vote))
