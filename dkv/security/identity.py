"""What a node or a client is, as loaded from its files.

Owns: reading certificate, key and trust file together, and that they belong together. Must never
know a socket: it hands out keys in the Z85 that ZeroMQ takes.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dkv.security.certificate import CLIENT_ROLES, Certificate
from dkv.security.files import read_file
from dkv.security.refusal import CertificateError
from dkv.security.secrets import CurvePair, curve_pair, read_secret
from dkv.security.trust import Trust, load_trust
from dkv.security.z85 import z85

KIND = "curve"


class Identity(NamedTuple):
    certificate: Certificate
    pair: CurvePair
    trust: Trust

    @property
    def text(self) -> bytes:
        """The certificate as it is presented."""
        return self.certificate.text

    @property
    def public_z85(self) -> bytes:
        return z85(self.pair.public)

    @property
    def secret_z85(self) -> bytes:
        return z85(self.pair.secret)

    def server_keys_z85(self, now_s: int) -> tuple[bytes, ...]:
        """What a true server may prove, the newest first."""
        return tuple(z85(c.curve_key) for c in self.trust.servers(now_s))


def load_identity(
    cert: Path,
    key: Path,
    trust: Path,
    now_s: int,
    *,
    roles: tuple[str, ...] = CLIENT_ROLES,
    passphrase: str | None = None,
) -> Identity:
    """Raises `CertificateError`: missing, damaged, expired, of another authority or role, or a key
    that is another certificate's."""
    known = load_trust(trust)
    certificate = known.read(read_file(cert), str(cert), now_s, roles)
    pair = curve_pair(read_secret(key, KIND, passphrase))
    if pair.public != certificate.curve_key:
        raise CertificateError(f"{key} is not the key of {cert}: they belong to different pairs")
    return Identity(certificate, pair, known)


def certificates_beside(folder: Path, trust: Trust, now_s: int) -> dict[str, Certificate]:
    """Node certificates in a folder: for each name the highest serial that is valid now. The folder
    needs no secrecy: what this authority did not sign is passed over."""
    found: dict[str, Certificate] = {}
    for path in _cert_files(folder):
        try:
            certificate = trust.read(read_file(path), str(path), now_s, ("node",))
        except CertificateError:
            continue
        known = found.get(certificate.name)
        if known is None or certificate.serial > known.serial:
            found[certificate.name] = certificate
    return found


def _cert_files(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.glob("*.cert"))
    except OSError as error:
        raise CertificateError(f"{folder} cannot be read: {error.strerror}") from error
