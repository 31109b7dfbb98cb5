"""The gateway: where clients meet the cluster.

Owns: requests from their admission to their answer. Must never know a peer, nor decide what a
command does. Everything that was waiting becomes one Propose, and all reads one ReadIndex; of a
client that shares the node with others, so much as is its share (`fairness`).

1. Checked and admitted, a write waits for the turn's end; while no leader is known, it waits on.
2. Proposed, it is answered by this node's own state machine (`Applied`), whoever led.
3. A write of a session is proposed again, under the same sequence, on news of a new leader or after
   a time with back-off, never past its deadline; one without a session never.
4. At its deadline it is definitely refused only if every proposal of it was.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from actors import asking, replies
from actors.admission import Admission, Asked, Refusal
from actors.asking import KeyReader
from actors.fairness import Company, FairQueue
from actors.gathering import Descriptions, Tails
from actors.ledger import NEVER_US, Batch, Ledger, Pending
from actors.outcomes import Outcomes
from actors.probing import Probing
from dkv.address import Instant, Local, Outbox
from dkv.counters import Counters
from dkv.errors import Applied as Known
from dkv.errors import Code
from dkv.ids import Founding
from dkv.kv.state import Command, command_packer
from dkv.limits import (
    ENTRY_BYTES_MAX,
    ENTRY_COMMANDS_MAX,
    LARGE_COMMAND_BYTES,
    MS,
    SECOND,
    ClusterLimits,
)
from dkv.messages import (
    Applied,
    Described,
    Found,
    FromClient,
    Heard,
    Installed,
    Led,
    Lookup,
    Probe,
    Propose,
    ReadAt,
    ReadIndex,
    Refused,
    Roster,
    Say,
    Stop,
    Stopped,
    Told,
)
from dkv.requests import TABLE, Malformed, operation_digest

_STOP_GRACE_US = 2 * SECOND
_FEW = 16  # requests under way that are not worth waiting for each other
_PACE_US = 10 * MS
_SHARED_PACE_US = 100 * MS  # in company: a batch is a share, and the next would queue behind it
_HOLD_US = 50 * MS  # how often what waits for a leader is looked at
_CODES = frozenset(Code)  # a newer leader may refuse for a reason that is not known here
_TRANSIENT = frozenset((Code.NO_LEADER, Code.NOT_LEADER))
_DONE, _OK = Code.OK, int(Code.OK)
_ASKED = {op: f"asked_{op}" for op in TABLE}  # counters
_pack_command = command_packer()  # of one thread: the gateway's


class Gateway:
    """`slow_us`: a request that takes longer gets a line for people; 0: none does."""

    name = Local.GATEWAY

    def __init__(
        self,
        node: str,
        limits: ClusterLimits,
        admission: Admission,
        facts: Callable[[], dict[str, Any]],
        counters: Counters,
        founding: Founding,
        read_key: KeyReader,
        slow_us: int = 0,
    ) -> None:
        self.counters = counters
        self.outcomes, self._probing = Outcomes(slow_us), Probing()
        self._founding, self._read_key = founding, read_key
        self._node, self._limits, self._admission, self._facts = node, limits, admission, facts
        self._packed_name: bytes = msgpack.packb(node)
        self._ledger = Ledger()
        # Admitted, not proposed:
        self._writes, self._large, self._reads = FairQueue(), FairQueue(), FairQueue()
        self._company = Company()
        self._led = Led(0, "", False, ())
        self._roster = Roster(())
        self._heard_us: int | None = None
        self._tails, self._descriptions = Tails(node), Descriptions()
        self._stop_us: int | None = None
        self._stopped = False
        self._now, self._out = Instant(0, 0), Outbox()
        self._handlers: dict[type, Callable[[Any], None]] = {
            FromClient: self._arrived,
            Applied: self._applied,
            Found: self._found,
            ReadAt: self._read_at,
            Told: self._told,
            Refused: self._refused,
            Led: self._news,
            Heard: self._heard,
            Installed: self._overtaken,
            Roster: self._introduced,
            Described: self._described,
            Probe: self._probe,
            Stop: self._stop,
        }

    @property
    def deadline(self) -> int | None:
        times = [self._ledger.wake_us(), self._stop_us]
        if self._writes or self._large or self._reads:
            times.append(self._now.us + _HOLD_US)
        if self._led.leader:
            lines = (self._writes, self._large)
            times += [line.posted_us + self._patience_us for line in lines if line]
        return min((t for t in times if t is not None), default=None)

    @property
    def _patience_us(self) -> int:
        """How long a batch under way is waited for at most."""
        return _SHARED_PACE_US if self._company.is_shared else _PACE_US

    def handle(self, batch: list[Any], now: Instant) -> Outbox:
        self._now = now
        self._company.turn(now.us)
        for letter in batch:
            self._handlers[type(letter)](letter)
        self._look_after_batches()
        self._propose_what_waits()
        self._end_if_stopping()
        out, self._out = replies.in_bursts(self._out), []
        return out

    # == in: requests ============================================================================
    def _arrived(self, message: FromClient) -> None:
        for item in self._admission.read(message, self._now):
            if isinstance(item, Refusal):
                self._out.append(
                    replies.error(
                        item.slip, self._node, item.code, item.words, "no", self._led.leader
                    )
                )
            else:
                self._take(item)

    def _take(self, asked: Asked) -> None:
        request, client = asked.request, asked.slip.client
        edge = request.edge
        self.counters.add(_ASKED[request.op])
        pending = Pending(asked, self._pack(asked), self._now.us)
        if not self._serves(edge, client):
            code, words = self._obstacle()
            self.counters.add(f"refused_{code.name.lower()}")
            self._reply_error(pending, code, words, "no")
        elif edge == "here":
            self._answer_here(pending)
        else:
            self._ledger.open(pending)
            if edge == "write":
                self._company.note(client)
                (self._writes if pending.size < LARGE_COMMAND_BYTES else self._large).add(pending)
            elif edge == "lead":
                self._ask(pending)
            elif asked.header.level == "serializable":
                self._look_up([pending], 0)
            else:
                self._company.note(client)
                self._reads.add(pending)

    def _serves(self, edge: str, client: bytes) -> bool:
        if self._stop_us is not None:
            return False
        return edge == "here" or (self._led.opened and self._ledger.has_room_for(client))

    def _obstacle(self) -> tuple[Code, str]:
        """Why nothing is taken now."""
        if self._stop_us is not None:
            return Code.STOPPING, f"{self._node} is stopping"
        if not self._led.opened:
            missing = ", ".join(self._led.waiting)
            words = f"it waits for {missing}" if missing else f"{self._node} waits for a leader"
            return Code.FORMING, words
        if self._ledger.has_room():
            words = f"this connection has as many requests under way at {self._node} as one may"
            return Code.BUSY, words
        return Code.BUSY, f"{self._ledger.count} requests are under way at {self._node}"

    @staticmethod
    def _pack(asked: Asked) -> bytes:
        command, session, sequence, lowest, *_others = asked.header
        if asked.request.edge != "write":
            return command
        digest = operation_digest(command) if session else 0
        author = asked.principal.name
        return _pack_command(Command(author, session, sequence, lowest, digest, command))

    # == out: to consensus and the state machine =================================================
    def _propose_what_waits(self) -> None:
        if not self._led.leader:
            for queue in (self._writes, self._large, self._reads):
                waiting = self._without_late(queue.all())
                queue.clear()
                for pending in waiting:
                    queue.add(pending)
            return
        shared = self._company.is_shared
        if self._reads and (not shared or self._may_ask()):
            reads = self._without_late(self._reads.take(shared=shared))
            if reads:
                self._ask_index(reads, 0)
        for line in (self._writes, self._large):
            if line and self._has_pace(line):
                writes = self._without_late(line.take(shared=shared))
                if writes:
                    line.number, line.posted_us = self._propose(writes, 0), self._now.us

    def _without_late(self, pendings: list[Pending]) -> list[Pending]:
        """Those that have no answer yet, as from a twin's, and some time left."""
        now_us = self._now.us
        return [
            p for p in pendings if not p.done and (p.deadline_us > now_us or not self._expired(p))
        ]

    def _has_pace(self, line: FairQueue) -> bool:
        """Whether a new batch may start. Under load, while one is under way the next one waits and
        grows, so that more commands share the cost of an entry; a moment at most, for the one may
        be lost. Small commands do not wait for the bytes of large ones."""
        lasts = self._now.us - line.posted_us < self._patience_us
        is_under_way = lasts and self._ledger.get(line.number)
        return not is_under_way or self._ledger.count <= _FEW

    def _may_ask(self) -> bool:
        """The same of reads, where they share the node: alone, they need no pace."""
        last = self._reads.last
        if last is None or last.done or self._ledger.count <= _FEW:
            return True
        return self._now.us - last.posted_us >= self._patience_us

    def _expired(self, pending: Pending) -> bool:
        if pending.deadline_us > self._now.us:
            return False
        self._give_up(pending)
        return True

    def _propose(self, writes: list[Pending], attempt: int) -> int:
        """What grows the store, and what does not, apart: a low disk refuses only the former. The
        last batch's number."""
        number = 0
        shrinks = [p for p in writes if not p.asked.request.grows]
        grow = [p for p in writes if p.asked.request.grows] if shrinks else writes
        for grows, members in ((True, grow), (False, shrinks)):
            for batch in _cut_by_size(members):
                number = self._ledger.post(batch, attempt, self._now.us)
                ttl_us = max(p.deadline_us for p in batch) - self._now.us
                commands = tuple(p.packed for p in batch)
                self.counters.add("batches")
                self.counters.add("commands", len(commands))
                letter = Propose(number, max(ttl_us // MS, 1), grows, commands)
                self._out.append((Local.CONSENSUS, letter))
        return number

    def _ask_index(self, reads: list[Pending], attempt: int) -> None:
        number = self._ledger.post(reads, attempt, self._now.us)
        self._out.append((Local.CONSENSUS, ReadIndex(number)))

    def _look_up(self, reads: list[Pending], index: int) -> None:
        number = self._ledger.hold(reads, NEVER_US)  # the state machine loses nothing
        ttl_ms = (max(p.deadline_us for p in reads) - self._now.us) // MS
        commands = tuple(p.packed for p in reads)
        self._out.append((Local.MACHINE, Lookup(number, index, max(ttl_ms, 1), commands)))

    def _ask(self, pending: Pending) -> None:
        number = self._ledger.hold([pending], NEVER_US)
        try:
            wall_s = self._now.wall_ms // 1_000
            letter = asking.ask(number, pending, self._now.us, wall_s, self._read_key)
        except Malformed as error:
            self._ledger.take(number)
            self._ledger.close(pending)
            self._reply_error(pending, error.code, error.words, "no")
            return
        pending.posted += 1
        self._out.append((Local.CONSENSUS, letter))

    # == in: answers =============================================================================
    def _applied(self, letter: Applied) -> None:
        """An answer is for whoever asked the same under this place, in whichever batch; another
        command under the same sequence has an answer of its own."""
        batch = self._ledger.take(letter.batch)
        members = batch.members if batch else []
        for member, (session, sequence, answer) in zip(members, letter.results, strict=False):
            if not member.done:
                member.ready_us = letter.taken_us
                self._answer(member, answer)
            if session:
                for twin in self._ledger.of_place((session, sequence)):
                    if _ask_the_same(twin, member):
                        self._answer(twin, answer)

    def _found(self, letter: Found) -> None:
        if letter.batch == self._probing.batch:
            self._out += self._probing.go_on(letter)
            return
        batch = self._ledger.get(letter.batch)
        if batch is None:
            return
        asked = batch.members[letter.position : letter.position + len(letter.answers)]
        for pending, answer in zip(asked, letter.answers, strict=True):
            if not pending.done:
                self._answer(pending, answer)
        if all(p.done for p in batch.members):
            self._ledger.take(letter.batch)

    def _read_at(self, letter: ReadAt) -> None:
        if letter.batch == self._probing.batch:
            self._out += self._probing.go_on(letter)
            return
        batch = self._ledger.take(letter.batch)
        waiting = [p for p in batch.members if not p.done] if batch else []
        for pending in waiting:
            pending.ready_us = self._now.us
        if waiting:
            self._look_up(waiting, letter.index)

    def _refused(self, letter: Refused) -> None:
        if letter.batch == self._probing.batch:
            self._out += self._probing.go_on(letter)
            return
        batch = self._ledger.take(letter.batch)
        if batch is None:
            return
        code = Code(letter.code) if letter.code in _CODES else Code.NO_LEADER
        held: list[Pending] = []
        for pending in batch.members:
            pending.refused += 1
            pending.refused_code = code
            if pending.done:
                continue
            if self._may_go_on(pending, code):
                held.append(pending)
            else:
                self._give_up(pending)
        if held:  # looked at again in a moment, or when a leader is known
            self._ledger.hold(held, self._now.us + _HOLD_US, batch.attempt + 1)

    def _told(self, letter: Told) -> None:
        batch = self._ledger.get(letter.batch)
        if batch is None or batch.members[0].asked.request.edge != "lead":
            return  # it has been given up; or a member's letter names what was no question
        self._ledger.take(letter.batch)
        pending = batch.members[0]
        if pending.done:
            return
        answer = asking.read(letter)
        if answer.code in asking.PASSING and answer.applied == "no":
            pending.refused += 1
            pending.refused_code = answer.code
            pending.refused_words = answer.words
            self._ledger.hold([pending], self._now.us + _HOLD_US)
            return
        self._ledger.close(pending)
        if answer.code is Code.OK:
            self._note(pending)
            out = replies.result(pending.asked.slip, self._node, 0, answer.result)
            self._out.append(out)
        else:
            applied: Known = "no" if answer.applied == "no" else "unknown"
            self._reply_error(pending, answer.code, answer.words, applied)

    @staticmethod
    def _may_go_on(pending: Pending, code: Code) -> bool:
        """Reads, and writes of a session, outlive a change of leader; and a refusal for want of
        room is passed on at once only if it is definite."""
        if pending.asked.request.edge == "write" and pending.place is None:
            return False
        return code in _TRANSIENT or not pending.surely_not_applied

    # == time and news ===========================================================================
    def _look_after_batches(self) -> None:
        for number, batch in self._ledger.due(self._now.us):
            self._look_after(number, batch)

    def _look_after(self, number: int, batch: Batch) -> None:
        waiting = [p for p in batch.members if not p.done and not self._expired(p)]
        if not waiting:
            self._ledger.take(number)
        elif batch.retry_us > self._now.us or not self._led.leader:
            if batch.retry_us <= self._now.us:
                batch.retry_us = self._now.us + _HOLD_US
            self._ledger.again(number, batch)
        else:
            self._again(number, batch, waiting)

    def _again(self, number: int, batch: Batch, waiting: list[Pending]) -> None:
        """Propose once more what may be; what may not, waits for its deadline. The old batch is
        kept: its result may still come."""
        writes = [p for p in waiting if p.place]
        reads = [p for p in waiting if p.asked.request.edge == "read"]
        batch.retry_us = NEVER_US
        self._ledger.again(number, batch)
        for pending in [p for p in waiting if p.asked.request.edge == "lead"]:
            self._ledger.take(number)
            self._ask(pending)
        if reads:
            self._ledger.take(number)
            self._ask_index(reads, batch.attempt + 1)
        if writes:
            self.counters.add("proposed_again", len(writes))
            self._propose(writes, batch.attempt + 1)

    def _news(self, letter: Led) -> None:
        """A new leader, or none: what was proposed before may be lost with the old one."""
        renewed = letter.leader and (letter.leader, letter.term) != (
            self._led.leader,
            self._led.term,
        )
        self._tell_change(letter)
        self._led = letter
        if renewed:
            self._hurry()

    def _overtaken(self, _letter: Installed) -> None:
        """What this node had proposed may be in the snapshot, and is not applied here any more:
        proposed again, it is answered from its session."""
        self._hurry()

    def _hurry(self) -> None:
        """Every batch that may be proposed again is, now."""
        for number in self._ledger.numbers():
            batch = self._ledger.get(number)
            if batch is not None and batch.retry_us != NEVER_US:
                batch.retry_us = self._now.us
                self._ledger.again(number, batch)

    def _tell_change(self, letter: Led) -> None:
        """To people: who leads, whom a cluster that forms waits for."""
        if letter.waiting and letter.waiting != self._led.waiting:
            words = f"the cluster waits for {', '.join(letter.waiting)}"
            self._out.append((Local.SHELL, Say("info", "forming", words)))
        if letter.opened and not self._led.opened:
            self._out.append((Local.SHELL, Say("info", "open", "the cluster serves clients")))
        if letter.leader != self._led.leader:
            words = f"{letter.leader} leads" if letter.leader else "no leader is known"
            self._out.append((Local.SHELL, Say("info", "leader", f"{words}, term {letter.term}")))

    def _heard(self, _letter: Heard) -> None:
        self._heard_us = self._now.us

    def _introduced(self, letter: Roster) -> None:
        self._roster = letter

    def _stop(self, _letter: Stop) -> None:
        if self._stop_us is None:
            self._stop_us = self._now.us + _STOP_GRACE_US
            for pending in self._tails.open():  # nobody waits for what they wait for
                self._ledger.close(pending)
                self._reply_error(pending, *self._obstacle(), "no")

    def _end_if_stopping(self) -> None:
        if self._stop_us is None or self._stopped:
            return
        if self._ledger.count == 0 or self._now.us >= self._stop_us:
            self._stopped = True
            self._out.append((Local.NODE, Stopped(self.name.value)))

    # == replies =================================================================================
    def _answer(self, pending: Pending, packed: bytes) -> None:
        """What apply or a read said. `session_lost` and `stale` are definite only on a first
        attempt: an earlier one may have been executed and forgotten since."""
        self._ledger.close(pending)
        slip, level = pending.asked.slip, pending.asked.header.level
        if packed[1] == _OK:
            slow = self.outcomes.answered(pending, _DONE, self._now.us)
            if slow is not None:
                self._out.append((Local.SHELL, slow))
        if packed[1] == _OK and level != "serializable":
            self._out.append(replies.answer_of(slip, self._packed_name, packed))
            return
        number, revision, detail = msgpack.unpackb(packed)
        detail = detail or {}
        if number == _OK:
            detail = {**detail, "lag_ms": self._lag_ms()}
            self._out.append(replies.result(slip, self._node, revision, detail))
            return
        code = Code(number)
        first = pending.posted == 1 and not pending.asked.header.retry
        applied: Known = "no"
        if code in (Code.SESSION_LOST, Code.STALE) and not first:
            applied = "unknown"
        if code is Code.ANSWER_DROPPED:
            applied = "yes"
        self._reply_error(pending, code, _words(detail), applied, revision, detail)

    def _give_up(self, pending: Pending) -> None:
        """Its time is over, or it may not be tried again."""
        self._ledger.close(pending)
        if not asking.is_change(pending) or pending.surely_not_applied:
            code = Code(pending.refused_code or Code.NO_LEADER)
            self._reply_error(pending, code, pending.refused_words, "no")
        else:
            self._reply_error(pending, Code.TIMEOUT, "no answer within the deadline", "unknown")

    def _reply_error(
        self,
        pending: Pending,
        code: Code,
        words: str,
        applied: Known,
        revision: int = 0,
        detail: dict[str, Any] | None = None,
    ) -> None:
        self._note(pending, code)
        extra = {k: v for k, v in (detail or {}).items() if k != "words"}
        self._out.append(
            replies.error(
                pending.asked.slip,
                self._node,
                code,
                words,
                applied,
                self._led.leader,
                revision,
                extra,
            )
        )

    def _note(self, pending: Pending, code: Code = Code.OK) -> None:
        """It has its answer: that is counted, and told where it was slow."""
        slow = self.outcomes.answered(pending, code, self._now.us)
        if slow is not None:
            self._out.append((Local.SHELL, slow))

    def _lag_ms(self) -> int | None:
        """Since a leader was heard of; None: never."""
        return None if self._heard_us is None else (self._now.us - self._heard_us) // MS

    # == what the gateway itself knows ===========================================================
    def gauges(self) -> dict[str, int]:
        """How it stands, from any thread: whole numbers that are there anyway."""
        return {"in_flight_requests": self._ledger.count, "in_flight_bytes": self._ledger.bytes}

    def _probe(self, letter: Probe) -> None:
        obstacle = ""
        if self._stop_us is not None or not self._led.opened:
            obstacle = self._obstacle()[1]
        elif not self._led.leader:
            obstacle = f"{self._node} knows no leader"
        number = self._ledger.draw()
        self._out += self._probing.begin(letter, number, obstacle)

    def _answer_here(self, pending: Pending) -> None:
        op = pending.asked.request.op
        if op == "status":
            self._ledger.open(pending)
            number = self._ledger.hold([pending], NEVER_US)
            self._out += self._descriptions.begin(pending, number)
            return
        if op == "tail":
            self._observe(pending)
            return
        self._note(pending)
        if op == "introduce":
            fields = asking.introduction(self._founding, self._limits, self._roster)
        else:
            fields = self._members() if op == "members" else self._presented(pending)
        self._out.append(replies.result(pending.asked.slip, self._node, 0, fields))

    def _observe(self, pending: Pending) -> None:
        words = self._tails.obstacle(pending.asked)
        if words:
            self.counters.add("refused_busy")
            self._reply_error(pending, Code.BUSY, words, "no")
            return
        pending.refused_code = Code.TIMEOUT
        pending.refused_words = "its log or its state machine has not answered in time"
        self._ledger.open(pending)
        number = self._ledger.hold([pending], NEVER_US)
        self._out.append((Local.CONSENSUS, self._tails.begin(pending, number)))

    def _members(self) -> dict[str, Any]:
        return {
            "leader": self._led.leader,
            "term": self._led.term,
            "members": [
                {"name": name, "peer_address": peer, "client_address": client}
                for name, peer, _key, client in self._roster.members
                if name not in self._roster.gone
            ],
            "limits": self._limits._asdict(),
        }

    @staticmethod
    def _presented(pending: Pending) -> dict[str, Any]:
        principal = pending.asked.principal
        return {
            "name": principal.name,
            "role": principal.role.name.lower(),
            "not_after": principal.not_after,
        }

    def _described(self, letter: Described) -> None:
        if letter.batch == self._probing.batch:
            self._out += self._probing.go_on(letter)
            return
        complete = self._descriptions.take(letter)
        if complete is None:
            return
        pending, gathered = complete
        self._ledger.take(letter.batch)
        if pending.done:
            return
        self._ledger.close(pending)
        self._note(pending)
        own = {
            "in_flight": self._ledger.count,
            "took": self.outcomes.took(),
            "counters": self.counters.facts(),
        }
        status = {"node": {"name": self._node, **self._facts()}, "gateway": own, **gathered}
        self._out.append(replies.result(pending.asked.slip, self._node, 0, status))


def _ask_the_same(one: Pending, other: Pending) -> bool:
    a, b = one.asked, other.asked
    return (a.principal.name, a.header.command) == (b.principal.name, b.header.command)


def _words(detail: dict[str, Any]) -> str:
    return str(detail.get("words", ""))


def _cut_by_size(members: list[Pending]) -> Iterable[list[Pending]]:
    """Batches of at most ENTRY_COMMANDS_MAX and ENTRY_BYTES_MAX; one larger command goes alone."""
    sizes = [len(p.packed) for p in members]
    if len(members) <= ENTRY_COMMANDS_MAX and sum(sizes) <= ENTRY_BYTES_MAX:
        if members:
            yield members
        return
    batch: list[Pending] = []
    size = 0
    for pending in members:
        full = len(batch) == ENTRY_COMMANDS_MAX or size + len(pending.packed) > ENTRY_BYTES_MAX
        if batch and full:
            yield batch
            batch, size = [], 0
        batch.append(pending)
        size += len(pending.packed)
    if batch:
        yield batch
