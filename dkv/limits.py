"""Every maximum of dkv, named, with its unit last, and checked against the others at start.

Owns: the numbers. A part that needs a bound takes it from here, so that reaching one is always a
refusal with a name and never a surprise. Must never know who uses them.

Two kinds. `ClusterLimits` decide what a replicated command means, so every member must hold the
same ones: they are part of the first entry of the log. The others are one node's own business.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from dkv.errors import Misconfigured

T = TypeVar("T")

KIB = 1024
MIB = 1024 * KIB

# Units of the two clocks: monotonic microseconds inside a node, milliseconds of cluster time.
MS = 1_000
SECOND = 1_000_000

# -- what is fixed by the formats ---------------------------------------------------------------
INT_MAX = 2**63 - 1  # SQLite's integers are signed
TERM_MAX = 2**40  # one election a millisecond for 34 years: a letter beyond it is a lie
VERSION_LENGTH_MAX = 64  # of what a member says its software is
NAME_BYTES_MAX = 63  # node names and certificate names, as a DNS label
MEMBERS_MAX = 9
PROMOTE_GAP_ENTRIES = 64  # a learner so close to the log's end may vote
SUB_MAX = 4096  # mutations that can share one revision
SEQUENCE_WINDOW = 1024  # unanswered writes a session may have
CHECK_BYTES = 8
NESTING_MAX = 8  # depth of msgpack from outside

# -- frames -------------------------------------------------------------------------------------
FRAMES_MAX = 8  # payload frames of one message; more is noise
REQUEST_ID_BYTES_MAX = 32
REQUESTS_PER_MESSAGE_MAX = 1024
BURST_BYTES_MAX = 256 * KIB  # replies in one message; one larger reply goes alone
ENTRY_BYTES_MAX = 1 * MIB  # a batch of commands; one larger command goes alone
ENTRY_COMMANDS_MAX = 1_000
APPEND_BYTES_MAX = 1 * MIB  # entries in one Append; one larger entry goes alone
FETCH_BYTES_MAX = 4 * MIB
CLIENT_FRAME_BYTES = 4 * MIB
FRAME_MARGIN_BYTES = 64 * KIB  # what wraps a command, an entry and a letter

# -- memory and flow ----------------------------------------------------------------------------
REQUESTS_IN_FLIGHT_MAX = 32_768  # per gateway
REQUEST_BYTES_IN_FLIGHT_MAX = 128 * MIB
REQUESTS_OF_A_CLIENT_MAX = 8_192  # of these, on one connection
REQUEST_BYTES_OF_A_CLIENT_MAX = 64 * MIB
FAIR_SHARE_REQUESTS = 64  # of a connection in a batch that others share
FAIR_SHARE_BYTES = 128 * KIB
LARGE_COMMAND_BYTES = 32 * KIB  # from here on a command is in no batch with small ones
GUESTS_MAX = 1_024  # connections that have not shown a certificate, remembered to bound them
GUEST_BYTES_MAX = 16 * KIB  # what one guest may send in a message
PRINCIPALS_MAX = 16_384  # verified certificates remembered by Curve key
UNCOMMITTED_BYTES_MAX = 128 * MIB  # a leader's entries that no majority has
UNAPPLIED_BYTES_MAX = 64 * MIB  # committed at the leader, not yet applied by its machine
PEER_WINDOW_LETTERS = 64  # Appends in flight to one member
PEER_WINDOW_BYTES = 16 * MIB
TURN_BYTES_MAX = 4 * MIB  # that an actor takes from a source in a turn: heartbeats come between
MACHINE_WINDOW_BYTES = 16 * MIB  # handed to the state machine and not yet applied
FOUND_BYTES_MAX = 32 * KIB  # of answers to reads in one letter, beyond one answer: a gateway's turn
DETAIL_BYTES_MAX = 16 * KIB  # of a get's result, for it to be remembered
DETAILS_BYTES_MAX = 16 * MIB  # of remembered results
SUMS_MAX = 4_096  # entries whose state's sum the state machine remembers
TAIL_BYTES_MAX = 16 * MIB  # entries that consensus keeps in memory
LOG_TAIL_ENTRIES = 1_000  # kept behind what everyone has, so that a short absence is cheap
LOG_KEPT_ENTRIES = 50_000  # kept for a slow member; beyond, it is sent the state
LOG_KEPT_BYTES = 1024 * MIB  # the same
CUT_ENTRIES_MIN = 256  # the head of the log is cut in steps of at least this
CHUNK_BYTES = 256 * KIB  # of a snapshot in one letter, beyond one version
COPIES_MAX = 2  # of sessions, held for members that are sent the state
COPY_US = 5_000_000  # for which such a copy is held while nobody asks
STAGED_BYTES = 4 * MIB  # of a snapshot, received between two commits
PEER_HWM = 256  # messages in a peer's pipe
CLIENT_HWM = 4_096
LIST_LIMIT_MAX = 10_000  # keys of one page
LIST_BYTES_MAX = 1 * MIB  # bytes of one page
LIST_LIMIT_DEFAULT = 1_000
RANGE_DELETE_MAX = 1_000  # keys that one range delete removes
TAIL_ENTRIES_MAX = 256  # of the log, in one answer to a `tail`
TAIL_ANSWER_BYTES = 256 * KIB  # of them, beyond one entry
TAILS_MAX = 64  # that wait at a node
TAILS_PER_NAME_MAX = 16  # of them, of one certificate name

# -- storage ------------------------------------------------------------------------------------
STATE_COMMIT_COMMANDS = 4_000
STATE_COMMIT_BYTES = 16 * MIB
STATE_COMMIT_US = 1 * SECOND
LOG_CHECKPOINT_PAGES = 4_000  # of log.db: acknowledgements wait meanwhile, for 30 to 40 ms
STATE_CHECKPOINT_PAGES = 1_000  # of state.db: answers wait meanwhile, so little at a time
STATE_CHECKPOINT_PAGES_IDLE = 250  # in an idle moment, when nobody waits
WITNESS_LAZY_US = 100 * MS
LOW_WATER_BYTES_MAX = 64 * MIB
LOW_WATER_SHARE = 20  # one part in twenty of the disk, if that is smaller
SCAN_SLICE_BYTES = 256 * KIB  # of versions that the scan at start reads in a turn
SWEEP_SLICE_BYTES = 64 * KIB  # of versions looked at in one step of deleting superseded ones
SPREAD_TURNS = 32  # slices in one part of an answer about space
SPREAD_NAMES_MAX = 1_000  # and the names after which it ends
SPREAD_DEPTH_MAX = 16
SWEEP_ROUND_ROWS = 4_096  # found before any goes: what stands together goes together
SWEEP_STEP_DROPS = 16  # places of the file that one step changes: about a millisecond
SWEEP_PACE_US = 10 * MS  # between two steps while commands are applied
SWEEP_PACE_US_IDLE = 1 * MS
RESERVE_SHARE = 4  # the reserve file: a quarter of the low-water mark
SLICE_US = 1 * MS  # long work yields after this

# -- time ---------------------------------------------------------------------------------------
REQUEST_TTL_MS_DEFAULT = 5_000
REQUEST_TTL_MS_MAX = 600_000
TAIL_WAIT_MS_MAX = 10_000
TAIL_MARGIN_MS = 500  # of a request's time, that is left for its answer
TAIL_PACE_US = 50 * MS  # how often is looked for what is new
TAIL_SHOW_US = 20 * MS  # for which entries may have to be written before any is read
TAIL_APPLY_MS = 1_000  # for which what is committed may have to be applied before it is shown
OUTCOMES_MAX = 8_192  # commands whose results the state machine remembers for it


class ClusterLimits(NamedTuple):
    """What decides the meaning of a command. Equal on every member; stored in the first entry."""

    key_bytes_max: int = 4_096
    value_bytes_max: int = 1 * MIB
    request_bytes_max: int = 3 * MIB // 2
    session_ttl_ms: int = 600_000
    sessions_max: int = 10_000
    sessions_per_name_max: int = 1_000
    answer_bytes_max: int = 4 * KIB  # a longer answer is remembered as "applied, answer dropped"
    session_answers_bytes_max: int = 64 * KIB
    note_entries: int = 1_024  # replicas compare their state every so many entries


class Timing(NamedTuple):
    """Raft's periods, in microseconds of monotonic time (thesis §3.9, §6.2, §9.6)."""

    heartbeat_us: int = 100 * MS
    election_us_min: int = 500 * MS
    election_us_max: int = 1_000 * MS
    step_down_us: int = 1_000 * MS
    commit_tick_us: int = 10 * MS
    stall_us: int = 3 * SECOND  # a leader whose own disk takes longer gives up its role


