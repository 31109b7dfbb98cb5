"""(role, letter) → handler is total: nothing can arrive for which a role has no answer."""

import pytest

from dkv.messages import (
    CATALOGUE,
    FROM_PEERS,
    Ask,
    Consumed,
    Copied,
    Describe,
    DiskReplaced,
    Due,
    Durable,
    Fetched,
    Filled,
    FromPeer,
    Hello,
    Installed,
    Kept,
    Misfit,
    Noted,
    Observe,
    Propose,
    ReadIndex,
    Removed,
    Roster,
    Saved,
    Space,
    Stop,
    Suggest,
    Trimmed,
)
from dkv.raft.table import HANDLERS, ROLES, TERMED

AT_THE_DESK = {FromPeer, Kept, Roster, Describe, Observe, Stop}  # read by the actor around Raft
AT_THE_DOOR = {Hello, Misfit, DiskReplaced, Removed}  # read by the post office
OF_THIS_NODE = {
    *(Propose, ReadIndex, Ask, Saved, Fetched, Trimmed, Space, Consumed, Durable, Due, Noted),
    *(Copied, Installed, Suggest, Filled),
}
OF_OTHERS = FROM_PEERS - AT_THE_DOOR
ELSEWHERE = {  # what other actors, or shells, read
    *("FromClient", "ToClient", "Led", "Heard", "Write", "Fetch", "Cut", "Condemn", "Apply"),
    *("Rebase", "Copy", "Show", "Shown"),
    *("Lookup", "Found", "Applied", "Continue", "Described", "Stopped", "Say"),
}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.__name__)
def test_every_role_has_a_handler_for_every_letter_that_raft_can_meet(role: type) -> None:
    handled = {letter for r, letter in HANDLERS if r is role}
    assert handled == OF_THIS_NODE | OF_OTHERS


def test_every_letter_of_the_catalogue_has_its_reader() -> None:
    """A new letter must be put somewhere here: does Raft meet it?"""
    known = OF_THIS_NODE | OF_OTHERS | AT_THE_DESK | AT_THE_DOOR
    assert {x for x in CATALOGUE.values() if x.__name__ not in ELSEWHERE} == known


def test_every_letter_that_states_its_senders_term_passes_the_gate_of_terms() -> None:
    """PreVote speaks of a term that is not yet, PreVoted of two: their handlers look themselves."""
    stating = {x for x in OF_OTHERS if "term" in getattr(x, "_fields", ())}
    assert {x.__name__ for x in stating - set(TERMED)} == {"PreVote", "PreVoted"}
