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
from dkv.limits import (
    FRAMES_MAX,
    GUEST_BYTES_MAX,
    GUESTS_MAX,
    PRINCIPALS_MAX,
    REQUEST_ID_BYTES_MAX,
    SECOND,
    SEQUENCE_WINDOW,
    ClusterLimits,
)
from dkv.messages import FromClient
from dkv.requests import (
    PROTOCOL,
    Header,
    Malformed,
    Request,
    Role,
    read_body,
    read_command,
    read_header,
)

INSECURE = "insecure"  # the User-Id of everybody where there is no security
_GUEST_WINDOW_US = 10 * SECOND
_GUEST_MESSAGES = 20  # a window; a library needs two
_SMALL_BYTES = 4_096  # of a body about whose size there is nothing to say


class Principal(NamedTuple):
    """Whose certificate a connection has shown. `not_after` in Unix seconds."""

    name: str
    role: Role
    not_after: int


class Verifier(Protocol):
    """Checks a certificate's text for a connection's Curve key (Z85)."""

    def __call__(self, text: bytes, user: str, wall_s: int) -> Principal:
        """Raises `Malformed` with a code of certificates."""


class Slip(NamedTuple):
    """Where an answer goes: connection, frames to repeat, place in a list of requests (or -1);
    whether it may go in one message with others."""

    client: bytes
    delimiter: bool
    request_id: bytes
    position: int
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
        self._verify = verify
        self._probe = probe
        self._counters = counters
        self._principals: OrderedDict[str, Principal] = OrderedDict()
        self._guests: dict[str, int] = {}
        self._guests_since_us = 0

    def read(self, message: FromClient, now: Instant) -> Iterable[Asked | Refusal]:
        """The requests of a message, each sound and allowed or refused; nothing, where an answer
        would only be noise."""
        slip = self._slip(message)
        if slip is None:
            return ()
        body = message.frames[-1]
        principal = self._principal(message.user, now)
        if principal is None:
            return self._read_guest(slip, message.user, body, now)
        try:  # a command's own limit has words of its own
            requests, listed = read_body(body, len(body))
        except Malformed as error:
            return (self._refuse(slip, error),)
        if not listed:
            return (self._check(slip, principal, requests[0]),)
        client, delimiter, request_id = slip[:3]
        return [
            self._check(Slip(client, delimiter, request_id, position), principal, request)
            for position, request in enumerate(requests)
        ]

    # -- frames ----------------------------------------------------------------------------------
    def _slip(self, message: FromClient) -> Slip | None:
        frames = message.frames
        if len(frames) == 3 and frames[0] == PROTOCOL:
            _protocol, request_id, body = frames
            if 0 < len(request_id) <= REQUEST_ID_BYTES_MAX and len(body) <= _SMALL_BYTES:
                return Slip(message.client, False, request_id, -1)
        delimiter = len(frames) > 3 and not frames[0]
        if len(frames) > FRAMES_MAX or len(frames) - delimiter != 3:
            self._counters.add("client_frames_malformed")
            return None
        protocol, request_id, body = frames[delimiter:]
        if protocol != PROTOCOL or not 0 < len(request_id) <= REQUEST_ID_BYTES_MAX:
            self._counters.add("client_frames_malformed")
            return None
        if len(body) > self._limits.request_bytes_max + 1024:
            self._counters.add("client_messages_too_large")
        return Slip(message.client, delimiter, request_id, -1)

    def _check(self, slip: Slip, principal: Principal, raw: Any) -> Asked | Refusal:
        try:
            header = read_header(raw)
            if header.burst:
                slip = Slip(*slip[:4], True)
            request, fields = read_command(header.command, self._limits)
            if principal.role < request.role:
                words = (
                    f"{principal.name} has the role {principal.role.name.lower()}; "
                    f"{request.op} needs {request.role.name.lower()}"
                )
                raise Malformed(Code.DENIED, words)
            if header.session or request.op in _OF_A_SESSION:
                _check_place(header, request)
        except Malformed as error:
            return self._refuse(slip, error)
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
        return (self._check(slip, principal, read_body(body, GUEST_BYTES_MAX)[0][0]),)

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
