"""How much history is kept, and whether there is still room: what a node is told, as a policy.

Owns: which revision history may end at, by the number of revisions and by cluster time. Must never
know who leads, nor end anything: it says where an end would be due, and the leader proposes that to
all, as an entry like any other.

A version goes when it is beyond both: more than `keep_revisions` ago, and superseded longer ago
than `keep_age_ms`. Both 0: history is ended by command only. While the quota is reached no history
is kept, for it is all that can be given back without losing a key.
"""

from collections import deque
from typing import NamedTuple

_MARKS = 16  # that the age is measured by: so finely, and no finer than a second
_MARK_MS_MIN = 1_000
_STEP = 10  # history ends when a tenth of what is kept is beyond it: each end costs an entry


class Policy(NamedTuple):
    """`quota`: bytes of state.db in use at which puts are refused; 0: none."""

    keep_revisions: int = 100_000
    keep_age_ms: int = 600_000
    quota: int = 0

    @property
    def ends_history(self) -> bool:
        return self.keep_revisions > 0 or self.keep_age_ms > 0


class Retention:
    """Ages are measured from the start of this node on: a restart makes history younger."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._marks: deque[tuple[int, int]] = deque()  # (cluster time, revision)
        self._old = 0  # the newest revision known to be as old as the age

    def take(self, revision: int, tick: int) -> None:
        """The store is at this revision at this cluster time (ms)."""
        age = self._policy.keep_age_ms
        if not self._marks or tick - self._marks[-1][0] >= max(age // _MARKS, _MARK_MS_MIN):
            self._marks.append((tick, revision))
        while self._marks and self._marks[0][0] + age <= tick:
            self._old = self._marks.popleft()[1]

    def due(self, revision: int, compacted: int, is_full: bool) -> int | None:
        """Where history should end now; None: it ends well where it does."""
        policy = self._policy
        if not policy.ends_history:
            return None
        if is_full:
            return revision if revision > compacted else None
        end = revision - policy.keep_revisions
        if policy.keep_age_ms:
            end = min(end, self._old)
        return end if end >= compacted + max(policy.keep_revisions // _STEP, 1) else None
