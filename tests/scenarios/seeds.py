"""Which seeds a scenario runs: fixed ones, unless the environment asks for others.

DKV_SEED=71 pytest ...       just this one: what a failure printed
DKV_SEEDS=500 pytest ...     the first 500, for a long night
"""

import os


def seeds(count: int) -> list[int]:
    if "DKV_SEED" in os.environ:
        return [int(os.environ["DKV_SEED"])]
    return list(range(1, int(os.environ.get("DKV_SEEDS", count)) + 1))
