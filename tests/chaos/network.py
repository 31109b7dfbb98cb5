"""The network of a run: each node in a namespace of its own, all on one bridge, clients beside it.

Owns: namespaces, the bridge, and which packets are dropped. Only rules inside the nodes' own
namespaces are made. Must never know why.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path

CLIENTS = "10.77.0.1"  # the bridge: where the clients are


def do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")


class Network:
    """Made inside an enclosure, once."""

    def __init__(self, names: Iterable[str]) -> None:
        self.addresses = {name: f"10.77.0.{10 + i}" for i, name in enumerate(names, 1)}
        self._cut: set[str] = set()
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        do("mount", "-t", "tmpfs", "none", "/run/netns")
        do("ip", "link", "set", "lo", "up")
        do("ip", "link", "add", "bridge0", "type", "bridge")
        do("ip", "address", "add", f"{CLIENTS}/24", "dev", "bridge0")
        do("ip", "link", "set", "bridge0", "up")
        for name, address in self.addresses.items():
            self._join(name, address)

    @staticmethod
    def _join(name: str, address: str) -> None:
        do("ip", "netns", "add", name)
        outer = f"to-{name}"
        do("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        do("ip", "link", "set", outer, "master", "bridge0", "up")
        do("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        do("ip", "-n", name, "link", "set", "eth0", "up")
        do("ip", "-n", name, "link", "set", "lo", "up")

    def launcher(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", name]

    # -- who hears whom --------------------------------------------------------------------------
    def deafen(self, name: str, to: str) -> None:
        """What `to` (a node, or `clients`) sends does not arrive at `name` any more."""
        source = self.addresses.get(to, CLIENTS)
        do(*self.launcher(name), "iptables", "-w", "-A", "INPUT", "-s", source, "-j", "DROP")
        self._cut.add(name)

    def cut(self, one: str, two: str) -> None:
        """Nothing passes between two nodes."""
        self.deafen(one, two)
        self.deafen(two, one)

    def heal(self) -> None:
        for name in sorted(self._cut):
            do(*self.launcher(name), "iptables", "-w", "-F", "INPUT")
        self._cut.clear()
