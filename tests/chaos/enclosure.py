"""A place of its own for a run: namespaces of network, mounts and processes.

Owns: the command that enters it, and what is missing where that cannot be. When the first process
in it ends, whatever ended that (a failure, Ctrl-C, kill -9), the kernel ends all others, and takes
mounts and network away. So nothing is left behind, and two runs never meet. Must never know what
is done inside.
"""

import os
import shutil
import subprocess
import sys

_TOOLS = ("unshare", "mount", "ip", "iptables")
_UNSHARE = (
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
    *("--propagation", "private"),
)


def why_not() -> str:
    """What is missing here; empty: nothing is."""
    if os.geteuid() != 0:
        return "real chaos needs root: namespaces, mounts and iptables"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"real chaos needs {', '.join(missing)} (packages iproute2, iptables, util-linux)"
    return "" if _can_enter() else "real chaos needs namespaces, which this container denies"


def _can_enter() -> bool:
    """With a bridge and a rule: a container may allow the one and not the other."""
    script = "ip link add chaos0 type bridge && iptables -w -A INPUT -s 10.77.0.9 -j DROP"
    return subprocess.run([*_UNSHARE, "sh", "-c", script], capture_output=True).returncode == 0


def command(module: str, *words: str) -> list[str]:
    """What runs a module of this project inside."""
    return [*_UNSHARE, sys.executable, "-m", module, *words]
