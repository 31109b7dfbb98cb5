"""The post office: which letters from other nodes are for this disk and boot, and from a member.

Owns: the rules of the envelope, whom they turn away and with what answer. Must never look at a
term: a stranger must not even move one. Every rule here answers a failure that a model of wiped,
swapped and restarted disks found without it.

    cluster, first entry   another cluster, or other limits: answered with what this node was told
    to_disk, to_boot       meant for another disk or another life of this node: Hello
    disk                   a formed node hears only disks of its configuration, or who has the same
                           FORMED (a newer member); others are told DiskReplaced
    formed                 an opened node takes a leader's or candidate's letters only with its own
"""

from hashlib import blake2b
from typing import Any, NamedTuple

from dkv.address import Local, Peer
from dkv.errors import Ending, Fault
from dkv.ids import UNKNOWN, Founding
from dkv.limits import SECOND, ClusterLimits
from dkv.messages import (
    Append,
    Chunk,
    Commit,
    DiskReplaced,
    Envelope,
    Heartbeat,
    Hello,
    InstallSnapshot,
    Misfit,
    PreVote,
    Removed,
    RequestVote,
    Say,
    TakeOver,
)
from dkv.raft.configuration import Configuration
from dkv.raft.core import Raft
from dkv.raft.members import removed_words
from dkv.raft.quorum import majority

_ANSWER_EVERY_US = 1 * SECOND
_OF_LEADERS = (
    *(Append, Heartbeat, Commit, InstallSnapshot, Chunk),
    *(TakeOver, RequestVote, PreVote),
)
REJOIN = (
    "If it is lost: `dkvctl member replace NAME NAME` on a member's side, then start this node "
    "with an empty directory and --join"
)

_RESTORED_APART = "one of the two was restored from a backup, or both by themselves"


class Charter(NamedTuple):
    """What this node was told of its cluster, and how it proves it."""

    founding: Founding
    limits: ClusterLimits
    cluster: bytes
    genesis: bytes
    folder: str  # the data directory, to name it to people


