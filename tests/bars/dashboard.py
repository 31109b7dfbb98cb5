"""Does a dashboard grow, in the browser or in the server, while a cluster works?

    python -m tests.bars.dashboard [--minutes 10] [--rate 2000]

Three nodes, a steady load of puts, one page that follows the log, one that reads nothing (a stuck
one). Every 15 s: puts a second, the page's heap once nothing is left that nobody needs, its
elements, and the dashboard's resident memory. The first two minutes fill what has a bound; after
that nothing may grow by more than a tenth.
"""

import argparse
import asyncio
import socket
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from dkv.client import AsyncClient, RequestError
from tests.dashboard.browser import Browser, Page
from tests.dashboard.running import Dashboard
from tests.real.cluster import Cluster

_LOOK_S = 15.0
_FILL_S = 120.0
_GROWTH_MAX = 1.10
_TICK_S = 0.01
_KEYS = 5_000


class Load:
    """A steady rate of puts from a thread of its own."""

    def __init__(self, cluster: Cluster, rate: int) -> None:
        self._cluster, self._rate = cluster, rate
        self.done = self.failed = 0
        self._ended = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _run(self) -> None:
        async with self._cluster.async_client() as client:
            began, started, under_way = time.monotonic(), 0, set()
            while not self._ended.is_set():
                due = int((time.monotonic() - began) * self._rate)
                for number in range(started, due):
                    task = asyncio.create_task(self._put(client, number))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                started = due
                await asyncio.sleep(_TICK_S)
            await asyncio.gather(*under_way)

    async def _put(self, client: AsyncClient, number: int) -> None:
        try:
            await client.put(f"load/{number % _KEYS}", b"v" * 100)
            self.done += 1
        except RequestError:
            self.failed += 1


class Look(NamedTuple):
    at_s: float
    heap: int
    elements: int
    resident: int


def open_stuck_page(dashboard: Dashboard) -> socket.socket:
    """A page that asks for the stream and never reads it."""
    secret = parse_qs(urlsplit(dashboard.link).query)["secret"][0]
    stuck = socket.create_connection(("127.0.0.1", dashboard.port))
    head = f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nCookie: dkv-{dashboard.port}={secret}"
    stuck.sendall(f"{head}\r\n\r\n".encode())
    return stuck


def look(page: Page, dashboard: Dashboard, began: float) -> Look:
    elements = int(page.run("document.querySelectorAll('*').length"))
    return Look(time.monotonic() - began, page.heap_bytes(), elements, dashboard.resident_bytes())


def measure(page: Page, dashboard: Dashboard, load: Load, seconds: float) -> list[Look]:
    looks, began = [], time.monotonic()
    before = load.done
    while time.monotonic() - began < seconds:
        time.sleep(_LOOK_S)
        looks.append(look(page, dashboard, began))
        at_s, heap, elements, resident = looks[-1]
        rate, before = (load.done - before) / _LOOK_S, load.done
        left_out = page.run("import('/page/store.js').then(m => m.store.skipped)")
        print(
            f"{at_s:5.0f} s  {rate:6.0f} puts/s  heap {heap / 1e6:5.1f} MB  elements {elements:4}  "
            f"server {resident / 1e6:5.1f} MB  left out {left_out}  {page.text('#log-words')}",
            flush=True,
        )
    return looks


def judge(looks: list[Look]) -> None:
    """The last third against the first after filling."""
    settled = [x for x in looks if x.at_s >= min(_FILL_S, looks[-1].at_s / 2)]
    third = max(len(settled) // 3, 1)
    for what in ("heap", "elements", "resident"):
        first = max(getattr(x, what) for x in settled[:third])
        last = max(getattr(x, what) for x in settled[-third:])
        print(f"{what}: {last / first:.3f} of what it was")
        assert last <= first * _GROWTH_MAX, f"{what} grows"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.dashboard", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=int, default=2_000)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder,
        Cluster(Path(folder) / "c") as cluster,
    ):
        cluster.start()
        cluster.wait_serving()
        with (
            Dashboard(cluster) as dashboard,
            Browser() as browser,
            open_stuck_page(dashboard),
            Load(cluster, asked.rate) as load,
        ):
            page = browser.open(dashboard.link)
            page.wait("document.getElementById('health-words').textContent.includes('well')")
            looks = measure(page, dashboard, load, asked.minutes * 60)
            print(f"puts {load.done}, failed {load.failed}; complaints {page.complaints}")
            judge(looks)
            assert page.complaints == []


if __name__ == "__main__":
    main()
