"""A gateway on paper: client messages in, replies and letters out."""

from typing import Any

import msgpack

from actors.admission import Admission, Principal
from actors.gateway import Gateway
from dkv.address import Client, Instant, Local
from dkv.counters import Counters
from dkv.errors import Code
from dkv.ids import Founding
from dkv.kv.sessions import pack_answer
from dkv.limits import MS, ClusterLimits
from dkv.messages import Applied, FromClient, Led, Lookup, Propose, ReadIndex, Say
from dkv.requests import PROTOCOL, Malformed, Role, pack_command

ROLES = {"reader": Role.READER, "writer": Role.WRITER, "admin": Role.ADMIN}


def verify(text: bytes, user: str, wall_s: int) -> Principal:
    """A certificate here is `name:role:key`."""
    name, role, key = text.decode().split(":")
    if key != user:
        raise Malformed(Code.CERTIFICATE_REFUSED, f"at {wall_s} another connection's key")
    return Principal(name, ROLES[role], 2**40)


FOUNDING = Founding(b"authority", "token", ("n1", "n2", "n3"))


def no_key(_text: bytes, name: str, _wall_s: int) -> bytes:
    """Of a member's certificate."""
    return name.encode()


class Front:
    def __init__(self, *, secure: bool = False, limits: ClusterLimits | None = None) -> None:
        self.limits = limits or ClusterLimits()
        self.counters = Counters()
        self.admission = Admission(self.limits, verify if secure else None, "", self.counters)
        self.gateway = Gateway(
            "n1", self.limits, self.admission, dict, self.counters, FOUNDING, no_key
        )
        self.now_us = 1_000_000
        self.inside: list[Any] = []  # letters to the other actors
        self.replies: list[tuple[bytes, dict[str, Any]]] = []  # each of a burst is one
        self.messages: list[tuple[bytes, tuple[bytes, ...]]] = []  # what they came in
        self._asked = 0
        self.lead("n1")

    def handle(self, *letters: Any) -> None:
        for to, letter in self.gateway.handle(list(letters), Instant(self.now_us, 1_700_000_000)):
            if isinstance(to, Client):
                self.messages.append((to.routing_id, letter.frames))
                body = msgpack.unpackb(letter.frames[-1])
                burst = body if type(body) is list else [body]
                self.replies += [(to.routing_id, reply) for reply in burst]
            elif not isinstance(letter, Say):
                assert isinstance(to, Local)
                self.inside.append(letter)

    def lead(self, leader: str, term: int = 1) -> None:
        self.handle(Led(term, leader, True, ()))

    def wait(self, us: int) -> None:
        end = self.now_us + us
        while self.gateway.deadline is not None and self.gateway.deadline <= end:
            self.now_us = max(self.now_us + 1, self.gateway.deadline)
            self.handle()
        self.now_us = end

    # -- clients ---------------------------------------------------------------------------------
    def frames(self, *frames: bytes, user: str = "insecure", client: bytes = b"c1") -> None:
        self.handle(FromClient(client, user, frames))

    def body(self, body: bytes, **who: Any) -> None:
        self._asked += 1
        self.frames(PROTOCOL, b"%d" % self._asked, body, **who)

    def request(self, request: Any, **who: Any) -> None:
        self.body(msgpack.packb(request), **who)

    def command(self, command: bytes, header: dict[str, Any] | None = None, **who: Any) -> None:
        self.request({"command": command, **(header or {})}, **who)

    def put(
        self, key: bytes, value: bytes, header: dict[str, Any] | None = None, **who: Any
    ) -> None:
        self.command(pack_command("put", key=key, value=value), header, **who)

    def present(self, name: str, role: str, user: str) -> None:
        text = f"{name}:{role}:{user}".encode()
        self.command(pack_command("present", certificate=text), user=user)
        assert "result" in self.replies.pop()[1]

    # -- what came of it -------------------------------------------------------------------------
    def error(self) -> tuple[str, str]:
        """Code and `applied` of the only reply so far; nothing went inside."""
        assert self.inside == []
        ((_client, body),) = self.replies
        self.replies.clear()
        return body["error"]["code"], body["error"]["applied"]

    def silence(self) -> str:
        """It was dropped: no reply, nothing inside; the counter's name."""
        assert (self.replies, self.inside) == ([], [])
        ((name, count),) = self.counters.facts().items()
        assert count == 1
        return name

    def posted(self) -> Any:
        """The only letter that went inside."""
        (letter,) = self.inside
        self.inside.clear()
        assert isinstance(letter, Propose | ReadIndex | Lookup)
        return letter

    def apply(self, batch: int, session: int, sequence: int, code: Code = Code.OK) -> None:
        self.handle(Applied(batch, 9, ((session, sequence, pack_answer(code, 5, {})),)))


TTL_US = 5_000 * MS