class PostOffice:
    def __init__(self, raft: Raft, charter: Charter) -> None:
        self.raft = raft
        self.charter = charter
        self._heard: dict[str, tuple[Envelope, Configuration]] = {}  # the last ones let in
        self._answered_us: dict[tuple[str, type], int] = {}
        self._replaced: dict[str, int] = {}  # member -> a disk under its name that is none
        self._disowned_by: set[str] = set()  # members whose cluster knows another disk of ours

    # -- out -------------------------------------------------------------------------------------
    def envelope(self, to: Peer) -> Envelope:
        raft = self.raft
        return Envelope(
            self.charter.cluster,
            self.charter.genesis,
            raft.name,
            raft.disk,
            raft.boot,
            to.disk,
            to.boot,
            raft.config.formed,
        )

    # -- in --------------------------------------------------------------------------------------
    def admit(self, envelope: Envelope, letters: list[Any]) -> list[Any]:
        """The letters that consensus may read; the others are counted, and answered if it helps."""
        raft = self.raft
        before = self._heard.get(envelope.name)
        if before is not None and before[0] is envelope and before[1] is raft.config:
            return [x for x in letters if self._may_read(envelope, x)]  # nothing has changed
        sender = Peer(envelope.name, envelope.disk, envelope.boot)
        if envelope.name == raft.name:
            return letters if sender == raft.me else self._drop("peer_has_our_name")
        if (envelope.cluster, envelope.genesis) != (self.charter.cluster, self.charter.genesis):
            self._compare(sender, letters)
            return self._drop("peer_of_another_cluster")
        if self._was_removed(envelope):
            self._answer(sender, Removed(raft.reigns.settled.index))
            return self._drop("peer_was_removed")
        if envelope.name not in raft.config.names and not self._may_be_newer(envelope):
            return self._drop("peer_is_no_member")
        if envelope.to_disk not in (0, raft.disk):
            self._answer(sender, Hello())
            return self._drop("letter_for_another_disk")
        if envelope.to_boot not in (0, raft.boot):
            self._answer(sender, Hello())
            return self._drop("letter_for_another_boot")
        if not self._is_member(envelope):
            self._heard.pop(envelope.name, None)
            if raft.config.disk_of(envelope.name) == UNKNOWN:
                return self._drop("peer_is_only_invited")
            return self._turn_away(sender, letters)
        self._replaced.pop(envelope.name, None)
        raft.peers[envelope.name] = sender
        self._heard[envelope.name] = (envelope, raft.config)
        return [x for x in letters if self._may_read(envelope, x)]

    def _was_removed(self, envelope: Envelope) -> bool:
        """By a configuration that is committed: one that is not may yet be undone."""
        return self.raft.reigns.settled.has_removed(envelope.disk)

    def _may_be_newer(self, envelope: Envelope) -> bool:
        """A member that this node has not heard of; a disk made to join knows nobody."""
        config = self.raft.config
        return envelope.formed == config.formed if config.is_formed else self.raft.joining

    def _is_member(self, envelope: Envelope) -> bool:
        config = self.raft.config
        if not config.is_formed or config.disk_of(envelope.name) == envelope.disk:
            return True
        return envelope.formed == config.formed

    def _may_read(self, envelope: Envelope, letter: Any) -> bool:
        """Hello has done its work; DiskReplaced may end this node; leaders need our FORMED."""
        if isinstance(letter, DiskReplaced):
            self._disowned(envelope.name, letter)
            return False
        if isinstance(letter, Removed):
            raise Fault(Ending.REMOVED, removed_words(self.raft.name, letter.index))
        if isinstance(letter, Hello | Misfit):
            return False
        config = self.raft.config
        if config.opened_index and isinstance(letter, _OF_LEADERS):
            if envelope.formed == config.formed:
                return True
            self.raft.counters.add("letter_of_another_formation")
            return False
        return True

    def _turn_away(self, sender: Peer, letters: list[Any]) -> list[Any]:
        """A disk that is not the member's: replaced, wiped, or of an earlier formation."""
        for letter in letters:
            if isinstance(letter, DiskReplaced):
                self._disowned(sender.name, letter)
        if self._replaced.get(sender.name) != sender.disk:
            self._replaced[sender.name] = sender.disk
            self._say_replaced(sender)
        opened = self.raft.config.opened_index > 0
        self._answer(sender, DiskReplaced(opened))
        return self._drop("peer_disk_replaced")

    def _say_replaced(self, sender: Peer) -> None:
        raft = self.raft
        size = len(raft.config.voters)
        words = f"{sender.name} has come with another disk than the cluster's member {sender.name}"
        severity = "warning"
        if size - len(self._replaced) < majority(size):
            severity = "error"  # never left out, however soon after another line of this reason
            words += (
                f". QUORUM LOST: the disks of {', '.join(sorted(self._replaced))} were members and "
                f"are gone; this disk holds what it had. Put the old data directories back"
            )
            if not raft.config.opened_index:
                words += ", or, as the cluster never opened and nothing was acknowledged, empty all"
        raft.post(Local.SHELL, Say(severity, "disk_replaced", words))

    def _disowned(self, by: str, letter: DiskReplaced) -> None:
        """Somebody's configuration has another disk for our name. An empty disk ends here; one
        with a configuration of its own, when a majority of the names says so."""
        raft = self.raft
        if raft.joining and not raft.config.is_formed:
            raft.counters.add("disowned_by_who_lags")  # the leader has said whether it may join
            return
        self._disowned_by.add(by)
        size = len(raft.config.voters)
        if raft.config.is_formed and len(self._disowned_by) < majority(size):
            return
        if raft.config.is_formed:
            what = (
                f"{self.charter.folder} holds an earlier or another formation of this cluster: "
                f"{', '.join(sorted(self._disowned_by))} know another disk as {raft.name}. "
                f"Put today's data directory back. {REJOIN}"
            )
        else:
            what = (
                f"DiskReplaced: {raft.name} is a member of this cluster with another disk than "
                f"the empty one in {self.charter.folder}. Put the old data directory back. "
                f"{REJOIN}"
            )
            if not letter.opened:
                what += (
                    ". If the cluster never opened (its nodes say so), nothing was acknowledged: "
                    "stop all nodes and empty all data directories"
                )
        raise Fault(Ending.DISK_REPLACED, what)

    # -- other clusters, in words ----------------------------------------------------------------
    def _compare(self, sender: Peer, letters: list[Any]) -> None:
        for letter in letters:
            if isinstance(letter, Misfit):
                words = f"{sender.name} was told another cluster than this node: "
                words += "; ".join(self._differences(letter)) or _RESTORED_APART
                self.raft.post(Local.SHELL, Say("error", "misfit", words))
                return
        self._answer(sender, self._misfit())

    def _misfit(self) -> Misfit:
        founding, limits = self.charter.founding, self.charter.limits
        names = tuple(sorted(founding.names))
        return Misfit(names, _token_check(founding), founding.authority[:8], tuple(limits))

    def _differences(self, theirs: Misfit) -> list[str]:
        ours = self._misfit()
        found = []
        if theirs.names != ours.names:
            found.append(
                f"its --initial-cluster names {', '.join(theirs.names)}, "
                f"ours {', '.join(ours.names)}"
            )
        if theirs.token_check != ours.token_check:
            found.append("its --initial-cluster-token differs")
        if theirs.authority_check != ours.authority_check:
            found.append("its certificates are of another authority")
        for name, our, their in zip(
            ClusterLimits._fields, ours.limits, theirs.limits, strict=False
        ):
            if our != their:
                found.append(f"its --{name.replace('_', '-')} is {their}, ours {our}")
        return found

    # -- answers ---------------------------------------------------------------------------------
    def _answer(self, to: Peer, letter: Any) -> None:
        """Each at most once a second and member: an answer must not become a conversation, nor
        a Hello keep a disk of another formation from hearing that it was replaced."""
        now, answer = self.raft.now.us, (to.name, type(letter))
        if now - self._answered_us.get(answer, -_ANSWER_EVERY_US) >= _ANSWER_EVERY_US:
            self._answered_us[answer] = now
            self.raft.post(to, letter)

    def _drop(self, reason: str) -> list[Any]:
        self.raft.counters.add(reason)
        return []

    def facts(self) -> dict[str, Any]:
        """For `status`: whose disks were replaced, as far as this node has seen."""
        return {"replaced": sorted(self._replaced)}


def _token_check(founding: Founding) -> bytes:
    """Enough to compare two tokens, and not to learn one."""
    return blake2b(founding.token.encode(), digest_size=8, person=b"dkv token").digest()
