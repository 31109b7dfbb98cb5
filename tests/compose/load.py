"""A load whose every acknowledgement is checked at the end.

Owns: workers, each with a client that knows the three nodes, and the books: keys written once, with
a value of their own, and one counter that all increment by compare-and-put. Must never know what
is done to the cluster meanwhile.
"""

import threading
import time
from itertools import pairwise

from dkv.client import Client, ConditionFailed, Rejected, Uncertain
from tests.compose.project import FOUNDERS, Project

WORKERS = 3
_PACE_S = 0.01
_TIMEOUT_S = 15.0
_EACH = 5  # so many keys to an increment
COUNTER = "counter"


class Load:
    def __init__(self, project: Project) -> None:
        self._project = project
        self.keys: dict[str, str] = {}  # acknowledged
        self.increments = 0  # acknowledged
        self.unknown = 0  # increments of which nobody knows
        self.answered: list[float] = []  # when each write was acknowledged
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def silence(self, since: float) -> float:
        """The longest time since then without an acknowledgement, in seconds."""
        with self._lock:
            moments = [since, *(t for t in self.answered if t > since), time.monotonic()]
        return max(b - a for a, b in pairwise(moments))

    def flows(self, patience_s: float = 60.0) -> None:
        """Wait until something is acknowledged that was asked after now."""
        since = time.monotonic()
        while not any(t > since for t in self.answered[-WORKERS:]):
            assert time.monotonic() - since < patience_s, "no write is acknowledged"
            time.sleep(_PACE_S)

    # -- a worker --------------------------------------------------------------------------------
    def _work(self, number: int) -> None:
        nodes = FOUNDERS[number % 3 :] + FOUNDERS[: number % 3]
        try:
            with self._project.client(*nodes, timeout=_TIMEOUT_S) as kv:
                count = 0
                while not self._ending.is_set():
                    count += 1
                    self._put(kv, f"load/{number}/{count}", f"{number}.{count}")
                    if count % _EACH == 0:
                        self._increment(kv)
                    time.sleep(_PACE_S)
        except BaseException as error:
            self._errors.append(error)

    def _put(self, kv: Client, key: str, value: str) -> None:
        try:
            kv.put(key, value)
        except (Rejected, Uncertain):
            return
        with self._lock:
            self.keys[key] = value
            self.answered.append(time.monotonic())

    def _increment(self, kv: Client) -> None:
        try:
            item = kv.get(COUNTER)
        except (Rejected, Uncertain):
            return
        count, revision = (int(item.value or b"0"), item.key_revision) if item else (0, 0)
        try:
            kv.put(COUNTER, str(count + 1), expected=revision)
        except (ConditionFailed, Rejected):
            return
        except Uncertain:
            with self._lock:
                self.unknown += 1
            return
        with self._lock:
            self.increments += 1
            self.answered.append(time.monotonic())

    # -- the books -------------------------------------------------------------------------------
    def check(self) -> str:
        """Compare them with what the cluster holds; what was compared, in words."""
        with self._project.client(timeout=30.0) as kv:
            found = {i.key.decode(): (i.value or b"").decode() for i in kv.list("load/")}
            counter = kv.get(COUNTER)
        lost = {key for key, value in self.keys.items() if found.get(key) != value}
        assert not lost, f"{len(lost)} acknowledged writes are lost, {sorted(lost)[:5]} among them"
        count = int(counter.value or b"0") if counter else 0
        assert self.increments <= count <= self.increments + self.unknown, (
            f"the counter is {count}, acknowledged {self.increments}, unknown {self.unknown}"
        )
        return f"{len(self.keys):,} keys, counter {count}; {self.unknown} unknown"
