"""How a run of `dkvctl` ends: exit codes, and one sentence instead of a traceback.

Owns: the table of exit codes and which error leads to which. Must never know what was asked.

    0 done                      5 unavailable: it did not happen
    1 a bug                     6 unknown: it may have happened
    2 wrong usage or files      7 denied
    3 not found                 8 a node is unhealthy
    4 condition not met,        130 interrupted
      or done in part only
"""

from enum import IntEnum

import click

from dkv.errors import (
    Code,
    ConditionFailed,
    Denied,
    DkvError,
    Invalid,
    RequestError,
    Unavailable,
    Uncertain,
)


class Exit(IntEnum):
    DONE = 0
    BUG = 1
    USAGE = 2
    NOT_FOUND = 3
    UNMET = 4
    UNAVAILABLE = 5
    UNKNOWN = 6
    DENIED = 7
    UNHEALTHY = 8
    INTERRUPTED = 130


class Ended(click.ClickException):
    """The run ends here, with a sentence on stderr."""

    def __init__(self, words: str, code: Exit) -> None:
        super().__init__(words)
        self.exit_code = int(code)  # type: ignore[misc]


_BY_CLASS: tuple[tuple[type[DkvError], Exit], ...] = (
    (ConditionFailed, Exit.UNMET),
    (Denied, Exit.DENIED),
    (Unavailable, Exit.UNAVAILABLE),
    (Invalid, Exit.USAGE),
    (Uncertain, Exit.UNKNOWN),
)
_BY_CODE = {
    Code.COMPACTED: Exit.UNMET,
    Code.FUTURE_REVISION: Exit.UNMET,
    Code.CERTIFICATE_EXPIRED: Exit.DENIED,
    Code.NO_SUCH_MEMBER: Exit.NOT_FOUND,
    Code.ALREADY_MEMBER: Exit.UNMET,
    Code.NOT_A_LEARNER: Exit.UNMET,
    Code.NOT_CAUGHT_UP: Exit.UNMET,
    Code.QUORUM_AT_RISK: Exit.UNMET,
    Code.MEMBERS_FULL: Exit.UNMET,
    Code.HEIR_UNFIT: Exit.UNMET,
    Code.NEWER_NEEDED: Exit.UNMET,
}


def exit_of(error: DkvError) -> Exit:
    """Of a request's refusal, or of what stands in its way here: settings, files, certificates."""
    code = getattr(error, "code", None)
    if code in _BY_CODE and not isinstance(error, Uncertain):
        return _BY_CODE[code]
    for kind, ending in _BY_CLASS:
        if isinstance(error, kind):
            return ending
    return Exit.UNAVAILABLE if isinstance(error, RequestError) else Exit.USAGE


def ended(error: DkvError) -> Ended:
    words = str(error)
    if isinstance(error, ConditionFailed):
        at = f"at revision {error.key_revision}" if error.key_revision else "absent"
        words = f"nothing was changed: the key is {at}. {words}"
    if isinstance(error, Uncertain):
        words += " Read before you decide, or repeat it if twice is as good as once."
    return Ended(words, exit_of(error))
