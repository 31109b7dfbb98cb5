"""What became of requests, and how long they took: counted, and told where one was slow.

Owns: outcomes by op, durations by the way a request takes, the line about a slow one. Must never
know keys or values, nor decide an outcome. It is asked once a request, so what a request costs here
is a few additions; reasons, names and words cost only those that failed or were slow.
"""

from collections import defaultdict

from actors.ledger import Pending
from dkv.counters import Histogram
from dkv.errors import Code
from dkv.limits import MS, SECOND
from dkv.messages import Say
from dkv.requests import TABLE

EDGES = ("write", "read", "lead", "here")
_DONE = Code.OK  # an enum's member is found slowly
_QUIET_US = SECOND  # between two lines


class Outcomes:
    """`slow_us`: what takes longer gets a line, one a second; 0: nothing does."""

    def __init__(self, slow_us: int) -> None:
        self.durations = {edge: Histogram() for edge in EDGES}
        self.done: dict[str, int] = dict.fromkeys(TABLE, 0)
        self.failed: defaultdict[tuple[str, str], int] = defaultdict(int)  # by op and code
        self.slow = 0
        self._slow_us = slow_us or 2**62
        self._said_us: int | None = None
        self._left_out = 0

    def answered(self, pending: Pending, code: Code, now_us: int) -> Say | None:
        """A request has its answer; the line about it, if there is to be one."""
        request = pending.asked.request
        if code is _DONE:
            self.done[request.op] += 1
        else:
            self.failed[request.op, code.name.lower()] += 1
        if request.waits:
            return None
        took_us = now_us - pending.since_us
        durations = self.durations[request.edge]
        durations.counts[took_us.bit_length()] += 1  # `add`, without its call
        durations.sum_us += took_us
        return self._tell(pending, code, now_us) if took_us > self._slow_us else None

    def counts(self) -> dict[tuple[str, str], int]:
        """By op and outcome: `ok`, or the code's name."""
        done = {(op, "ok"): count for op, count in self.done.copy().items() if count}
        return done | self.failed.copy()

    def took(self) -> dict[str, list[int]]:
        """Durations by the way, as `Histogram` counts them."""
        return {edge: histogram.filled for edge, histogram in self.durations.items()}

    def _tell(self, pending: Pending, code: Code, now_us: int) -> Say | None:
        self.slow += 1
        if self._said_us is not None and now_us - self._said_us < _QUIET_US:
            self._left_out += 1
            return None
        asked = pending.asked
        others = f" (and {self._left_out} more since the last such line)" if self._left_out else ""
        words = (
            f"{asked.request.op} by {asked.principal.name} took "
            f"{_ms(now_us - pending.since_us)} and ended with {code.name.lower()}: "
            f"{_stages(pending, now_us)}{others}"
        )
        self._said_us, self._left_out = now_us, 0
        return Say("warning", "slow_request", words, asked.slip.request_id)


def _stages(pending: Pending, now_us: int) -> str:
    """Where the time went, as far as it came: with retries, the last round."""
    since_us, posted_us, ready_us = pending.since_us, pending.posted_us, pending.ready_us
    if not posted_us:
        return f"{_ms(now_us - since_us)} at the gateway"
    waited = f"{_ms(posted_us - since_us)} at the gateway"
    agreed = "commit" if pending.asked.request.edge == "write" else "leader"
    if ready_us < posted_us:
        return f"{waited}, {_ms(now_us - posted_us)} waiting for the {agreed}"
    return (
        f"{waited}, {_ms(ready_us - posted_us)} waiting for the {agreed}, "
        f"{_ms(now_us - ready_us)} in the state machine"
    )


def _ms(us: int) -> str:
    return f"{us / MS:,.0f} ms"
