"""Questions to the leader about the cluster itself: a gateway's share in them.

Owns: what is asked on whose behalf, and how long it is asked again. Must never know what a leader
answers. A question is posted once; again only after a definite refusal that may pass, for a change
whose answer was lost may have been made.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgpack

from actors.ledger import Pending
from dkv.errors import Code, Misconfigured
from dkv.ids import Founding, parse_address
from dkv.limits import MS, ClusterLimits
from dkv.messages import Ask, Roster, Told
from dkv.raft.questions import Question, pack
from dkv.requests import Malformed

_ADDRESSES = ("peer_address", "client_address")
_CODES = frozenset(Code)
PASSING = frozenset((Code.NO_LEADER, Code.NOT_LEADER, Code.CHANGE_PENDING))
# Reads the key in a member's certificate: its text, the member's name, Unix seconds.
KeyReader = Callable[[bytes, str, int], bytes]


class Answer(NamedTuple):
    """`result` where it was done, else `words` of a refusal."""

    code: Code
    result: dict[str, Any]
    words: str
    applied: str


def ask(number: int, pending: Pending, now_us: int, wall_s: int, read_key: KeyReader) -> Ask:
    """Raises `Malformed` where a certificate or an address in the question is not sound: what the
    cluster has agreed on, every member must be able to read."""
    asked = pending.asked
    fields, principal = _with_addresses(asked.fields), asked.principal
    key, certificate = principal.key, principal.certificate
    if asked.request.op == "member_update" and fields["certificate"]:
        certificate = fields["certificate"]
        key = read_key(certificate, fields["name"], wall_s)
    question = Question(asked.request.op, fields, principal.name, key, certificate)
    ttl_ms = max((pending.deadline_us - now_us) // MS, 1)
    return Ask(number, ttl_ms, pack(question))


def _with_addresses(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields, with each address as every member will write it."""
    said = {name: fields[name] for name in _ADDRESSES if fields.get(name)}
    try:
        return fields | {name: str(parse_address(a, f"`{name}`")) for name, a in said.items()}
    except Misconfigured as error:
        raise Malformed(Code.BAD_REQUEST, str(error)) from error


def read(told: Told) -> Answer:
    """What cannot be understood, as of a newer leader's, says nothing of what was done."""
    try:
        known = msgpack.unpackb(told.answer)
    except (ValueError, msgpack.UnpackException):
        known = None
    if told.code == Code.OK:
        if isinstance(known, dict):
            return Answer(Code.OK, known, "", "yes")
        return Answer(Code.TIMEOUT, {}, "the leader's answer was not understood", "unknown")
    code = Code(told.code) if told.code in _CODES else Code.NO_LEADER
    return Answer(code, {}, known if isinstance(known, str) else "", told.applied)


def is_change(pending: Pending) -> bool:
    """Whether it may have changed something though nobody answered."""
    request = pending.asked.request
    return request.edge == "write" or (request.edge == "lead" and request.op != "member_list")


def introduction(founding: Founding, limits: ClusterLimits, roster: Roster) -> dict[str, Any]:
    """What an empty disk needs to be made a member's."""
    return {
        "authority": founding.authority,
        "token": founding.token,
        "names": list(founding.names),
        "salt": founding.salt,
        "limits": limits._asdict(),
        "members": [
            {"name": name, "peer_address": peer, "client_address": client, "key": key}
            for name, peer, key, client in roster.members
            if name not in roster.gone
        ],
    }
