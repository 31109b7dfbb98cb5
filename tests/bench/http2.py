"""As much of gRPC over HTTP/2 as a put and a get of etcd need.

Owns: frames, the one header block, protobuf's two fields. Must never know processes or waits. A
call that fails is answered without a message, so what counts is a message, long enough for what was
asked.
"""

import socket
import struct

from tests.bench.work import VALUE, VALUE_BYTES, Work, key

PUT, RANGE = "/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_WIDEST = 2**31 - 1  # windows: answers are small, nothing here holds them back
_INITIAL_WINDOW = 4  # the setting's number
_WINDOW_BEFORE = 65_535
_HEAD_BYTES = 9
_GRPC_PREFIX_BYTES = 5


class Ended(OSError):
    """The server wants no more of this connection."""


def path(work: Work) -> str:
    return PUT if work.operation == "put" else RANGE


def message(work: Work, number: int) -> bytes:
    """A call's body: the gRPC prefix and the request in protobuf."""
    fields = _field(1, key(number))
    if work.operation == "put":
        fields += _field(2, VALUE)
    elif work.level == "serializable":
        fields += b"\x38\x01"  # field 7, true
    return struct.pack(">BI", 0, len(fields)) + fields


def answer_bytes_min(work: Work) -> int:
    """No answer to this work that means success is shorter."""
    return _GRPC_PREFIX_BYTES + (VALUE_BYTES if work.operation == "get" else 1)


def _field(number: int, content: bytes) -> bytes:
    """Length-delimited."""
    length, size = len(content), b""
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + content


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = struct.pack(">I", len(content))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + content


def _headers(where: str) -> bytes:
    """Literals that enter no table, so that the block is the same each time."""

    def text(words: str) -> bytes:
        return bytes([len(words)]) + words.encode()

    post_over_http = b"\x83\x86"
    place = b"\x04" + text(where) + b"\x01" + text("127.0.0.1")
    content_type = b"\x0f\x10" + text("application/grpc")
    return post_over_http + place + content_type + b"\x00" + text("te") + text("trailers")


class Calls:
    """A `Talk`: each request a stream of its own."""

    def __init__(self, work: Work) -> None:
        self._work, self._headers = work, _headers(path(work))
        self._least = answer_bytes_min(work)
        self._stream = 1
        self._rest = b""
        self._messages: dict[int, int] = {}  # stream → bytes of its answer so far

    def greet(self, sock: socket.socket) -> None:
        settings = _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WIDEST))
        window = _frame(_WINDOW, 0, 0, struct.pack(">I", _WIDEST - _WINDOW_BEFORE))
        sock.sendall(_PREFACE + settings + window)

    def request(self, number: int) -> tuple[int, bytes]:
        stream = self._stream
        self._stream += 2
        body = message(self._work, number)
        head = _frame(_HEADERS, _END_HEADERS, stream, self._headers)
        return stream, head + _frame(_DATA, _END_STREAM, stream, body)

    def answers(self, received: bytes) -> tuple[list[tuple[int, bool]], bytes]:
        packed, at = self._rest + received, 0
        done: list[tuple[int, bool]] = []
        back = b""
        while len(packed) - at >= _HEAD_BYTES:
            length = int.from_bytes(packed[at : at + 3], "big")
            kind, flags = packed[at + 3], packed[at + 4]
            stream = int.from_bytes(packed[at + 5 : at + 9], "big")
            end = at + _HEAD_BYTES + length
            if end > len(packed):
                break
            if kind == _DATA:
                self._messages[stream] = self._messages.get(stream, 0) + length
            elif kind == _HEADERS and flags & _END_STREAM:
                done.append((stream, self._messages.pop(stream, 0) >= self._least))
            elif kind == _RESET:
                self._messages.pop(stream, None)
                done.append((stream, False))
            elif kind in (_SETTINGS, _PING) and not flags & _ACK:
                content = packed[at + _HEAD_BYTES : end] if kind == _PING else b""
                back += _frame(kind, _ACK, 0, content)
            elif kind == _GOAWAY:
                raise Ended("the server said GOAWAY")
            at = end
        self._rest = packed[at:]
        return done, back
