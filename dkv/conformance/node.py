"""A node of a play: what arrives at its socket, and what goes back unless a play says otherwise.

Owns: frames to requests and replies to frames, who has shown a certificate, what is wrong with the
form of a message. Must never know a socket, nor which rule is being played.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from dkv.conformance import notes
from dkv.conformance.store import Refused, Store
from dkv.errors import CODE_BY_NAME, RULES
from dkv.frames import join, part
from dkv.limits import GUEST_BYTES_MAX, REQUEST_ID_BYTES_MAX, ClusterLimits
from dkv.parsing import read_body, read_command, read_header
from dkv.requests import PROTOCOL, Header, Malformed

_LIMITS = ClusterLimits()


class Seen(NamedTuple):
    """A request as it arrived: `client` is its connection, `position` its place in an array (-1: it
    came alone), `tick` counts the messages of the play."""

    at_s: float
    node: str
    client: bytes
    request_id: bytes
    position: int
    tick: int
    header: Header
    op: str
    fields: dict[str, Any]


class Breach(NamedTuple):
    """A rule of the wire that a message broke."""

    rule: str
    words: str


class Reply(NamedTuple):
    """What a play has a node say: a map, or bytes that are none. `request_id` None: that of the
    request; `whole`: it is about the message, so it has no `position`; `protocol`: a stranger's."""

    body: dict[str, Any] | bytes
    after_s: float = 0.0
    request_id: bytes | None = None
    whole: bool = False
    protocol: bytes = PROTOCOL


class Post(NamedTuple):
    """Frames for a connection, when they are due."""

    due_s: float
    client: bytes
    frames: tuple[bytes, ...]


_Due = tuple[float, bytes, bytes, bytes]  # when, protocol, request id, body

# What a play says to a request: None leaves it to the node, nothing is silence.
React = Callable[[Seen], list[Reply] | None]


def refusal(code: str, applied: str = "no", leader: str = "", **more: Any) -> dict[str, Any]:
    """An error's reply; a code of the table has its own `retry`, another says it in `more`."""
    known = CODE_BY_NAME.get(code)
    retry = RULES[known].retry if known is not None else "never"
    words = RULES[known].words if known is not None else "A newer node says so."
    error = {"code": code, "applied": applied, "retry": retry, "leader": leader, "words": words}
    return {"error": {**error, **more}}


