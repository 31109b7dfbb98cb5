"""Harm a cluster in containers while a checked load runs, and say whether every answer was right.

Owns: what is done to the nodes through the engine's socket, and when. A minority at a time is
paused, killed, cut off its network, or stopped; then all is mended, and the cluster must be well
again before the next. Must never know what makes an answer right: the load and the verdict are
`dkvctl check linearizable`. Needs Python and `dkvctl`, nothing else. Everything is mended at the
end, also after Ctrl-C.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"
HARM_S = (1.0, 6.0)  # how long
CALM_S = (1.0, 3.0)  # between two harms
WELL_WITHIN_S = 60.0
END_S = 20.0  # the load goes on for so long after the last harm has begun


class Engine:
    """The engine's HTTP interface, as far as it is needed."""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("docker", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(SOCKET)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise SystemExit(f"the engine says to {method} {path}: {said.decode()}")
        return json.loads(said) if said else None

    def nodes(self, project: str) -> dict[str, str]:
        """Name → container, of those that have a disk in this project."""
        wanted = quote(json.dumps({"label": [f"com.docker.compose.project={project}"]}))
        found = {}
        for each in self.ask("GET", f"/containers/json?all=1&filters={wanted}"):
            once = each["Labels"].get("com.docker.compose.oneoff", "False") == "True"
            if any(m["Destination"] == "/data" for m in each["Mounts"]) and not once:
                found[each["Labels"]["com.docker.compose.service"]] = each["Id"]
        return found

    def networks(self, container: str) -> list[str]:
        found = self.ask("GET", f"/containers/{container}/json")
        return list(found["NetworkSettings"]["Networks"])


class Harm:
    """What is done to these nodes, and how each is mended."""

    def __init__(self, engine: Engine, nodes: dict[str, str]) -> None:
        self._engine, self._nodes = engine, nodes
        self._mend: list[Callable[[], None]] = []

    def pause(self, node: str) -> None:
        self._post(node, "pause")
        self._mend.append(partial(self._post, node, "unpause"))

    def kill(self, node: str) -> None:
        self._post(node, "kill")
        self._mend.append(partial(self._post, node, "start"))

    def stop(self, node: str) -> None:
        self._post(node, "stop")
        self._mend.append(partial(self._post, node, "start"))

    def disconnect(self, node: str) -> None:
        container = self._nodes[node]
        for network in self._engine.networks(container):
            self._engine.ask("POST", f"/networks/{network}/disconnect", {"Container": container})
            self._mend.append(partial(self._connect, node, network))

    def mend(self) -> None:
        while self._mend:
            self._mend.pop()()

    def _connect(self, node: str, network: str) -> None:
        """Under its name, which is all that the others know of it."""
        body = {"Container": self._nodes[node], "EndpointConfig": {"Aliases": [node]}}
        self._engine.ask("POST", f"/networks/{network}/connect", body)

    def _post(self, node: str, what: str) -> None:
        self._engine.ask("POST", f"/containers/{self._nodes[node]}/{what}")


KINDS = {
    "paused": Harm.pause,
    "killed": Harm.kill,
    "stopped": Harm.stop,
    "cut off": Harm.disconnect,
}


def say(words: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {words}", flush=True)


def wait_well() -> float:
    """Until all members are up and close; how many seconds that took."""
    began = time.monotonic()
    while subprocess.run(["dkvctl", "health"], capture_output=True).returncode:
        if time.monotonic() - began > WELL_WITHIN_S:
            raise SystemExit(f"FAILED: not well {WELL_WITHIN_S:.0f} s after all was mended")
        time.sleep(0.2)
    return time.monotonic() - began


def leader() -> str:
    asked = subprocess.run(["dkvctl", "-o", "json", "leader", "show"], capture_output=True)
    return str(json.loads(asked.stdout)["leader"]) if asked.returncode == 0 else ""


def choose(rng: Random, nodes: list[str]) -> list[str]:
    """A minority; whoever leads is among them every other time."""
    victims = rng.sample(nodes, rng.randint(1, (len(nodes) - 1) // 2))
    leads = leader()
    if leads and leads not in victims and rng.random() < 0.5:
        victims[0] = leads
    return victims


def harm(rng: Random, nodes: dict[str, str], until: float) -> int:
    """How many times."""
    harms = Harm(Engine(), nodes)
    count = 0
    try:
        while time.monotonic() < until:
            kind = rng.choice(list(KINDS))
            victims = choose(rng, sorted(nodes))
            for victim in victims:
                KINDS[kind](harms, victim)
            count += 1
            seconds = rng.uniform(*HARM_S)
            time.sleep(seconds)
            harms.mend()
            well = wait_well()
            say(f"{' and '.join(victims)} {kind} for {seconds:.1f} s; well after {well:.1f} s")
            time.sleep(rng.uniform(*CALM_S))
    finally:
        harms.mend()
    return count


def main() -> int:
    seconds = float(os.environ.get("DKV_CHAOS_SECONDS", "60"))
    seed = int(os.environ.get("DKV_CHAOS_SEED") or int.from_bytes(os.urandom(3)))
    nodes = Engine().nodes(os.environ["COMPOSE_PROJECT_NAME"])
    if len(nodes) < 3:
        raise SystemExit(f"no cluster: of its nodes there are {', '.join(nodes) or 'none'}")
    wait_well()
    say(f"seed {seed}: harming {', '.join(sorted(nodes))} for {seconds:.0f} s")
    history = Path(f"/tmp/history-{seed}.jsonl")
    check = ("check", "linearizable", "--seconds", str(seconds + END_S), "--history", str(history))
    load = subprocess.Popen(("dkvctl", "--timeout", "3", *check))
    try:
        count = harm(Random(seed), nodes, time.monotonic() + seconds)
        say(f"mended after {count} harms; waiting for the verdict")
        code = load.wait()
    finally:
        load.kill()
    say("PASSED" if code == 0 else f"FAILED: the check ended with {code}")
    return code


BEGAN = time.monotonic()
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
