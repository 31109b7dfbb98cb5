"""What a run cost the nodes: two statuses of each, and the operations between them.

Owns: the division. Must never know how the statuses were asked for. What one of them lacks (an
older node, one that was started again between them) is None, never a guess.

Stages of a put: `thinkers` is the thread of gateway and consensus, `log` and `machine` those of the
keepers, `io` the rest of the process: ZeroMQ's threads, where frames are encrypted.
"""

from typing import Any, NamedTuple

STAGES = ("thinkers", "log", "machine", "io")
Status = dict[str, Any]


class Cost(NamedTuple):
    """Of one node. `us`: microseconds of processor an operation, by stage and as `process`."""

    node: str
    role: str
    us: dict[str, float] | None
    entries: int | None  # of the log, written meanwhile
    commands_per_entry: float | None  # as applied
    turns_per_entry: dict[str, float] | None  # by actor
    syncs_per_entry: float | None
    us_per_sync: float | None


def cost_of(before: Status | None, after: Status | None, operations: int) -> Cost | None:
    """None if the node was not asked both times, or is another process than before."""
    if not before or not after or before["node"]["pid"] != after["node"]["pid"]:
        return None
    entries = _grown(before, after, "log", "counters", "entries")
    turns = {
        actor: _grown(before, after, actor, "counters", "turns")
        for actor in ("gateway", "consensus", "log", "machine")
    }
    applied = _grown(before, after, "machine", "counters", "entries")
    return Cost(
        after["node"]["name"],
        after["consensus"]["role"],
        _cpu(before["node"].get("cpu"), after["node"].get("cpu"), operations),
        entries,
        _share(_grown(before, after, "machine", "counters", "commands"), applied),
        {a: t / entries for a, t in turns.items() if t is not None} if entries else None,
        _share(_grown(before, after, "log", "syncs"), entries),
        _share(_grown(before, after, "log", "sync_us"), _grown(before, after, "log", "syncs")),
    )


def _cpu(
    before: dict[str, int] | None, after: dict[str, int] | None, operations: int
) -> dict[str, float] | None:
    if not before or not after or not operations:
        return None
    used = {name.removesuffix("_us"): after[name] - before.get(name, 0) for name in after}
    used["io"] = used["process"] - sum(us for name, us in used.items() if name != "process")
    return {name: us / operations for name, us in used.items()}


def _grown(before: Status, after: Status, *path: str) -> int | None:
    """By how much a count has grown; one that was never counted is 0, unless nothing there is."""
    *way, name = path
    for step in way:
        before, after = before.get(step, {}), after.get(step, {})
    if name not in after and "counters" not in way:
        return None
    return int(after.get(name, 0) - before.get(name, 0))


def _share(of: int | None, by: int | None) -> float | None:
    return of / by if of is not None and by else None


def revision_of(statuses: dict[str, Status]) -> int:
    """The furthest that any node has applied."""
    return max((s["machine"]["revision"] for s in statuses.values()), default=0)
