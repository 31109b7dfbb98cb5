"""The cluster in containers, abused step by step while a checked load runs.

The steps are played in order, on one cluster; the last compares the books.
"""

import re
import time
from urllib.request import HTTPCookieProcessor, build_opener

from tests.compose.conftest import Step
from tests.compose.load import Load
from tests.compose.project import (
    ALL,
    DASHBOARD_PORT,
    FOUNDERS,
    PATIENCE_S,
    Project,
    run,
)

IMAGE_BYTES_MAX = 120_000_000
READY_S = 3.0
STOP_S = 5.0
STARTS: list[float] = []  # from each start of a process until it said that it is ready


def _others(node: str) -> list[str]:
    return [name for name in FOUNDERS if name != node]


def test_the_image_is_small_and_its_user_is_not_root(project: Project) -> None:
    sizes = [
        int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        for image in (project.image, project.base)
    ]
    print(f"  image: {(sizes[0] - sizes[1]) / 1e6:.0f} MB over its base")
    assert sizes[0] - sizes[1] <= IMAGE_BYTES_MAX
    assert project.compose("exec", "-T", "n1", "id", "-u") == "10001"


def test_a_start_compiles_nothing(project: Project) -> None:
    """Its root is read-only: what the image has not compiled would be compiled at each start."""
    python = "python3 -v -c 'import cli.server, actors.metrics' 2>&1"
    said = project.compose("exec", "-T", "n1", "sh", "-c", python)
    loaded = re.findall(r"^# code object from '?(/[^\s']+)'?$", said, re.MULTILINE)
    assert len(loaded) > 100
    assert [path for path in loaded if path.endswith(".py")] == []


