"""A replica on paper: a state on a disk in memory, and what a client's command does to it."""

from typing import Any, NamedTuple

import msgpack

from actors.scan import Scan
from dkv.entries import NO_CHECK, Batch, Kind, follow, pack_batch
from dkv.errors import Code
from dkv.kv.reading import Reading
from dkv.kv.state import Command, Outcome, State, pack_command_of
from dkv.kv.sweep import Sweep
from dkv.limits import ClusterLimits
from dkv.requests import operation_digest, pack_command
from tests.stores import MemoryTable, SimDisk


class Answer(NamedTuple):
    code: Code
    revision: int
    detail: dict[str, Any]


def answer_of(packed: bytes) -> Answer:
    code, revision, detail = msgpack.unpackb(packed)
    return Answer(Code(code), revision, detail or {})


class Replica:
    def __init__(self, limits: ClusterLimits | None = None, disk: SimDisk | None = None) -> None:
        self.disk = disk or SimDisk()
        self.limits = limits or ClusterLimits()
        self.state = State(MemoryTable(self.disk, 1), self.limits)
        self.tick = 0

    def enter(self, kind: int, payload: bytes = b"") -> Outcome:
        """The next entry, now."""
        state = self.state
        row = (state.applied + 1, 1, kind, self.tick, 1_000 + self.tick, payload)
        return state.apply(follow(state.check or NO_CHECK, row))

    def commands(self, *packed: bytes) -> list[Answer]:
        outcome = self.enter(Kind.COMMANDS, pack_batch(Batch("n1", 1, 1, packed)))
        return [answer_of(answer) for _session, _sequence, answer in outcome.results]

    def raw(self, command: bytes, author: str = "anna", **place: int) -> Answer:
        """A command's bytes, as the gateway wraps them."""
        session, sequence = place.get("session", 0), place.get("sequence", 0)
        lowest = place.get("lowest", 1)
        digest = operation_digest(command)
        packed = Command(author, session, sequence, lowest, digest, command)
        return self.commands(pack_command_of(packed))[0]

    def do(self, op: str, place: dict[str, Any] | None = None, **fields: Any) -> Answer:
        return self.raw(pack_command(op, **fields), **(place or {}))

    def put(self, key: bytes, value: bytes, expected: int | None = None) -> Answer:
        return self.do("put", key=key, value=value, expected=expected)

    def session(self, author: str = "anna") -> int:
        number = self.do("open_session", {"author": author}).detail["session"]
        assert isinstance(number, int)
        return number

    def read(self, op: str, **fields: Any) -> Answer:
        """A read, in as many turns as it takes."""
        reading = Reading(self.state, pack_command(op, **fields))
        while True:
            packed = reading.step()
            if packed is not None:
                return answer_of(packed)

    def value(self, key: bytes) -> Any:
        return self.read("get", key=key).detail.get("value")

    def sweep(self) -> int:
        """Delete what compaction lets go, to the end; how many versions went."""
        sweep, gone = Sweep(self.state), 0
        while sweep.is_due:
            gone += sweep.step()
        return gone

    def restart(self) -> "Replica":
        """What the disk holds, read again; what was not committed is gone."""
        self.disk.lose_unsynced()
        again = Replica(self.limits, self.disk)
        again.scan()
        again.tick = self.tick
        return again

    def scan(self) -> None:
        """What a start does before anything is applied or read."""
        scan = Scan(self.state.store, self.state.heads)
        while not scan.step():
            pass
