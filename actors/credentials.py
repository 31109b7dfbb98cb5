"""A node's keys, and whom they let in.

Owns: what is loaded from the certificate files, as one value that a reload replaces whole. Must
never know a socket. Ports and links ask for the present value when they are (re)made; the gateway's
verifier asks at each certificate that is shown.
"""

import time
from typing import NamedTuple

from actors.admission import Principal
from actors.port import KeyPair
from dkv.config import Files, Settings
from dkv.errors import Code
from dkv.requests import Malformed, Role
from dkv.security.certificate import CLIENT_ROLES, ROLES
from dkv.security.identity import Identity, certificates_beside, load_identity
from dkv.security.refusal import CertificateError
from dkv.security.trust import Trust
from dkv.security.words import end_in_words
from dkv.security.z85 import z85


class Doors(NamedTuple):
    """`peers`: Curve key → member, for the doorkeeper; `keys`: the same the other way, for links.

    `ends`: when each certificate ends (Unix seconds), by what it is called.
    """

    peer: KeyPair | None
    server: KeyPair | None
    peers: dict[bytes, str]
    keys: dict[str, bytes]
    authority: bytes
    clients: Trust | None
    ends: dict[str, int]
    certificate: bytes = b""

    def warnings(self, now_s: int) -> list[str]:
        """Certificates that end within 30 days, a sentence each."""
        ends = ((what, end_in_words(at, now_s)) for what, at in self.ends.items())
        return [f"the certificate {what} {words}" for what, words in ends if words]


INSECURE_DOORS = Doors(None, None, {}, {}, b"", None, {})


class Credentials:
    """The doors as they are now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.doors = self._load()

    def reload(self) -> None:
        """Read the files again; raises `CertificateError` and keeps what it had."""
        self.doors = self._load()

    @property
    def is_secure(self) -> bool:
        return self.doors.clients is not None

    def peer_keys(self) -> KeyPair | None:
        return self.doors.peer

    def server_keys(self) -> KeyPair | None:
        return self.doors.server

    def verify(self, text: bytes, user: str, wall_s: int) -> Principal:
        """See `actors.admission.Verifier`."""
        trust = self.doors.clients
        assert trust is not None
        try:
            certificate = trust.read(text, "your certificate", wall_s, ROLES)
        except CertificateError as error:
            raise Malformed(error.code, str(error)) from error
        if z85(certificate.curve_key).decode() != user:
            words = "your certificate is for another key than this connection's"
            raise Malformed(Code.CERTIFICATE_REFUSED, words)
        if certificate.role == "node":
            name, key = certificate.name, certificate.curve_key
            return Principal(name, Role.GUEST, certificate.not_after, True, key, text)
        if certificate.role not in CLIENT_ROLES:
            words = f"a {certificate.role} certificate is not for clients: ask for one of a client"
            raise Malformed(Code.CERTIFICATE_REFUSED, words)
        role = Role[certificate.role.upper()]
        return Principal(certificate.name, role, certificate.not_after)

    def read_member(self, text: bytes, name: str, wall_s: int) -> bytes:
        """The Curve key in a member's certificate; raises `Malformed`."""
        trust = self.doors.clients
        if trust is None:
            raise Malformed(Code.BAD_REQUEST, "this cluster runs without certificates")
        try:
            certificate = trust.read(text, "the certificate", wall_s, ("node",))
        except CertificateError as error:
            raise Malformed(error.code, str(error)) from error
        if certificate.name != name:
            words = f"the certificate is {certificate.name}'s, not {name}'s"
            raise Malformed(Code.CERTIFICATE_REFUSED, words)
        return certificate.curve_key

    @property
    def certificate(self) -> bytes:
        """The text of this node's own."""
        return self.doors.certificate

    def _load(self) -> Doors:
        files = self._settings.files
        if files is None:
            return INSECURE_DOORS
        now = int(time.time())
        node = self._load_node(files, now)
        server = load_identity(
            files.server_cert, files.server_key, files.trust, now, roles=("server",)
        )
        known = certificates_beside(files.peer_cert.parent, node.trust, now)
        known[node.certificate.name] = node.certificate
        ends = {str(files.peer_cert): node.certificate.not_after}
        ends[str(files.server_cert)] = server.certificate.not_after
        ends |= {f"of {name}": c.not_after for name, c in known.items()}
        del ends[f"of {node.certificate.name}"]
        return Doors(
            _pair(node),
            _pair(server),
            {c.curve_key: name for name, c in known.items()},
            {name: c.curve_key for name, c in known.items()},
            node.trust.authority,
            server.trust,
            ends,
            node.certificate.text,
        )

    def _load_node(self, files: Files, now: int) -> Identity:
        node = load_identity(
            files.peer_cert, files.peer_key, files.peer_trust, now, roles=("node",)
        )
        if node.certificate.name != self._settings.name:
            raise CertificateError(
                f"{files.peer_cert} is the certificate of {node.certificate.name}, and this node "
                f"is {self._settings.name}: check --name and --peer-cert-file"
            )
        return node


def _pair(identity: Identity) -> KeyPair:
    return KeyPair(identity.public_z85, identity.secret_z85)
