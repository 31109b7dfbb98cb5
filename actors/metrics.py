"""What a node tells a collector of metrics: every name, its type and its meaning.

Owns: the table of metrics, and how facts become samples in Prometheus' text. Must never know who
asks. It runs on a thread of its own and asks no actor: it reads whole numbers that one thread
writes, a moment late at worst, so that a scrape costs them nothing and comes out also while one of
them hangs, which is when it is wanted. Files and free space it looks up itself. Keys and values are
nowhere in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import statvfs
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from actors.outcomes import Outcomes
from dkv import __version__
from dkv.counters import Counters, Histogram

_FIRST, _LAST = 6, 25  # buckets that are told: 64 us to 34 s
_MICRO = 1_000_000


class Meaning(NamedTuple):
    """A row of the table. Names end in their unit; `labels` tell a metric's samples apart."""

    name: str
    kind: str
    words: str
    labels: tuple[str, ...] = ()


TABLE = tuple(
    Meaning(*row)
    for row in (
        ("dkv_build_info", "gauge", "Always 1: version and name of the node.", ("version", "node")),
        # raft
        ("dkv_raft_term", "gauge", "Current term."),
        ("dkv_raft_is_leader", "gauge", "1 if this node leads."),
        ("dkv_raft_has_leader", "gauge", "1 if this node knows a leader."),
        ("dkv_raft_members", "gauge", "Members in the configuration in force here."),
        ("dkv_raft_last_index", "gauge", "Last entry of this node's log."),
        ("dkv_raft_saved_index", "gauge", "Last entry that is on this node's disk."),
        ("dkv_raft_commit_index", "gauge", "Last entry known here to be committed."),
        ("dkv_raft_pre_elections_total", "counter", "Times it asked whether it could win."),
        ("dkv_raft_elections_total", "counter", "Elections it stood in."),
        ("dkv_raft_elections_won_total", "counter", "Elections it won."),
        ("dkv_raft_step_downs_total", "counter", "Times it gave leadership up."),
        ("dkv_raft_proposals_total", "counter", "Batches of commands its gateway proposed."),
        ("dkv_raft_proposed_commands_total", "counter", "Commands in these batches."),
        (
            "dkv_raft_append_seconds",
            "histogram",
            "As leader: from sending entries to a member until it has them on its disk.",
        ),
        (
            "dkv_raft_commit_seconds",
            "histogram",
            "As leader: from an entry's birth until a majority has it.",
        ),
        # actors
        ("dkv_actor_mailbox_letters", "gauge", "Letters that wait for an actor.", ("actor",)),
        ("dkv_actor_letters_total", "counter", "Letters it has handled.", ("actor",)),
        ("dkv_actor_turns_total", "counter", "Turns it had.", ("actor",)),
        ("dkv_actor_busy_seconds_total", "counter", "Time in its turns.", ("actor",)),
        ("dkv_actor_turn_max_seconds", "gauge", "Its longest turn since the start.", ("actor",)),
        (
            "dkv_actor_wait_seconds",
            "histogram",
            "How long the oldest letter of each turn can have waited.",
            ("actor",),
        ),
        (
            "dkv_actor_events_total",
            "counter",
            "Whatever else an actor counts, by name: mostly what was dropped, and why.",
            ("actor", "event"),
        ),
        ("dkv_thread_cpu_seconds_total", "counter", "Processor time of a thread.", ("thread",)),
        # storage
        ("dkv_log_sync_seconds", "histogram", "Transactions of log.db, each with a sync."),
        ("dkv_log_base_index", "gauge", "log.db is kept from the entry behind this one on."),
        ("dkv_log_last_index", "gauge", "Last entry in log.db."),
        ("dkv_log_space_level", "gauge", "Room on its disk: 0 enough, 1 low, 2 critical."),
        ("dkv_state_commit_seconds", "histogram", "Transactions of state.db, each with a sync."),
        ("dkv_storage_file_bytes", "gauge", "Size of a file of the data directory.", ("file",)),
        ("dkv_storage_free_bytes", "gauge", "Free on the data directory's file system."),
        # state
        ("dkv_state_applied_index", "gauge", "Last entry in this node's state."),
        ("dkv_state_revision", "gauge", "Revision of this node's state."),
        ("dkv_state_compacted_revision", "gauge", "Where its history begins."),
        ("dkv_state_keys", "gauge", "Keys in memory, deleted ones too until compaction."),
        ("dkv_state_sessions", "gauge", "Open sessions."),
        ("dkv_state_checking", "gauge", "1 while it is checked after a restart."),
        ("dkv_state_quota_reached", "gauge", "1 while puts are refused for the quota."),
        # clients
        ("dkv_gateway_requests_total", "counter", "Requests answered.", ("op", "outcome")),
        (
            "dkv_gateway_request_seconds",
            "histogram",
            "From a request's arrival until its answer, by the way it takes.",
            ("kind",),
        ),
        ("dkv_gateway_slow_requests_total", "counter", "Longer than --slow-request-ms."),
        ("dkv_gateway_in_flight_requests", "gauge", "Requests under way at this node."),
        ("dkv_gateway_in_flight_bytes", "gauge", "What they take."),
        # security
        ("dkv_refusals_total", "counter", "Requests refused before they began.", ("reason",)),
        ("dkv_handshakes_total", "counter", "Connections judged: port and ZAP status.", ("event",)),
        (
            "dkv_certificate_end_timestamp_seconds",
            "gauge",
            "When a certificate ends (Unix time).",
            ("certificate",),
        ),
    )
)

