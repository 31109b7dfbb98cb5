"""The simulator: a seed is a cluster, its clients, and everything that goes wrong with them.

plan      what a seed draws          faults    what can go wrong
clients   who asks, and retries      books     what they were told, and whether it can be
play      one seed                   report    figures, of one and of many
make sim SEEDS=1000 FROM=1           many, on all cores (__main__, pool)

run_seed(7)                          plays one; raises where anything is not as promised
"""

from collections.abc import Iterable

from tests.sim.plan import Step, draw
from tests.sim.play import Game
from tests.sim.report import Report


def run_seed(seed: int, steps: Iterable[Step] | None = None) -> Report:
    """The seed's plan, or only these steps of it. AssertionError: something is wrong."""
    plan = draw(seed)
    if steps is not None:
        plan = plan._replace(steps=tuple(steps))
    return Game(plan).play()


__all__ = ["Report", "Step", "draw", "run_seed"]
