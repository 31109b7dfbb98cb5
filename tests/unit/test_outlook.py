"""What a change of the members would mean, before it is asked for."""

from typing import Any

import pytest

from cli import outlook
from cli.membership import starting

THREE = {"n1": "leader", "n2": "voter", "n3": "voter"}


def survey(roles: dict[str, str], silent: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    members = [{"name": n, "role": r, "alive": n not in silent} for n, r in roles.items()]
    return {"members": members, "pending": False, "index": 7, **more}


def numbers(steps: list[outlook.Step]) -> list[tuple[int, int, int, int]]:
    """Voters, majority, alive, and how many more may fail, of each step."""
    return [(len(s.voters), s.majority, s.alive, s.spare) for s in steps]


def test_a_learner_changes_no_majority_until_it_votes() -> None:
    steps = outlook.adding(survey(THREE), "n4", learner=False)
    assert numbers(steps) == [(3, 2, 3, 1), (3, 2, 3, 1), (4, 3, 4, 1)]
    assert numbers(outlook.adding(survey(THREE), "n4", learner=True)) == [(3, 2, 3, 1)] * 2


def test_a_silent_learner_that_votes_costs_a_failure() -> None:
    known = survey({**THREE, "n4": "learner"}, ("n4",))
    assert numbers(outlook.promoting(known, "n4")) == [(3, 2, 3, 1), (4, 3, 3, 0)]


@pytest.mark.parametrize(
    ("silent", "gone", "expected"),
    [
        ((), "n3", (2, 2, 2, 0)),
        (("n3",), "n3", (2, 2, 2, 0)),
        (("n3",), "n2", (2, 2, 1, -1)),
    ],
)
def test_removing_is_safe_as_long_as_a_majority_of_the_rest_is_up(
    silent: tuple[str, ...], gone: str, expected: tuple[int, int, int, int]
) -> None:
    assert numbers(outlook.removing(survey(THREE, silent), gone))[-1] == expected


def test_a_replacement_votes_before_the_old_one_goes_unless_the_name_is_the_same() -> None:
    known = survey(THREE, ("n3",))
    expected = [(3, 2, 2, 0), (3, 2, 2, 0), (4, 3, 3, 0), (3, 2, 3, 1)]
    assert numbers(outlook.replacing(known, "n3", "n4")) == expected
    expected = [(3, 2, 2, 0), (2, 2, 2, 0), (2, 2, 2, 0), (3, 2, 3, 1)]
    assert numbers(outlook.replacing(known, "n3", "n3")) == expected


def test_writes_end_where_fewer_than_a_majority_are_up() -> None:
    last = outlook.removing(survey(THREE, ("n3",)), "n2")[-1].record()
    assert (last["writes"], last["survives"]) == ("NO", 0)


# -- refusals ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("silent", "force", "words"),
    [(("n3",), False, "it needs --force"), (("n3",), True, ""), ((), False, "")],
)
def test_a_step_without_a_majority_needs_force(
    silent: tuple[str, ...], force: bool, words: str
) -> None:
    known = survey(THREE, silent)
    found = outlook.objection(known, outlook.removing(known, "n2"), force=force)
    assert words in found
    assert bool(words) == bool(found)


@pytest.mark.parametrize("force", [False, True])
def test_the_last_voter_stays_also_with_force(force: bool) -> None:
    known = survey({"n1": "leader", "n2": "learner"})
    found = outlook.objection(known, outlook.removing(known, "n1"), force=force)
    assert "nobody would vote" in found


def test_a_change_waits_for_the_one_before_it() -> None:
    known = survey(THREE, pending=True)
    found = outlook.objection(known, outlook.removing(known, "n3"), force=True)
    assert "entry 7, is not committed" in found


@pytest.mark.parametrize(
    ("role", "adding", "promoting", "changing"),
    [
        ("leader", "is a member already", "votes already", ""),
        ("voter", "is a member already", "votes already", ""),
        ("learner", "", "", ""),
        ("invited", "", "has not come yet", ""),
        ("", "", "is no member; the members are n1, n2, n3", "is no member"),
    ],
)
def test_who_a_name_is_decides_what_may_be_asked_of_it(
    role: str, adding: str, promoting: str, changing: str
) -> None:
    known = survey({**THREE, **({"n4": role} if role else {})})
    for words, found in (
        (adding, outlook.objection_to_adding(known, "n4")),
        (promoting, outlook.objection_to_promoting(known, "n4")),
        (changing, outlook.objection_to_changing(known, "n4")),
    ):
        assert words in found
        assert bool(words) == bool(found)


def test_a_tenth_member_is_one_too_many() -> None:
    nine = survey({f"n{i}": "voter" for i in range(1, 10)})
    assert "at most 9" in outlook.objection_to_adding(nine, "n10")


# -- the command to type -------------------------------------------------------------------------
def test_the_command_to_start_a_new_member_names_the_doors_and_what_is_known() -> None:
    words = starting("n4", ["a:1", "b:2"], "h:5", "", insecure=False)
    assert "dkv --name n4 --join a:1,b:2" in words
    assert "--listen-peer-address h:5 --listen-client-address HOST:3000" in words
    assert "--peer-cert-file n4.cert --peer-key-file n4.key" in words
    assert "--insecure" in starting("n4", [], "", "", insecure=True)
