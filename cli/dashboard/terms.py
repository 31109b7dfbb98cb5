"""Who led when, as far as this dashboard has watched: stretches of one term and leader each.

Owns: how several nodes' words become one. Must never know where they come from.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

STRETCHES_MAX = 200


class Terms:
    def __init__(self) -> None:
        self._stretches: deque[dict[str, Any]] = deque(maxlen=STRETCHES_MAX)
        self.version = 0

    def tell(self, words: Iterable[tuple[int, str]], now_ms: int) -> None:
        """(term, leader) of every node that answers. The newest term counts, and in it whoever is
        named: a term has one leader at most, and not everybody knows at once. A node that
        campaigns is in a term that nobody leads yet."""
        told = list(words)
        term = max((t for t, _leader in told), default=0)
        leader = next((name for t, name in told if t == term and name), "")
        last = self._stretches[-1] if self._stretches else None
        if last is not None:
            if (term or last["term"], leader) == (last["term"], last["leader"]):
                return
            last["until"] = now_ms
        elif not term:
            return  # nobody has answered yet
        self._stretches.append(
            {"term": term or last["term"] if last else term, "leader": leader}
            | {"since": now_ms, "until": None}
        )
        self.version += 1

    @property
    def stretches(self) -> list[dict[str, Any]]:
        return list(self._stretches)
