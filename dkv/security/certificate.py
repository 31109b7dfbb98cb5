"""A certificate: what the authority says of a Curve key.

Owns: its bytes, its signature, what may be in it. Must never know files or connections.

It is 64 bytes of Ed25519 signature and a msgpack array `[1, name, curve key, role, not before,
not after, serial]`; signed are exactly these bytes behind a prefix of their own, so that nothing
else which the authority signs can pass for one. Times are Unix seconds; the serial grows with each
certificate of a name (Unix milliseconds of its making).
"""

from typing import NamedTuple

import msgpack
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from dkv.errors import Code
from dkv.ids import is_name
from dkv.limits import INT_MAX
from dkv.security.armor import armored, unarmored
from dkv.security.refusal import CertificateError
from dkv.security.words import day

ROLES = ("node", "server", "admin", "writer", "reader")
CLIENT_ROLES = ("admin", "writer", "reader")
PREFIX = b"dkv certificate 1\0"
LABEL = "DKV CERTIFICATE"
TEXT_BYTES_MAX = 4_096
_SIGNATURE_BYTES = 64
_KEY_BYTES = 32


class Certificate(NamedTuple):
    """`blob` is what was signed, signature first: kept as it came."""

    name: str
    curve_key: bytes
    role: str
    not_before: int
    not_after: int
    serial: int
    blob: bytes

    @property
    def text(self) -> bytes:
        """As it lies in a file, and as a client presents it."""
        comments = (
            "dkv certificate (public)",
            f"name {self.name}, role {self.role}, serial {self.serial}",
            f"valid {day(self.not_before)} to {day(self.not_after)}",
        )
        return armored(LABEL, self.blob, comments)

    def check_time(self, now_s: int, where: str = "") -> None:
        """Raise `CertificateError` unless it is valid now."""
        what = where or f"the certificate of {self.name}"
        if now_s < self.not_before:
            raise CertificateError(
                f"{what} is valid only from {day(self.not_before)}: is this clock right?",
                Code.CERTIFICATE_EXPIRED,
            )
        if now_s > self.not_after:
            raise CertificateError(
                f"{what} expired on {day(self.not_after)}: make a new one with `dkvctl certs`",
                Code.CERTIFICATE_EXPIRED,
            )


def read_certificate(text: bytes, authority: bytes, where: str = "certificate") -> Certificate:
    """The one certificate of a file or a message, its signature checked; not its time."""
    if len(text) > TEXT_BYTES_MAX:
        raise CertificateError(f"{where} is too long to be a certificate")
    blobs = unarmored(LABEL, text, where)
    if len(blobs) != 1:
        raise CertificateError(f"{where} holds {len(blobs)} certificates, not one")
    return open_certificate(blobs[0], authority, where)


def open_certificate(blob: bytes, authority: bytes, where: str) -> Certificate:
    """Raises `CertificateError` unless this authority signed it and it is well formed."""
    signature, body = blob[:_SIGNATURE_BYTES], blob[_SIGNATURE_BYTES:]
    try:
        VerifyKey(authority).verify(PREFIX + body, signature)
    except (BadSignatureError, ValueError) as error:
        raise CertificateError(
            f"{where} is not signed by this cluster's authority: it belongs to another cluster, "
            "or was changed"
        ) from error
    try:
        version, *fields = msgpack.unpackb(body)
    except Exception as error:
        raise CertificateError(f"{where} is signed, and yet cannot be read") from error
    if version != 1:
        raise CertificateError(f"{where} is of version {version}: a newer dkv is needed")
    if not _is_sound(fields):
        raise CertificateError(f"{where} is signed, and yet makes no sense")
    return Certificate._make((*fields, blob))


def _is_sound(fields: list[object]) -> bool:
    if len(fields) != 6:
        return False
    name, key, role, *numbers = fields
    return (
        is_name(name)
        and type(key) is bytes
        and len(key) == _KEY_BYTES
        and role in ROLES
        and all(type(n) is int and 0 <= n <= INT_MAX for n in numbers)
    )
