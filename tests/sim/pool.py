"""Many seeds on all cores: each process plays one after another, the figures come together here.

Owns: the processes. Must never know what a seed is.
"""

import gc
import os
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from typing import NamedTuple

from tests.sim import Report, run_seed


class Failure(NamedTuple):
    seed: int
    words: str


def play(seed: int) -> Report | Failure:
    """A seed's figures, or what went wrong. A failing seed must not end the others."""
    gc.disable()  # a seed lives for a second, and what it leaves is collected at its end
    try:
        return run_seed(seed)
    except Exception:
        return Failure(seed, traceback.format_exc(limit=-3))
    finally:
        gc.collect()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def play_all(seeds: Iterable[int], processes: int) -> Iterator[Report | Failure]:
    """In the order in which they end."""
    if processes == 1:
        yield from map(play, seeds)
        return
    with Pool(processes) as pool:
        yield from pool.imap_unordered(play, seeds, chunksize=1)
