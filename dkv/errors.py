"""Everything that can be refused or go wrong, by name: the codes of answers, the exceptions.

Owns: the table of codes (is it definite? may one retry? what should a person do?) and the tree of
exceptions. Must never know who raises what.

    DkvError
    ├── Misconfigured          an operator's mistake, found before anything runs
    ├── Fault                  this node must end; carries its `Ending` (an exit code)
    └── RequestError           what a client sees; carries `code`, `applied`, `leader`
        ├── Rejected           definite: it did not happen and will not
        │   ├── ConditionFailed    the key was not at the expected revision
        │   ├── Denied             the certificate does not allow it, or there is none
        │   ├── Unavailable        nobody could do it within the deadline; not applied
        │   └── Invalid            the request itself is wrong: change it, do not retry
        └── Uncertain          it may have happened, or may yet happen, or never

Any other exception out of `dkv` is a bug.
"""

from enum import IntEnum
from typing import Any, Literal, NamedTuple

Applied = Literal["no", "yes", "unknown"]
Retry = Literal["never", "same", "later", "other"]


class Code(IntEnum):
    """What an answer or a refusal is. The number travels inside the cluster, the name outside."""

    OK = 0
    INVALID = 1
    TOO_LARGE = 2
    CONDITION_FAILED = 3
    SESSION_LOST = 4
    STALE = 5
    SEQUENCE_REUSED = 6
    SEQUENCE_WINDOW = 7
    SESSIONS_FULL = 8
    ANSWER_DROPPED = 9
    COMPACTED = 10
    FUTURE_REVISION = 11
    BAD_REQUEST = 20
    UNSUPPORTED = 21
    CERTIFICATE_NEEDED = 22
    CERTIFICATE_REFUSED = 23
    CERTIFICATE_EXPIRED = 24
    DENIED = 25
    BUSY = 26
    FORMING = 27
    NO_LEADER = 28
    NOT_LEADER = 29
    DISK_LOW = 30
    STOPPING = 31
    NOT_READY = 32
    TIMEOUT = 33
    LOST = 34  # made by the client: its connection ended after it had sent
    QUOTA = 35
    CHANGE_PENDING = 40
    ALREADY_MEMBER = 41
    NO_SUCH_MEMBER = 42
    NOT_A_LEARNER = 43
    NOT_CAUGHT_UP = 44
    QUORUM_AT_RISK = 45
    NOT_INVITED = 46
    ANOTHER_DISK = 47
    MEMBERS_FULL = 48
    HEIR_UNFIT = 49
    NEWER_NEEDED = 50


class Rule(NamedTuple):
    """How to behave on a code: `retry` says what the same request may do next."""

    retry: Retry
    words: str


RULES: dict[Code, Rule] = {
    Code.INVALID: Rule("never", "The command is not well formed; see docs/protocol.md."),
    Code.TOO_LARGE: Rule("never", "Make it smaller, or raise the limit at the cluster's creation."),
    Code.CONDITION_FAILED: Rule("never", "Read the key again and decide anew."),
    Code.SESSION_LOST: Rule("never", "Open a new session; check what earlier writes did."),
    Code.STALE: Rule("never", "This sequence was settled before; its answer is gone."),
    Code.SEQUENCE_REUSED: Rule("never", "Give each command of a session its own sequence."),
    Code.SEQUENCE_WINDOW: Rule("later", "Wait for answers before sending more in this session."),
    Code.SESSIONS_FULL: Rule("later", "Close sessions that are not needed, or wait for expiry."),
    Code.ANSWER_DROPPED: Rule("never", "It was applied; its long answer was not kept: read."),
    Code.COMPACTED: Rule("never", "It is gone; begin again with what is newest."),
    Code.FUTURE_REVISION: Rule("never", "It does not exist here yet."),
    Code.BAD_REQUEST: Rule("never", "Correct the request; see docs/protocol.md."),
    Code.UNSUPPORTED: Rule("never", "Speak a version that this node supports."),
    Code.CERTIFICATE_NEEDED: Rule("same", "Present your certificate, then send this again."),
    Code.CERTIFICATE_REFUSED: Rule("never", "Ask the cluster's operator for a certificate."),
    Code.CERTIFICATE_EXPIRED: Rule("never", "Ask the cluster's operator for a new certificate."),
    Code.DENIED: Rule("never", "Use a certificate whose role allows this."),
    Code.BUSY: Rule("later", "The node has all the work it can hold; try again shortly."),
    Code.FORMING: Rule("later", "The cluster is forming; start the members it waits for."),
    Code.NO_LEADER: Rule("later", "No leader is known here; try again or another node."),
    Code.NOT_LEADER: Rule("same", "The leader has changed; try again."),
    Code.DISK_LOW: Rule(
        "later", "Free space on the nodes' disks; reads and deletes go on meanwhile."
    ),
    Code.QUOTA: Rule(
        "later",
        "The store has reached its quota: delete keys, or raise --quota on all nodes; reads, "
        "deletes and compaction go on.",
    ),
    Code.STOPPING: Rule("other", "This node is stopping; use another."),
    Code.NOT_READY: Rule("later", "This node is still checking its data; use another, or wait."),
    Code.TIMEOUT: Rule("same", "The outcome is unknown; a retry in the same session is safe."),
    Code.CHANGE_PENDING: Rule("later", "Another change of the members is under way; wait for it."),
    Code.ALREADY_MEMBER: Rule("never", "`dkvctl member list` shows it."),
    Code.NO_SUCH_MEMBER: Rule("never", "`dkvctl member list` shows the members' names."),
    Code.NOT_A_LEARNER: Rule("never", "Only a learner that has joined can be promoted."),
    Code.NOT_CAUGHT_UP: Rule("later", "Wait until its lag is small: `dkvctl member list`."),
    Code.QUORUM_AT_RISK: Rule(
        "never", "Bring the silent members back first, or repeat it with --force."
    ),
    Code.NOT_INVITED: Rule("never", "On a member's side, type `dkvctl member add` first."),
    Code.ANOTHER_DISK: Rule(
        "never", "Put the member's old data directory back, or `dkvctl member replace` it."
    ),
    Code.MEMBERS_FULL: Rule("never", "Remove a member first."),
    Code.HEIR_UNFIT: Rule("later", "Choose a voter that is up and caught up, or name none."),
    Code.NEWER_NEEDED: Rule("never", "Install the version of dkv that the members run."),
    Code.LOST: Rule("same", "The connection ended; the outcome is unknown."),
}

