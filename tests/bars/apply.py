"""CPU of the state machine: microseconds a put and a get, and a restart with many keys.

    python -m tests.bars.apply [--puts 100000] [--keys 1000000]

Entries of 64 puts of 256 bytes in one session are applied to a State over state.db, with a node's
commits and checkpoints; times are CPU of this thread, so that other work on the machine matters
less. A restart is measured in a process of its own: what a node does before it applies or reads.
Must never decide whether that is good.
"""

import argparse
import cProfile
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from actors.scan import Scan
from actors.table import SqliteTable
from dkv.entries import NO_CHECK, Batch, Entry, Kind, follow, pack_batch, read_batch
from dkv.kv.reading import Reading
from dkv.kv.state import Command, State, pack_command_of
from dkv.limits import STATE_COMMIT_COMMANDS, ClusterLimits
from dkv.parsing import read_command
from dkv.requests import operation_digest, pack_command

_LIMITS = ClusterLimits()
_VALUE = bytes(range(256))
_BATCH = 64
_KNOWN_KEYS = 10_000


class Feed:
    """Entries one behind the other."""

    def __init__(self) -> None:
        self._index, self._check, self._sequence = 0, NO_CHECK, 0

    def entry(self, commands: list[bytes]) -> Entry:
        self._index += 1
        payload = pack_batch(Batch("n1", 1, self._index, tuple(commands)))
        row = (self._index, 1, int(Kind.COMMANDS), self._index, self._index, payload)
        found = follow(self._check, row)
        self._check = found.check
        return found

    def opening(self) -> Entry:
        command = Command("anna", 0, 0, 0, 0, pack_command("open_session"))
        return self.entry([pack_command_of(command)])

    def put(self, key: bytes) -> bytes:
        """As a client's: 64 are unanswered at a time."""
        self._sequence += 1
        command = pack_command("put", key=key, value=_VALUE)
        lowest = max(1, self._sequence - _BATCH)
        place = (1, self._sequence, lowest, operation_digest(command))
        return pack_command_of(Command("anna", *place, command))

    def puts(self, keys: list[bytes]) -> Iterator[Entry]:
        for at in range(0, len(keys), _BATCH):
            yield self.entry([self.put(key) for key in keys[at : at + _BATCH]])


def key_of(number: int) -> bytes:
    return b"key-%09d" % number


class Run:
    """A state on a file, and the CPU that it took."""

    def __init__(self, folder: Path) -> None:
        self.table = SqliteTable(folder / "state.db", 7)
        self.state = State(self.table, _LIMITS)
        self.apply_s = self.commit_s = 0.0
        self._since = 0

    def take(self, entry: Entry) -> None:
        began = time.thread_time()
        results = self.state.apply(entry).results
        applied = time.thread_time()
        self._since += len(results)
        if self._since >= STATE_COMMIT_COMMANDS:
            self._since = 0
            self.state.commit()
            self.table.tidy(idle=False)
        self.apply_s += applied - began
        self.commit_s += time.thread_time() - applied

    def report(self, what: str, entries: list[Entry]) -> None:
        self.apply_s = self.commit_s = 0.0
        for entry in entries:
            self.take(entry)
        puts = sum(len(read_batch(e.payload).commands) for e in entries)
        apply_us, commit_us = self.apply_s / puts * 1e6, self.commit_s / puts * 1e6
        print(f"{what}: {apply_us + commit_us:.2f} us a put ({commit_us:.2f} of it commits)")


def stages(entries: list[Entry]) -> None:
    """What is paid before the state begins: the same for whatever keeps it."""
    began = time.thread_time()
    batches = [read_batch(entry.payload) for entry in entries]
    packed = [command for batch in batches for command in batch.commands]
    commands = [Command(*msgpack.unpackb(p, use_list=False)) for p in packed]
    unpacked = time.thread_time()
    for command in commands:
        read_command(command.command, _LIMITS)
    read = time.thread_time()
    unpack_us = (unpacked - began) / len(packed) * 1e6
    print(
        f"of it: {unpack_us:.2f} us the batch and its commands unpacked, "
        f"{(read - unpacked) / len(packed) * 1e6:.2f} us fields read and checked"
    )


