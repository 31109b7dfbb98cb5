"""`dkvctl dashboard` as a process.

Owns: its port, its link, its end. Must never know what is tested.
"""

import os
import subprocess
import sys
import time
from types import TracebackType

from tests.real.cluster import Cluster, free_ports

PATIENCE_S = 15.0


class Dashboard:
    """Of a running cluster, asking as `who`."""

    def __init__(
        self, cluster: Cluster, *options: str, who: str = "admin", port: int = 0, secret: str = ""
    ) -> None:
        self.port = port or free_ports(1)[0]
        credentials = [f"--{name}={path}" for name, path in cluster.client_options(who).items()]
        named = [f"--endpoint={address}" for address in cluster.endpoints()]
        own = ["dashboard", f"--listen=127.0.0.1:{self.port}", *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DKV")}
        if secret:
            environment["DKVCTL_DASHBOARD_SECRET"] = secret
        self.lines_file = cluster.folder / f"dashboard-{self.port}.out"
        with self.lines_file.open("ab") as lines:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.ctl", *named, *credentials, *own],
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                env=environment,
            )
        self.link = self._printed_link()

    def __enter__(self) -> "Dashboard":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def lines(self) -> str:
        return self.lines_file.read_text()

    def _printed_link(self) -> str:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            for line in self.lines.splitlines():
                if line.startswith("http://"):
                    return line
            assert self.process.poll() is None, self.lines
            time.sleep(0.02)
        raise AssertionError(f"no link within {PATIENCE_S:.0f} s: {self.lines}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
