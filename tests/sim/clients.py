"""Clients of the simulated cluster: as a library behaves, on any node, with and without a session.

Owns: what is asked, when it is tried again, and what is then known of it. Must never know what the
cluster does with it. A client has one session and a few hands; each hand does one operation after
another, so that a session's commands overtake one another.
"""

from random import Random
from typing import Any

from dkv.history import Operation
from dkv.limits import MS, SECOND
from tests.sim.books import Books, Glance
from tests.world import Reply, World

TRY_MS = 700
PREFIX = b"k/"
_DONE = ("ok", "condition_failed")


class Session:
    def __init__(self, number: int) -> None:
        self.number = number
        self.given = 0
        self.open: set[int] = set()  # sequences whose answer is waited for

    def next(self) -> int:
        self.given += 1
        self.open.add(self.given)
        return self.given

    def place(self, sequence: int) -> dict[str, int]:
        return {"session": self.number, "sequence": sequence, "lowest": min(self.open)}


class Client:
    def __init__(
        self, world: World, books: Books, number: int, dice: Random, compacts: bool = False
    ) -> None:
        self.world, self.books, self.number, self.dice = world, books, number, dice
        self.nodes = world.names
        self.keeps_session = dice.random() < 0.75
        self.session: Session | None = None
        self.opening = False
        self.stopping = False
        self.lossy = dice.choice((0.0, 0.0, 0.02, 0.08))  # of its requests, and of its answers
        self.pause_ms = dice.choice((80, 150, 250))
        self.keys = [PREFIX + b"%d" % i for i in range(dice.choice((2, 6, 12)))]
        self.seen: dict[bytes, int] = {}  # the revision at which a key was last seen
        # dice of its own: seeds without compaction play as they did before there was any
        self.historian = Random(f"historian {number} {dice.random()}") if compacts else None
        self.hands = [Hand(self, i) for i in range(dice.choice((1, 2, 3)))]

    def start(self) -> None:
        for hand in self.hands:
            hand.rest()

    @property
    def is_idle(self) -> bool:
        return all(hand.call is None for hand in self.hands)

    def saw(self, key: bytes, revision: int) -> None:
        self.seen[key] = max(self.seen.get(key, 0), revision)


class Call:
    """One operation under way. `maybe`: an attempt may have been executed."""

    def __init__(
        self, op: str, fields: dict[str, Any], header: dict[str, Any], deadline_us: int
    ) -> None:
        self.op, self.fields, self.header = op, fields, header
        self.deadline_us = deadline_us
        self.began_us = 0  # of a write its first attempt, of a read its last
        self.session: Session | None = None
        self.sequence = 0
        self.maybe = False
        self.attempt = 0

    @property
    def is_read(self) -> bool:
        return self.op in ("get", "list")


