"""What a gentle client notices of a flooding one.

    python -m tests.bars.flood [--seconds 10] [--times 10] [--reads]

Three secured nodes. First what the cluster can do: 256 puts (or gets) under way at one node. Then a
gentle client at that node, one put or get after the other with 20 ms between: alone, and beside a
client on another connection that sends, without waiting for answers, so many times what the cluster
can do. Prints the gentle one's waits, its errors, what became of the flood, and how many elections
there were. Must never decide whether that is good.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import zmq

from dkv.client import AsyncClient, RequestError
from dkv.frames import join, part
from dkv.requests import pack_command
from tests.bars.puts import load
from tests.real.cluster import Cluster
from tests.real.strangers import Caller

_VALUE = b"v" * 256
_LIST = 16  # requests in a message of the flood
_PAUSE_S = 0.02


# -- the flood -----------------------------------------------------------------------------------
def flood(folder: Path, node: str, port: int, rate: float, seconds: float, reads: bool) -> None:
    """Send at `rate` requests a second, or as fast as the node's socket takes them; what became of
    them is printed as JSON."""
    where: Any = SimpleNamespace(folder=folder, clients={node: port})
    command = (
        pack_command("get", key=b"f") if reads else pack_command("put", key=b"f", value=_VALUE)
    )
    body = msgpack.packb([{"command": command, "ttl_ms": 5_000}] * _LIST)
    outcomes: dict[str, int] = {"sent": 0, "not taken": 0}
    with Caller(where, node, "writer", options=[(zmq.SNDHWM, 1_000)]) as caller:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = int(rate * passed) - outcomes["sent"] - outcomes["not taken"]
            for _ in range(due // _LIST):
                try:
                    caller.socket.send(join(b"%08d" % outcomes["sent"], body), zmq.NOBLOCK)
                    outcomes["sent"] += _LIST
                except zmq.Again:
                    outcomes["not taken"] += _LIST
            _hear(caller, outcomes)
    print(json.dumps(outcomes))


def _hear(caller: Caller, outcomes: dict[str, int]) -> None:
    """Count what has been answered."""
    while caller.socket.poll(1):
        frame = caller.socket.recv()
        parts = part(frame)
        assert parts is not None
        reply = msgpack.unpackb(parts[1])
        what = reply["error"]["code"] if "error" in reply else "ok"
        outcomes[what] = outcomes.get(what, 0) + 1


def start_flood(
    cluster: Cluster, node: str, rate: float, seconds: float, reads: bool
) -> "subprocess.Popen[str]":
    given = (cluster.folder, node, cluster.clients[node], rate, seconds, int(reads))
    command = [sys.executable, "-m", "tests.bars.flood", "--flood", *map(str, given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


# -- the gentle client ---------------------------------------------------------------------------
async def gentle(client: AsyncClient, seconds: float, reads: bool) -> tuple[list[float], int]:
    """(its waits in ms, sorted; how often it was refused)."""
    waits, refused = [], 0
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        try:
            await (client.get(b"gentle") if reads else client.put(b"gentle", _VALUE))
        except RequestError:
            refused += 1
        waits.append((time.perf_counter() - began) * 1_000)
        await asyncio.sleep(_PAUSE_S)
    return sorted(waits), refused


async def elections(cluster: Cluster) -> int:
    """That anybody stood in, since the start."""
    count = 0
    for name in cluster.names:
        async with cluster.async_client(name) as client:
            counters = (await client.status(0))["consensus"]["counters"]
            count += counters.get("elections", 0)
    return count


def show(who: str, waits: list[float], refused: int) -> float:
    p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    print(
        f"{who:<8} {len(waits)} requests, {refused} refused; p50 {p50:.2f} ms, "
        f"p99 {p99:.2f} ms, longest {waits[-1]:.2f} ms"
    )
    return p99


async def measure(cluster: Cluster, seconds: float, times: float, reads: bool) -> None:
    node = cluster.leader()
    async with cluster.async_client(node) as client:
        rate, _waits = await load(client, 256, 3.0)
        print(f"the cluster does {rate:,.0f} puts/s of one client with 256 under way")
    async with cluster.async_client(node) as client:
        await gentle(client, 1.0, reads)
        before = await elections(cluster)
        alone = show("alone", *await gentle(client, seconds, reads))
        process = start_flood(cluster, node, rate * times, seconds + 3, reads)
        await asyncio.sleep(2.0)
        beside = show("beside", *await gentle(client, seconds, reads))
        words, _none = await asyncio.to_thread(process.communicate)
    print(f"the flood, {rate * times:,.0f} a second meant: {json.loads(words)}")
    stood = await elections(cluster) - before
    print(f"p99 beside / alone: {beside / alone:.1f}; elections: {stood}")


def main() -> None:
    if sys.argv[1:2] == ["--flood"]:
        folder, node, port, rate, seconds, reads = sys.argv[2:]
        flood(Path(folder), node, int(port), float(rate), float(seconds), reads == "1")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--times", type=float, default=10.0)
    parser.add_argument("--reads", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder,
        Cluster(Path(folder)) as cluster,
    ):
        cluster.start()
        cluster.wait_serving()
        asyncio.run(measure(cluster, given.seconds, given.times, given.reads))
        cluster.stop()


if __name__ == "__main__":
    main()
