"""The post office judges an envelope once, and again when the configuration has changed."""

from dataclasses import replace
from typing import Any

from dkv.address import Peer
from dkv.ids import Founding
from dkv.limits import ClusterLimits
from dkv.messages import DiskReplaced, Envelope, PreVoted, RequestVote
from dkv.raft.post import Charter, PostOffice
from tests.unit.desk import CONFIGURED, FORMED, N2, Desk

CLUSTER, GENESIS = b"c" * 16, b"g" * 8
FOUNDING = Founding(b"", "", ("n1", "n2", "n3"))
UNFORMED = bytes(8)
LETTER = PreVoted(1, 2, True)


def office_of(desk: Desk) -> PostOffice:
    return PostOffice(desk.raft, Charter(FOUNDING, ClusterLimits(), CLUSTER, GENESIS, "/data/n1"))


def envelope(sender: Peer, formed: bytes = FORMED, to_boot: int = 101) -> Envelope:
    return Envelope(CLUSTER, GENESIS, sender.name, sender.disk, sender.boot, 11, to_boot, formed)


def answers(desk: Desk) -> list[Any]:
    out, desk.raft.out = desk.raft.out, []
    return [letter for to, letter in out if isinstance(to, Peer)]


def test_a_disk_that_the_new_configuration_does_not_name_is_turned_away() -> None:
    """It was let in before, by the very same envelope."""
    desk = Desk(1, formed=False)
    office, stranger = office_of(desk), envelope(Peer("n2", 99, 1), UNFORMED)
    for _ in range(2):
        assert office.admit(stranger, [LETTER]) == [LETTER]
    desk.raft.config = replace(CONFIGURED, formed_index=2, opened_index=0)
    for _ in range(2):
        assert office.admit(stranger, [LETTER]) == []
    assert answers(desk) == [DiskReplaced(False)]
    assert office.admit(envelope(N2), [LETTER]) == [LETTER]


def test_a_candidates_letters_need_our_formation_once_the_cluster_is_open() -> None:
    desk = Desk(1)
    desk.raft.config = replace(desk.raft.config, opened_index=0)
    office, other = office_of(desk), envelope(N2, b"another!")
    vote = RequestVote(2, 2, 1)
    for _ in range(2):
        assert office.admit(other, [vote]) == [vote]
    desk.raft.config = replace(desk.raft.config, opened_index=2)
    for _ in range(2):
        assert office.admit(other, [vote, LETTER]) == [LETTER]


def test_answers_go_to_whoever_was_heard_last_of_two_lives() -> None:
    desk = Desk(1)
    office = office_of(desk)
    lives = [envelope(N2._replace(boot=boot)) for boot in (102, 103)]
    for life in (*lives, *lives):
        for _ in range(2):
            assert office.admit(life, [LETTER]) == [LETTER]
            assert desk.raft.peer("n2").boot == life.boot


def test_what_is_meant_for_another_life_of_this_node_is_never_let_in() -> None:
    desk = Desk(1)
    office = office_of(desk)
    late = envelope(N2, to_boot=100)
    assert office.admit(envelope(N2), [LETTER]) == [LETTER]
    for _ in range(2):
        assert office.admit(late, [LETTER]) == []
    assert office.admit(envelope(N2), [LETTER]) == [LETTER]
