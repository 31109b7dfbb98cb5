"""What a node is told at start, as values.

Owns: the settings and what they must fulfil together. Must never read files, flags or the
environment: whoever does hands them in.
"""

from pathlib import Path
from typing import NamedTuple

from dkv.errors import Misconfigured
from dkv.ids import Address, check_name
from dkv.kv.retention import Policy
from dkv.limits import RETENTION, ClusterLimits, Retention, Timing, check_limits


class Files(NamedTuple):
    """Where the certificates of a node are; see docs/security.md."""

    peer_cert: Path
    peer_key: Path
    peer_trust: Path
    server_cert: Path
    server_key: Path
    trust: Path


class Settings(NamedTuple):
    """One node. `members`: name → peer address, as told (empty: as the notebook remembers).
    `advertised`: name → client address, for clients that ask. `files` None: without security.
    `retention`: how much of the log is kept; None: all of it, from now on. `join`: client addresses
    of members, any of which lets this node in. `policy`: how much history and how many bytes.
    `slow_us`: what takes longer gets a line (0: nothing does). `metrics`: where they are served."""

    name: str
    data_dir: Path
    listen_peer: Address
    listen_client: Address
    members: dict[str, Address]
    advertised: dict[str, Address]
    token: str
    joining: bool
    files: Files | None
    limits: ClusterLimits
    timing: Timing
    retention: Retention | None = RETENTION
    join: tuple[Address, ...] = ()
    policy: Policy = Policy()
    slow_us: int = 0
    metrics: Address | None = None


def check_settings(settings: Settings) -> None:
    """Raise `Misconfigured`, in words, when the settings contradict themselves."""
    check_name(settings.name, "--name")
    check_limits(settings.limits, settings.timing)
    if settings.members and settings.name not in settings.members and not settings.join:
        raise Misconfigured(
            f"--initial-cluster names {', '.join(settings.members)}, and not this node, "
            f"{settings.name}: it must list every member, this one too"
        )
    if settings.metrics in (settings.listen_peer, settings.listen_client):
        raise Misconfigured(
            f"--metrics-address {settings.metrics} is also a listening address of this node: "
            "choose another port"
        )
    if min(settings.policy) < 0:
        raise Misconfigured("--compact-keep-revisions and --quota are 0 or more")
    strangers = sorted(set(settings.advertised) - set(settings.members or settings.advertised))
    if strangers:
        raise Misconfigured(f"--advertise-nodes names {', '.join(strangers)}, who are no members")
