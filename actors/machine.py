"""The state machine: a keeper of what the log adds up to.

Owns: when state is committed, what waits for an index, long reads in turns, the scan that a restart
makes before anything is read or applied, the pace at which superseded versions are deleted. Must
never know Raft: it applies what it is handed, which is committed and in its own node's log.

Its durability barrier is the log: state.db commits lazily, always at an entry's end.
"""

from collections import deque
from typing import Any

import msgpack

from actors.copying import Copying
from actors.scan import Scan
from actors.staging import Staging
from actors.tailing import Outcomes, Tailing, Tails
from dkv.address import Instant, Local, Outbox
from dkv.counters import Counters
from dkv.entries import Entry, Kind, entry_bytes
from dkv.kv.reading import Reading
from dkv.kv.retention import Policy, Retention
from dkv.kv.state import NOTHING, Command, State, pack_command_of
from dkv.kv.store import Meta, Stores
from dkv.kv.sweep import Sweep
from dkv.limits import (
    COPY_US,
    FOUND_BYTES_MAX,
    KIB,
    MACHINE_WINDOW_BYTES,
    MS,
    STATE_COMMIT_BYTES,
    STATE_COMMIT_COMMANDS,
    STATE_COMMIT_US,
    SUB_MAX,
    SWEEP_PACE_US,
    SWEEP_PACE_US_IDLE,
)
from dkv.messages import (
    Applied,
    Apply,
    Chunk,
    Consumed,
    Continue,
    Copy,
    Describe,
    Described,
    Due,
    Durable,
    Filled,
    Found,
    Installed,
    InstallSnapshot,
    Lookup,
    Noted,
    Shown,
    Stop,
    Stopped,
    Suggest,
)
from dkv.requests import pack_command

_IDLE_US = 500 * MS
_TURN_BYTES = 256 * KIB  # applied between two looks at what has arrived
_TURN_LISTS = 16  # slices of long reads in a turn
_QUOTA_HYSTERESIS = 20  # lifted when a twentieth of it is free again


