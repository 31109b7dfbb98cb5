"""From a data directory to four actors: what a node does at start, whatever keeps its files.

Owns: creating or believing a directory, comparing it with what this node was told, building the
actors. Must never know sockets, threads or SQLite: the simulator assembles its nodes with this too.
"""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

from actors import recovery
from actors.admission import Admission, Verifier
from actors.asking import KeyReader
from actors.consensus import Consensus
from actors.gateway import Gateway
from actors.keeping import Hard, Journal, Margin, Witness
from actors.log import Log
from actors.machine import Machine
from dkv.counters import Counters
from dkv.entries import genesis
from dkv.errors import Code, Ending, Fault, Misconfigured
from dkv.ids import Founding, draw_id
from dkv.kv.retention import Policy
from dkv.kv.state import State
from dkv.kv.store import Stores
from dkv.limits import RETENTION, ClusterLimits, Retention, Timing
from dkv.messages import Roster
from dkv.raft.post import Charter
from dkv.release import THIS, Release
from dkv.requests import Malformed

FORMAT = 1


class Plan(NamedTuple):
    """What a node was told. `folder` is how its data directory is called to people; `facts` says,
    when it is asked, what `status` tells of the process; `slow_us`: what makes a request slow."""

    name: str
    founding: Founding
    limits: ClusterLimits
    timing: Timing
    roster: Roster
    folder: str
    joining: bool = False
    verify: Verifier | None = None
    probe: str = ""
    facts: Callable[[], dict[str, Any]] = dict
    retention: Retention | None = RETENTION
    certificate: bytes = b""
    read_key: KeyReader | None = None
    policy: Policy = Policy()
    slow_us: int = 0
    release: Release = THIS
    keys: Mapping[str, bytes] = MappingProxyType({})

    def told(self, is_formed: bool) -> Roster:
        """The roster. `keys` are members', as they were when this node joined: they count only
        until its log says who the members are."""
        if is_formed:
            return self.roster
        members = self.roster.members
        return Roster(
            tuple((n, peer, key or self.keys.get(n, b""), c) for n, peer, key, c in members)
        )


class Actors(NamedTuple):
    """`limits` are the cluster's, whatever this node was told."""

    consensus: Consensus
    log: Log
    machine: Machine
    gateway: Gateway
    boot: int
    disk: int
    limits: ClusterLimits


def assemble(
    plan: Plan,
    journal: Journal,
    witness: Witness,
    margin: Margin,
    stores: Stores,
    rng: Random,
) -> Actors:
    """Believe or create the directory; then the four actors on it. Raises `Fault` where it cannot
    be believed, `Misconfigured` where it is another's than this node was told."""
    try:
        return _assemble(plan, journal, witness, margin, stores, rng)
    except journal.errors as error:
        raise journal.fault(error) from error


def _assemble(
    plan: Plan,
    journal: Journal,
    witness: Witness,
    margin: Margin,
    stores: Stores,
    rng: Random,
) -> Actors:
    hard = journal.hard() or _create(plan, journal, witness, rng)
    store = stores.table(hard.disk)
    found = recovery.examine(journal, witness, store.meta())
    _compare(plan, found)
    boot, limits = draw_id(rng), found.limits
    cluster = found.founding.cluster_id()
    charter = Charter(found.founding, limits, cluster, hard.genesis_check, plan.folder)
    counters = [Counters() for _ in range(4)]
    told = (plan.timing, plan.told(found.start.reigns[-1].is_formed), rng, counters[0])
    consensus = Consensus(
        *(found.start, boot, charter, *told),
        retention=plan.retention,
        certificate=plan.certificate,
        release=plan.release,
    )
    log = Log(
        journal, witness, margin, found.hard, found.testimony, found.last, found.recent, counters[1]
    )
    machine = Machine(
        State(store, limits, cluster), stores, plan.name, boot, counters[2], plan.policy
    )
    admission = Admission(limits, plan.verify, plan.probe, counters[3])
    identity = {"disk": hard.disk, "boot": boot}
    gateway = Gateway(
        plan.name,
        limits,
        admission,
        lambda: {**identity, **plan.facts()},
        counters[3],
        found.founding,
        plan.read_key or _no_certificates,
        plan.slow_us,
    )
    return Actors(consensus, log, machine, gateway, boot, hard.disk, limits)


def _create(plan: Plan, journal: Journal, witness: Witness, rng: Random) -> Hard:
    first = genesis(plan.founding, plan.limits)
    hard = Hard(FORMAT, plan.name, draw_id(rng), plan.joining, first.payload, first.check)
    recovery.create(journal, witness, hard, first)
    return hard


def _no_certificates(_text: bytes, _name: str, _wall_s: int) -> bytes:
    raise Malformed(Code.BAD_REQUEST, "this cluster runs without certificates")


def _compare(plan: Plan, found: recovery.Found) -> None:
    """The directory's own founding rules; what this node was told must not contradict it."""
    folder = plan.folder
    if found.hard.name != plan.name:
        raise Fault(
            Ending.WRONG_DIRECTORY,
            f"{folder} is the data directory of {found.hard.name}, not of {plan.name}: "
            "check --name and --data-dir",
        )
    ours, theirs = plan.founding, found.founding
    if ours.authority != theirs.authority:
        raise Fault(
            Ending.WRONG_DIRECTORY,
            f"{folder} belongs to a cluster of another authority (or of another --insecure): "
            "check --peer-trusted-ca-file and --data-dir",
        )
    if found.hard.joining:
        return  # it has learned the rest from its cluster
    if ours.token != theirs.token:
        raise Fault(
            Ending.WRONG_DIRECTORY,
            f"{folder} belongs to a cluster with another --initial-cluster-token "
            f"({theirs.token!r}, not {ours.token!r})",
        )
    members = set(found.start.reigns[-1].names)
    if not found.start.reigns[-1].is_formed and set(ours.names) not in (members, set(theirs.names)):
        raise Misconfigured(
            f"--initial-cluster names {', '.join(sorted(ours.names))}, but the cluster in {folder} "
            f"has the members {', '.join(sorted(members))}: name those"
        )
    for name, told, stored in zip(ClusterLimits._fields, plan.limits, found.limits, strict=True):
        if told < stored:
            raise Misconfigured(
                f"--{name.replace('_', '-')} is {told}, the cluster was created with {stored}: "
                "a member with a smaller limit cannot take what the others accept"
            )
