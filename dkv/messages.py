"""The whole catalogue of letters: what the actors of a node, and the nodes, say to each other.

Read this first; a feature that cannot be told by adding or changing letters here needs another
thought. Owns: every internal letter, grouped by edge, as a NamedTuple with a small integer tag.
Requests are verbs, reports are past participles. The most significant field comes first; new
fields go last, with a default. Must never know how letters are encoded or carried.

    client ─1 Put─▶ gateway ─2 Propose─▶ consensus ─3 Write─▶ log ─4 Appended─▶ consensus
       ▲               ▲                  │  └─3' Append─▶ peers ─▶ their logs ─4' Appended─┘
       └──7 reply──────┴─6 Applied─ state machine ◀─5 Apply─┘

Units: `_ms` milliseconds. Batches are numbered by the gateway that made them, from 1, afresh at
each boot. An index, term or disk of 0 means "none".
"""

from typing import NamedTuple

from dkv.entries import Entry
from dkv.release import FIRST_LEVEL

LETTER_VERSION = 1

Row = tuple[int, int, int, int, bytes]  # an entry on its way: term, kind, tick, wall, payload
Result = tuple[int, int, bytes]  # session, sequence, packed answer
Member = tuple[str, str, bytes, str]  # name, peer address, peer Curve key, client address
Moment = tuple[int, int, int, int]  # of an entry: index, term, when received, when committed (us)


# == the outside, made by a shell from what its ports received ===================================
class FromPeer(NamedTuple):
    """A frame on the peer port, or one that this node's own log posted to it."""

    name: str  # whose Curve key the connection has; "" where there is no security
    frame: bytes


class FromClient(NamedTuple):
    """A message on the client port: who (routing id, User-Id) and its payload frames."""

    client: bytes
    user: str
    frames: tuple[bytes, ...]


class ToClient(NamedTuple):
    """The gateway's reply, and the frames it is made of."""

    frames: tuple[bytes, ...]


# == gateway → consensus =========================================================================
class Propose(NamedTuple):
    """Make these commands one entry. Whoever is not the leader relays it, once."""

    batch: int
    ttl_ms: int
    grows: bool  # refused while the disk is low; deletes are not
    commands: tuple[bytes, ...]


class ReadIndex(NamedTuple):
    """At which index must the state be for these reads to be linearizable? (thesis §6.4)"""

    batch: int


class Ask(NamedTuple):
    """A question to the leader about the cluster itself (`dkv.raft.questions`); answered by Told.
    Whoever is not the leader relays it, once."""

    batch: int
    ttl_ms: int
    question: bytes  # packed Question


class Observe(NamedTuple):
    """What is new in this node's log beyond `after`? (`tail` of docs/protocol.md, where the fields
    are.) Consensus waits up to `wait_ms` for something; log and state machine add what they know,
    on the way that a write walks; the answer comes as Found. `question`: the packed command."""

    batch: int
    wait_ms: int
    after: int
    after_term: int
    settled: int
    limit: int
    committed: bool  # only what is
    question: bytes


# == consensus → gateway (and, for what was relayed, leader's consensus → origin's consensus) ====
class Refused(NamedTuple):
    """The batch was neither appended nor relayed by the consensus that says so."""

    batch: int
    code: int


class ReadAt(NamedTuple):
    """The reads of this batch may be answered once `index` is applied."""

    batch: int
    index: int


class Told(NamedTuple):
    """The answer to an Ask: OK and a packed map; or a refusal, and packed words. `applied` says
    what is known of a change: "no", "yes" or "unknown"."""

    batch: int
    code: int
    answer: bytes
    applied: str = "no"


class Led(NamedTuple):
    """Who leads, as far as this node knows; `waiting` names who is missing before `opened`."""

    term: int
    leader: str
    opened: bool
    waiting: tuple[str, ...]


class Heard(NamedTuple):
    """At each heartbeat: a leader with a majority was heard of just now."""

    commit: int


# == consensus → log =============================================================================
class Write(NamedTuple):
    """Drop rows from `cut_from` on, add `entries`, keep term and vote; then post what is sealed.

    Every letter that claims durability is sealed in a Write, so that the log's order makes it
    true. `commit` lets the log move its witness. A sealed letter names a member, not an address.
    `quiet`: what is sealed for this node itself wakes nobody (Kept).
    """

    number: int
    cut_from: int
    entries: tuple[Entry, ...]
    term: int
    vote: int
    commit: int
    sealed: tuple[tuple[str, bytes], ...]
    quiet: bool = False


