"""Who may ask what: from a message on the client port to requests that are sound and allowed.

Owns: the principals (verified certificates by Curve key), the bounds on guests, the order of the
checks. Must never know what becomes of a request. Everything here is hostile until checked, and
authorised by the User-Id of its connection, never by a routing id, which a client may choose.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from dkv.address import Instant
from dkv.counters import Counters
from dkv.errors import Code
from dkv.frames import part
from dkv.limits import (
    GUEST_BYTES_MAX,
    GUESTS_MAX,
    PRINCIPALS_MAX,
    REQUEST_ID_BYTES_MAX,
    SECOND,
    SEQUENCE_WINDOW,
    ClusterLimits,
)
from dkv.messages import FromClient
from dkv.parsing import command_reader, read_body, read_command, read_header, sound_header
from dkv.requests import PROTOCOL, Header, Malformed, Request, Role

INSECURE = "insecure"  # the User-Id of everybody where there is no security
_GUEST_WINDOW_US = 10 * SECOND
_GUEST_MESSAGES = 20  # a window; a library needs two


class Principal(NamedTuple):
    """Whose certificate a connection has shown. `not_after` in Unix seconds."""

    name: str
    role: Role
    not_after: int
    is_node: bool = False  # may do what an empty node needs, and nothing else
    key: bytes = b""  # of a node
    certificate: bytes = b""


class Verifier(Protocol):
    """Checks a certificate's text for a connection's Curve key (Z85)."""

    def __call__(self, text: bytes, user: str, wall_s: int) -> Principal:
        """Raises `Malformed` with a code of certificates."""


# How a message is made up, as its answer will be.
PLAIN, DELIMITED, JOINED = 0, 1, 2


class Slip(NamedTuple):
    """Where an answer goes: connection, form, request id, place in a list of requests (or -1);
    whether it may go in one message with others."""

    client: bytes
    form: int
    request_id: bytes
    position: int = -1
    burst: bool = False


class Asked(NamedTuple):
    """A request that may be carried out."""

    slip: Slip
    principal: Principal
    header: Header
    request: Request
    fields: dict[str, Any]


class Refusal(NamedTuple):
    """One that may not."""

    slip: Slip
    code: Code
    words: str


EVERYBODY = Principal("insecure", Role.ADMIN, 2**62)


class Admission:
    def __init__(
        self, limits: ClusterLimits, verify: Verifier | None, probe: str, counters: Counters
    ) -> None:
        """`verify` None: no security, everybody is admin. `probe`: the key with which this node
        tries its own door; no bound applies to it."""
        self._limits = limits
        self._read_command = command_reader(limits)
        self._verify = verify
        self._probe = probe
        self._counters = counters
        self._principals: OrderedDict[str, Principal] = OrderedDict()
        self._guests: dict[str, int] = {}
        self._guests_since_us = 0

    def read(self, message: FromClient, now: Instant) -> Iterable[Asked | Refusal]:
        """The requests of a message, each sound and allowed or refused; nothing, where an answer
        would only be noise."""
        parts = self._open(message.frames)
        if parts is None:
            return ()
        form, request_id, body = parts
        way = message.client, form, request_id
        principal = self._principal(message.user, now)
        if principal is None:
            return self._read_guest(Slip(*way), message.user, body, now)
        try:  # a command's own limit has words of its own
            requests, listed = read_body(body, len(body))
        except Malformed as error:
            return (self._refuse(Slip(*way), error),)
        if not listed:
            return (self._check(way, -1, principal, requests[0]),)
        return [self._check(way, place, principal, x) for place, x in enumerate(requests)]

    # -- frames ----------------------------------------------------------------------------------
    def _open(self, frames: tuple[bytes, ...]) -> tuple[int, bytes, bytes] | None:
        """(form, request id, body) of a message's payload frames."""
        form, count = PLAIN, len(frames)
        parts = None
        if count > 1 and not frames[0]:
            form, frames, count = DELIMITED, frames[1:], count - 1
        if count == 1:
            form, parts = form | JOINED, part(frames[0])
        elif count == 3 and frames[0] == PROTOCOL:
            parts = frames[1], frames[2]
        if parts is None or not 0 < len(parts[0]) <= REQUEST_ID_BYTES_MAX:
            self._counters.add("client_frames_malformed")
            return None
        request_id, body = parts
        if len(body) > self._limits.request_bytes_max + 1024:
            self._counters.add("client_messages_too_large")
        return form, request_id, body

    def _check(
        self, way: tuple[bytes, int, bytes], position: int, principal: Principal, raw: Any
    ) -> Asked | Refusal:
        burst = False
        try:
            header = sound_header(raw) if type(raw) is dict else None
            if header is None:
                header = read_header(raw)
            burst = header.burst
            request, fields = self._read_command(header.command)
            if request.nodes or principal.is_node:
                _check_node(principal, request, fields)
            if principal.role < request.role:
                words = (
                    f"{principal.name} has the role {principal.role.name.lower()}; "
                    f"{request.op} needs {request.role.name.lower()}"
                )
                raise Malformed(Code.DENIED, words)
            lowest = header.lowest
            sound = 0 < lowest <= header.sequence < lowest + SEQUENCE_WINDOW
            if request.op in _OF_A_SESSION or (header.session and not sound):
                _check_place(header, request)
        except Malformed as error:
            return self._refuse(Slip(*way, position, burst), error)
        client, form, request_id = way
        slip = Slip(client, form, request_id, position, burst)
        return Asked(slip, principal, header, request, fields)

    def _refuse(self, slip: Slip, error: Malformed) -> Refusal:
        self._counters.add(f"refused_{error.code.name.lower()}")
        return Refusal(slip, error.code, error.words)

    # -- principals and guests -------------------------------------------------------------------
    def _principal(self, user: str, now: Instant) -> Principal | None:
        if self._verify is None:
            return EVERYBODY
        principal = self._principals.get(user)
        if principal is None:
            return None
        if principal.not_after * 1000 < now.wall_ms:
            del self._principals[user]
            return None
        self._principals.move_to_end(user)
        return principal

    def _read_guest(
        self, slip: Slip, user: str, body: bytes, now: Instant
    ) -> Iterable[Asked | Refusal]:
        """A guest may do one thing: present its certificate. Nothing else of it is remembered."""
        if not self._may_speak(user, now):
            self._counters.add("guests_unheard")
            return ()
        certificate = _presented(body, self._limits)
        if certificate is None:
            words = "this connection has not shown a certificate"
            return (self._refuse(slip, Malformed(Code.CERTIFICATE_NEEDED, words)),)
        assert self._verify is not None
        try:
            principal = self._verify(certificate, user, now.wall_ms // 1000)
        except Malformed as error:
            return (self._refuse(slip, error),)
        self._principals[user] = principal
        if len(self._principals) > PRINCIPALS_MAX:
            self._principals.popitem(last=False)
        return (self._check(slip[:3], -1, principal, read_body(body, GUEST_BYTES_MAX)[0][0]),)

    def _may_speak(self, user: str, now: Instant) -> bool:
        if now.us - self._guests_since_us > _GUEST_WINDOW_US:
            self._guests.clear()
            self._guests_since_us = now.us
        if user == self._probe:
            return True
        if user not in self._guests and len(self._guests) >= GUESTS_MAX:
            return False
        self._guests[user] = self._guests.get(user, 0) + 1
        return self._guests[user] <= _GUEST_MESSAGES


def _presented(body: bytes, limits: ClusterLimits) -> bytes | None:
    """The certificate that a guest's message presents, if that is what it does."""
    if len(body) > GUEST_BYTES_MAX:
        return None
    try:
        requests, listed = read_body(body, GUEST_BYTES_MAX)
        request, fields = read_command(read_header(requests[0]).command, limits)
    except Malformed:
        return None
    return fields["certificate"] if request.op == "present" and not listed else None


_OF_A_SESSION = frozenset(("keep_alive", "close_session"))


def _check_node(principal: Principal, request: Request, fields: dict[str, Any]) -> None:
    """A node's certificate joins its own node; what nodes ask, only they and admins may."""
    if not request.nodes:
        if request.op != "present":
            words = f"{principal.name} is a node: it may only join; {request.op} needs a client's"
            raise Malformed(Code.DENIED, f"{words} certificate")
    elif not principal.is_node:
        if principal.role < Role.ADMIN:
            raise Malformed(Code.DENIED, f"{request.op} needs a node's certificate")
    elif fields.get("name", principal.name) != principal.name:
        raise Malformed(
            Code.DENIED, f"the certificate is {principal.name}'s: it may only join that"
        )


def _check_place(header: Header, request: Request) -> None:
    """A command's place in its session, judged from its own numbers."""
    if request.op in _OF_A_SESSION and not header.session:
        raise Malformed(Code.BAD_REQUEST, f"{request.op} needs `session`")
    if not header.session or not request.numbered:
        return
    if header.sequence < 1 or header.lowest < 1:
        raise Malformed(Code.BAD_REQUEST, "in a session `sequence` and `lowest` begin at 1")
    if header.lowest > header.sequence:
        raise Malformed(Code.STALE, "`sequence` is below `lowest`: it was settled before")
    if header.sequence - header.lowest >= SEQUENCE_WINDOW:
        words = f"`sequence` is {SEQUENCE_WINDOW} or more beyond `lowest`"
        raise Malformed(Code.SEQUENCE_WINDOW, words)
