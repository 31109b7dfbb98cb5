"""A seed of the simulator as a script: which faults, when, and whether it then holds.

    > seed 71
    > at 1200ms crash [0,500]         a fault of tests.sim.faults, its arguments as JSON
    = seed: holds                     clients and all else follow from the seed

Owns: the way between a seed's plan and such lines, and making them fewer. Must never know what a
fault does.
"""

import json
from collections.abc import Sequence
from typing import Any

from tests.scripts.shrink import kind_of, shrink
from tests.sim import Step, draw, run_seed


def complaint_of(seed: int, steps: Sequence[Step]) -> str | None:
    """What is wrong with the seed when only these faults happen."""
    try:
        run_seed(seed, steps)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_step(when: str, fault: str, arguments: str) -> Step:
    return Step(int(when.removesuffix("ms")), fault, _tuples(json.loads(arguments)))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def script_of(seed: int, steps: Sequence[Step], sentence: str) -> str:
    lines = [sentence, "", f"> seed {seed}"]
    for at_ms, fault, arguments in steps:
        packed = json.dumps(arguments, separators=(",", ":"))
        lines.append(f"> at {at_ms}ms {fault} {packed}")
    return "\n".join([*lines, "= seed: holds", ""])


def explain_seed(seed: int, tries_max: int = 60) -> str:
    """A failing seed as a script, shrunk (a try is a seed played: seconds)."""
    steps = draw(seed).steps
    words = complaint_of(seed, steps)
    assert words is not None, f"nothing is wrong with seed {seed}"
    kind = kind_of(words.replace(f"seed {seed}: ", ""))

    def fails(fewer: Sequence[Step]) -> bool:
        said = complaint_of(seed, fewer)
        return said is not None and kind_of(said.replace(f"seed {seed}: ", "")) == kind

    left = shrink(steps, fails, tries_max)
    first = words.splitlines()[0][:300]
    sentence = f"Seed {seed} fails; {len(left)} of {len(steps)} faults are left.\n\n{first}"
    return script_of(seed, left, sentence)
