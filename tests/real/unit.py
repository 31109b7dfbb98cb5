"""What systemd does with docs/systemd/dkv@.service, as far as a process can be started like it.

Owns: `systemctl enable --now dkv@NAME` and `stop`: the unit's user, folders, variables, command,
and of its fences those that need no systemd (no new privileges, no capabilities, no memory that is
written and run). Must never know what a node is.

    python -m tests.real.unit RUN_FOLDER daemon-reload | enable --now dkv@n1 | stop dkv@n1
"""

import ctypes
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
_PR_SET_MDWE = 65  # Linux 6.3; without it the fence is not tried


def read_unit(path: Path) -> dict[str, str]:
    """The settings of [Service], the last of a name; lines that end in a backslash are joined."""
    text = path.read_text().replace("\\\n", " ")
    service = text.split("[Service]\n")[1].split("\n[")[0]
    pairs = (line.split("=", 1) for line in service.splitlines() if line[:1].isalpha())
    return dict(pairs)


def start(unit: str, run: Path) -> None:
    instance = unit.split("@")[1]
    service = {k: v.replace("%i", instance) for k, v in read_unit(UNITS / "dkv@.service").items()}
    user = pwd.getpwnam(service["User"])
    for name in service["StateDirectory"].split():
        folder = Path("/var/lib") / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(int(service["StateDirectoryMode"], 8))
        os.chown(folder, user.pw_uid, user.pw_gid)
    lines = Path(service["EnvironmentFile"]).read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    dropped = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
    with (run / f"{instance}.lines").open("ab") as said:
        process = subprocess.Popen(
            ["setpriv", *identity, *dropped, *shlex.split(service["ExecStart"])],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={"PATH": "/usr/bin:/bin", **told},
            cwd=service["WorkingDirectory"],
            umask=int(service["UMask"], 8),
            start_new_session=True,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(_PR_SET_MDWE, 1, 0, 0, 0),
        )
    (run / f"{instance}.pid").write_text(str(process.pid))


def stop(unit: str, run: Path) -> None:
    pid = int((run / f"{unit.split('@')[1]}.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.05)  # gone, or a zombie of another's


if __name__ == "__main__":
    match sys.argv[2:]:
        case ["enable", "--now", unit]:
            start(unit, Path(sys.argv[1]))
        case ["stop", unit]:
            stop(unit, Path(sys.argv[1]))
        case words:
            assert words == ["daemon-reload"], words
