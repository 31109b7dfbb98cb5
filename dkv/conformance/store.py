"""What the nodes of a play hold: keys with their revisions, sessions with their answers.

Owns: the meaning of the requests that a client under test makes, as docs/protocol.md tells it, and
the list of what was executed. Must never know a connection, nor what a play is after. It is small
and its own on purpose: what a client gets here follows from the page, not from the node's code.
"""

from typing import Any, NamedTuple

import msgpack

from dkv.requests import Header, end_of_prefix

_LIST_LIMIT = 1_000


class Key(NamedTuple):
    value: bytes
    key_revision: int
    created: int
    version: int


class Session:
    """`answers`: by sequence, the command's bytes and what was answered; `used_s`: the last use."""

    def __init__(self, now_s: float) -> None:
        self.answers: dict[int, tuple[bytes, dict[str, Any]]] = {}
        self.lowest = 1
        self.used_s = now_s


class Refused(Exception):
    """A definite refusal by the store, with the error's further fields."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.code, self.more = code, more


class Store:
    """`revision`: the newest; `executed`: the commands that changed anything, in order."""

    def __init__(self, revision: int = 0, session_ttl_ms: int = 600_000) -> None:
        self.revision, self.session_ttl_ms = revision, session_ttl_ms
        self.keys: dict[bytes, Key] = {}
        self.sessions: dict[int, Session] = {}
        self.opened = 0
        self.executed: list[bytes] = []

    def carry_out(
        self, header: Header, op: str, fields: dict[str, Any], now_s: float
    ) -> dict[str, Any]:
        """The result of a read, a write, or a request about a session. Raises `Refused`."""
        if op == "open_session":
            self.opened += 1
            self.sessions[self.opened] = Session(now_s)
            return {"session": self.opened, "ttl_ms": self.session_ttl_ms}
        if op in ("keep_alive", "close_session"):
            self._session(header, now_s)
            if op == "close_session":
                del self.sessions[header.session]
            return {}
        if op == "get":
            return self._get(fields)
        if op == "list":
            return self._list(fields)
        return self._write(header, op, fields, now_s)

    # -- writes ----------------------------------------------------------------------------------
    def _write(
        self, header: Header, op: str, fields: dict[str, Any], now_s: float
    ) -> dict[str, Any]:
        if not header.session:
            return self._change(op, fields, header.command)
        session, sequence = self._session(header, now_s), header.sequence
        session.lowest = max(session.lowest, header.lowest)
        known = session.answers.get(sequence)
        if known is None and sequence < session.lowest:
            raise Refused("stale")
        if known is not None:
            if known[0] != header.command:
                raise Refused("sequence_reused")
            return self._again(known[1])
        answer: dict[str, Any]
        try:
            answer = self._change(op, fields, header.command)
        except Refused as refused:
            answer = {"refused": (refused.code, refused.more)}
        session.answers[sequence] = header.command, answer
        return self._again(answer)

    @staticmethod
    def _again(answer: dict[str, Any]) -> dict[str, Any]:
        if "refused" in answer:
            code, more = answer["refused"]
            raise Refused(code, **more)
        return answer

    def _session(self, header: Header, now_s: float) -> Session:
        session = self.sessions.get(header.session)
        if session is None or (now_s - session.used_s) * 1_000 > self.session_ttl_ms:
            raise Refused("session_lost")
        session.used_s = now_s
        return session

    def _change(self, op: str, fields: dict[str, Any], command: bytes) -> dict[str, Any]:
        name, expected = fields["key"], fields.get("expected")
        known = self.keys.get(name)
        at = known.key_revision if known else 0
        if expected is not None and expected != at:
            raise Refused("condition_failed", key_revision=at)
        self.executed.append(command)
        if op == "delete":
            if known is None:
                return {"deleted": 0, "key_revision": 0}
            del self.keys[name]
            self.revision += 1
            return {"deleted": 1, "key_revision": at}
        self.revision += 1
        created = known.created if known else self.revision
        version = known.version + 1 if known else 1
        self.keys[name] = Key(fields["value"], self.revision, created, version)
        return {"key_revision": self.revision}

    # -- reads -----------------------------------------------------------------------------------
    def _get(self, fields: dict[str, Any]) -> dict[str, Any]:
        known = self.keys.get(fields["key"])
        if known is None:
            return {"found": False, "key_revision": 0}
        return {"found": True, "author": "app", "wall": 1_700_000_000_000, **known._asdict()}

    def _list(self, fields: dict[str, Any]) -> dict[str, Any]:
        prefix = fields.get("prefix")
        start, end = fields.get("start") or b"", fields.get("end") or b""
        if prefix is not None:
            start, end = prefix, end_of_prefix(prefix)
        token = fields.get("token")
        if token is not None:
            start = self._place(token)
        names = sorted(k for k in self.keys if k >= start and (not end or k < end))
        limit = fields.get("limit") or _LIST_LIMIT
        items = [(name, *self.keys[name]) for name in names[:limit]]
        page: dict[str, Any] = {"items": items, "count": len(items)}
        if len(names) > limit:
            page["token"] = msgpack.packb((self.revision, names[limit]))
        return page

    def _place(self, token: bytes) -> bytes:
        try:
            _revision, name = msgpack.unpackb(token)
        except Exception:
            raise Refused("bad_request") from None
        if type(name) is not bytes:
            raise Refused("bad_request")
        return name