class Retention(NamedTuple):
    """What a node's log keeps, in entries: behind what everyone has and state.db; for a slow
    member, and in bytes too. It is cut in steps."""

    tail: int = LOG_TAIL_ENTRIES
    entries: int = LOG_KEPT_ENTRIES
    step: int = CUT_ENTRIES_MIN
    bytes: int = LOG_KEPT_BYTES


RETENTION = Retention()


def peer_frame_bytes_max(limits: ClusterLimits) -> int:
    """The largest frame a member may send: libzmq ends the connection beyond it.

    An Append holds APPEND_BYTES_MAX of entries or one larger entry; an entry holds ENTRY_BYTES_MAX
    of commands or one larger command; a command is a request.
    """
    largest_entry = max(ENTRY_BYTES_MAX, limits.request_bytes_max) + FRAME_MARGIN_BYTES
    return max(APPEND_BYTES_MAX, largest_entry) + 2 * FRAME_MARGIN_BYTES


def client_frame_bytes_max(limits: ClusterLimits) -> int:
    """The largest frame a client may send before libzmq ends its connection: well above the limit
    of a request, so that one which is too large is told so."""
    return max(CLIENT_FRAME_BYTES, limits.request_bytes_max + FRAME_MARGIN_BYTES)


def first_within(bytes_max: int, items: Sequence[T], size_of: Callable[[T], int]) -> tuple[T, ...]:
    """The first items, at least one, as many as have `bytes_max` together."""
    size = 0
    for count, item in enumerate(items):
        size += size_of(item)
        if count and size > bytes_max:
            return tuple(items[:count])
    return tuple(items)


def check_limits(limits: ClusterLimits, timing: Timing) -> None:
    """Raise `Misconfigured`, in words, when two maxima contradict each other."""
    room = limits.request_bytes_max - limits.value_bytes_max - limits.key_bytes_max
    rules = (
        (1 <= limits.key_bytes_max <= 4 * KIB, "key-bytes-max must be between 1 and 4096"),
        (limits.value_bytes_max >= 0, "value-bytes-max must not be negative"),
        (limits.value_bytes_max <= 16 * MIB, "value-bytes-max must be at most 16 MiB"),
        (room >= 1 * KIB, "request-bytes-max must exceed key and value together by 1 KiB"),
        (limits.request_bytes_max <= 24 * MIB, "request-bytes-max must be at most 24 MiB"),
        (limits.sessions_per_name_max <= limits.sessions_max, "a name may not hold all sessions"),
        (2 * timing.heartbeat_us <= timing.election_us_min, "two heartbeats fit in an election"),
        (timing.election_us_min < timing.election_us_max, "election timeouts need a range"),
        (timing.step_down_us >= timing.election_us_min, "a leader outlasts the shortest election"),
    )
    for holds, rule in rules:
        if not holds:
            raise Misconfigured(f"limits contradict each other: {rule}")
