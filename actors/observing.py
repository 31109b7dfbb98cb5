"""Who looks at this node's log, and waits for news of it: consensus' share in a `tail`.

Owns: the questions that wait, and whether there is anything new for them. Must never know who asks,
nor what an entry means.

They are looked at every TAIL_PACE_US, not at each entry: a log that nobody looks at pays nothing,
and a busy one is shown in few answers of many entries.
"""

import msgpack

from dkv.address import Local, Outbox
from dkv.limits import MS, TAIL_PACE_US
from dkv.messages import Moment, Observe, Show
from dkv.raft.core import Raft
from dkv.raft.leader import Leader


class Observing:
    def __init__(self) -> None:
        self._waiting: list[tuple[int, Observe]] = []  # until when
        self.due_us: int | None = None  # when to look

    def add(self, raft: Raft, asked: Observe) -> None:
        """Looked at with this turn's `look`, or a moment later, when more may have come."""
        now_us, last = raft.now.us, _end(raft, asked)
        if not asked.after:
            asked = asked._replace(after=last, after_term=raft.tail.term_at(last))
        self._waiting.append((now_us + asked.wait_ms * MS, asked))
        is_behind = last - asked.after >= asked.limit
        due_us = now_us if is_behind or not asked.wait_ms else now_us + TAIL_PACE_US
        self.due_us = due_us if self.due_us is None else min(self.due_us, due_us)

    def look(self, raft: Raft) -> Outbox:
        """Pass on what there is news for, and what cannot wait."""
        now_us = raft.now.us
        if self.due_us is None or now_us < self.due_us:
            return []
        waiting, self._waiting = self._waiting, []
        out: Outbox = []
        for until_us, asked in waiting:
            if until_us <= now_us or _has_news(raft, asked):
                left_ms = max(until_us - now_us, 0) // MS
                out.append((Local.LOG, _show(raft, asked, left_ms)))
            else:
                self._waiting.append((until_us, asked))
        ends = [until_us for until_us, _asked in self._waiting]
        self.due_us = min(*ends, now_us + TAIL_PACE_US) if ends else None
        return out


def _end(raft: Raft, asked: Observe) -> int:
    """The last entry that may be shown."""
    return raft.commit if asked.committed else raft.tail.last.index


def _has_news(raft: Raft, asked: Observe) -> bool:
    if _end(raft, asked) > asked.after or _is_replaced(raft, asked):
        return True
    return 0 < asked.settled < min(raft.commit, asked.after)


def _is_replaced(raft: Raft, asked: Observe) -> bool:
    """Whether the entry from which on is asked is not the one that was shown. Without its term
    that is not known: a log that ends before it is behind."""
    tail, after = raft.tail, asked.after
    if not asked.after_term or after < tail.base.index:
        return False
    return after > tail.last.index or asked.after_term != tail.term_at(after)


def _show(raft: Raft, asked: Observe, wait_ms: int) -> Show:
    """An entry through `settled` was committed when it was shown, and is never replaced."""
    last = _end(raft, asked)
    replaced = _is_replaced(raft, asked)
    after = min(asked.settled, last) if replaced else asked.after
    begin = max(after, raft.tail.base.index)
    end = min(begin + asked.limit, last)
    moments: tuple[Moment, ...] = ()
    if asked.settled and not replaced:
        through = min(after, asked.settled + asked.limit)
        moments = _moments(raft, asked.settled + 1, through)
    moments += _moments(raft, begin + 1, end)
    after_term = raft.tail.term_at(after) if begin == after <= raft.tail.last.index else 0
    known = msgpack.packb({**_facts(raft), "replaced": replaced, "after_term": after_term})
    return Show(asked.batch, wait_ms, after, end, raft.commit, asked.question, known, moments)


def _moments(raft: Raft, first: int, last: int) -> tuple[Moment, ...]:
    first = max(first, raft.tail.base.index + 1)
    received, committed = raft.received.when, raft.committed.when
    indexes = range(first, last + 1)
    return tuple((i, raft.tail.term_at(i), received(i), committed(i)) for i in indexes)


def _facts(raft: Raft) -> dict[str, int | str]:
    role = raft.role
    return {
        "role": type(role).__name__.lower(),
        "term": raft.term,
        "leader": raft.name if isinstance(role, Leader) else getattr(role, "leader", ""),
        "last": raft.tail.last.index,
        "commit": raft.commit,
    }
