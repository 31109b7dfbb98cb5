"""Whether a node is alive and serves, found out by asking it: the gateway's part in it.

Owns: the one probe under way, and the read that it makes. Must never know who wants to know, nor
wait: an answer that does not come is for whoever asked to notice.

    an actor    it has had a turn, and described itself
    read        a majority has confirmed the leader, and this node's state machine has answered: the
                way that a client's linearizable read takes
"""

from dkv.address import Local, Outbox
from dkv.errors import RULES, Code
from dkv.messages import (
    Describe,
    Described,
    Found,
    Lookup,
    Probe,
    Probed,
    ReadAt,
    ReadIndex,
    Refused,
)
from dkv.requests import pack_command

READ = "read"
_TTL_MS = 5_000
_GET = pack_command("get", key=b"health")


class Probing:
    """`batch` is that of the latest probe, whose answers come here; 0: nobody has asked."""

    def __init__(self) -> None:
        self.batch = self._number = 0

    def begin(self, letter: Probe, batch: int, obstacle: str) -> Outbox:
        """`obstacle`: why no read would be taken now, if that is so."""
        self.batch, self._number = batch, letter.number
        out: Outbox = [self._well(Local.GATEWAY.value)]
        out += [(actor, Describe(batch)) for actor in (Local.CONSENSUS, Local.LOG, Local.MACHINE)]
        out.append(self._ill(obstacle) if obstacle else (Local.CONSENSUS, ReadIndex(batch)))
        return out

    def go_on(self, letter: Described | ReadAt | Found | Refused) -> Outbox:
        """An answer to the probe under way."""
        match letter:
            case Described():
                return [self._well(letter.actor)]
            case ReadAt():
                lookup = Lookup(letter.batch, letter.index, _TTL_MS, (_GET,))
                return [(Local.MACHINE, lookup)]
            case Found():
                return [self._well(READ)]
            case Refused():
                return [self._ill(_words(letter.code))]

    def _well(self, part: str) -> tuple[Local, Probed]:
        return Local.NODE, Probed(self._number, part)

    def _ill(self, words: str) -> tuple[Local, Probed]:
        return Local.NODE, Probed(self._number, READ, words)


def _words(code: int) -> str:
    """A newer leader may refuse for a reason that is not known here."""
    return RULES[Code(code)].words if code in _CODES else "the leader refused it"


_CODES = frozenset(Code)
