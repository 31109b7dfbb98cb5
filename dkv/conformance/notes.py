"""What went between a client and the nodes of a play, in words for who wrote the client.

Owns: the lines of a trace, and why a message is none. Must never judge, nor know a play.
"""

from typing import Any, NamedTuple

import msgpack

from dkv.limits import REQUEST_ID_BYTES_MAX
from dkv.requests import PROTOCOL, Header

_SHOWN = 24  # bytes of a frame
_ORDINARY = ("result", "error", "revision", "node", "position")


class Note(NamedTuple):
    """That a node got something, or said something, and when."""

    at_s: float
    node: str
    words: str


def asked(op: str, fields: dict[str, Any], header: Header, place: str) -> str:
    key, session = fields.get("key"), ""
    if header.session:
        session = f" session {header.session} sequence {header.sequence} lowest {header.lowest}"
    named = f" {key!r}" if key else ""
    retry = " retry" if header.retry else ""
    return f"got {op}{named} {place} ttl {header.ttl_ms} ms{session}{retry}"


def said(body: dict[str, Any] | bytes, place: str) -> str:
    if isinstance(body, bytes):
        return f"said to {place} what is no reply: {body[:_SHOWN].hex()}"
    others = ", ".join(f"`{name}`" for name in body if name not in _ORDINARY)
    also = f", and also {others}" if others else ""
    error = body.get("error")
    if error is None:
        return f"said to {place}: {'a result' if 'result' in body else 'no result'}{also}"
    how = f"{error['code']}, applied {error['applied']}, retry {error['retry']}"
    return f"said to {place}: {how}{also}"


def place_of(request_id: bytes, position: int) -> str:
    return f"id {request_id.hex() or '(empty)'}" + (f"[{position}]" if position >= 0 else "")


def why_no_message(frames: tuple[bytes, ...]) -> str:
    """What is wrong with frames that are no message; `frames` without a delimiter."""
    shown = " ".join(frame[:_SHOWN].hex() or "(empty)" for frame in frames[:5])
    if len(frames) not in (1, 3):
        return f"a message of {len(frames)} frames, and not of one or three: {shown}"
    if not frames[0].startswith(PROTOCOL) or (len(frames) == 3 and frames[0] != PROTOCOL):
        return f"a message that does not begin with `DKV1`: {shown}"
    length = len(frames[1]) if len(frames) == 3 else (frames[0][4:5] or b"\0")[0]
    if not 0 < length <= REQUEST_ID_BYTES_MAX:
        return f"a message whose request id has {length} bytes, and not 1 to 32: {shown}"
    return f"a message that ends before its body: {shown}"


def hint(command: bytes) -> str:
    """Where a command cannot be unpacked: the mistake that is most often behind it."""
    try:
        msgpack.unpackb(command)
    except UnicodeDecodeError:
        return " (a str in it is not UTF-8: keys, values and tokens are bin)"
    except Exception:
        return ""
    return ""