class Fetch(NamedTuple):
    """Send entries from `first` to `last`, as many as fit FETCH_BYTES_MAX, at least one."""

    first: int
    last: int


class Cut(NamedTuple):
    """Forget the log's head through this index."""

    through: int


class Rebase(NamedTuple):
    """state.db was installed from a snapshot, and the log lacks its entry: the log is emptied, and
    begins behind this one. `configuration`: what held there, packed."""

    index: int
    term: int
    check: bytes
    tick: int
    configuration: bytes


class Show(NamedTuple):
    """Read entries behind `after` up to `last` for an Observe, and pass all on as Shown, when there
    is time. `known`: what consensus knows, packed; `moments` first of entries that were shown
    before, then of these. The state machine waits for `commit` to be applied, up to `wait_ms`."""

    batch: int
    wait_ms: int
    after: int
    last: int
    commit: int
    question: bytes
    known: bytes
    moments: tuple[Moment, ...]


class Condemn(NamedTuple):
    """This disk lost what it had acknowledged through `index`: witness that, then end the node."""

    index: int
    words: str


# == log → consensus =============================================================================
class Saved(NamedTuple):
    """Every Write through `number` is on the disk."""

    number: int


class Kept(NamedTuple):
    """A sealed letter of this node to itself, of a quiet Write: a leader's own acknowledgement."""

    frame: bytes


class Fetched(NamedTuple):
    first: int
    entries: tuple[Entry, ...]


class Trimmed(NamedTuple):
    """The log's base is now this entry; only what follows it is kept."""

    index: int
    term: int
    check: bytes


class Space(NamedTuple):
    """The disk: 0 enough, 1 low (refuse what grows), 2 critical (accept no entries)."""

    level: int


# == log → state machine =========================================================================
class Shown(NamedTuple):
    """What Show asked for. `saved_us`: when each of `moments` was on the disk (0: not known). The
    log begins behind `base`, and is on the disk through `saved`."""

    batch: int
    wait_ms: int
    after: int
    commit: int
    question: bytes
    known: bytes
    moments: tuple[Moment, ...]
    saved_us: tuple[int, ...]
    base: int
    saved: int
    entries: tuple[Entry, ...]


# == consensus → state machine ===================================================================
class Apply(NamedTuple):
    """These entries are committed, and saved by this node's own log."""

    entries: tuple[Entry, ...]


class Copy(NamedTuple):
    """Read a chunk of the state for `member`; see AskChunk. `configuration`: what holds, packed."""

    member: str
    configuration: bytes
    row: int
    copy: int
    place: int
    check: bytes


# == state machine → consensus ===================================================================
class Consumed(NamedTuple):
    """Applied through `index`: the window opens."""

    index: int


class Durable(NamedTuple):
    """state.db holds everything through this entry: the log may forget it."""

    index: int
    term: int
    check: bytes


class Due(NamedTuple):
    """Something expires at this tick (0: nothing does)."""

    tick: int


class Noted(NamedTuple):
    """The sum of this replica's state at `index` (also to the leader's consensus)."""

    index: int
    written: int


class Copied(NamedTuple):
    """What Copy asked for, to be sent to `member`; see Chunk."""

    member: str
    row: int
    place: int
    check: bytes
    versions: tuple[bytes, ...]
    sessions: tuple[tuple[int, bytes], ...]
    head: bytes
    more: bool


class Installed(NamedTuple):
    """state.db is a snapshot's at this entry (also to the gateway: what was applied up to there was
    not applied one by one). `configuration`: what held there, packed."""

    index: int
    term: int
    check: bytes
    tick: int
    configuration: bytes


class Suggest(NamedTuple):
    """Commands that this node's state machine would have applied everywhere: its policy's. Only a
    leader makes an entry of them; nobody waits for an answer."""

    commands: tuple[bytes, ...]


class Filled(NamedTuple):
    """Whether state.db has reached its quota (refuse what grows), as a change comes."""

    full: bool


# == gateway ↔ state machine =====================================================================
class Lookup(NamedTuple):
    """Answer these reads once `index` is applied (0: at once). The answers come as Found; after
    `ttl_ms` nobody waits for them."""

    batch: int
    index: int
    ttl_ms: int
    reads: tuple[bytes, ...]


class Found(NamedTuple):
    """The packed answers to reads of a batch, from `position` on."""

    batch: int
    position: int
    answers: tuple[bytes, ...]


