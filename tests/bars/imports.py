"""The standard library through a follower, the leader killed half way, read back from each node.

    python -m tests.bars.imports [FOLDER]

Runs `dkvctl import --pin` at a follower, kills the leader with -9 when half of the keys are there,
then compares every file with each node alone by serializable reads; again after a kill -9 of all.
"""

import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from dkv.limits import MIB
from tests.real.cluster import Cluster


def files_of(folder: Path) -> dict[str, Path]:
    """Key → file, of what an import takes."""
    found = {}
    for path in folder.rglob("*"):
        inside = path.resolve().is_relative_to(folder.resolve())
        if inside and path.is_file() and path.stat().st_size <= MIB:
            found[str(path.relative_to(folder))] = path
    return found


def run_import(cluster: Cluster, folder: Path, node: str) -> "subprocess.Popen[bytes]":
    options = cluster.client_options()
    command = [sys.executable, "-m", "cli.ctl", "--timeout", "30", "--pin"]
    command += ["--endpoint", cluster.endpoints(node)[0]]
    command += [f"--{name}={path}" for name, path in options.items()]
    return subprocess.Popen([*command, "import", str(folder)])


def kill_half_way(cluster: Cluster, node: str, total: int, leader: str) -> None:
    with cluster.client(node, read_level="serializable") as kv:
        while kv.count(b"") < total // 2:
            time.sleep(0.05)
    cluster.kill(leader)
    print(f"killed the leader, {leader}, half way")


def compare(cluster: Cluster, name: str, files: dict[str, Path]) -> None:
    """This node alone; the others do not run."""
    with cluster.client(name, read_level="serializable") as kv:
        wrong = [key for key, path in files.items() if _value(kv, key) != path.read_bytes()]
    print(f"{name} alone: {len(files) - len(wrong)} of {len(files)} files identical {wrong[:3]}")


def _value(kv: object, key: str) -> bytes | None:
    item = kv.get(key)  # type: ignore[attr-defined]
    return item.value if item else None


def compare_each(cluster: Cluster, files: dict[str, Path]) -> None:
    """Each node started alone after a kill -9 of all."""
    for name in cluster.names:
        cluster.start(name)
        compare(cluster, name, files)
        cluster.kill(name)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib"))
    files = files_of(folder)
    print(f"{folder}: {len(files)} files of at most 1 MiB")
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as made, Cluster(Path(made)) as cluster:
        cluster.start()
        cluster.wait_serving()
        leader = cluster.leader()
        follower = next(n for n in cluster.names if n != leader)
        began = time.monotonic()
        importing = run_import(cluster, folder, follower)
        kill_half_way(cluster, follower, len(files), leader)
        code = importing.wait()
        print(f"import ended with {code} after {time.monotonic() - began:.1f} s")
        cluster.start(leader)
        cluster.wait_serving()
        for name in cluster.names:
            rest = [n for n in cluster.names if n != name]
            for other in rest:
                cluster.pause(other)
            compare(cluster, name, files)
            for other in rest:
                cluster.resume(other)
            cluster.wait_serving()
        for name in cluster.names:
            cluster.kill(name)
        print("all killed with -9")
        cluster.start()
        cluster.wait_serving()
        for name in cluster.names:
            cluster.kill(name)
        compare_each(cluster, files)


if __name__ == "__main__":
    main()
