"""The simulator still finds every seeded bug, by the seed that found it; without it that seed is
quiet. `make mutants` searches anew, when a change of the storm or of dkv has moved the seeds."""

import pytest

from tests.mutants import Edit, Mutant, living
from tests.mutants.catalogue import BY_NAME, CATALOGUE
from tests.mutants.found import read_found
from tests.mutants.hunt import hunt, objection
from tests.mutants.profiles import WIDE

FOUND = read_found()


def test_every_mutant_has_a_name_of_its_own_and_was_found() -> None:
    assert len(BY_NAME) == len(CATALOGUE) >= 20
    assert set(FOUND) == set(BY_NAME)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_bug_is_found(name: str) -> None:
    assert hunt(BY_NAME[name], FOUND[name]), f"make mutants: seed {FOUND[name]} is quiet now"


SEEDS = {(BY_NAME[name].profile, seed): name for name, seed in FOUND.items() if name in BY_NAME}


@pytest.mark.parametrize("name", SEEDS.values())
def test_without_the_bug_the_same_seed_is_quiet(name: str) -> None:
    assert objection(BY_NAME[name], FOUND[name]) is None


def test_an_edit_that_no_longer_fits_says_so() -> None:
    from dkv.raft import quorum

    stale = Mutant("stale", "", WIDE, (Edit(quorum, "majority", "size // 3", "size"),))
    with pytest.raises(AssertionError, match="renew the mutant"), living(stale):
        pass


def test_a_bug_leaves_with_its_block() -> None:
    from dkv.raft import leader, quorum

    bug = Mutant("all", "", WIDE, (Edit(quorum, "majority", "size // 2 + 1", "size"),))
    with living(bug):
        assert (quorum.majority(3), leader.majority(3)) == (3, 3)
    assert (quorum.majority(3), leader.majority(3)) == (2, 2)
