"""The kit that judges servers: a node of dkv keeps every rule, secured or not, leading or not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dkv.conformance.rules import SERVER
from dkv.conformance.verdicts import PASSED, SKIPPED
from tests.real.cluster import Cluster

OF_SECURITY = {"S23", "S24"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), size=3) as found:
        found.start()
        found.wait_serving()
        yield found


def judge(*options: str) -> tuple[int, list[dict[str, str]]]:
    """dkvctl's exit code and its verdicts."""
    command = (sys.executable, "-m", "cli.ctl", "conformance", "server", "-o", "json", *options)
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode, json.loads(run.stdout or "[]")


def flags(cluster: Cluster, name: str, who: str) -> list[str]:
    files = cluster.client_options(who)
    named = [word for option, path in files.items() for word in (f"--{option}", str(path))]
    return ["--endpoint", cluster.endpoints(name)[0], *named]


@pytest.mark.parametrize("name", ["n1", "n2"])
def test_a_node_keeps_every_rule(cluster: Cluster, name: str) -> None:
    code, verdicts = judge(*flags(cluster, name, "writer"))
    assert [v for v in verdicts if v["outcome"] != PASSED] == []
    assert {v["rule"] for v in verdicts} == set(SERVER)
    assert code == 0
    with cluster.client() as kv:
        assert kv.count(b"conformance/") == 0


def test_a_node_is_not_tried_by_who_may_not_write(cluster: Cluster) -> None:
    code, verdicts = judge(*flags(cluster, "n1", "reader"))
    assert (code, verdicts) == (5, [])


def test_a_node_without_security_keeps_the_others(tmp_path: Path) -> None:
    with Cluster(tmp_path, size=1, secure=False) as cluster:
        cluster.start()
        cluster.wait_serving()
        code, verdicts = judge("--endpoint", cluster.endpoints("n1")[0], "--insecure")
    skipped = {v["rule"] for v in verdicts if v["outcome"] == SKIPPED}
    assert skipped == OF_SECURITY
    assert {v["rule"] for v in verdicts if v["outcome"] == PASSED} == set(SERVER) - OF_SECURITY
    assert code == 0