# Counters that have a metric of their own: (actor, name).
_NAMED = {
    ("consensus", "pre_elections"): "dkv_raft_pre_elections_total",
    ("consensus", "elections"): "dkv_raft_elections_total",
    ("consensus", "elections_won"): "dkv_raft_elections_won_total",
    ("consensus", "step_downs"): "dkv_raft_step_downs_total",
    ("gateway", "batches"): "dkv_raft_proposals_total",
    ("gateway", "commands"): "dkv_raft_proposed_commands_total",
}
_OF_TURNS = ("turns", "letters", "busy_us", "depth", "depth_max", "turn_us_max", "oldest_us_max")
_REFUSED, _ASKED = "refused_", "asked_"  # how the gateway's counters of these begin


class Sources(NamedTuple):
    """Where the numbers are. The functions may be called on any thread, and never wait."""

    node: str
    counters: Mapping[str, Counters]  # by actor
    gauges: Mapping[str, Callable[[], dict[str, int]]]  # by how their names begin
    histograms: Mapping[str, Callable[[], Histogram]]  # by metric
    outcomes: Outcomes
    handshakes: Counters
    mailboxes: Callable[[], dict[str, int]]
    threads: Callable[[], dict[str, int]]  # microseconds of processor
    ends: Callable[[], dict[str, int]]
    folder: Path


class Exposition(Collector):
    """The metrics of a node, as text, anew at each call of `text`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        families = {meaning.name: _family(meaning) for meaning in TABLE}
        for name, labels, value in self._samples():
            families[name].add_metric(labels, value)
        for name, labels, histogram in self._histograms():
            families[name].add_metric(labels, *_buckets(histogram))
        yield from families.values()

    def _samples(self) -> Iterator[tuple[str, list[str], float]]:
        sources = self._sources
        yield "dkv_build_info", [__version__, sources.node], 1
        for prefix, gauges in sources.gauges.items():
            for gauge, value in gauges().items():
                yield f"dkv_{prefix}_{gauge}", [], value
        for actor, counters in sources.counters.items():
            yield from _counts(actor, counters.facts())
        for actor, letters in sources.mailboxes().items():
            yield "dkv_actor_mailbox_letters", [actor], letters
        for thread, used_us in sources.threads().items():
            yield "dkv_thread_cpu_seconds_total", [thread], used_us / _MICRO
        for (op, outcome), count in sources.outcomes.counts().items():
            yield "dkv_gateway_requests_total", [op, outcome], count
        yield "dkv_gateway_slow_requests_total", [], sources.outcomes.slow
        for event, count in sources.handshakes.facts().items():
            yield "dkv_handshakes_total", [event], count
        for certificate, end in sources.ends().items():
            yield "dkv_certificate_end_timestamp_seconds", [certificate], end
        yield from _storage(sources.folder)

    def _histograms(self) -> Iterator[tuple[str, list[str], Histogram]]:
        for name, find in self._sources.histograms.items():
            yield name, [], find()
        for actor, counters in self._sources.counters.items():
            yield "dkv_actor_wait_seconds", [actor], counters.waits
        for edge, histogram in self._sources.outcomes.durations.items():
            yield "dkv_gateway_request_seconds", [edge], histogram


def _family(meaning: Meaning) -> Any:
    kinds = {
        "counter": CounterMetricFamily,
        "gauge": GaugeMetricFamily,
        "histogram": HistogramMetricFamily,
    }
    return kinds[meaning.kind](meaning.name, meaning.words, labels=meaning.labels)


def _counts(actor: str, facts: Mapping[str, int]) -> Iterator[tuple[str, list[str], float]]:
    yield "dkv_actor_turns_total", [actor], facts.get("turns", 0)
    yield "dkv_actor_letters_total", [actor], facts.get("letters", 0)
    yield "dkv_actor_busy_seconds_total", [actor], facts.get("busy_us", 0) / _MICRO
    yield "dkv_actor_turn_max_seconds", [actor], facts.get("turn_us_max", 0) / _MICRO
    for (owner, counter), name in _NAMED.items():
        if owner == actor:
            yield name, [], facts.get(counter, 0)
    for event, count in facts.items():
        if event.startswith(_REFUSED) and actor == "gateway":
            yield "dkv_refusals_total", [event.removeprefix(_REFUSED)], count
        elif not (event in _OF_TURNS or event.startswith(_ASKED) or (actor, event) in _NAMED):
            yield "dkv_actor_events_total", [actor, event], count


def _storage(folder: Path) -> Iterator[tuple[str, list[str], float]]:
    """Files that go while one looks are left out."""
    for path in _files(folder):
        try:
            yield "dkv_storage_file_bytes", [path.name], path.stat().st_size
        except OSError:
            continue
    try:
        found = statvfs(folder)
    except OSError:
        return
    yield "dkv_storage_free_bytes", [], found.f_bavail * found.f_frsize


def _files(folder: Path) -> Iterable[Path]:
    """Of log and state, with their WALs."""
    return sorted([*folder.glob("log.db*"), *folder.glob("state*.db*")])


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative, as Prometheus has them, and the sum in seconds."""
    counts = histogram.counts.copy()
    below = sum(counts[:_FIRST])
    buckets: list[tuple[str, float]] = []
    for bits in range(_FIRST, _LAST + 1):
        below += counts[bits]
        buckets.append((repr((1 << bits) / _MICRO), below))
    buckets.append(("+Inf", sum(counts)))
    return buckets, histogram.sum_us / _MICRO