class Applied(NamedTuple):
    """The results of an entry whose origin this node is; they also match by (session, sequence).
    `taken_us`: when the state machine was handed the entry, committed and saved (monotonic)."""

    batch: int
    index: int
    results: tuple[Result, ...]
    taken_us: int = 0


class Continue(NamedTuple):
    """The state machine to itself: go on with long work, after what has arrived meanwhile."""


# == every actor =================================================================================
class Roster(NamedTuple):
    """Members, keys and addresses. From consensus to its shell, the log and the gateway. `gone` are
    the names among them that were removed: they are told so when they come."""

    members: tuple[Member, ...]
    gone: tuple[str, ...] = ()


class Describe(NamedTuple):
    """The gateway asks an actor for its facts."""

    batch: int


class Described(NamedTuple):
    """`facts` is a packed map with string keys."""

    batch: int
    actor: str
    facts: bytes


class Probe(NamedTuple):
    """The node asks the gateway: do the actors answer, and would a read? Only the latest counts."""

    number: int


class Probed(NamedTuple):
    """One answer to a Probe, of `part`: an actor, or `read`. `words`: what is the matter, if it is
    not well."""

    number: int
    part: str
    words: str = ""


class Say(NamedTuple):
    """A line for people, by way of the shell: severity (debug, info, warning, error), reason; of
    which request, if it is about one."""

    severity: str
    reason: str
    words: str
    request_id: bytes = b""


class Stop(NamedTuple):
    """Take no new work, finish what can be finished, close files, say Stopped."""


class Stopped(NamedTuple):
    actor: str


# == consensus ↔ consensus of another node =======================================================
class Envelope(NamedTuple):
    """Who writes to whom. `to_disk` and `to_boot` are 0 while the receiver's are not known.

    `formed` is the check of the sender's first configuration (NO_CHECK: none); `genesis` that of
    its first entry. An answer's `to_boot` is the boot of the request it answers.
    """

    cluster: bytes
    genesis: bytes
    name: str
    disk: int
    boot: int
    to_disk: int
    to_boot: int
    formed: bytes


class Hello(NamedTuple):
    """I am here, with this disk and boot. Claims nothing; answers what was addressed wrongly."""


class Misfit(NamedTuple):
    """To a node whose cluster id or limits differ: what this one was told, to compare in words."""

    names: tuple[str, ...]
    token_check: bytes
    authority_check: bytes
    limits: tuple[int, ...]


class DiskReplaced(NamedTuple):
    """Your disk is not a member's: the member of your name has another one here."""

    opened: bool


class Removed(NamedTuple):
    """Your disk was a member's and is none any more: entry `index`, which is committed, says so."""

    index: int


class PreVote(NamedTuple):
    """Would you vote for me in `term`? Nobody's term moves (thesis §9.6)."""

    term: int
    last_index: int
    last_term: int


class PreVoted(NamedTuple):
    """`term` is the voter's own, `asked` the one it was asked about."""

    term: int
    asked: int
    granted: bool


class RequestVote(NamedTuple):
    """Sealed: the candidate's own term and vote are on its disk (thesis §3.4). `handed`: its
    leader told it to take over, so hearing that leader is no reason to ignore it (§3.10)."""

    term: int
    last_index: int
    last_term: int
    handed: bool = False


class Voted(NamedTuple):
    """A granted vote is sealed; a refusal is not."""

    term: int
    granted: bool


class Append(NamedTuple):
    """Entries behind (prev_index, prev_term, prev_check); none of them: a question (thesis §3.5).

    `match` is what the leader holds as acknowledged by the receiver in this term; `everyone_has`
    the least match of all members.
    """

    term: int
    prev_index: int
    prev_term: int
    prev_check: bytes
    rows: tuple[Row, ...]
    commit: int
    match: int
    everyone_has: int


class Appended(NamedTuple):
    """Sealed: this disk holds the leader's log of `term` through `index`, which has `check`."""

    term: int
    index: int
    check: bytes


class Mismatched(NamedTuple):
    """Nothing with (prev_index, prev_term) here. The hint is the largest index up to there whose
    term is not newer, and that term: a diverged log costs a round trip a term (§5.3)."""

    term: int
    prev_index: int
    last_index: int
    hint_term: int
    hint_index: int


class Heartbeat(NamedTuple):
    """The leader lives; `round` numbers its questions "am I still the leader?"."""

    term: int
    round: int
    commit: int
    match: int
    everyone_has: int


