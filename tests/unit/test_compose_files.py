"""The files of compose/ hold together: knobs, options of a node, confinement, Grafana's model.

Nothing is started. What needs a tool that is not here is skipped by name.
"""

import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from actors.metrics import TABLE
from cli.server import dkv

FOLDER = Path(__file__).resolve().parents[2] / "compose"
YAML = sorted(FOLDER.glob("*.yaml"))
DASHBOARD = json.loads((FOLDER / "grafana/dkv.json").read_text())
OVERLAYS = ("five", "chaos", "monitoring")
NOT_CONFINED_BY_US = {"grafana", "prometheus"}  # images with a user of their own


def _knobs() -> dict[str, str]:
    lines = (FOLDER / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _options() -> dict[str, Any]:
    """Variable → default, of every option of a node."""
    return {f"DKV_{p.name.upper()}": p.default for p in dkv.params if p.name}


def test_every_knob_is_used_and_every_variable_is_a_knob() -> None:
    used = {name for file in YAML for name in re.findall(r"\$\{(\w+)\}", file.read_text())}
    assert used | {"COMPOSE_PROJECT_NAME"} == set(_knobs())


def test_every_knob_is_explained() -> None:
    lines = (FOLDER / ".env").read_text().splitlines()
    bare = [n for n, line in pairwise(lines) if not n and "=" in line]
    assert bare == []


def test_a_nodes_knobs_are_options_of_a_node_with_its_defaults() -> None:
    knobs, options = _knobs(), _options()
    for file in ("node.yaml", "compose.yaml"):
        text = (FOLDER / file).read_text()
        given = re.findall(r"^ +(DKV_\w+): (.+)", text, re.MULTILINE)
        assert given
        for name, value in given:
            knob = re.fullmatch(r"\$\{(\w+)\}", value)
            if name == "DKV_CERT_DAYS":
                continue  # of dkv-certs
            assert name in options, f"{file}: {name} is no option of dkv"
            if knob and name != "DKV_INITIAL_CLUSTER_TOKEN":
                assert knobs[knob[1]] == str(options[name]), name


# -- by docker compose itself ---------------------------------------------------------------------
def _compose() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True)
            if not found.returncode:
                return command
    pytest.skip("neither `docker compose` nor `docker-compose` is here")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """All of them, as docker compose reads them; it needs no engine for that."""
    files = [w for name in ("compose", *OVERLAYS) for w in ("-f", f"{name}.yaml")]
    command = [*_compose(), *files, "--profile", "tools", "--profile", "chaos", "config"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DKV", "COMPOSE"))}
    done = subprocess.run(command, cwd=FOLDER, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_all_overlays_fit_together(services: dict[str, Any]) -> None:
    assert {"n1", "n2", "n3", "n4", "n5", "certs", "invite", "ctl", "dashboard"} < set(services)
    assert {"chaos", "prometheus", "grafana"} < set(services)


def test_every_container_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if service.get("user") not in (None, "0:0"):
            raise AssertionError(f"{name} has a user that the image does not know")


def test_nothing_is_open_to_other_machines(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for port in service.get("ports", ()):
            host = port["host_ip"] if isinstance(port, dict) else str(port)
            assert host.startswith("127.0.0.1"), name


def test_no_node_sees_the_authority(services: dict[str, Any]) -> None:
    seen = {name for name, s in services.items() if "authority" in json.dumps(s.get("volumes"))}
    assert seen == {"certs"}


# -- what is asked of metrics ---------------------------------------------------------------------
def test_dashboard_and_alerts_name_metrics_that_there_are() -> None:
    known = {meaning.name for meaning in TABLE}
    for file in ("alerts.yml", "grafana/dkv.json"):
        named = set(re.findall(r"dkv_\w+", (FOLDER / file).read_text()))
        assert named
        assert {re.sub("_(bucket|count|sum)$", "", name) for name in named} <= known, file


# -- Grafana --------------------------------------------------------------------------------------
def test_the_dashboard_is_what_grafanas_model_says() -> None:
    """Read by the published model and written again: what the model does not know would be gone."""
    sdk = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    again = json.loads(json.dumps(sdk.Dashboard.from_json(DASHBOARD), cls=JSONEncoder))
    assert _missing(DASHBOARD, again) == []


def test_the_panels_options_are_what_their_model_says() -> None:
    models = {
        kind: pytest.importorskip(
            f"grafana_foundation_sdk.models.{kind}",
            reason="grafana-foundation-sdk is not installed",
        )
        for kind in ("stat", "timeseries")
    }
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    for panel in _panels():
        model = models[panel["type"]]
        again = json.loads(json.dumps(model.Options.from_json(panel["options"]), cls=JSONEncoder))
        assert _missing(panel["options"], again) == [], panel["title"]


def _missing(told: Any, again: Any, place: str = "") -> list[str]:
    """Where what was told is not, or is otherwise, in what came of it."""
    if isinstance(told, dict):
        if not isinstance(again, dict):
            return [place]
        return [p for k, v in told.items() for p in _missing(v, again.get(k), f"{place}/{k}")]
    if isinstance(told, list):
        if not isinstance(again, list) or len(told) != len(again):
            return [place]
        pairs = zip(told, again, strict=True)
        return [p for n, (a, b) in enumerate(pairs) for p in _missing(a, b, f"{place}/{n}")]
    return [] if told == again else [place]


def _panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_panels_have_a_place_of_their_own_a_title_and_words() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert all(p["title"] and p["description"] for p in _panels())
    assert len({p["id"] for p in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
