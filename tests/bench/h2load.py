"""h2load as a client of etcd: what it is told, and what it prints.

Owns: its command line, its data files, its two outputs (a summary, and a line for each answer).
Must never know etcd's processes. h2load sends one body a process, so different keys need as many
processes; and it calls every answer of gRPC a success, so the bytes of the answers are looked at.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import http2
from tests.bench.sockets import Broken
from tests.bench.work import KEYS, Measured, Work, measured

_WARMUP_S = 1
_PROCESSES_MAX = 8  # and as many keys
_PATIENCE_S = 60


class Summary(NamedTuple):
    """`data_bytes` are those of the warm-up too."""

    succeeded: int
    failed: int
    data_bytes: int


class Unreadable(ValueError):
    """Not what h2load is known to print."""


def is_here() -> bool:
    return shutil.which("h2load") is not None


def read_summary(text: str) -> Summary:
    """From what h2load prints at its end. Unreadable: another version's words, or none."""
    requests = re.search(
        r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text, re.M
    )
    statuses = re.search(r"^status codes: (\d+) 2xx", text, re.M)
    traffic = re.search(r"^traffic: .* \((\d+)\) data$", text, re.M)
    if requests is None or statuses is None or traffic is None:
        raise Unreadable(f"not a summary of h2load: {text[-200:]!r}")
    succeeded, *bad = map(int, requests.groups())
    other = succeeded - int(statuses[1])  # answered, and not with 200
    return Summary(succeeded - other, sum(bad) + other, int(traffic[1]))


def read_waits(lines: str) -> list[float]:
    """Seconds, from a log file: microseconds of its start, HTTP status, microseconds it took."""
    waits = []
    for line in lines.splitlines():
        try:
            _began, status, took = line.split("\t")
            if status == "200":
                waits.append(int(took) / 1e6)
        except ValueError as error:
            raise Unreadable(f"not a line of h2load's log: {line!r}") from error
    return waits


def check_answers(summary: Summary, work: Work) -> None:
    """Broken: the answers are too short to have succeeded, whatever their HTTP status says."""
    least = summary.succeeded * http2.answer_bytes_min(work)
    if summary.data_bytes < least:
        raise Broken(
            f"h2load: {summary.succeeded} answers to {work.name} had {summary.data_bytes} bytes, "
            f"fewer than the {least} of as many successes: etcd refused some"
        )


def split(outstanding: int) -> tuple[int, int]:
    """(processes of one connection each, streams of each)."""
    processes = min(outstanding, _PROCESSES_MAX)
    return processes, outstanding // processes


def run(work: Work, ports: list[int], seconds: float, folder: Path) -> Measured:
    """h2load counts whole seconds: `seconds` is rounded up. Broken: it failed, or etcd refused."""
    whole_s = max(int(-(-seconds // 1)), 1)
    processes, streams = split(work.outstanding)
    started, logs = [], []
    for place in range(processes):
        data, log = folder / f"h2load-{place}.data", folder / f"h2load-{place}.log"
        data.write_bytes(http2.message(work, place * (KEYS // processes)))
        log.unlink(missing_ok=True)
        logs.append(log)
        argv = _argv(work, ports[place % len(ports)], whole_s, streams, data, log)
        started.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
    try:
        printed = [p.communicate(timeout=whole_s + _PATIENCE_S)[0] for p in started]
    except subprocess.TimeoutExpired as error:
        raise Broken(f"h2load has not ended {_PATIENCE_S} s after its time") from error
    finally:
        for process in started:
            process.kill()
            process.wait()
    ended_s = time.perf_counter()
    summaries = [read_summary(text) for text in printed]
    waits = []
    for summary, log in zip(summaries, logs, strict=True):
        check_answers(summary, work)
        waits += read_waits(log.read_text())
        log.unlink()
    failed = sum(s.failed for s in summaries)
    return measured("h2load", waits, whole_s, failed, ended_s)


def _argv(work: Work, port: int, seconds: int, streams: int, data: Path, log: Path) -> list[str]:
    address = f"http://127.0.0.1:{port}{http2.path(work)}"
    time_and_warmup = ["-D", str(seconds), "--warm-up-time", str(_WARMUP_S)]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    load = ["-c", "1", "-t", "1", "-m", str(streams), "-d", str(data)]
    return ["h2load", *time_and_warmup, *load, *headers, f"--log-file={log}", address]
