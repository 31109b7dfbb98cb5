"""Four hosts in namespaces, and the page that tells how dkv comes to them, followed word by word.

Owns: the hosts (each its network, /etc, /opt, /var/lib and /root), and stand-ins for what is not
here: `ssh` and `scp` (into a host), `systemctl` (tests/real/unit.py), `make wheel`, and on the
hosts `python3` and `pip` (dkv comes from this tree). Run inside an enclosure, which ends it all.
Must never know what the commands mean.

    python -m tests.real.hosts FOLDER
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.network import do

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
HOSTS = ("n1", "n2", "n3", "n4")
PATIENCE_S = 60

_ENTER = """#!/bin/sh
n=$1; shift
exec ip netns exec $n unshare --mount sh -c '
    for at in etc opt var/lib root; do mount --bind {run}/hosts/'$n'/$at /$at; done
    mount --bind {run}/python /opt/python; mount --bind {root} /opt/source
    cd /root; PATH={run}/host-bin:$PATH; exec "$@"' sh "$@"
"""
_PROGRAM = """#!/bin/sh
PYTHONPATH={source}:{site} PYTHONDONTWRITEBYTECODE=1 exec {python} -m cli.{module} "$@"
"""
_HOME = {
    "make": "mkdir dist; touch dist/dkv.whl",
    "ssh": 'n=${1#root@}; shift; exec {run}/bin/enter $n "$@"',
    "scp": """for to; do :; done; n=${to%%:*}; n=${n#root@}
while [ $# -gt 1 ]; do
    {run}/bin/enter $n install -m $(stat -c %a "$1") "$PWD/$1" "${to#*:}/"; shift
done""",
}
_HOST = {
    "python3": "mkdir -p /opt/dkv/bin; cp {run}/program/* /opt/dkv/bin",
    "systemctl": "cd /opt/source; PYTHONPATH={site} PYTHONDONTWRITEBYTECODE=1 exec "
    '{python} -m tests.real.unit {run} "$@"',
}


def blocks(text: str) -> list[tuple[str, str]]:
    """The commands under `## Three hosts`: where they are typed (`# on …`), and what."""
    found: list[tuple[str, str]] = []
    for part in text.split("\n## Three hosts\n")[1].split("\n## ")[0].split("\n\n"):
        where, _, commands = part.partition("\n")
        if where.startswith("    # "):
            found.append((where[6:], commands))
    return found


class Hosts:
    def __init__(self, run: Path) -> None:
        self.run = run
        do("mount", "-t", "tmpfs", "none", str(run))
        site = next(p for p in sys.path if p.endswith("site-packages"))
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.words = {"run": str(run), "root": str(ROOT), "python": f"/opt/python/bin/{version}"}
        self.words["site"] = f"/opt/{version}-packages"
        self._programs(site)
        self._network()

    def _write(self, path: str, text: str, **more: str) -> None:
        for name, value in (self.words | more).items():
            text = text.replace("{" + name + "}", value)
        file = self.run / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def _programs(self, site: str) -> None:
        run, there = self.run, self.words["site"]
        for name in HOSTS:
            for at in ("opt/python", "opt/source", f"{there[1:]}", "var/lib", "root"):
                (run / "hosts" / name / at).mkdir(parents=True)
            do("cp", "-a", "/etc", str(run / "hosts" / name))
        (run / "python").mkdir()
        do("mount", "--bind", sys.base_prefix, str(run / "python"))
        mounts = f"mount --bind {run}/site {there};"
        (run / "site").mkdir()
        do("mount", "--bind", site, str(run / "site"))
        self._write("bin/enter", _ENTER.replace("    cd /root;", f"    {mounts} cd /root;"))
        for module, name in (("server", "dkv"), ("ctl", "dkvctl")):
            self._write(
                f"program/{name}", _PROGRAM, module=module, source="/opt/source", site=there
            )
            here = {"source": str(ROOT), "site": site, "python": sys.executable}
            self._write(f"bin/{name}", _PROGRAM, module=module, **here)
        self._write("program/pip", "#!/bin/sh\n")
        for folder, commands in (("bin", _HOME), ("host-bin", _HOST)):
            for name, text in commands.items():
                self._write(f"{folder}/{name}", f"#!/bin/sh\nset -e\n{text}\n")
        (run / "home" / "docs").mkdir(parents=True)
        do("cp", "-r", str(ROOT / "docs" / "systemd"), str(run / "home" / "docs"))

    @staticmethod
    def _network() -> None:
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        do("mount", "-t", "tmpfs", "none", "/run/netns")
        do("ip", "link", "set", "lo", "up")
        do("ip", "link", "add", "bridge0", "type", "bridge")
        do("ip", "address", "add", "10.0.0.100/24", "dev", "bridge0")
        do("ip", "link", "set", "bridge0", "up")
        for i, n in enumerate(HOSTS, 1):
            do("ip", "netns", "add", n)
            do("ip", "link", "add", f"to-{n}", "type", "veth", "peer", "name", "eth0", "netns", n)
            do("ip", "link", "set", f"to-{n}", "master", "bridge0", "up")
            do("ip", "-n", n, "address", "add", f"10.0.0.{i}/24", "dev", "eth0")
            do("ip", "-n", n, "link", "set", "eth0", "up")
            do("ip", "-n", n, "link", "set", "lo", "up")

    def type(self, where: str, commands: str) -> None:
        """`where` is `home` or a host. The first command that fails ends it, in its own words."""
        print(f"== {where}\n{commands}", flush=True)
        home = str(self.run / "home")
        path = f"{self.run}/bin:{os.environ['PATH']}" if where == "home" else os.environ["PATH"]
        enter = [] if where == "home" else [f"{self.run}/bin/enter", where]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DKV", "XDG"))}
        env |= {"PATH": path, "HOME": home}
        subprocess.run([*enter, "sh", "-ec", commands], check=True, cwd=home, env=env)

    def wait_open(self, name: str) -> None:
        until = time.monotonic() + PATIENCE_S
        lines = self.run / f"{name}.lines"
        while " open: " not in lines.read_text():
            assert time.monotonic() < until, lines.read_text()
            time.sleep(0.05)


def follow(run: Path) -> None:
    hosts = Hosts(run)
    for where, commands in blocks(PAGE.read_text()):
        typed = commands.replace(" --lock", "")  # there is no terminal to ask for a passphrase
        if where == "at home":
            hosts.type("home", typed)
        elif where == "on each: its own name":
            for name in HOSTS[:3]:
                hosts.type(name, typed.replace("n1", name))
            for name in HOSTS[:3]:
                hosts.wait_open(name)
        elif where == "on n1, stopped":
            hosts.type("n1", "systemctl stop dkv@n1")
            hosts.type("n1", typed)
        else:
            for name in where.removeprefix("on ").split():
                hosts.type(name, typed)
    data = run / "hosts" / "n1" / "var" / "lib" / "dkv"
    assert all(path.stat().st_uid for path in [data, *data.rglob("*")])  # nothing is root's


if __name__ == "__main__":
    follow(Path(sys.argv[1]))
