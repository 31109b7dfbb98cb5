"""Pictures of the dashboard for the documentation: light, dark, narrow, a key, an election.

    python -m tests.dashboard.pictures [FOLDER]

A cluster of three with some work, its leader killed once and back again. FOLDER: docs/pictures.
"""

import sys
import tempfile
import time
from pathlib import Path
from random import Random
from threading import Event, Thread

from dkv.client import RequestError
from tests.dashboard.browser import Browser
from tests.dashboard.running import Dashboard
from tests.real.cluster import Cluster

_WORK_S = 45.0
_CITIES = ("zürich", "lyon", "porto", "graz", "oslo")


def work(cluster: Cluster, ended: Event) -> None:
    """As an application might: orders, sessions, settings."""
    dice = Random(7)
    with cluster.client(who="writer") as kv, cluster.client(who="admin") as operator:
        while not ended.wait(dice.uniform(0.01, 0.12)):
            try:
                order = f"orders/2026/{dice.randint(1000, 9999)}"
                kv.put(order, dice.randbytes(dice.randint(40, 2_000)))
                if dice.random() < 0.3:
                    kv.put(f"stock/{dice.choice(_CITIES)}", str(dice.randint(0, 500)))
                if dice.random() < 0.1:
                    kv.delete(order)
                if dice.random() < 0.05:
                    operator.put("config/web/timeout", '{"seconds": 30, "retries": 3}')
            except RequestError:
                pass  # while nobody leads


def take(browser: Browser, dashboard: Dashboard, folder: Path) -> None:
    row = "[...document.querySelectorAll('#window .row')].find(r => !r.hidden && "
    row += "r.querySelector('.key').textContent.startsWith('stock/'))"
    for name, width, height, dark in (
        ("dashboard-light", 1440, 900, False),
        ("dashboard-dark", 1440, 900, True),
        ("dashboard-narrow", 360, 780, False),
    ):
        page = browser.open(dashboard.link, width, height, dark=dark)
        page.wait("document.getElementById('health-words').textContent.includes('well')")
        page.wait(row)
        if width < 600:
            page.run("document.querySelector('.terms').scrollIntoView()")
        page.run("new Promise(done => setTimeout(done, 1500))")
        page.picture(folder / f"{name}.png")
        if dark:
            continue
        page.run(f"{row}.click()")
        page.click("#inspect-form button")
        page.wait("document.querySelector('#inspect-now pre')")
        page.picture(folder / f"{name.replace('light', 'key').replace('narrow', 'key-narrow')}.png")


def main() -> None:
    pictures = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")
    pictures.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="dkv-pictures-") as folder,
        Cluster(Path(folder) / "c") as cluster,
    ):
        cluster.start()
        cluster.wait_serving()
        ended = Event()
        worker = Thread(target=work, args=(cluster, ended))
        worker.start()
        try:
            with Dashboard(cluster) as dashboard, Browser() as browser:
                time.sleep(_WORK_S)
                leader = cluster.leader()
                cluster.kill(leader)
                cluster.leader()
                time.sleep(2)
                cluster.start(leader)
                cluster.wait_serving(leader)
                time.sleep(_WORK_S / 2)
                take(browser, dashboard, pictures)
        finally:
            ended.set()
            worker.join()


if __name__ == "__main__":
    main()
