"""A message as one frame: protocol, request id and body joined.

Owns: how the three stand in one frame, for a node and for a client alike. Must never know what a
body says. ZeroMQ encrypts, wakes and counts frame by frame: three take a node two microseconds more
than one, on the path of every request.
"""

from dkv.requests import PROTOCOL

_HEAD = len(PROTOCOL) + 1


def join(request_id: bytes, body: bytes) -> bytes:
    """`DKV1`, one byte with the length of the id (at most 255; 0 in a burst), the id, the body."""
    return b"%b%c%b%b" % (PROTOCOL, len(request_id), request_id, body)


def part(frame: bytes) -> tuple[bytes, bytes] | None:
    """(request id, body) of such a frame; None for what is not one."""
    if len(frame) < _HEAD or not frame.startswith(PROTOCOL):
        return None
    end = _HEAD + frame[_HEAD - 1]
    return (frame[_HEAD:end], frame[end:]) if end < len(frame) else None