class Node:
    """`certificate`: the text that a connection must present, None without security. `react` is
    asked before the store is; `members` answers the op of that name."""

    def __init__(
        self,
        name: str,
        store: Store,
        certificate: bytes | None,
        react: React,
        members: Callable[[], dict[str, Any]],
    ) -> None:
        self.name, self.store = name, store
        self.certificate, self._react, self._members = certificate, react, members
        self.forgets = ""  # at the next such message who has presented: "any" or "array"
        self.refuses = ""  # the code by which a certificate is refused
        self.bursts = False
        self.seen: list[Seen] = []
        self.messages: list[tuple[bytes, bytes]] = []  # (connection, request id), but of `present`
        self.breaches: list[Breach] = []
        self.notes: list[notes.Note] = []
        self._known: set[bytes] = set()
        self._met: set[bytes] = set()

    # -- in --------------------------------------------------------------------------------------
    def receive(
        self, client: bytes, frames: tuple[bytes, ...], now_s: float, tick: int
    ) -> list[Post]:
        """What goes back, and when. `frames` are those behind the routing id."""
        delimiter = frames[:1] if len(frames) > 1 and not frames[0] else ()
        joined = len(frames) - len(delimiter) == 1
        parts = _open(frames[len(delimiter) :])
        if parts is None or not 0 < len(parts[0]) <= REQUEST_ID_BYTES_MAX:
            words = notes.why_no_message(frames[len(delimiter) :])
            self._broken("C1", words)
            self.note(now_s, f"got {words}")
            return []
        return [
            Post(due_s, client, (*delimiter, *_form(joined, protocol, request_id, body)))
            for due_s, protocol, request_id, body in self._due(client, *parts, now_s, tick)
        ]

    def _due(
        self, client: bytes, request_id: bytes, body: bytes, now_s: float, tick: int
    ) -> list[_Due]:
        try:
            requests, listed = read_body(body, len(body))
        except Malformed as error:
            return [self._unsound(request_id, -1, error, now_s)]
        seen: list[Seen] = []
        unsound: list[_Due] = []
        for place, raw in enumerate(requests):
            position = place if listed else -1
            try:
                seen.append(self._read(client, request_id, position, tick, raw, now_s))
            except Malformed as error:
                unsound.append(self._unsound(request_id, position, error, now_s))
        self.seen += seen
        for each in seen:
            where = notes.place_of(request_id, each.position)
            self.note(now_s, notes.asked(each.op, each.fields, each.header, where))
        if seen and any(each.op != "present" for each in seen):
            self.messages.append((client, request_id))
        answers = self._answers(client, seen, listed, len(body), now_s)
        posts = self._in_bursts(answers) if self.bursts else self._one_by_one(answers)
        return [*unsound, *posts]

    def _read(
        self, client: bytes, request_id: bytes, position: int, tick: int, raw: Any, now_s: float
    ) -> Seen:
        """Raises `Malformed`."""
        header = read_header(raw)
        try:
            request, fields = read_command(header.command, _LIMITS)
        except Malformed as error:
            raise Malformed(error.code, error.words + notes.hint(header.command)) from None
        return Seen(
            now_s, self.name, client, request_id, position, tick, header, request.op, fields
        )

    def _unsound(self, request_id: bytes, position: int, error: Malformed, now_s: float) -> _Due:
        """A request that is none is answered as a live node does: its author reads why."""
        self._broken("C3", error.words)
        place = notes.place_of(request_id, position)
        self.note(now_s, f"got {place}, not sound: {error.words}")
        body = {"revision": 0, "node": self.name, **refusal(error.code.name.lower())}
        body["error"]["words"] = error.words
        self.note(now_s, notes.said(body, place))
        if position >= 0:
            body["position"] = position
        return now_s, PROTOCOL, request_id, msgpack.packb(body)

    def _broken(self, rule: str, words: str) -> None:
        self.breaches.append(Breach(rule, words))

    def note(self, at_s: float, words: str) -> None:
        self.notes.append(notes.Note(at_s, self.name, words))

    # -- what is answered ------------------------------------------------------------------------
    def _answers(
        self, client: bytes, seen: list[Seen], listed: bool, size: int, now_s: float
    ) -> list[tuple[Seen, Reply]]:
        if not seen:
            return []
        presents = not listed and seen[0].op == "present"
        if self.certificate is not None:
            self._meet(client, presents, size)
            if not presents and self.forgets in ("any", "array" if listed else "any"):
                self._known.discard(client)
                self.forgets = ""
            if not presents and client not in self._known:
                return [(seen[0], Reply(refusal("certificate_needed"), whole=True))]
        if presents:
            return [(seen[0], Reply(self._present(seen[0])))]
        answers: list[tuple[Seen, Reply]] = []
        for each in seen:
            told = self._react(each)
            if told is None:
                told = [Reply(self.carry_out(each, now_s))]
            if not told:
                self.note(
                    now_s, f"says nothing to {notes.place_of(each.request_id, each.position)}"
                )
            answers += [(each, reply) for reply in told]
        return answers

    def _meet(self, client: bytes, presents: bool, size: int) -> None:
        if client not in self._met and not presents:
            self._broken("C4", "the first message of a connection presents no certificate")
        if presents and size > GUEST_BYTES_MAX:
            self._broken("C4", f"a `present` of {size} bytes")
        self._met.add(client)

    def _present(self, asked: Seen) -> dict[str, Any]:
        if self.refuses:
            return refusal(self.refuses)
        if self.certificate is not None and asked.fields["certificate"] != self.certificate:
            return refusal("certificate_refused")
        self._known.add(asked.client)
        return {"result": {"name": "app", "role": "writer", "not_after": 2**33}}

    def carry_out(self, asked: Seen, now_s: float) -> dict[str, Any]:
        """The reply of a node with which nothing is wrong."""
        if asked.op == "members":
            return {"result": self._members(), "revision": 0}
        if asked.op == "status":
            return {"result": {"node": {"name": self.name}}, "revision": 0}
        try:
            result = self.store.carry_out(asked.header, asked.op, asked.fields, now_s)
        except Refused as refused:
            first = not asked.header.retry
            vague = refused.code in ("session_lost", "stale") and not first
            applied = "unknown" if vague else "no"
            return {**refusal(refused.code, applied, **refused.more), "revision": 1}
        if asked.header.level == "serializable":
            result = {**result, "lag_ms": 1}
        return {"result": result, "revision": self.store.revision}

    # -- out -------------------------------------------------------------------------------------
    def _packed(self, asked: Seen, reply: Reply, burst: bool) -> bytes:
        if isinstance(reply.body, bytes):
            return reply.body
        body = {"revision": 0, "node": self.name, **reply.body}
        if asked.position >= 0 and not reply.whole:
            body.setdefault("position", asked.position)
        if burst:
            body["id"] = asked.request_id
        packed: bytes = msgpack.packb(body)
        return packed

    def _note_reply(self, asked: Seen, reply: Reply, request_id: bytes) -> None:
        place = notes.place_of(request_id, -1 if reply.whole else asked.position)
        words = notes.said(reply.body, place)
        other = f" as {reply.protocol.decode()}" if reply.protocol != PROTOCOL else ""
        self.note(asked.at_s + reply.after_s, words + other)

    def _one_by_one(self, answers: list[tuple[Seen, Reply]]) -> list[_Due]:
        posts = []
        for asked, reply in answers:
            request_id = asked.request_id if reply.request_id is None else reply.request_id
            packed = self._packed(asked, reply, False)
            self._note_reply(asked, reply, request_id)
            posts.append((asked.at_s + reply.after_s, reply.protocol, request_id, packed))
        return posts

    def _in_bursts(self, answers: list[tuple[Seen, Reply]]) -> list[_Due]:
        """What may be, in one message, the last first; the others one by one."""
        may = [each for each in answers if each[0].header.burst and not each[1].whole]
        if len(may) < 2:
            return self._one_by_one(answers)
        rest = self._one_by_one([each for each in answers if each not in may])
        bodies = [self._packed(asked, reply, True) for asked, reply in reversed(may)]
        self.note(may[0][0].at_s, f"said in one burst of {len(may)}, the last first:")
        for asked, reply in reversed(may):
            self._note_reply(asked, reply, asked.request_id)
        header: bytes = msgpack.Packer().pack_array_header(len(bodies))
        return [*rest, (may[0][0].at_s, PROTOCOL, b"", header + b"".join(bodies))]


def _open(frames: tuple[bytes, ...]) -> tuple[bytes, bytes] | None:
    if len(frames) == 1:
        return part(frames[0])
    if len(frames) == 3 and frames[0] == PROTOCOL:
        return frames[1], frames[2]
    return None


def _form(joined: bool, protocol: bytes, request_id: bytes, body: bytes) -> tuple[bytes, ...]:
    if not joined:
        return protocol, request_id, body
    return (protocol + join(request_id, body)[len(PROTOCOL) :],)
