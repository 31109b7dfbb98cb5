"""How an empty node becomes a member: it asks at a member's client port, with its own certificate.

Owns: whom it asks, how long it goes on, and what it says meanwhile. Must never know a data
directory: the node makes it between the two questions (`actors.joining`).
"""

import time
from typing import Any, NoReturn

from actors.announcer import Announcer
from actors.joining import Introduced
from dkv.client import Client
from dkv.config import Settings
from dkv.errors import Code, Denied, Ending, Fault, Misconfigured, RequestError
from dkv.ids import Address, Founding, parse_address
from dkv.limits import ClusterLimits
from dkv.release import THIS

_TIMEOUT_S = 5.0
_PAUSE_S = 1.0
_REFUSALS = frozenset(
    (
        *(Code.NOT_INVITED, Code.ANOTHER_DISK, Code.NEWER_NEEDED),
        *(Code.BAD_REQUEST, Code.UNSUPPORTED),
    )
)


class Joiner:
    def __init__(self, settings: Settings, announcer: Announcer) -> None:
        self._settings, self._announcer = settings, announcer
        self._said = ""
        self._peer = self._reachable(settings.members, settings.listen_peer, "initial-cluster")
        self._client = self._reachable(
            settings.advertised, settings.listen_client, "advertise-nodes"
        )

    def _reachable(self, told: dict[str, Address], listening: Address, option: str) -> str:
        """Where the others find this node."""
        name = self._settings.name
        if name in told:
            return str(told[name])
        if not listening.host or listening.host in ("0.0.0.0", "::"):
            raise Misconfigured(
                f"this node listens everywhere, so say where the others find it: "
                f"--{option} {name}=HOST:{listening.port}"
            )
        return str(listening)

    # -- the two steps ---------------------------------------------------------------------------
    def introduce(self) -> Introduced:
        found = self._ask("introduce")
        members = [m for m in found["members"] if m["name"] != self._settings.name]
        own = self._settings.name
        return Introduced(
            Founding(found["authority"], found["token"], tuple(found["names"]), found["salt"]),
            ClusterLimits(**found["limits"]),
            {m["name"]: parse_address(m["peer_address"]) for m in members}
            | {own: parse_address(self._peer)},
            {m["name"]: parse_address(m["client_address"]) for m in members if m["client_address"]}
            | {own: parse_address(self._client)},
            {m["name"]: m["key"] for m in members if m["key"]},
        )

    def join(self, disk: int) -> None:
        name = self._settings.name
        where = {"peer_address": self._peer, "client_address": self._client}
        self._ask("join", name=name, disk=disk, level=THIS.level, **where)
        self._say("info", f"{name} is a member now, as a learner until it has caught up")

    # -- asking ----------------------------------------------------------------------------------
    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Until there is an answer; a refusal that no waiting changes ends the node."""
        while True:
            with self._connect() as client:
                try:
                    return client.ask(op, **fields)
                except RequestError as error:
                    if isinstance(error, Denied) or error.code in _REFUSALS:
                        self._refused(error)
                    self._say("warning", f"not joined yet: {error}")
            time.sleep(_PAUSE_S)

    def _connect(self) -> Client:
        files, endpoints = self._settings.files, [str(a) for a in self._settings.join]
        if files is None:
            return Client(endpoints, insecure=True, timeout=_TIMEOUT_S)
        return Client(
            endpoints,
            cert=files.peer_cert,
            key=files.peer_key,
            cacert=files.trust,
            timeout=_TIMEOUT_S,
            role="node",
        )

    def _refused(self, error: RequestError) -> NoReturn:
        where = ", ".join(str(a) for a in self._settings.join)
        raise Fault(Ending.NOT_JOINED, f"the cluster at {where} does not let this node in: {error}")

    def _say(self, severity: str, words: str) -> None:
        if words != self._said:
            self._said = words
            self._announcer.say(severity, "joining", words, time.time())
