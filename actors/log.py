"""The log: a keeper of entries and promises.

Owns: the order "disk first, then the letter". Everything that arrived in a turn becomes one
transaction; when it has returned, the letters sealed in the Writes are true and are posted. Must
never know what an entry means, nor whether it is committed (it is told).

The witness is written after the commit: before a vote or a candidacy leaves this node, at once;
else lazily.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgpack

from actors.keeping import Hard, Journal, Margin, Testimony, Witness, rebased
from dkv.address import Instant, Local, Member, Outbox
from dkv.counters import Counters
from dkv.entries import Entry, Position, entry_bytes, is_sound, position_of
from dkv.errors import Ending, Fault
from dkv.limits import (
    FETCH_BYTES_MAX,
    MS,
    SECOND,
    TAIL_ANSWER_BYTES,
    TAIL_SHOW_US,
    WITNESS_LAZY_US,
)
from dkv.messages import (
    Condemn,
    Cut,
    Describe,
    Described,
    Fetch,
    Fetched,
    Kept,
    Rebase,
    Roster,
    Saved,
    Show,
    Shown,
    Space,
    Stop,
    Stopped,
    Trimmed,
    Write,
)
from dkv.raft import configuration
from dkv.timeline import Timeline

_IDLE_US = 200 * MS


class Log:
    """`recent`: positions of the entries behind the witness's, as recovery found them."""

    name = Local.LOG

    def __init__(
        self,
        journal: Journal,
        witness: Witness,
        margin: Margin,
        hard: Hard,
        testimony: Testimony,
        last: Position,
        recent: Iterable[Position],
        counters: Counters,
    ) -> None:
        self.counters = counters
        self._journal, self._witness, self._margin = journal, witness, margin
        self._hard, self._testimony = hard, testimony
        self._last = last
        self._recent = deque(recent)
        self._number = 0
        # The witness is behind: a promise was made in this turn, or a kill came between the two.
        self._promised = (hard.term, hard.vote) != (testimony.hard_term, testimony.vote)
        self._lazy_us: int | None = None  # when the witness is due
        self._busy_us = 0  # when the last Write came
        self._level = 0
        self._level_us = 0
        self._sealed: list[tuple[str, bytes]] = []
        self._kept: list[Kept] = []
        self._saved = Timeline(last.index)
        self._shows: deque[Show] = deque()
        self._show_us = 0  # when one is answered, whatever is to be written
        self._stopping = False

    @property
    def deadline(self) -> int | None:
        due = [self._busy_us + _IDLE_US] if self._busy_us else []
        due += [self._lazy_us] if self._lazy_us is not None else []
        due += [self._level_us + SECOND] if self._level else []
        due += [0] if self._shows else []
        return min(due, default=None)

    def handle(self, batch: list[Any], now: Instant) -> Outbox:
        try:
            return self._turn(batch, now)
        except self._journal.errors as error:
            raise self._journal.fault(error) from error

    def _turn(self, batch: list[Any], now: Instant) -> Outbox:
        out: Outbox = []
        number = self._number
        for letter in batch:
            self._take(letter, now, out)
        self._saved.reach(self._last.index, now.us + self._journal.commit())
        self._keep_witness(now)
        if self._number > number:
            out.append((Local.CONSENSUS, Saved(self._number)))
            out.extend((Local.CONSENSUS, kept) for kept in self._kept)
            self._kept = []
            self._busy_us = now.us
        out.extend((Member(name), frame) for name, frame in self._sealed)
        self._sealed = []
        if self._stopping:
            self._close()
            out.append((Local.NODE, Stopped(self.name.value)))
            return out
        if self._shows and (number == self._number or now.us >= self._show_us):
            out.append((Local.MACHINE, self._show(self._shows.popleft())))
            self._show_us = now.us + TAIL_SHOW_US
        self._look_at_margin(number < self._number, now, out)
        self._journal.tidy(idle=self._is_idle(now))
        return out

    def _is_idle(self, now: Instant) -> bool:
        idle = self._busy_us > 0 and now.us - self._busy_us >= _IDLE_US
        if idle:
            self._busy_us = 0
        return idle

    def _take(self, letter: Any, now: Instant, out: Outbox) -> None:
        match letter:
            case Write():
                self._write(letter, now)
            case Fetch():
                out.append((Local.CONSENSUS, self._fetch(letter)))
            case Show():
                if not self._shows:
                    self._show_us = now.us + TAIL_SHOW_US
                self._shows.append(letter)
            case Cut():
                out.append((Local.CONSENSUS, self._cut(letter.through)))
            case Rebase():
                self._rebase(letter, now)
            case Condemn():
                self._condemn(letter)
            case Roster():
                out.append((Local.SHELL, letter))
            case Describe():
                out.append((Local.GATEWAY, self._describe(letter)))
            case Stop():
                self._stopping = True
            case _:
                raise AssertionError(f"the log does not know {letter!r}")

    # -- writes ----------------------------------------------------------------------------------
    def _write(self, write: Write, now: Instant) -> None:
        assert write.number == self._number + 1, (write.number, self._number)
        self._number = write.number
        if write.cut_from:
            self._truncate(write.cut_from)
        if write.entries:
            first = write.entries[0].index
            assert first == self._last.index + 1, (first, self._last)
            self._journal.replace(write.cut_from, write.entries)
            self._recent.extend(map(position_of, write.entries))
            self._last = self._recent[-1]
            self.counters.add("entries", len(write.entries))
        elif write.cut_from:
            self._journal.replace(write.cut_from, ())
        if (write.term, write.vote) != (self._hard.term, self._hard.vote):
            self._hard = self._hard._replace(term=write.term, vote=write.vote)
            self._journal.keep(self._hard)
            self._promised = True
        self._advance(write.commit, now)
        for name, frame in write.sealed:
            if write.quiet and name == self._hard.name:
                self._kept.append(Kept(frame))
            else:
                self._sealed.append((name, frame))

    def _truncate(self, index: int) -> None:
        assert index > self._testimony.index, (index, self._testimony)
        self._saved.back_to(index - 1)
        while self._recent and self._recent[-1].index >= index:
            self._recent.pop()
        if self._recent:
            self._last = self._recent[-1]
        else:
            testimony = self._testimony
            self._last = Position(testimony.index, testimony.term, testimony.check)
        assert self._last.index == index - 1, (self._last, index)

    def _advance(self, commit: int, now: Instant) -> None:
        """The witness will know of the last entry that is committed and, after this turn, saved."""
        reached = None
        while self._recent and self._recent[0].index <= commit:
            reached = self._recent.popleft()
        if reached is not None:
            self._testimony = self._testimony._replace(**reached._asdict())
            if self._lazy_us is None:
                self._lazy_us = now.us + WITNESS_LAZY_US

    def _keep_witness(self, now: Instant) -> None:
        lazy = self._lazy_us is not None and now.us >= self._lazy_us
        if self._promised or lazy:
            self._testimony = self._testimony._replace(
                hard_term=self._hard.term, vote=self._hard.vote
            )
            self._witness.write(self._testimony)
            self.counters.add("witness_writes")
            self._promised, self._lazy_us = False, None

    def _condemn(self, letter: Condemn) -> None:
        """The leader knows of an acknowledgement that this disk does not hold any more. The witness
        keeps that, with a check no log can have, so that no restart forgets it."""
        self._journal.commit()
        hard = self._hard
        claim = Testimony(letter.index, hard.term, b"\xff" * 8, hard.term, hard.vote)
        self._witness.write(claim)
        self._witness.write(claim)  # both slots: no older one may speak for this disk
        raise Fault(Ending.STORAGE_FAULT, letter.words)

    # -- reading and cutting ---------------------------------------------------------------------
    def _fetch(self, letter: Fetch) -> Fetched:
        if letter.first <= self._hard.base.index:
            return Fetched(letter.first, ())
        return Fetched(letter.first, self._read(letter.first, letter.last, FETCH_BYTES_MAX))

    def _show(self, letter: Show) -> Shown:
        """What there is of it by now: entries may have been cut or replaced since."""
        base = self._hard.base.index
        first, last = max(letter.after, base) + 1, min(letter.last, self._last.index)
        entries = self._read(first, last, TAIL_ANSWER_BYTES) if first <= last else ()
        batch, wait_ms, after, _last, commit, question, known, moments = letter
        saved_us = tuple(self._saved.when(moment[0]) for moment in moments)
        told = (question, known, moments, saved_us, base, self._last.index, entries)
        return Shown(batch, wait_ms, after, commit, *told)

    def _read(self, first: int, last: int, bytes_max: int) -> tuple[Entry, ...]:
        """Verified entries, as many as fit. The row before the first gives the chain its start."""
        base = self._hard.base
        before = base.check if first == base.index + 1 else None
        found: list[Entry] = []
        size = 0
        for entry in self._journal.rows(first if before is not None else first - 1, last):
            if before is None:
                before = entry.check
                continue
            self._verify(entry, first + len(found), before)
            size += entry_bytes(entry)
            if found and size > bytes_max:
                break
            found.append(entry)
            before = entry.check
        if not found:
            raise Fault(Ending.STORAGE_FAULT, f"entry {first} is missing from the log")
        return tuple(found)

    @staticmethod
    def _verify(entry: Entry, index: int, before: bytes) -> None:
        if entry.index != index or not is_sound(entry, before):
            raise _damaged(index)

    def _sound_row(self, index: int) -> Entry:
        """One entry, verified against the check before it."""
        base = self._hard.base
        checks = [base.check] if index == base.index + 1 else []
        rows = [*self._journal.rows(index - 1 + len(checks), index)]
        checks += [entry.check for entry in rows]
        if len(checks) != 2:
            raise _damaged(index)
        self._verify(rows[-1], index, checks[0])
        return rows[-1]

    def _cut(self, through: int) -> Trimmed:
        """Forget the head. What it said of the configuration moves into the hard state, with a sum
        of its own: so it is verified here, for the last time."""
        entry = self._sound_row(through)
        hard = self._hard
        for found in self._journal.configurations(through):
            past = self._sound_row(found.index)
            hard = hard.configured(configuration.after(past, hard.configuration()))
        if not hard.formed_index:  # a head is cut behind what every member has
            raise _damaged(through, "and with it the first configuration")
        self._hard = hard._replace(base=position_of(entry), base_tick=entry.tick)
        self._journal.cut(through)
        self._journal.keep(self._hard)
        return Trimmed(*self._hard.base)

    def _rebase(self, letter: Rebase, now: Instant) -> None:
        """Everything up to there is in state.db, which was installed: the log begins anew."""
        base = Position(letter.index, letter.term, letter.check)
        assert base.index > self._testimony.index, (base, self._testimony)
        self._hard = rebased(self._hard, base, letter.tick, letter.configuration)
        self._journal.replace(1, ())
        self._journal.keep(self._hard)
        self._last = base
        self._saved.begin(base.index)
        self._recent.clear()
        self._testimony = self._testimony._replace(**base._asdict())
        if self._lazy_us is None:
            self._lazy_us = now.us + WITNESS_LAZY_US

    # -- the disk --------------------------------------------------------------------------------
    def _look_at_margin(self, wrote: bool, now: Instant, out: Outbox) -> None:
        if wrote or (self._level and now.us - self._level_us >= SECOND):
            level = self._margin.level()
            self._level_us = now.us
            if level != self._level:
                self._level = level
                out.append((Local.CONSENSUS, Space(level)))

    def gauges(self) -> dict[str, int]:
        """How it stands, from any thread: whole numbers that are there anyway."""
        base, last = self._hard.base.index, self._last.index
        return {"base_index": base, "last_index": last, "space_level": self._level}

    def _describe(self, letter: Describe) -> Described:
        facts = {
            "base": self._hard.base.index,
            "last": self._last.index,
            "witness": self._testimony.index,
            "space": self._level,
            **self._journal.sizes(),
            "counters": self.counters.facts(),
        }
        return Described(letter.batch, self.name.value, msgpack.packb(facts))

    def _close(self) -> None:
        testimony = self._testimony._replace(hard_term=self._hard.term, vote=self._hard.vote)
        self._witness.write(testimony)
        self._journal.close()
        self._witness.close()


def _damaged(index: int, words: str = "") -> Fault:
    return Fault(
        Ending.STORAGE_FAULT,
        f"entry {index} of the log is damaged{words and ', '}{words}: this disk must not be "
        "trusted any more",
    )
