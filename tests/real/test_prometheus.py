"""Prometheus collects from three real nodes; each query of Grafana's dashboard has an answer."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from dkv.client import ConditionFailed, Denied
from tests.real.cluster import free_ports
from tests.real.test_metrics import Watched

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
PATIENCE_S = 40.0
# What Grafana puts in place of its own variables.
VARIABLES = {"$__rate_interval": "10s", "$node": ".*"}


def _queries() -> list[str]:
    dashboard = json.loads((COMPOSE / "grafana/dkv.json").read_text())
    asked = [t["expr"] for p in dashboard["panels"] for t in p.get("targets", ())]
    for variable, value in VARIABLES.items():
        asked = [query.replace(variable, value) for query in asked]
    return asked


class Prometheus:
    """One that asks these nodes each half second, until it is closed."""

    def __init__(self, folder: Path, cluster: Watched) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian: prometheus)")
        folder.mkdir()
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"node": name}}
            for name, port in cluster.metrics.items()
        ]
        jobs = [{"job_name": "dkv", "static_configs": targets}]
        paces = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
        settings = {"global": paces, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(json.dumps(settings))  # which is YAML, too
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/api/v1/query?"
        with (folder / "lines").open("wb") as lines:
            self.process = subprocess.Popen(
                (
                    program,
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{port}",
                ),
                stdout=lines,
                stderr=lines,
            )

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()

    def has_data(self, query: str) -> bool:
        """Samples, and numbers all of them."""
        with suppress(OSError), urlopen(self._url + urlencode({"query": query})) as answer:
            found = json.load(answer)["data"]["result"]
            return bool(found) and any(not math.isnan(float(s["value"][1])) for s in found)
        return False


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("prometheus") / "cluster") as cluster:
        cluster.start()
        cluster.wait_serving()
        yield cluster


def _ask_all_sorts(cluster: Watched) -> None:
    """Writes, reads, a condition that fails, a refusal."""
    with cluster.client() as kv, cluster.client(who="reader") as reader:
        for name in ("a", "b", "c"):
            kv.put(name, "x")
            kv.get(name)
        with suppress(ConditionFailed):
            kv.put("a", "y", expected=0)
        with suppress(Denied):
            reader.put("a", "y")


def test_every_query_of_the_dashboard_has_an_answer(watched: Watched, tmp_path: Path) -> None:
    prometheus = Prometheus(tmp_path / "prometheus", watched)
    try:
        without = _queries()
        assert len(without) > 30
        give_up = time.monotonic() + PATIENCE_S
        while without and time.monotonic() < give_up:
            _ask_all_sorts(watched)
            without = [query for query in without if not prometheus.has_data(query)]
        assert without == []
    finally:
        prometheus.close()


@pytest.mark.parametrize("what", ["rules", "config"])
def test_promtool_finds_the_files_good(what: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    file = COMPOSE / {"rules": "alerts.yml", "config": "prometheus.yml"}[what]
    done = subprocess.run((promtool, "check", what, file), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
