"""How long a node of a running cluster takes from the start of its process until it is ready.

    python -m tests.bars.starts [--trials 7] [--away 3]

A follower of three is killed and started again after `--away` seconds, in turn without a metrics
port and with one. Prints the medians: until its client port takes a connection, until it answers a
linearizable read (with the port: until `/readyz` says 200), and the processor time used by then.
"""

import argparse
import http.client
import os
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from dkv.errors import DkvError
from tests.real.cluster import Cluster, free_ports

_LOOK_S = 0.01
_TICKS = os.sysconf("SC_CLK_TCK")


class Start(NamedTuple):
    listens_s: float
    ready_s: float
    cpu_s: float


def start(cluster: Cluster, name: str, port: int) -> Start:
    """Of a node that does not run; `port` for its metrics, 0: none."""
    changes = {"metrics_address": f"127.0.0.1:{port}"} if port else {}
    began = time.monotonic()
    cluster.start(name, **changes)
    while not _listens(cluster.clients[name]):
        time.sleep(_LOOK_S)
    listens_s = time.monotonic() - began
    while not (_is_ready(port) if port else _reads(cluster, name)):
        time.sleep(_LOOK_S)
    return Start(listens_s, time.monotonic() - began, _cpu_s(cluster.processes[name].pid))


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3.0)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    return False


def _reads(cluster: Cluster, name: str) -> bool:
    with suppress(DkvError), cluster.client(name, timeout=1.0) as kv:
        kv.count(b"\0never")
        return True
    return False


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bars.starts")
    parser.add_argument("--trials", type=int, default=7)
    parser.add_argument("--away", type=float, default=3.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder, Cluster(Path(folder)) as cluster:
        cluster.start()
        cluster.wait_serving()
        leader = cluster.leader()
        node = next(name for name in cluster.names if name != leader)
        (port,) = free_ports(1)
        starts: dict[int, list[Start]] = {0: [], port: []}
        for _ in range(given.trials):
            for each, found in starts.items():
                cluster.kill(node)
                time.sleep(given.away)
                found.append(start(cluster, node, each))
        for each, found in starts.items():
            listens, ready, cpu = (median(values) for values in zip(*found, strict=True))
            print(
                f"{'with' if each else 'without'} a metrics port: listens after {listens:.2f} s, "
                f"ready after {ready:.2f} s, processor time {cpu:.2f} s (medians of {len(found)})"
            )


if __name__ == "__main__":
    main()
