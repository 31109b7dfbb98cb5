"""The authority: the key that says who is who.

Owns: its making, and what it signs. Must never know who asked for it. Its secret is needed to make
certificates, never to run a node: keep it away from the nodes.
"""

from pathlib import Path

import msgpack
from nacl.signing import SigningKey

from dkv.ids import check_name
from dkv.security.certificate import PREFIX, ROLES, Certificate, open_certificate
from dkv.security.refusal import CertificateError
from dkv.security.secrets import read_secret, write_secret
from dkv.security.trust import AUTHORITY_PREFIX, Trust

_KIND = "authority"
_EARLIER_S = 3_600  # clocks differ
DAY_S = 86_400


class Authority:
    def __init__(self, seed: bytes) -> None:
        self._key = SigningKey(seed)

    @property
    def public(self) -> bytes:
        return bytes(self._key.verify_key)

    def found(self, now_s: int, days: int) -> Trust:
        """The trust file's first content: this authority, and no server yet."""
        not_before, not_after = now_s - _EARLIER_S, now_s + days * DAY_S
        body = msgpack.packb([1, self.public, not_before, not_after])
        blob = self._key.sign(AUTHORITY_PREFIX + body).signature + body
        return Trust(self.public, not_before, not_after, blob, ())

    def certify(
        self, name: str, curve_key: bytes, role: str, now_ms: int, days: int
    ) -> Certificate:
        """A certificate for a public Curve key (32 bytes), valid from now for `days`."""
        check_name(name)
        if role not in ROLES:
            raise CertificateError(f"{role!r} is no role: {', '.join(ROLES)}")
        now_s = now_ms // 1000
        times = (now_s - _EARLIER_S, now_s + days * DAY_S)
        body = msgpack.packb([1, name, curve_key, role, *times, now_ms])
        blob = self._key.sign(PREFIX + body).signature + body
        return open_certificate(blob, self.public, name)


def create_authority(path: Path, passphrase: str | None) -> Authority:
    """A new key file at `path`."""
    seed = bytes(SigningKey.generate())
    write_secret(path, _KIND, seed, passphrase)
    return Authority(seed)


def load_authority(path: Path, passphrase: str | None) -> Authority:
    return Authority(read_secret(path, _KIND, passphrase))
