"""Clients for the simulated world: each with a session, retrying as a library does, keeping books.

counter   compare-and-put increments of one shared key: acknowledged <= counter <=
          acknowledged + unknown
own key   each client's last acknowledged value must be there at the end, or a later one that
          it sent
"""

from collections.abc import Callable
from random import Random

from dkv.limits import MS, SECOND
from tests.world import Reply, World

TRY_MS = 700
Then = Callable[[Reply | None], None]


class LoadClient:
    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.rng = Random(world.rng.getrandbits(64))
        self.key = b"own/%d" % number
        self.session = 0
        self.sequence = 0
        self.value = 0  # last one sent
        self.acknowledged = 0  # last one acknowledged
        self.increments = 0
        self.unknown = 0
        self.done = 0
        self.stopping = False
        self._step: Callable[[], None] = self._open
        self._request = b""
        self._retry = False

    def start(self) -> None:
        self.world.at(self.world.now_us + self.rng.randint(0, 100) * MS, self._begin)

    # -- one operation after another -------------------------------------------------------------
    def _begin(self) -> None:
        if not self.stopping:
            self._retry = False
            self._step()

    def _next(self) -> None:
        pick = self.rng.random()
        self._step = self._put if pick < 0.5 else self._read_counter
        self.done += 1
        self.world.at(self.world.now_us + self.rng.randint(1, 20) * MS, self._begin)

    def _send(self, op: str, then: Then, header: dict[str, object], **fields: object) -> None:
        node = self.rng.choice(self.world.names)
        header = {"ttl_ms": TRY_MS, "retry": self._retry, **header}
        request = self.world.ask(node, op, header, **fields)
        deadline = self.world.now_us + (TRY_MS + 300) * MS
        self._poll(request, deadline, then)

    def _poll(self, request: bytes, deadline_us: int, then: Then) -> None:
        reply = self.world.replies.pop(request, None)
        if reply is None and self.world.now_us < deadline_us:
            again_us = self.world.now_us + 2 * MS
            self.world.at(again_us, lambda: self._poll(request, deadline_us, then))
            return
        then(reply)

    def _again(self, reply: Reply | None) -> None:
        self._retry = self._retry or reply is None or reply.applied != "no"
        self.world.at(self.world.now_us + self.rng.randint(10, 60) * MS, self._step)

    # -- operations ------------------------------------------------------------------------------
    def _open(self) -> None:
        def opened(reply: Reply | None) -> None:
            if reply is None or not reply.ok:
                self._again(reply)
                return
            self.session = reply.result["session"]
            self._next()

        self._send("open_session", opened, {})

    def _place(self) -> dict[str, object]:
        return {"session": self.session, "sequence": self.sequence, "lowest": self.sequence}

    def _put(self) -> None:
        if not self._retry:
            self.sequence += 1
            self.value += 1

        def put(reply: Reply | None) -> None:
            if reply is None or not reply.ok:
                assert reply is None or reply.code != "session_lost" or reply.applied != "no"
                if not self.stopping:
                    self._again_same(reply, self._put)
                return
            self.acknowledged = self.value
            self._next()

        self._send("put", put, self._place(), key=self.key, value=b"%d" % self.value)

    def _again_same(self, reply: Reply | None, step: Callable[[], None]) -> None:
        """The same sequence again; a definite refusal may be sent again as a first attempt."""
        if reply is not None and reply.applied == "no" and not self._retry:
            self.sequence -= 1
            self.value -= step == self._put
        self._step = step
        self._again(reply)

    def _read_counter(self) -> None:
        def read(reply: Reply | None) -> None:
            if reply is None or not reply.ok:
                self._again(reply)
                return
            self._at = reply.result["key_revision"]
            self._count = int(reply.result.get("value", b"0"))
            self._step = self._increment
            self._retry = False
            self._step()

        self._send("get", read, {}, key=b"counter")

    def _increment(self) -> None:
        if not self._retry:
            self.sequence += 1

        def incremented(reply: Reply | None) -> None:
            if reply is not None and reply.ok:
                self.increments += 1
                self._next()
            elif reply is not None and reply.code == "condition_failed":
                self._next()
            elif not self.stopping:
                self._again_same(reply, self._increment)
            else:
                self.unknown += 1

        value = b"%d" % (self._count + 1)
        place = self._place()
        self._send("put", incremented, place, key=b"counter", value=value, expected=self._at)

    def finish(self) -> None:
        self.stopping = True


def settle(world: World, clients: list[LoadClient]) -> None:
    """Stop the clients, let everything come to rest, and compare the books with the store."""
    for client in clients:
        client.finish()
    world.run(3 * SECOND)
    world.run_until(world.is_serving)
    reader = world.leader() or world.names[0]
    counter = world.get(reader, b"counter", "linearizable").result
    value = int(counter.get("value", b"0"))
    acknowledged = sum(c.increments for c in clients)
    unknown = sum(c.unknown for c in clients)
    assert acknowledged <= value <= acknowledged + unknown, (
        f"seed {world.seed}: counter {value}, acknowledged {acknowledged}, unknown {unknown}"
    )
    for client in clients:
        found = int(world.get(reader, client.key).result.get("value", b"0"))
        assert client.acknowledged <= found <= client.value, (
            f"seed {world.seed}: {client.key!r} is {found}, acknowledged {client.acknowledged}"
        )
