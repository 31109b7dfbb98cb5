"""What a page has not had yet, as the next message of its stream.

Owns: a page's cursors and the most that one message holds. There is no queue of messages: a page
that is slow is asked for less often, and gets what is then the newest, with a count of the rows
that were left out. Must never know how a message travels.
"""

from typing import Any

from cli.dashboard.hub import Hub
from cli.dashboard.ring import Filter

ROWS_MAX = 1_000  # a message


class Feed:
    """A page's place in everything that grows. `token` is told with the first message."""

    def __init__(self, hub: Hub, wanted: Filter, token: str) -> None:
        self._hub, self._wanted, self._token = hub, wanted, token
        self._begun = False
        self._arrival = self._version = self._terms = self._sampled = 0
        self._facts: list[dict[str, Any]] = []
        self._marks: dict[str, tuple[int, int]] = {}

    def next(self, now_ms: int) -> dict[str, Any]:
        """Empty if nothing is new. The first one is whole."""
        news = self._news_of_nodes() | self._news_of_log() | self._news_of_samples()
        if not self._begun:
            self._begun = True
            news |= {"whole": True, "token": self._token}
            news.pop("skipped", None)  # older than the page
        return news | {"now": now_ms} if news else {}

    def _news_of_nodes(self) -> dict[str, Any]:
        hub, news = self._hub, {}
        if self._version != hub.version:
            self._version = hub.version
            facts = [node.facts for node in hub.named]
            if facts != self._facts:
                news["nodes"] = self._facts = facts
        if self._terms != hub.terms.version:
            self._terms = hub.terms.version
            news["terms"] = hub.terms.stretches
        return news

    def _news_of_log(self) -> dict[str, Any]:
        ring, after = self._hub.ring, self._arrival
        news: dict[str, Any] = {}
        marks = self._hub.marks
        if marks != self._marks:
            news["marks"] = self._marks = marks
        if after == ring.arrivals:
            return news
        self._arrival = ring.arrivals
        rows, left_out = ring.newest(after, self._wanted, ROWS_MAX)
        settled = list(ring.settled_since(after))
        cut = ring.cut_since(after)
        parts = {"rows": rows, "settled": settled, "cut": cut, "skipped": left_out}
        return news | {name: part for name, part in parts.items() if part}

    def _news_of_samples(self) -> dict[str, Any]:
        new = self._hub.sampled - self._sampled
        self._sampled = self._hub.sampled
        return {"samples": list(self._hub.samples)[-new:]} if new else {}
