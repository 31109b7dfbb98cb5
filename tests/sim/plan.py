"""What a seed is: how many nodes, which limits, and which faults when. Each seed draws its own mix,
some kinds not at all (swarm testing: a fault that is everywhere hides what others would find).

Owns: the draw. Must never know what a fault does. The whole plan is there before anything runs, so
that a failing one can be made shorter by leaving steps out.
"""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from dkv.limits import CHUNK_BYTES, RETENTION, ClusterLimits, Retention
from tests.sim.faults import LEADER, ROTS

SIZES = (*[3] * 12, *[5] * 3, *[7] * 2, 2, 1)
SECONDS = 30
STEPS_MIN = 8
CHURNING = 0.3  # of the seeds
CHANGES = ("grow", "grow", "shrink", "shrink", "replace", "replace", "transfer")
COMPACTING = 0.4  # of the seeds


class Step(NamedTuple):
    at_ms: int
    fault: str
    arguments: tuple[Any, ...]


class Plan(NamedTuple):
    seed: int
    size: int
    clients: int
    queues: bool
    limits: ClusterLimits
    sync_us: tuple[int, int]
    steps: tuple[Step, ...]
    compacts: bool  # clients end history now and then
    rolls_back: bool  # at the end, a whole directory of an earlier moment
    retention: Retention  # of the log: where it is short, members are sent the state
    chunk_bytes: int  # of that
    churns: bool = False  # members come and go


def draw(seed: int, seconds: int = SECONDS) -> Plan:
    dice, churn = Random(f"plan {seed}"), Random(f"churning {seed}")
    size = dice.choice(SIZES)
    limits = ClusterLimits(
        note_entries=dice.choice((16, 64, 1_024)),
        session_ttl_ms=dice.choice((10_000, 60_000, 600_000)),
    )
    churns = churn.random() < CHURNING
    changes = _changes(churn, seconds * 1_000) if churns else []
    more = Random(f"short log {seed}")  # of its own: a seed's other draws are what they were
    retention, chunk_bytes = _log(more)
    plan = Plan(
        seed,
        size,
        dice.randint(2, 3),
        dice.random() < 0.5,
        limits,
        dice.choice(((200, 3_000), (200, 3_000), (2_000, 20_000))),
        tuple(sorted([*_steps(dice, size, seconds * 1_000), *changes], key=_when)),
        Random(f"compaction {seed}").random() < COMPACTING,
        dice.random() < 0.25,
        retention,
        chunk_bytes,
        churns,
    )
    if retention == RETENTION:
        return plan
    absences = _absences(more, size, seconds * 1_000)
    return plan._replace(steps=tuple(sorted([*plan.steps, *absences], key=_when)))


def _log(dice: Random) -> tuple[Retention, int]:
    if dice.random() < 0.6:
        return RETENTION, CHUNK_BYTES
    entries = dice.choice((4, 8, 32))
    return Retention(entries // 2, entries, 1), dice.choice((100, 1_000, CHUNK_BYTES))


def _absences(dice: Random, size: int, ms: int) -> list[Step]:
    """Long enough for the log to be gone."""
    draw_one = _Draw(dice, size)
    absences = []
    for _ in range(dice.randint(2, 4)):
        at, who = dice.randint(0, ms - 6_000), dice.randrange(size)
        long_ms = draw_one.ms(2_500, 6_000)
        fault = dice.choice((("crash", (who, long_ms)), ("partition", ((who,), 0, long_ms))))
        absences.append(Step(at, *fault))
    return absences


def _steps(dice: Random, size: int, ms: int) -> list[Step]:
    kinds = [name for name in _DRAWS if dice.random() < 0.5]
    kinds = kinds if len(kinds) > 2 else list(_DRAWS)
    weights = [dice.uniform(0.2, 1.0) for _ in kinds]
    count = dice.randint(STEPS_MIN, 24)
    moments = sorted(dice.randint(0, ms) for _ in range(count))
    names = dice.choices(kinds, weights, k=count)
    draw_one = _Draw(dice, size)
    return [Step(at, name, _DRAWS[name](draw_one)) for at, name in zip(moments, names, strict=True)]


def _when(step: Step) -> int:
    return step.at_ms


def _changes(dice: Random, ms: int) -> list[Step]:
    """Members come first, so that others can go."""
    moments = sorted(dice.randint(0, ms) for _ in range(dice.randint(6, 14)))
    found = []
    for place, at in enumerate(moments):
        what = dice.choice(CHANGES) if place else "grow"
        who = LEADER if dice.random() < 0.4 else dice.randrange(100)
        found.append(Step(at, "change", (what, who)))
    return found


class _Draw:
    """Arguments of one fault."""

    def __init__(self, dice: Random, size: int) -> None:
        self.dice, self.size = dice, size

    def who(self) -> int:
        return LEADER if self.dice.random() < 0.35 else self.dice.randrange(self.size)

    def some(self) -> tuple[int, ...]:
        if self.dice.random() < 0.4:
            return (self.who(),)
        return tuple(
            self.dice.sample(range(self.size), self.dice.randint(1, max(self.size // 2, 1)))
        )

    def ms(self, low: int, high: int) -> int:
        """Short times are as likely as long ones."""
        return int(low * (high / low) ** self.dice.random())

    def delays(self) -> tuple[int, int]:
        low = self.dice.choice((30, 1_000, 10_000))
        return low, low * self.dice.randint(2, 12)


_DRAWS: dict[str, Callable[[_Draw], tuple[Any, ...]]] = {
    "crash": lambda d: (d.who(), d.ms(1, 4_000)),
    "power_cut": lambda d: (d.ms(1, 1_000),),
    "crash_inside": lambda d: (
        d.who(),
        d.dice.randint(0, 20),
        d.dice.random() < 0.5,
        d.ms(500, 3_000),
    ),
    "pause": lambda d: (d.who(), d.ms(10, 4_000)),
    "clock_rate": lambda d: (d.who(), d.dice.uniform(0.5, 2.0), d.ms(1_000, 15_000)),
    "wall_jump": lambda d: (d.who(), d.dice.choice((-1, 1)) * d.ms(1_000, 10**11)),
    "partition": lambda d: (d.some(), d.dice.choice((0, 0, 1, 2)), d.ms(100, 5_000)),
    "swizzle": lambda d: (d.some(), d.ms(100, 2_000)),
    "weather": lambda d: (
        d.dice.choice((0.0, d.dice.uniform(0, 0.3))),
        d.dice.choice((0.0, d.dice.uniform(0, 0.5))),
        d.delays(),
        d.ms(1_000, 12_000),
    ),
    "slow_disk": lambda d: (d.who(), (1_000, d.ms(2_000, 1_000_000)), d.ms(500, 6_000)),
    "failing_sync": lambda d: (
        d.who(),
        d.dice.choice(("log", "log", "state", "witness")),
        d.dice.random() < 0.5,
        d.ms(200, 3_000),
    ),
    "full_disk": lambda d: (d.who(), d.ms(200, 3_000)),
    "low_space": lambda d: (d.some(), d.dice.choice((1, 2)), d.ms(200, 4_000)),
    "older_files": lambda d: (
        d.who(),
        d.dice.choice(("log", "state", "witness")),
        d.ms(200, 5_000),
    ),
    "rot": lambda d: (d.who(), d.dice.choice(ROTS), d.dice.random() < 0.5),
    "wipe": lambda d: (d.who(),),
}