def test_a_node_is_confined_and_has_no_keys_but_its_own(project: Project) -> None:
    host = project.inspect("n1")["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] > 0
    keys = project.compose("exec", "-T", "n1", "sh", "-c", "cd /certs; ls *.key").split()
    assert keys == ["n1.key", "server.key"]


def test_the_engine_finds_a_ready_node_healthy(project: Project) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while project.inspect("n1")["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < give_up, project.inspect("n1")["State"]["Health"]


def test_writes_through_any_node(project: Project, load: Load, step: Step) -> None:
    with step("a write through each node, read at each other"):
        for node in FOUNDERS:
            with project.client(node) as kv:
                kv.put(f"through/{node}", node)
            for other in FOUNDERS:
                with project.client(other) as kv:
                    item = kv.get(f"through/{node}")
                assert item is not None
                assert item.value == node.encode()


def test_the_leaders_process_is_killed(project: Project, load: Load, step: Step) -> None:
    """The engine starts it again by itself."""
    leader, _term = project.leader()
    child_of_init = "kill -9 $(cat /proc/1/task/1/children)"
    with step(f"{leader}, which leads, is killed from inside and started again by the engine"):
        project.compose("exec", "-T", leader, "sh", "-c", child_of_init)
        project.wait_ready(*_others(leader), leader)
    assert project.inspect(leader)["RestartCount"] == 1


def test_the_leaders_container_is_killed(project: Project, load: Load, step: Step) -> None:
    leader, term = project.leader()
    with step(f"{leader}, which leads, is killed; another leads"):
        project.compose("kill", leader)
        load.flows()
        found, later = project.leader(*_others(leader))
        assert found != leader
        assert later > term
    _start(project, leader)


def _start(project: Project, node: str) -> None:
    STARTS.append(project.start(node))
    project.wait_ready(node)
    print(f"  {node} is ready {STARTS[-1]:.2f} s after its start")


def test_the_leader_is_cut_off_its_network(project: Project, load: Load, step: Step) -> None:
    leader, _term = project.leader()
    container = project.container(leader)
    with step(f"{leader}, which leads, is off its network; another leads"):
        run("docker", "network", "disconnect", project.network, container)
        load.flows()
        found, _ = project.leader(*_others(leader))
        assert found != leader
    with step(f"{leader} is back"):
        run("docker", "network", "connect", "--alias", leader, project.network, container)
        project.wait_ready(leader)


def test_a_container_comes_back_with_another_address(
    project: Project, load: Load, step: Step
) -> None:
    """Something else has taken its old one meanwhile."""
    leader, _term = project.leader()
    node = _others(leader)[0]
    before = project.address(node)
    with step(f"{node} is made anew, with another address"):
        project.compose("rm", "--stop", "--force", node)
        idle = ("--network", project.network, "--entrypoint", "sleep", project.image, "600")
        taken = run("docker", "run", "--rm", "--detach", *idle)
        try:
            project.compose("up", "--detach", node)
            project.wait_ready(node)
            assert project.address(node) != before
        finally:
            run("docker", "kill", taken)


def test_a_rolling_restart(project: Project, load: Load, step: Step) -> None:
    with step("all are restarted, one after the other"):
        for node in FOUNDERS:
            project.compose("restart", node)
            project.wait_ready(node)


def test_docker_stop_hands_leadership_over(project: Project, load: Load, step: Step) -> None:
    """The quickest of three: the others waited for what else this machine does."""
    took = [_stop_leader(project, load, step)]
    while min(took) > STOP_S and len(took) < 3:
        took.append(_stop_leader(project, load, step))
    assert min(took) <= STOP_S


def _stop_leader(project: Project, load: Load, step: Step) -> float:
    """It ends in order, and the next term is its successor's; how many seconds it took to stop."""
    leader, term = project.leader()
    with step(f"{leader}, which leads, is stopped; another leads"):
        began = time.monotonic()
        run("docker", "stop", project.container(leader))
        took = time.monotonic() - began
        load.flows()
    print(f"  {leader} stopped within {took:.2f} s")
    assert project.inspect(leader)["State"]["ExitCode"] == 0
    found, later = project.leader(*_others(leader))
    assert found != leader
    assert later == term + 1, "an election of more than one round is no handover"
    _start(project, leader)
    return took


def test_nodes_are_harmed_by_the_overlay(project: Project, load: Load, step: Step) -> None:
    files, project.files = project.files, ["compose.yaml", "chaos.yaml"]
    with step("20 s of harm by chaos.yaml"):
        said = project.compose("run", "--rm", "-T", "chaos")
    project.files = files
    print("".join(f"    {line}\n" for line in said.splitlines() if " s  " in line), end="")
    assert "linearizable" in said
    assert said.endswith("PASSED")


def test_the_dashboard_is_served(project: Project) -> None:
    """To who has the link alone, which its log tells."""
    [link] = re.findall(r"http://\S+", project.compose("logs", "--no-color", "dashboard"))
    link = re.sub(r"//[^/]+/", f"//127.0.0.1:{DASHBOARD_PORT}/", link)
    with build_opener(HTTPCookieProcessor()).open(link) as answer:
        assert answer.url == f"http://127.0.0.1:{DASHBOARD_PORT}/"
        assert b"<html" in answer.read()


def test_from_three_nodes_to_five(project: Project, load: Load, step: Step) -> None:
    with step("two more join, and vote"):
        project.files = ["compose.yaml", "five.yaml"]
        project.compose("up", "--detach")
        project.wait_ready("n4", "n5")
        project.wait_voters(*ALL)
    with step("two of five are killed"):
        project.compose("kill", "n1", "n2")
        load.flows()
    project.compose("start", "n1", "n2")
    project.wait_ready("n1", "n2")


def test_a_node_is_soon_ready(project: Project, load: Load) -> None:
    """The best of six starts: the others waited for what else this machine does."""
    while min(STARTS, default=READY_S + 1) > READY_S and len(STARTS) < 6:
        project.compose("stop", "n1")
        _start(project, "n1")
    assert min(STARTS) <= READY_S


def test_no_acknowledged_write_is_lost(project: Project, load: Load) -> None:
    load.stop()
    print(f"  nothing is lost: {load.check()}")
    assert project.ctl("check", "hash")