CODE_BY_NAME = {code.name.lower(): code for code in Code}


class Ending(IntEnum):
    """Why a node ended: its exit code. 0 is an orderly stop, 1 a bug, 2 bad usage."""

    MISCONFIGURED = 10
    PORT_TAKEN = 11
    LOCKED = 12
    WRONG_DIRECTORY = 13
    DISK_REPLACED = 14
    CERTIFICATE = 15
    DISK_UNWRITABLE = 16
    STORAGE_FAULT = 17
    DIVERGED = 18
    NEWER_NEEDED = 19
    DOOR_OPEN = 20
    REMOVED = 21
    NOT_JOINED = 22


class DkvError(Exception):
    """The root of everything that dkv raises on purpose."""


class Misconfigured(DkvError):
    """An operator's mistake, in words that say what to change."""

    ending = Ending.MISCONFIGURED


class Fault(DkvError):
    """This node must end, and must not be trusted with a vote until someone has looked."""

    def __init__(self, ending: Ending, words: str) -> None:
        super().__init__(words)
        self.ending = ending


class RequestError(DkvError):
    """A request that did not succeed. `applied` says what is known of its effect; `name` is the
    code as the node said it, which a newer node may know and this library not."""

    def __init__(self, code: Code, words: str, applied: Applied = "no", leader: str = "") -> None:
        super().__init__(words)
        self.code = code
        self.name = code.name.lower()
        self.applied = applied
        self.leader = leader
        self.retry: Retry = RULES[code].retry


class Rejected(RequestError):
    """Definite: the request was not applied and will not be."""


class ConditionFailed(Rejected):
    """The key was not at the expected revision. `key_revision` is where it was (0: absent)."""

    key_revision = 0


class Denied(Rejected):
    """The certificate is missing, unknown, expired, or its role does not allow this."""


class Unavailable(Rejected):
    """Nobody could do it within the deadline, and it is certain that nobody will."""


class Invalid(Rejected):
    """The request itself is wrong. Change it; a retry meets the same answer."""


class Uncertain(RequestError):
    """It may have been applied, may yet be, or never: read before deciding. What a read does not
    show may still come; a put with the same `expected` settles it."""


_CLASS_BY_CODE: dict[Code, type[Rejected]] = {
    Code.CONDITION_FAILED: ConditionFailed,
    Code.CERTIFICATE_NEEDED: Denied,
    Code.CERTIFICATE_REFUSED: Denied,
    Code.CERTIFICATE_EXPIRED: Denied,
    Code.DENIED: Denied,
    Code.BUSY: Unavailable,
    Code.FORMING: Unavailable,
    Code.NO_LEADER: Unavailable,
    Code.NOT_LEADER: Unavailable,
    Code.DISK_LOW: Unavailable,
    Code.QUOTA: Unavailable,
    Code.STOPPING: Unavailable,
    Code.NOT_READY: Unavailable,
    Code.TIMEOUT: Unavailable,
    Code.LOST: Unavailable,
    Code.SESSIONS_FULL: Unavailable,
    Code.CHANGE_PENDING: Unavailable,
    Code.NOT_CAUGHT_UP: Unavailable,
    Code.HEIR_UNFIT: Unavailable,
    Code.INVALID: Invalid,
    Code.TOO_LARGE: Invalid,
    Code.BAD_REQUEST: Invalid,
    Code.UNSUPPORTED: Invalid,
    Code.SEQUENCE_REUSED: Invalid,
}


_AGAIN: tuple[Retry, ...] = ("same", "later", "other")
_KNOWN: tuple[Applied, ...] = ("no", "yes", "unknown")


def request_error(code: Code, words: str, applied: Applied, leader: str = "") -> RequestError:
    """The exception for a refusal: `applied: no` is definite, anything else is `Uncertain`.

    An answer that was applied but dropped (`ANSWER_DROPPED`) is `Uncertain` only in its details.
    """
    if applied != "no":
        return Uncertain(code, words, applied, leader)
    return _CLASS_BY_CODE.get(code, Rejected)(code, words, applied, leader)


def error_told(fields: dict[str, Any]) -> RequestError:
    """The exception that a reply's `error` stands for. A newer node's code is treated by what it
    says of `applied` and `retry`: as BUSY where the request may be sent again, else BAD_REQUEST."""
    name, retry = str(fields.get("code", "")), fields.get("retry", "never")
    stand_in = Code.BUSY if retry in _AGAIN else Code.BAD_REQUEST
    code = CODE_BY_NAME.get(name, stand_in)
    applied: Applied = fields.get("applied", "unknown")
    if applied not in _KNOWN:
        applied = "unknown"
    error = request_error(code, fields.get("words", RULES[code].words), applied)
    error.leader = fields.get("leader", "")
    if name not in CODE_BY_NAME:
        error.name, error.retry = name, retry if retry in _AGAIN else "never"
    if isinstance(error, ConditionFailed):
        error.key_revision = fields.get("key_revision", 0)
    return error
