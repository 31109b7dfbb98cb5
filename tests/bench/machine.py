"""What this machine is, and what its kernel counts of disk and processes.

Owns: the fields of /proc and /sys that are read. Must never know what runs.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_TICKS_S = os.sysconf("SC_CLK_TCK")
_FLUSHES = 18  # of /proc/diskstats: flush requests completed (Linux 5.5 and newer)
_IN_MEMORY = ("tmpfs", "ramfs")


class Unfit(Exception):
    """Nothing can be measured here; the words say what is missing."""


def facts(folder: Path) -> dict[str, Any]:
    """For whoever reads the figures later; `folder` is where the data goes."""
    kind, device = _filesystem(folder)
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": kind,
        "disk": device,
        "flushes_counted": flushes(folder) is not None,
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Of this tree, with `+` if it has changes; empty without git or a repository."""

    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        except FileNotFoundError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")


def check_disk(folder: Path) -> None:
    """Unfit if `folder` lies in memory: a sync there costs nothing, and figures would lie."""
    kind, _ = _filesystem(folder)
    if kind in _IN_MEMORY:
        raise Unfit(
            f"{folder} is on {kind}, where a sync costs nothing: set TMPDIR to a folder on a disk"
        )


def save(file: Path, told: dict[str, Any]) -> None:
    """A report, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".part")
    fresh.write_text(json.dumps(told, indent=1) + "\n")
    fresh.replace(file)


def _filesystem(folder: Path) -> tuple[str, str]:
    """(type, device) of the mount that holds `folder`."""
    best = ("", "unknown", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind, *_ = line.split()
        if Path(mount) in (folder.resolve(), *folder.resolve().parents) and len(mount) > len(
            best[0]
        ):
            best = (mount, kind, device)
    return best[1], best[2]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def flushes(folder: Path) -> int | None:
    """Flushes of the disk under `folder` since the machine's start; None: not counted here (an
    older kernel, a disk without a volatile cache, or no disk of its own)."""
    device = folder.stat().st_dev
    wanted = [str(os.major(device)), str(os.minor(device))]
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if fields[:2] == wanted:
            return (int(fields[_FLUSHES]) or None) if len(fields) > _FLUSHES else None
    return None


def cpu_s(pid: int) -> float:
    """User and system time of a process, its threads and its ended children; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS_S


def busy_s() -> float:
    """CPU time that all cores together have not been idle (waiting for the disk is idle)."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / _TICKS_S


def memory_mib(pids: Iterable[int]) -> list[float]:
    """Resident memory of each process."""
    pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return [round(p * os.sysconf("SC_PAGE_SIZE") / 2**20, 1) for p in pages]


def disk_mib(folder: Path) -> float:
    """What the files under `folder` occupy."""
    blocks = 0
    for path in folder.rglob("*"):
        try:
            blocks += path.lstat().st_blocks
        except OSError:  # it went while we looked
            continue
    return round(blocks * 512 / 2**20, 1)