class HeartbeatAcked(NamedTuple):
    """Never waits for the log. `space` is the level of the member's disk; `level` and `version` are
    those of its software (`dkv.release`)."""

    term: int
    round: int
    space: int
    level: int = FIRST_LEVEL
    version: str = ""


class Commit(NamedTuple):
    """A tick of about a millisecond: what is committed, when no Append came to say so."""

    term: int
    commit: int


class TakeOver(NamedTuple):
    """The leader of `term` to a voter that holds its whole log: campaign now (thesis §3.10)."""

    term: int


class Relay(NamedTuple):
    """A Propose from another member's gateway: one hop, its deadline kept. `round` is the leader's
    last one heard when it was sent, by which the leader knows how old it is at least."""

    batch: int
    ttl_ms: int
    round: int
    grows: bool
    commands: tuple[bytes, ...]


class RelayRead(NamedTuple):
    batch: int


class RelayAsk(NamedTuple):
    """An Ask from another member's gateway: one hop, like Relay."""

    batch: int
    ttl_ms: int
    round: int
    question: bytes


class InstallSnapshot(NamedTuple):
    """The leader's log begins behind entry `base`, and the member's ends before: ask for the state,
    or ask again (thesis §5.3). The member's state machine reads it."""

    term: int
    base: int


class AskChunk(NamedTuple):
    """From the receiver's state machine to the leader's consensus: the versions behind `row`; or,
    when it has all, sessions of the copy made at entry `copy`, from `place` on. `check`: the
    running check of what has come so far. Any member that has applied as much can answer."""

    row: int
    copy: int
    place: int
    check: bytes


class Chunk(NamedTuple):
    """Versions behind `row`, in order. With the last ones comes `head`, what the state is at that
    entry, and its sessions, those from `place` on; `more` of which are to be asked for. `check`
    continues the one asked with. It claims nothing of a term: what is applied is the same
    everywhere."""

    row: int
    place: int
    check: bytes
    versions: tuple[bytes, ...]
    sessions: tuple[tuple[int, bytes], ...]
    head: bytes
    more: bool


Letter = NamedTuple  # any of the above, where the type does not matter

CATALOGUE: dict[int, type] = {
    1: FromPeer,
    2: FromClient,
    3: ToClient,
    10: Propose,
    11: ReadIndex,
    12: Ask,
    13: Observe,
    20: Refused,
    21: ReadAt,
    22: Led,
    23: Heard,
    24: Told,
    30: Write,
    31: Fetch,
    32: Cut,
    33: Condemn,
    34: Rebase,
    35: Show,
    40: Saved,
    41: Fetched,
    42: Trimmed,
    43: Space,
    44: Kept,
    45: Shown,
    50: Apply,
    51: Copy,
    60: Consumed,
    61: Durable,
    62: Due,
    63: Noted,
    64: Copied,
    65: Installed,
    66: Suggest,
    67: Filled,
    70: Lookup,
    71: Found,
    72: Applied,
    73: Continue,
    80: Roster,
    81: Describe,
    82: Described,
    83: Stop,
    84: Stopped,
    85: Say,
    86: Probe,
    87: Probed,
    90: Hello,
    91: Misfit,
    92: DiskReplaced,
    93: Removed,
    100: PreVote,
    101: PreVoted,
    102: RequestVote,
    103: Voted,
    110: Append,
    111: Appended,
    112: Mismatched,
    113: Heartbeat,
    114: HeartbeatAcked,
    115: Commit,
    116: TakeOver,
    120: Relay,
    121: RelayRead,
    122: RelayAsk,
    130: InstallSnapshot,
    131: AskChunk,
    132: Chunk,
}

# What may come from another node; anything else in a peer's frame is dropped and counted.
# Letters for which nobody need be woken: whoever gets them looks at them at its next turn.
QUIET: frozenset[type] = frozenset((Saved, Kept))

FROM_PEERS: frozenset[type] = frozenset(
    (
        Refused,
        ReadAt,
        Noted,
        Hello,
        Misfit,
        DiskReplaced,
        Removed,
        Told,
        TakeOver,
        PreVote,
        PreVoted,
        RequestVote,
        Voted,
        Append,
        Appended,
        Mismatched,
        Heartbeat,
        HeartbeatAcked,
        Commit,
        Relay,
        RelayRead,
        RelayAsk,
        InstallSnapshot,
        AskChunk,
        Chunk,
    )
)
