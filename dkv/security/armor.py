"""Bytes as lines that survive mail, editors and eyes.

Owns: the frame of `-----BEGIN label-----` and base64 between (RFC 7468's looks), with comments
before it. Must never know what the bytes are. Comments are for people; nothing believes them.
"""

import base64
import binascii
import textwrap
from collections.abc import Iterable

from dkv.security.refusal import CertificateError

_WIDTH = 64


def armored(label: str, blob: bytes, comments: Iterable[str]) -> bytes:
    lines = [f"# {comment}" for comment in comments]
    lines.append(f"-----BEGIN {label}-----")
    lines += textwrap.wrap(base64.b64encode(blob).decode(), _WIDTH)
    lines.append(f"-----END {label}-----")
    return ("\n".join(lines) + "\n").encode()


def unarmored(label: str, text: bytes, where: str) -> list[bytes]:
    """Every block of that label, in order. Raises `CertificateError` for one that is damaged."""
    begin, end = f"-----BEGIN {label}-----".encode(), f"-----END {label}-----".encode()
    blobs: list[bytes] = []
    _before, *parts = text.split(begin)
    for part in parts:
        body, found, _after = part.partition(end)
        try:
            blob = base64.b64decode(b"".join(body.split()), validate=True)
        except binascii.Error as error:
            raise CertificateError(f"{where} is damaged: its base64 cannot be read") from error
        if not found or not blob:
            raise CertificateError(f"{where} is damaged: a block {label} has no end or is empty")
        blobs.append(blob)
    return blobs