def gets(state: State, keys: list[bytes]) -> None:
    commands = [pack_command("get", key=key) for key in keys]
    began = time.thread_time()
    for command in commands:
        assert Reading(state, command).step() is not None
    spent = time.thread_time() - began
    began = time.thread_time()
    for command in commands:
        read_command(command, _LIMITS)
    fields = time.thread_time() - began
    print(
        f"a get: {spent / len(keys) * 1e6:.2f} us "
        f"({fields / len(keys) * 1e6:.2f} of it fields read and checked)"
    )


def lists(state: State, fields: dict[str, Any]) -> None:
    reading = Reading(state, pack_command("list", limit=10_000, **fields))
    began, turns = time.thread_time(), 0
    packed = None
    while packed is None:
        packed = reading.step()
        turns += 1
    count = msgpack.unpackb(packed)[2]["count"]
    spent = time.thread_time() - began
    print(
        f"a list {fields}: {spent / count * 1e6:.2f} us a key, {spent / turns * 1e3:.2f} ms a turn"
    )


def measure(puts: int, keys: int, folder: Path, *, profile: bool) -> None:
    feed, run = Feed(), Run(folder)
    run.take(feed.opening())
    known = [key_of(n * 7919 % _KNOWN_KEYS) for n in range(puts)]
    run.report("new keys", list(feed.puts(known[:_KNOWN_KEYS])))
    entries = list(feed.puts(known))
    if profile:
        profiler = cProfile.Profile(time.thread_time)
        profiler.enable()
    run.report("known keys", entries)
    if profile:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    stages(entries)
    gets(run.state, known[:20_000])
    lists(run.state, {})
    lists(run.state, {"keys_only": True})
    run.table.close()
    if keys:
        restart(keys, folder / "many")


def restart(keys: int, folder: Path) -> None:
    folder.mkdir()
    feed, run = Feed(), Run(folder)
    run.take(feed.opening())
    slices = [range(at, min(at + 10_000, keys)) for at in range(0, keys, 10_000)]
    for numbers in slices:
        for entry in feed.puts([key_of(n * 7919 % keys) for n in numbers]):
            run.take(entry)
    puts = run.apply_s + run.commit_s
    print(f"{keys:,} new keys in any order: {puts / keys * 1e6:.2f} us a put")
    run.state.commit()
    run.table.close()
    size = sum(p.stat().st_size for p in folder.iterdir())
    live = keys * (len(_VALUE) + len(key_of(0)))
    print(f"state.db: {size / live:.2f} times keys and values")
    del run
    subprocess.run([sys.executable, "-m", "tests.bars.apply", "--opened", str(folder)], check=True)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def opened(folder: Path) -> None:
    before, began, cpu = resident_mib(), time.monotonic(), time.thread_time()
    state = State(SqliteTable(folder / "state.db", 7), _LIMITS)
    scan = Scan(state.store, state.heads)
    longest, turns = 0.0, 0
    while True:
        turn = time.thread_time()
        done = scan.step()
        longest, turns = max(longest, time.thread_time() - turn), turns + 1
        if done:
            break
    print(
        f"restart: {time.monotonic() - began:.2f} s, {time.thread_time() - cpu:.2f} s of CPU, "
        f"{turns} turns of {longest * 1e3:.1f} ms at most; "
        f"{before:.0f} MiB before, {resident_mib():.0f} MiB after"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--puts", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the restart; 0: none")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--opened", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.opened:
        opened(given.opened)
        return
    with tempfile.TemporaryDirectory(prefix="dkv-bar-") as folder:
        measure(given.puts, given.keys, Path(folder), profile=given.profile)


if __name__ == "__main__":
    main()
