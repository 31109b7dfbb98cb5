"""Key files: how a secret lies on a disk.

Owns: their format and the lock of a passphrase (argon2id and SecretBox). Must never know what a key
is good for. A file is made with mode 0600, and one that others may read is refused, as ssh does.
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgpack
from nacl import pwhash, secret
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey

from dkv.security.armor import armored, unarmored
from dkv.security.files import FILE_BYTES_MAX, read_file, write_new
from dkv.security.refusal import CertificateError

KEY_BYTES = 32
_LABEL = "DKV SECRET KEY"
_OPS = pwhash.argon2id.OPSLIMIT_INTERACTIVE
_MEMORY = pwhash.argon2id.MEMLIMIT_INTERACTIVE
_OPS_MAX = pwhash.argon2id.OPSLIMIT_SENSITIVE  # a crafted file must not ask for terabytes
_MEMORY_MAX = pwhash.argon2id.MEMLIMIT_SENSITIVE


class CurvePair(NamedTuple):
    """An X25519 key pair, 32 bytes each: a CURVE key without its Z85 clothes."""

    public: bytes
    secret: bytes


def draw_curve_pair() -> CurvePair:
    private = PrivateKey.generate()
    return CurvePair(bytes(private.public_key), bytes(private))


def curve_pair(secret_key: bytes) -> CurvePair:
    """The pair of a secret key."""
    return CurvePair(bytes(PrivateKey(secret_key).public_key), secret_key)


def write_secret(path: Path, kind: str, key: bytes, passphrase: str | None) -> None:
    """A new key file. Raises `CertificateError` when it cannot be made or something is there."""
    record = [1, kind, 0, 0, b"", key]
    if passphrase:
        salt = os.urandom(pwhash.argon2id.SALTBYTES)
        locked = secret.SecretBox(_stretch(passphrase, salt, _OPS, _MEMORY)).encrypt(key)
        record = [1, kind, _OPS, _MEMORY, salt, bytes(locked)]
    comment = f"{kind} key of dkv: keep it secret" + (" (locked)" if passphrase else "")
    write_new(path, armored(_LABEL, msgpack.packb(record), [comment]), 0o600)


def read_secret(path: Path, kind: str, passphrase: str | None = None) -> bytes:
    """The 32 bytes of a key file of that kind."""
    data = read_file(path, private=True)
    blob, *more = unarmored(_LABEL, data, str(path)) or [b""]
    if more or not blob:
        raise CertificateError(f"{path} is not a key file of dkv")
    try:
        version, found, ops, memory, salt, payload = msgpack.unpackb(blob)
        sound = version == 1 and type(found) is str and type(payload) is bytes
    except Exception as error:
        raise CertificateError(f"{path} is damaged: restore it, or make a new key") from error
    if not sound or found != kind:
        raise CertificateError(f"{path} holds no {kind} key but {found!r}")
    if ops:
        payload = _unlock(path, passphrase, ops, memory, salt, payload)
    if len(payload) != KEY_BYTES:
        raise CertificateError(f"{path} is damaged: restore it, or make a new key")
    return bytes(payload)


def is_locked(path: Path) -> bool:
    """Whether a passphrase is needed. False, too, for what is no key file."""
    try:
        return b"(locked)" in path.read_bytes()[:FILE_BYTES_MAX]
    except OSError:
        return False


def _unlock(
    path: Path, passphrase: str | None, ops: int, memory: int, salt: bytes, box: bytes
) -> bytes:
    if not passphrase:
        raise CertificateError(f"{path} is locked with a passphrase, and none was given")
    if not (type(ops) is int and type(memory) is int and 0 < ops <= _OPS_MAX):
        raise CertificateError(f"{path} is damaged: restore it, or make a new key")
    if not 0 < memory <= _MEMORY_MAX:
        raise CertificateError(f"{path} asks for {memory} bytes of memory: it is not ours")
    try:
        return bytes(secret.SecretBox(_stretch(passphrase, salt, ops, memory)).decrypt(box))
    except (CryptoError, ValueError, TypeError) as error:
        raise CertificateError(f"{path}: the passphrase does not open it") from error


def _stretch(passphrase: str, salt: bytes, ops: int, memory: int) -> bytes:
    size = secret.SecretBox.KEY_SIZE
    return pwhash.argon2id.kdf(size, passphrase.encode(), salt, opslimit=ops, memlimit=memory)