class Machine:
    name = Local.MACHINE

    def __init__(
        self,
        state: State,
        stores: Stores,
        node: str,
        boot: int,
        counters: Counters,
        policy: Policy | None = None,
    ) -> None:
        self.counters = counters
        self._state = state
        self._policy = policy or Policy(0, 0)
        self._retention = Retention(self._policy)
        self._sweep = Sweep(state)
        self._sweep_us = 0  # not before
        self._swept_at = 0  # which entry was the last at the last step
        self._tick = 0  # cluster time of the last entry
        self._is_full: bool | None = None  # whether the quota is reached; None: not known yet
        self._node, self._boot = node, boot
        self._scan: Scan | None = Scan(state.store, state.heads) if state.applied else None
        self._copying = Copying()
        self._staging = Staging(stores, state.limits, state.meta().disk, counters)
        self._outcomes = Outcomes(state.applied)
        self._tails = Tails()
        self._asked: dict[str, Copy] = {}  # by member, what it asked for last: one a turn
        self._entries: deque[tuple[int, Entry]] = deque()  # when they came, us
        self._lookups: list[tuple[int, Lookup]] = []  # (deadline_us, what waits for an index)
        self._readings: deque[tuple[int, int, int, Reading]] = deque()  # deadline, batch, position
        self._since_commit = [0, 0]  # commands, bytes
        self._dirty_us: int | None = None  # since when something is not committed
        self._touched_us = 0
        self._unreported = 0
        self._due = 0
        self._continuing = False

    @property
    def deadline(self) -> int | None:
        due = [self._sweep_us] if self._scan is None and self._sweep.is_due else []
        if self._tails.due_us is not None:
            due.append(self._tails.due_us)
        if self._dirty_us is not None:
            due.append(self._dirty_us + STATE_COMMIT_US)
        elif self._touched_us:
            due.append(self._touched_us + _IDLE_US)
        return min(due, default=None)

    def handle(self, batch: list[Any], now: Instant) -> Outbox:
        try:
            return self._turn(batch, now)
        except self._state.store.errors as error:
            raise self._state.store.fault(error) from error

    def _turn(self, batch: list[Any], now: Instant) -> Outbox:
        out: Outbox = []
        stopping = False
        for letter in batch:
            stopping |= self._take(letter, now, out)
        if stopping:
            self._commit(out)
            self._state.store.close()
            return [*out, (Local.NODE, Stopped(self.name.value))]
        if self._scan is not None:
            self._step_scan(out)
        else:
            self._apply(now, out)
            self._answer(now, out)
            self._copy(now, out)
            self._clean(now)
        self._tell(now, out)
        if self._staging.busy:
            self._staging.step()
        self._keep(now, out)
        self._go_on(out)
        return out

    def _step_scan(self, out: Outbox) -> None:
        if self._scan is not None and self._scan.step():
            self._scan = None
            self._look_at_quota(out)

    def _take(self, letter: Any, now: Instant, out: Outbox) -> bool:
        match letter:
            case Apply():
                self._entries.extend([(now.us, entry) for entry in letter.entries])
            case Copy():
                self._asked[letter.member] = letter
            case InstallSnapshot():
                self._receive(letter, out)
            case Chunk():
                self._stage(letter, out)
            case Shown():
                self._tails.add(Tailing(self._state, self._outcomes, letter, now.us))
            case Lookup():
                self._lookups.append((now.us + letter.ttl_ms * MS, letter))
            case Continue():
                self._continuing = False
            case Describe():
                out.append((Local.GATEWAY, self._describe(letter)))
            case Stop():
                return True
            case _:
                raise AssertionError(f"the state machine does not know {letter!r}")
        return False

    # -- applying --------------------------------------------------------------------------------
    def _apply(self, now: Instant, out: Outbox) -> None:
        """A turn's worth of entries. Results go out where this node is the origin."""
        size = 0
        while self._entries and size < _TURN_BYTES:
            taken_us, entry = self._entries.popleft()
            if entry.index <= self._state.applied:
                continue  # a snapshot had it
            outcome = self._state.apply(entry)
            self._tick = entry.tick
            if entry.kind == Kind.TICK:
                self._due = 0  # what was due is done: say when the next thing is
            size += entry_bytes(entry)
            self._since_commit[0] += max(len(outcome.results), 1)
            self.counters.add("entries")
            self.counters.add("commands", len(outcome.results))
            self._outcomes.keep(entry.index, outcome.results)
            if (outcome.node, outcome.boot) == (self._node, self._boot):
                applied = Applied(outcome.batch, entry.index, outcome.results, taken_us)
                out.append((Local.GATEWAY, applied))
            elif outcome is not NOTHING:
                self.counters.add("entries_of_other_origins")
            note = self._state.note()
            if note is not None:
                out.append((Local.CONSENSUS, Noted(*note)))
            if self._since_commit[0] >= STATE_COMMIT_COMMANDS:
                break
        if not size:
            return
        self._outcomes.applied.reach(self._state.applied, now.us)
        self._since_commit[1] += size
        self._unreported += size
        if self._dirty_us is None:
            self._dirty_us = now.us
        self._report(out)

    def _report(self, out: Outbox) -> None:
        """The window opens by quarters, so that a small load costs consensus no wake-up."""
        if self._unreported >= MACHINE_WINDOW_BYTES // 4:
            self._unreported = 0
            out.append((Local.CONSENSUS, Consumed(self._state.applied)))
        if not self._due:
            self._due = self._state.sessions.next_expiry()
            if self._due:
                out.append((Local.CONSENSUS, Due(self._due)))

    def _keep(self, now: Instant, out: Outbox) -> None:
        """Commit when enough has come together or a second has passed; tidy in idle moments."""
        commands, size = self._since_commit
        if self._dirty_us is None:
            if self._touched_us and now.us - self._touched_us >= _IDLE_US:
                again = self._state.store.tidy(idle=True)
                self._touched_us = now.us if again else 0
            return
        late = now.us - self._dirty_us >= STATE_COMMIT_US
        if late or commands >= STATE_COMMIT_COMMANDS or size >= STATE_COMMIT_BYTES:
            self._commit(out)
            self._touched_us = now.us
            self._state.store.tidy(idle=False)

    def _commit(self, out: Outbox) -> None:
        if self._dirty_us is None:
            return
        state = self._state
        state.commit()
        self._since_commit = [0, 0]
        self._dirty_us = None
        if self._staging.store and self._staging.row <= state.revision * SUB_MAX:
            self._staging.discard()  # the log has brought more
        out.append((Local.CONSENSUS, Durable(state.applied, state.term, state.check)))
        self._look_at_quota(out)
        self._look_at_history(out)

    # -- space -----------------------------------------------------------------------------------
    def _clean(self, now: Instant) -> None:
        """A step of deleting what is superseded, if it is time for one: seldom while commands are
        applied, for answers wait behind it."""
        if now.us < self._sweep_us or not self._sweep.is_due:
            return
        gone = self._sweep.step()
        is_idle = self._state.applied == self._swept_at
        self._swept_at = self._state.applied
        self._sweep_us = now.us + (SWEEP_PACE_US_IDLE if is_idle else SWEEP_PACE_US)
        self._since_commit[0] += gone
        self.counters.add("versions_deleted", gone)
        if self._dirty_us is None:
            self._dirty_us = now.us

    def _look_at_history(self, out: Outbox) -> None:
        state = self._state
        self._retention.take(state.revision, self._tick)
        end = self._retention.due(state.revision, state.compacted, bool(self._is_full))
        if end is not None:
            command = Command("", 0, 0, 0, 0, pack_command("compact", revision=end))
            out.append((Local.CONSENSUS, Suggest((pack_command_of(command),))))

    def _look_at_quota(self, out: Outbox) -> None:
        quota = self._policy.quota
        if not quota:
            return
        limit = quota - quota // _QUOTA_HYSTERESIS if self._is_full else quota
        is_full = self._state.store.sizes()["live_bytes"] >= limit
        if is_full != self._is_full:
            self._is_full = is_full
            out.append((Local.CONSENSUS, Filled(is_full)))

    # -- snapshots -------------------------------------------------------------------------------
    def _copy(self, now: Instant, out: Outbox) -> None:
        """What others need of this state. (It is confirmed: the scan is over.)"""
        if self._asked:
            asked = self._asked.pop(next(iter(self._asked)))
            copied = self._copying.answer(self._state, asked, now.us)
            self._sweep_us = now.us + COPY_US  # what it is sent must be what there is in the end
            if copied is not None:
                out.append((Local.CONSENSUS, copied))

    def _receive(self, letter: InstallSnapshot, out: Outbox) -> None:
        """The leader has no log for this node: ask for its state, or ask again."""
        if letter.base > self._state.applied and not self._entries:
            self._staging.begin(letter.base)
            self._ask(out)

    def _ask(self, out: Outbox) -> None:
        ask = self._staging.ask()
        if ask is not None:
            out.append((Local.CONSENSUS, ask))

    def _stage(self, chunk: Chunk, out: Outbox) -> None:
        row = self._staging.row, len(self._staging.sessions)
        meta = self._staging.take(chunk)
        if meta is None:
            if row != (self._staging.row, len(self._staging.sessions)):
                self._ask(out)
        elif meta.applied <= self._state.applied:
            self._staging.discard()
        else:
            self._install(meta, out)

    def _install(self, meta: Meta, out: Outbox) -> None:
        """What was applied to the old state and not committed goes with it."""
        heads = self._staging.heads
        self._state = State(self._staging.install(meta), self._state.limits, self._state.cluster)
        self._sweep = Sweep(self._state)
        self._state.heads = heads
        self._outcomes.applied.begin(meta.applied)
        self._scan = None
        self._since_commit, self._dirty_us, self._due = [0, 0], None, 0
        begun = [
            (us, batch, at, Reading(self._state, r.command)) for us, batch, at, r in self._readings
        ]
        self._readings = deque(begun)
        installed = Installed(meta.applied, meta.term, meta.check, meta.tick, meta.configuration)
        out += [(Local.CONSENSUS, installed), (Local.GATEWAY, installed)]
        self._report(out)

    # -- reading ---------------------------------------------------------------------------------
    def _answer(self, now: Instant, out: Outbox) -> None:
        waiting = []
        for deadline_us, lookup in self._lookups:
            if lookup.index > self._state.applied:
                waiting.append((deadline_us, lookup))
                continue
            self._begin(deadline_us, lookup, out)
        self._lookups = [x for x in waiting if x[0] > now.us]
        self._step_readings(now, out)

    def _begin(self, deadline_us: int, lookup: Lookup, out: Outbox) -> None:
        """Gets are done at once, and answered together, as far as a letter should reach."""
        answers: list[bytes] = []
        size = 0
        for position, command in enumerate(lookup.reads):
            reading = Reading(self._state, command)
            if reading.answer is None:
                self._readings.append((deadline_us, lookup.batch, position, reading))
            elif size < FOUND_BYTES_MAX:
                answers.append(reading.answer)
                size += len(reading.answer)
                continue
            self._say_found(lookup.batch, position, answers, out)
            answers = [] if reading.answer is None else [reading.answer]
            size = sum(map(len, answers))
        self._say_found(lookup.batch, len(lookup.reads), answers, out)

    @staticmethod
    def _say_found(batch: int, end: int, answers: list[bytes], out: Outbox) -> None:
        """Answers to the reads before position `end`."""
        if answers:
            out.append((Local.GATEWAY, Found(batch, end - len(answers), tuple(answers))))

    def _step_readings(self, now: Instant, out: Outbox) -> None:
        """Of long lists a slice each, and no more for whom nobody waits."""
        for _ in range(min(_TURN_LISTS, len(self._readings))):
            deadline_us, batch, position, reading = self._readings.popleft()
            answer = reading.step()
            if reading.needs_history:
                self._sweep_us = now.us + COPY_US
            if answer is not None:
                self._say_found(batch, position + 1, [answer], out)
            elif deadline_us > now.us:
                self._readings.append((deadline_us, batch, position, reading))

    def _tell(self, now: Instant, out: Outbox) -> None:
        """Of the log, a part to one who looks at it; also while the scan goes on."""
        told = self._tails.step(self._state.applied, now)
        if told is not None:
            batch, answer = told
            self._say_found(batch, 1, [answer], out)

    def _go_on(self, out: Outbox) -> None:
        """Long work yields to what has arrived, by a letter to itself."""
        waits = self._entries or self._readings or self._asked
        busy = self._scan is not None or self._staging.busy or waits
        if busy and not self._continuing:
            self._continuing = True
            out.append((Local.MACHINE, Continue()))

    def gauges(self) -> dict[str, int]:
        """How it stands, from any thread: whole numbers that are there anyway."""
        state = self._state
        return {
            "applied_index": state.applied,
            "revision": state.revision,
            "compacted_revision": state.compacted,
            "keys": len(state.heads),
            "sessions": len(state.sessions),
            "checking": int(self._scan is not None),
            "quota_reached": int(bool(self._is_full)),
        }

    def _describe(self, letter: Describe) -> Described:
        state = self._state
        facts = {
            "applied": state.applied,
            "revision": state.revision,
            "written": state.written,
            "sessions": len(state.sessions),
            "keys": len(state.heads),
            "compacted": state.compacted,
            "sweeping": self._sweep.is_due,
            "quota": self._policy.quota,
            "quota_reached": bool(self._is_full),
            "checking": self._scan is not None,
            "receiving": self._staging.store is not None,
            "waiting_for_space": self._staging.waits_for_space,
            "waiting_reads": sum(len(x.reads) for _us, x in self._lookups) + len(self._readings),
            **state.store.sizes(),
            "counters": self.counters.facts(),
        }
        return Described(letter.batch, self.name.value, msgpack.packb(facts))
