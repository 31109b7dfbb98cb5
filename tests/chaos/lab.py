"""A cluster whose nodes have a network and a disk of their own, to be harmed.

Owns: which node is up, and with which endings a node may have ended. Must never know what is
harmed when.
"""

import sys
from pathlib import Path

from dkv.errors import Ending
from tests.chaos.disk import Disk
from tests.chaos.network import Network
from tests.real.cluster import Cluster, issue

DISK_MIB = 192
CLIENTS = 5


class Lab(Cluster):
    """`out`: nodes that had to stop for good, and what they said."""

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__(folder, size, options=["--keep-log"])
        self.patience_s = 60.0  # the machine may have other work
        self.network = Network(self.names)
        self.hosts = self.network.addresses
        self.disks = {name: Disk(folder / "disks" / name, DISK_MIB) for name in self.names}
        self.damaged: dict[str, str] = {}  # node → its store whose files were damaged
        self.out: dict[str, str] = {}
        self.filled: set[str] = set()  # whose disk was full in this life of its node
        self._found_dead: dict[str, int] = {}
        for number in range(1, CLIENTS + 1):  # a name each: the state tells whose write it was
            issue(self.authority, folder / "certs", f"c{number}", "writer")

    def data_dir(self, name: str) -> Path:
        return self.disks[name].data

    def launcher(self, name: str) -> list[str]:
        return [*self.network.launcher(name), sys.executable, "-m", "cli.server"]

    @property
    def sound(self) -> list[str]:
        """The nodes that must serve at the end."""
        return [name for name in self.names if name not in self.out]

    def last_line(self, name: str) -> str:
        lines = self.lines(name).strip().splitlines()
        return lines[-1] if lines else ""

    def kill(self, name: str) -> None:
        """A node that has ended by itself before is not excused by this."""
        code = self.processes[name].poll()
        if code is not None:
            self._found_dead[name] = code
        super().kill(name)

    def ended(self) -> dict[str, int]:
        """Nodes that have ended by themselves since the last look, and their exit codes."""
        codes = {name: process.poll() for name, process in self.processes.items()}
        found = {name: code for name, code in codes.items() if code is not None}
        for name in found:
            del self.processes[name]
        found |= self._found_dead
        self._found_dead = {}
        return found

    def account(self) -> list[str]:
        """Take note of ended nodes; those that a full disk ended (it may take them seconds, long
        after somebody has freed it); an ending without a reason is the failure `Unexpected`."""
        to_start = []
        for name, code in self.ended().items():
            if name in self.damaged and code in (Ending.STORAGE_FAULT, Ending.DIVERGED):
                self.out[name] = f"{Ending(code).name.lower()}: {self.last_line(name)}"
            elif name in self.filled and code == Ending.DISK_UNWRITABLE:
                self.filled.discard(name)
                to_start.append(name)
            else:
                raise Unexpected(f"{name} ended with {code}: {self.last_line(name)}")
        return to_start


class Unexpected(AssertionError):
    """A violation: something that no fault excuses."""