class Hand:
    def __init__(self, client: Client, number: int) -> None:
        self.client, self.number = client, number
        self.world, self.dice = client.world, client.dice
        self.call: Call | None = None
        self._values = 0

    def rest(self) -> None:
        pause = self.dice.randint(1, self.client.pause_ms)
        if self.dice.random() < 0.002:
            pause += 12_000  # long enough to lose a short session
        self.world.after(pause * MS, self._begin)

    def _begin(self) -> None:
        client = self.client
        if client.stopping:
            return
        if client.keeps_session and client.session is None:
            if client.opening:
                self.rest()
                return
            client.opening = True
            self._start("open_session", {}, {})
            return
        op, fields, header = self._draw()
        self._start(op, fields, header)

    def _start(self, op: str, fields: dict[str, Any], header: dict[str, Any]) -> None:
        patience = self.dice.choice((1_500, 4_000, 8_000)) * MS
        call = Call(op, fields, header, self.world.now_us + patience)
        client = self.client
        if client.session and op in ("put", "delete"):
            call.session, call.sequence = client.session, client.session.next()
        elif client.session and op == "close_session":
            call.header = {"session": client.session.number}
            client.session = None
        self.call = call
        call.began_us = self.world.now_us
        self._try(call)

    # -- what to do ------------------------------------------------------------------------------
    def _draw(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        dice, client = self.dice, self.client
        historian = client.historian
        if historian and historian.random() < 0.04:
            return "compact", {"keep": historian.choice((0, 0, 3, 30))}, {}
        pick = dice.random()
        key = dice.choice(client.keys)
        level = {"level": "serializable"} if dice.random() < 0.25 else {}
        if pick < 0.34:
            return "get", {"key": key}, level
        if pick < 0.40:
            page = dice.choice((1_000, 1_000, 3))
            return "list", {"prefix": PREFIX, "limit": page}, level
        if pick < 0.48:
            return "delete", {"key": key, **self._condition(key, 0.3)}, {}
        if pick < 0.49 and client.session and not client.session.open:
            return "close_session", {}, {}
        self._values += 1
        value = b"%d.%d.%d" % (client.number, self.number, self._values)
        if dice.random() < 0.02:
            value += b"." * dice.choice((1_000, 20_000))
        return "put", {"key": key, "value": value, **self._condition(key, 0.4)}, {}

    def _condition(self, key: bytes, chance: float) -> dict[str, Any]:
        if self.dice.random() < chance:
            return {"expected": self.client.seen.get(key, 0)}
        return {}

    # -- trying ----------------------------------------------------------------------------------
    def _try(self, call: Call) -> None:
        call.attempt += 1
        attempt = call.attempt
        if call.is_read:
            call.began_us = self.world.now_us
        header = {"ttl_ms": TRY_MS, "retry": call.maybe, **call.header}
        if call.session:
            header |= call.session.place(call.sequence)
        node = self.dice.choice(self.client.nodes)
        lost, answer_lost = (self.dice.random() < self.client.lossy for _ in range(2))

        def ended(reply: Reply | None) -> None:
            if self.call is call and call.attempt == attempt:
                call.attempt += 1  # whatever else comes of this attempt is too late
                self._answered(call, reply)

        if not lost:
            request = self.world.ask(node, call.op, header, **call.fields)
            if not answer_lost:
                self.world.waiters[request] = ended
        self.world.after((TRY_MS + 200) * MS, lambda: ended(None))

    def _answered(self, call: Call, reply: Reply | None) -> None:
        if reply is not None and reply.code in _DONE:
            self._close(call)
            self._learn(call, reply)
            return
        call.maybe |= reply is None or reply.applied != "no"
        once = not call.session and not call.is_read and call.maybe
        lost = reply is not None and reply.code in ("session_lost", "stale")
        if once or lost or self.world.now_us >= call.deadline_us:
            self._close(call)
            self._give_up(call, lost)
        else:
            self.world.after(self.dice.randint(5, 80) * MS, lambda: self._try(call))

    def _close(self, call: Call) -> None:
        self.call = None
        if call.session:
            call.session.open.discard(call.sequence)
        self.rest()

    def _give_up(self, call: Call, session_lost: bool) -> None:
        if session_lost and self.client.session is call.session:
            self.client.session = None
        if call.op == "open_session":
            self.client.opening = False
        elif call.op in ("put", "delete"):
            if call.maybe:
                self.client.books.record(self._operation(call, None))
            elif call.op == "put":
                self.client.books.refused.add(call.fields["value"])

    # -- what is then known ----------------------------------------------------------------------
    def _learn(self, call: Call, reply: Reply) -> None:
        match call.op:
            case "open_session":
                self.client.opening = False
                self.client.session = Session(reply.result["session"])
            case "close_session":
                pass
            case "compact":
                self.client.books.compactions += 1
                self.client.books.done += 1
            case "list":
                self._listed(call, reply)
            case "get":
                result = reply.result
                self._read(call, call.fields["key"], result.get("value"), result, reply.revision)
            case _:
                self._wrote(call, reply)

    def _wrote(self, call: Call, reply: Reply) -> None:
        key = call.fields["key"]
        if not reply.ok:
            at = reply.body["error"]["key_revision"]
            self.client.books.record(self._operation(call, reply)._replace(ok=False, revision=at))
            self.client.seen[key] = at
            if call.op == "put":
                self.client.books.refused.add(call.fields["value"])
            return
        done = self._operation(call, reply)
        if call.op == "delete":
            found = bool(reply.result["deleted"])
            done = done._replace(found=found, revision=reply.revision if found else None)
            self.client.seen[key] = 0
        else:
            done = done._replace(revision=reply.result["key_revision"])
            self.client.saw(key, reply.result["key_revision"])
        self.client.books.record(done)

    def _operation(self, call: Call, reply: Reply | None) -> Operation:
        expected = call.fields.get("expected")
        return Operation(
            "cap" if call.op == "put" and expected is not None else call.op,
            call.fields["key"],
            call.began_us,
            self.world.now_us if reply else None,
            value=call.fields.get("value"),
            expected=expected,
            store=reply.revision if reply else None,
            client=f"{self.client.number}.{self.number}",
            node=reply.body["node"] if reply else "",
        )

    def _read(self, call: Call, key: bytes, value: bytes | None, row: Any, store: int) -> None:
        revision = row["key_revision"]
        self.client.seen[key] = revision
        if "level" in call.header:
            self.client.books.done += 1
            self.client.books.glances.append(Glance(key, value, revision, store))
            return
        self.client.books.record(
            Operation(
                "get",
                key,
                call.began_us,
                self.world.now_us,
                out=value,
                revision=revision,
                store=store,
                client=f"{self.client.number}.{self.number}",
            )
        )

    def _listed(self, call: Call, reply: Reply) -> None:
        """A page is a read of every key that it covers, those that it does not name included."""
        items = reply.result["items"]
        rows = {key: (value, at) for key, value, at, *_ in items}
        known = sorted({*rows, *self.client.keys})
        last = items[-1][0] if "token" in reply.result else b"\xff"
        before = self.client.books.done
        for key in [k for k in known if k <= last]:
            value, at = rows.get(key, (None, 0))
            self._read(call, key, value, {"key_revision": at}, reply.revision)
        self.client.books.done = before + 1
        if "token" in reply.result:
            self._turn_page(call, reply.result["token"], last)

    def _turn_page(self, call: Call, token: bytes, after: bytes) -> None:
        """The next pages are as of the first one's revision, to the range's end, unless a
        compaction passes them: what they say, and do not name, are glances."""
        client = self.client
        fields = {**call.fields, "token": token}

        def turned(page: Reply) -> None:
            if page.code == "compacted":
                client.books.lists_ended += 1
            if not page.ok:
                return
            rows = {key: (value, at) for key, value, at, *_ in page.result["items"]}
            assert all(key > after for key in rows), (after, rows)
            more = page.result.get("token")
            last = max(rows) if more else b"\xff"
            for key in sorted({*rows, *client.keys}):
                if after < key <= last:
                    glance = Glance(key, *rows.get(key, (None, 0)), page.revision)
                    client.books.glances.append(glance)
            if more:
                self._turn_page(call, more, last)

        def turn() -> None:
            request = self.world.ask(self.dice.choice(client.nodes), "list", call.header, **fields)
            self.world.waiters[request] = turned

        if client.historian:  # slowly, so that a compaction comes between
            self.world.after(client.historian.randint(1, 900) * MS, turn)
        else:
            turn()


def patience_us() -> int:
    """After which every call has ended."""
    return 8 * SECOND + (TRY_MS + 300) * MS
