"""The trust file: all that one needs to know a true server and a true member.

Owns: its format: the authority's public key with its validity, signed by itself, and the server
certificates it vouches for (two while one is being replaced). Public; it must never know secrets.
"""

from pathlib import Path
from typing import NamedTuple

import msgpack
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from dkv.errors import Code
from dkv.limits import INT_MAX
from dkv.security.armor import armored, unarmored
from dkv.security.certificate import LABEL, Certificate, open_certificate, read_certificate
from dkv.security.files import read_file
from dkv.security.refusal import CertificateError
from dkv.security.words import day

AUTHORITY_PREFIX = b"dkv authority 1\0"
AUTHORITY_LABEL = "DKV AUTHORITY"
_BYTES_MAX = 64 * 1024
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


class Trust(NamedTuple):
    authority: bytes
    not_before: int
    not_after: int
    blob: bytes
    server_certificates: tuple[Certificate, ...]

    @property
    def text(self) -> bytes:
        comments = (
            "dkv trust file (public): the authority, and the servers it vouches for",
            f"authority valid {day(self.not_before)} to {day(self.not_after)}",
        )
        head = armored(AUTHORITY_LABEL, self.blob, comments)
        return head + b"".join(b"\n" + c.text for c in self.server_certificates)

    def servers(self, now_s: int) -> tuple[Certificate, ...]:
        """Those that are valid now, the newest first."""
        valid = [c for c in self.server_certificates if c.not_before <= now_s <= c.not_after]
        return tuple(sorted(valid, key=lambda c: -c.serial))

    def check_time(self, now_s: int, where: str) -> None:
        """Raise `CertificateError` unless the authority is valid now."""
        if not self.not_before <= now_s <= self.not_after:
            raise CertificateError(
                f"{where}: the authority is valid from {day(self.not_before)} to "
                f"{day(self.not_after)}: is this clock right?",
                Code.CERTIFICATE_EXPIRED,
            )

    def read(self, text: bytes, where: str, now_s: int, roles: tuple[str, ...]) -> Certificate:
        """A certificate of one of these roles that is valid now; else `CertificateError`."""
        certificate = read_certificate(text, self.authority, where)
        self.check_time(now_s, where)
        certificate.check_time(now_s, where)
        if certificate.role not in roles:
            raise CertificateError(
                f"{where} is a {certificate.role} certificate; {' or '.join(roles)} is needed here"
            )
        return certificate


def load_trust(path: Path) -> Trust:
    """Read and verify the file. Raises `CertificateError`."""
    return read_trust(read_file(path, bytes_max=_BYTES_MAX), str(path))


def read_trust(text: bytes, where: str) -> Trust:
    blobs = unarmored(AUTHORITY_LABEL, text, where)
    if len(blobs) != 1:
        raise CertificateError(f"{where} is not a trust file of dkv")
    signature, body = blobs[0][:_SIGNATURE_BYTES], blobs[0][_SIGNATURE_BYTES:]
    try:
        version, key, not_before, not_after = msgpack.unpackb(body)
        sound = type(key) is bytes and all(
            type(n) is int and 0 <= n <= INT_MAX for n in (not_before, not_after)
        )
    except Exception as error:
        raise CertificateError(f"{where} is damaged: its authority cannot be read") from error
    if version != 1 or not sound or len(key) != _KEY_BYTES:
        raise CertificateError(f"{where} is damaged, or made by a newer dkv")
    try:
        VerifyKey(key).verify(AUTHORITY_PREFIX + body, signature)
    except (BadSignatureError, ValueError) as error:
        raise CertificateError(f"{where} is damaged: its authority's signature is wrong") from error
    found = (open_certificate(b, key, where) for b in unarmored(LABEL, text, where))
    servers = tuple(c for c in found if c.role == "server")
    return Trust(key, not_before, not_after, blobs[0], servers)
