"""One seed of one mutant: is it found, and by what?

Owns: what counts as found. Must never know how many seeds are tried.
"""

from tests.mutants import Mutant, living
from tests.mutants.storm import Storm
from tests.scripts.explain import complaint
from tests.scripts.seeds import complaint_of
from tests.sim import draw


def hunt(mutant: Mutant, seed: int) -> str | None:
    """The words with which the simulator objects to the mutant; None where it does not."""
    with living(mutant):
        return objection(mutant, seed)


def hunt_wide(mutant: Mutant, seed: int) -> str | None:
    """The same by a seed of the whole simulator, which leans to nothing."""
    with living(mutant):
        return complaint_of(seed, draw(seed).steps)


def objection(mutant: Mutant, seed: int) -> str | None:
    """The same seed and profile on the code as it is here and now."""
    return complaint(Storm(mutant.profile, seed).story())
