"""A client of its own, written from docs/protocol.md, as a driver for the conformance kit.

Owns: the second reading of the page that the kit is held against, and switches for the mistakes
that clients make: `python -m tests.conformance.reference FAULT...`. Must never import the library's
client: a mistake they shared would be found by neither.
"""

import base64
import heapq
import itertools
import json
import os
import random
import re
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import nacl.exceptions
import nacl.public
import nacl.signing
import zmq
from zmq.utils import z85 as zmq_z85

FAULTS = frozenset(sys.argv[1:])
Body = dict[str, Any]
TRY_S, GRACE_S, RENEW_S = 1.2, 0.25, 0.3
SETTLING = ("condition_failed", "invalid")
WRITES = ("put", "delete")
HARMLESS = ("open_session", "close_session")
MONITORED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CONNECT_RETRIED
)


def has(fault: str) -> bool:
    return fault in FAULTS


# -- files -----------------------------------------------------------------------------------------
class Unusable(Exception):
    """The credentials cannot be used; in words."""


def blocks(label: str, text: bytes) -> list[bytes]:
    pattern = rb"-----BEGIN %b-----(.*?)-----END %b-----" % ((label.encode(),) * 2)
    return [base64.b64decode(found) for found in re.findall(pattern, text, re.DOTALL)]


def z85(raw: bytes) -> bytes:
    return bytes(zmq_z85.encode(raw))


class Credentials:
    def __init__(self, trust: str, certificate: str, key: str) -> None:
        self.certificate = Path(certificate).read_bytes()
        if stat.S_IMODE(os.stat(key).st_mode) & 0o077 and not has("takes_open_keys"):
            raise Unusable(f"{key} can be read by others")
        *_head, secret = msgpack.unpackb(blocks("DKV SECRET KEY", Path(key).read_bytes())[0])
        self.secret = z85(secret)
        self.public = z85(bytes(nacl.public.PrivateKey(secret).public_key))
        self.server_keys = list(self._servers(Path(trust).read_bytes()))
        if not self.server_keys:
            raise Unusable(f"{trust} names no server that is valid now")

    def _servers(self, text: bytes) -> Iterator[bytes]:
        (blob,) = blocks("DKV AUTHORITY", text)
        _version, authority, *_times = msgpack.unpackb(blob[64:])
        signer = nacl.signing.VerifyKey(authority)
        signer.verify(b"dkv authority 1\0" + blob[64:], blob[:64])
        found = []
        for each in blocks("DKV CERTIFICATE", text):
            try:
                signer.verify(b"dkv certificate 1\0" + each[64:], each[:64])
            except nacl.exceptions.BadSignatureError:
                if not has("trusts_anybody"):
                    raise Unusable("the trust file holds a forged certificate") from None
            _version, _name, key, role, before, after, serial = msgpack.unpackb(each[64:])
            is_valid = before <= time.time() <= after or has("ignores_expiry")
            if role == "server" and is_valid:
                found.append((serial, key))
        return (z85(key) for _serial, key in sorted(found, reverse=True))


# -- a connection ----------------------------------------------------------------------------------
class Line:
    def __init__(self, context: Any, address: str, credentials: Credentials | None) -> None:
        self.address, self.credentials, self._context = address, credentials, context
        self.node, self.is_up, self.why, self._turn = "", False, "nothing answers there", 0
        self.renew_at = 0.0
        self.open()

    def open(self) -> None:
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, -1 if has("lingers") else 0)
        self.socket.set(zmq.IMMEDIATE, 0 if has("lingers") else 1)
        self.socket.set(zmq.RECONNECT_IVL, 50)
        self.socket.set(zmq.RECONNECT_IVL_MAX, 500)
        self.socket.set(zmq.HANDSHAKE_IVL, 2_000)
        if has("takes_little"):
            self.socket.set(zmq.MAXMSGSIZE, 1_000_000)
        if self.credentials is not None:
            keys = self.credentials.server_keys
            self.socket.set(zmq.CURVE_PUBLICKEY, self.credentials.public)
            self.socket.set(zmq.CURVE_SECRETKEY, self.credentials.secret)
            self.socket.set(zmq.CURVE_SERVERKEY, keys[self._turn % len(keys)])
        self.monitor = self.socket.get_monitor_socket(MONITORED)
        self.socket.connect(f"tcp://{self.address}")

    def renew(self) -> None:
        """libzmq gives some handshakes up for good, and never changes a socket's key."""
        self._turn, self.renew_at = self._turn + 1, 0.0
        self.close()
        self.open()

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


# -- a call ----------------------------------------------------------------------------------------
class Call:
    def __init__(self, op: str, fields: Body, timeout_s: float, number: int = 0) -> None:
        self.op, self.fields, self.number = op, fields, number
        self.command = msgpack.packb({"op": op, **fields})
        self.deadline = time.monotonic() + timeout_s
        self.level, self.in_session = "linearizable", False
        self.session = self.sequence = self.tries = 0
        self.wake_at, self.avoid, self.line = 0.0, None, None
        self.unsure, self.is_over, self.refusal = False, False, None
        self.pages: list[Any] = []
        self.only: Line | None = None

    @property
    def may_repeat(self) -> bool:
        if self.op not in WRITES or self.in_session or self.op in HARMLESS:
            return True
        return has("retries_sessionless")


class Client:
    def __init__(self, endpoints: list[str], credentials: Credentials | None) -> None:
        self.context = zmq.Context()
        self.credentials = credentials
        self.lines = [Line(self.context, address, credentials) for address in endpoints]
        self.calls: list[Call] = []
        self.open: dict[bytes, tuple[Line, list[Call], float]] = {}
        self.presented: set[bytes] = set()
        self.ids = itertools.count(1)
        self.leader, self.turn = "", 0
        self.session, self.session_ttl_s, self.used_at = 0, 0.0, 0.0
        self.opening: Call | None = None
        self.sequence = 0
        self.unanswered: list[int] = []
        self.looked_at = 0.0

    # -- what is asked -----------------------------------------------------------------------------
    def begin(self, call: Call) -> None:
        self.calls.append(call)

    def _has_session(self, call: Call) -> bool:
        """Whether it has a place; else a session is being opened."""
        if call.sequence or not call.in_session:
            return True
        idle = time.monotonic() - self.used_at > self.session_ttl_s / 2
        if self.session and idle and not self.unanswered and not has("trusts_idle_sessions"):
            self.session = 0
        if not self.session:
            if self.opening is None or self.opening.is_over:
                left_s = call.deadline - time.monotonic() - 0.05
                self.opening = Call("open_session", {}, max(left_s, 0.01))
                self.begin(self.opening)
            return False
        if not (has("reuses_sequences") and self.sequence and self.sequence % 2):
            self.sequence += 1
        call.session, call.sequence = self.session, self.sequence
        self.used_at = time.monotonic()
        heapq.heappush(self.unanswered, call.sequence)
        return True

    def _request(self, call: Call) -> Body:
        left_ms = max(int((call.deadline - time.monotonic()) * 1_000), 1)
        if has("forgets_the_deadline"):
            left_ms = 5_000
        if has("repacks_commands") and call.tries:
            call.fields = {"_": call.tries, **{k: v for k, v in call.fields.items() if k != "_"}}
            call.command = msgpack.packb({"op": call.op, **call.fields})
        request: Body = {"command": call.command, "ttl_ms": left_ms, "burst": True}
        if call.level != "linearizable":
            request["level"] = call.level
        if call.sequence:
            lowest = min([*self.unanswered, call.sequence])
            if has("forgets_what_is_open"):
                lowest = call.sequence
            request |= {"session": call.session, "sequence": call.sequence, "lowest": lowest}
            if call.unsure and not has("hides_retries"):
                request["retry"] = True
        elif call.op == "close_session":
            request["session"] = self.session
        return request

    # -- where, and when ---------------------------------------------------------------------------
    def flush(self) -> None:
        now = time.monotonic()
        if any(not c.is_over for c in self.calls) and now - self.looked_at > 1.0:
            self._look_around(now)
        groups: dict[int, list[Call]] = {}
        for call in list(self.calls):
            if call.line is None and call.wake_at <= now and self._has_session(call):
                line = self._choose(call)
                if line is not None:
                    groups.setdefault(id(line), []).append(call)
                    call.line = line
        for calls in groups.values():
            for part in (calls[i : i + 64] for i in range(0, len(calls), 64)):
                self._post(part)

    def _look_around(self, now: float) -> None:
        self.looked_at = now
        for line in self.lines:
            if line.is_up:
                self._look_at(line)

    def _look_at(self, line: Line) -> None:
        """For its own name, who leads, and other addresses."""
        if not has("stays_ignorant"):
            call = Call("members", {}, 1.0)
            call.only = line
            self.begin(call)

    def _choose(self, call: Call) -> Line | None:
        if call.only is not None:
            return call.only if call.only.is_up else None
        up = [line for line in self.lines if line.is_up or has("lingers")]
        if has("stays_with_one"):
            up = up[:1] if self.lines[0].is_up else []
        others = [line for line in up if line is not call.avoid] or up
        if has("stays_with_one"):
            others = up
        if not others:
            return None
        if call.op in WRITES:
            for line in others:
                if line.node == self.leader != "":
                    return line
        self.turn += 1
        return others[self.turn % len(others)]

    def _post(self, calls: list[Call]) -> None:
        line = calls[0].line
        assert line is not None
        request_id = b"%d" % next(self.ids)
        if has("reuses_ids"):
            request_id = b"%d" % min((c.number for c in calls), default=0)
        requests = [self._request(call) for call in calls]
        body = msgpack.packb(requests if len(requests) > 1 else requests[0])
        for call in calls:
            call.tries += 1
        self._send(line, request_id, body)
        patience_s = 0.3 if has("loses_patience") else TRY_S
        self.open[request_id] = (line, list(calls), time.monotonic() + patience_s)

    def _send(self, line: Line, request_id: bytes, body: bytes) -> None:
        head = b"DKV2" if has("speaks_another_version") else b"DKV1"
        try:
            line.socket.send_multipart((head, request_id, body), zmq.NOBLOCK)
        except zmq.Again:
            line.is_up = False

    def _present(self, line: Line) -> None:
        if self.credentials is not None:
            command = {"op": "present", "certificate": self.credentials.certificate}
            body = msgpack.packb({"command": msgpack.packb(command)})
            request_id = b"p%d" % next(self.ids)
            self.presented.add(request_id)
            self._send(line, request_id, body)

    def _refused_certificate(self, line: Line, error: Body) -> None:
        if has("hopes_for_another_answer"):
            return
        for call in list(self.calls):
            if call.line in (line, None):  # or it waits for a session, which nobody opens
                self._end(call, {"error": _error(error, "no")})

    # -- what is heard -----------------------------------------------------------------------------
    def watch(self, line: Line) -> None:
        event, _value = struct.unpack("=hi", line.monitor.recv_multipart()[0])
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            line.is_up, line.why = True, "it does not answer"
            if not has("never_presents"):
                self._present(line)
            self._look_at(line)
            return
        if event != zmq.EVENT_CONNECT_RETRIED:
            failed = event != zmq.EVENT_DISCONNECTED or not line.is_up
            if failed:
                line.why = "it does not prove the server key"
            if failed and not has("keeps_its_socket") and not line.renew_at:
                line.renew_at = time.monotonic() + RENEW_S
        line.is_up = False
        for call in self.calls:
            if call.line is line:
                self._lost(call)

    def read(self, line: Line) -> None:
        frames = line.socket.recv_multipart()
        if has("counts_on_three_frames"):
            _protocol, _id, _body = frames
        if len(frames) != 3 or frames[0] != b"DKV1":
            return
        try:
            body = msgpack.unpackb(frames[2])
        except Exception:
            return
        if isinstance(body, list) and not frames[1] and not has("drops_bursts"):
            for reply in body:
                if isinstance(reply, dict) and isinstance(reply.get("id"), bytes):
                    self._replied(line, reply["id"], reply)
        elif isinstance(body, dict):
            self._replied(line, frames[1], body)

    def _replied(self, line: Line, request_id: bytes, body: Body) -> None:
        if has("takes_any_reply") and request_id not in self.open and "result" in body:
            mine = [c for _l, calls, _d in self.open.values() for c in calls if c.number]
            if mine and "found" in body["result"]:
                self._settle(mine[0], body)
            return
        if request_id in self.presented:
            if "error" in body:
                self._refused_certificate(line, body["error"])
            return
        if request_id not in self.open or (body.get("partial") and not has("takes_parts")):
            return
        if has("knows_every_field") and "novel" in body:
            raise SystemExit("a reply has a field that nobody knows")
        line.node = body.get("node", line.node)
        _line, calls, _due = self.open[request_id]
        position = body.get("position")
        if position is None:
            if len(calls) > 1 and has("wants_positions"):
                return
            for call in calls:
                self._answered(line, call, body)
        elif has("ignores_positions"):
            waiting = [call for call in calls if not call.is_over]
            if waiting:
                self._answered(line, waiting[0], body)
        elif 0 <= position < len(calls):
            self._answered(line, calls[position], body)

    def _answered(self, line: Line, call: Call, body: Body) -> None:
        if call.is_over:
            return
        if "result" in body:
            self._settle(call, body)
        elif isinstance(body.get("error"), dict):
            self._refused(line, call, body["error"])

    def _settle(self, call: Call, body: Body) -> None:
        result = body["result"]
        if call.op == "members":
            self.leader = result["leader"] or self.leader
            known = {line.address for line in self.lines}
            for member in result["members"]:
                address = member["client_address"]
                if address and address not in known:
                    self.lines.append(Line(self.context, address, self.credentials))
        elif call.op == "open_session":
            self.session, self.sequence = result["session"], 0
            self.session_ttl_s, self.used_at = result["ttl_ms"] / 1_000, time.monotonic()
            self.unanswered = []
        elif call.op == "list":
            call.pages += result["items"]
            if result.get("token") and not has("stops_at_a_page"):
                call.fields["token"] = result["token"]
                call.command = msgpack.packb({"op": "list", **call.fields})
                self._again(call, 0.0)
                return
        self._end(call, {"ok": self._told(call, body)})

    def _told(self, call: Call, body: Body) -> Body:
        result = dict(body["result"])
        if call.op == "list":
            result = {"items": call.pages, "revision": body["revision"]}
        if call.op == "status":
            result = {"node": result["node"]["name"]}
        if has("counts_in_doubles"):
            result = {k: int(float(v)) if type(v) is int else v for k, v in result.items()}
        return result

    def _refused(self, line: Line, call: Call, error: Body) -> None:
        code, applied, retry = error["code"], error["applied"], error["retry"]
        if error.get("leader"):
            self.leader = error["leader"]
        if has("knows_every_code") and code.startswith("novel"):
            retry = "never"
        if code == "certificate_needed":
            if not has("never_presents_again"):
                self._present(line)
            if has("hopes_for_another_answer"):
                call.refusal = error
        elif applied != "no" and not has("ignores_unknown"):
            call.unsure = True
        else:
            call.refusal = error
        if code == "session_lost" and not has("keeps_its_session"):
            self.session = 0
            if has("takes_a_second_session"):
                call.session = call.sequence = 0
                self._again(call, 0.0)
                return
        if code in SETTLING and not has("goes_on_for_ever"):
            self._end(call, {"error": _error(error, "no")})
        elif retry == "never" or (applied == "unknown" and not call.may_repeat):
            if has("goes_on_for_ever") and retry == "never":
                self._again(call, 0.1)
                return
            known = "unknown" if self._is_vague(call) and applied == "no" else applied
            if has("ignores_unknown"):
                known = "no"
            self._end(call, {"error": _error(error, known)})
        else:
            if has("ignores_unknown") and applied == "unknown":
                self._end(call, {"error": _error(error, "no")})
                return
            call.avoid = line if retry == "other" and not has("stays_with_one") else None
            self._again(call, self._pause_s(call, retry))

    def _pause_s(self, call: Call, retry: str) -> float:
        if has("never_waits"):
            return 0.0
        if has("hopes_for_another_answer"):
            return 0.4
        if retry in ("same", "other") and call.tries < 3:
            return 0.0
        longest = min(0.02 * 2 ** max(call.tries - 1, 0), 0.5)
        if has("waits_equally"):
            longest = 0.05
        if has("waits_evenly"):  # long enough that a busy machine does not spread the pauses
            return min(2 * longest, 0.5)
        return random.uniform(longest / 2, longest)

    def _is_vague(self, call: Call) -> bool:
        return call.unsure and call.op in WRITES and not has("believes_the_last_attempt")

    def _again(self, call: Call, pause_s: float) -> None:
        """A reply to an earlier attempt still counts: the call stays in its message."""
        call.line, call.wake_at = None, time.monotonic() + pause_s

    def _lost(self, call: Call) -> None:
        call.unsure, call.avoid, call.line = True, call.line, None
        if not call.may_repeat or has("retries_nothing"):
            self._end(call, {"error": _made("lost", "unknown", "no answer came")})

    def _end(self, call: Call, outcome: Body) -> None:
        if call.is_over:
            return
        call.is_over = True
        self.calls.remove(call)
        if call.sequence and call.session == self.session and call.sequence in self.unanswered:
            self.unanswered.remove(call.sequence)
        if call.number:
            print(json.dumps({"n": call.number, **_hex(outcome)}), flush=True)

    # -- time --------------------------------------------------------------------------------------
    def tick(self) -> None:
        now = time.monotonic()
        for line in self.lines:
            if line.renew_at and line.renew_at <= now:
                line.renew()
        for request_id, (line, calls, due) in list(self.open.items()):
            if all(call.is_over for call in calls):
                del self.open[request_id]
            elif due <= now:
                self.open[request_id] = (line, calls, now + 60)
                for call in calls:
                    if not call.is_over and call.line is line and now < call.deadline:
                        self._lost(call)
        for call in list(self.calls):
            grace_s = 5.0 if has("forgets_the_deadline") else GRACE_S if call.line else 0.0
            if now >= call.deadline + grace_s:
                self._give_up(call)

    def _give_up(self, call: Call) -> None:
        asked = call.line is not None
        if call.op in WRITES and (call.unsure or asked) and not has("believes_the_last_attempt"):
            error = _made("timeout", "unknown", "no answer within the deadline")
        elif call.refusal is not None:
            error = _error(call.refusal, "no")
        else:
            why = "; ".join(sorted({line.why for line in self.lines}))
            error = _made("lost", "no", "same words" if has("says_the_same") else why)
        self._end(call, {"error": error})

    def turn_once(self, poller: zmq.Poller) -> dict[Any, int]:
        self.flush()
        for line in self.lines:
            for socket in (line.socket, line.monitor):
                poller.register(socket, zmq.POLLIN)
        soonest = min((call.wake_at for call in self.calls if call.line is None), default=0.0)
        left_ms = int((soonest - time.monotonic()) * 1_000) + 1
        ready = dict(poller.poll(left_ms if 0 < left_ms < 10 else 10))
        for line in list(self.lines):
            socket, monitor = line.socket, line.monitor
            if monitor in ready:
                self.watch(line)
            if socket in ready and line.socket is socket:
                self.read(line)
        self.tick()
        for socket in [s for s, _f in poller.sockets if not isinstance(s, int)]:
            poller.unregister(socket)
        return ready


def _made(code: str, applied: str, words: str) -> Body:
    return {"class": _kind(applied), "code": code, "applied": applied, "words": words}


def _error(error: Body, applied: str) -> Body:
    return {**error, "class": _kind(applied), "applied": applied}


def _kind(applied: str) -> str:
    return "rejected" if applied == "no" else "uncertain"


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {k: _hex(v) for k, v in value.items()}
    return [_hex(v) for v in value] if isinstance(value, list | tuple) else value


# -- the driver ------------------------------------------------------------------------------------
HEX = ("key", "value", "prefix", "start", "end")
FIELDS = (*HEX, "expected", "limit")


def call_of(line: Body, timeout_ms: int) -> Call:
    fields = {k: line[k] for k in FIELDS if line.get(k) is not None}
    fields = {k: bytes.fromhex(v) if k in HEX else v for k, v in fields.items()}
    timeout_s = (line.get("timeout_ms") or timeout_ms) / 1_000
    call = Call(line["op"], fields, timeout_s, line["n"])
    call.level = line.get("level") or "linearizable"
    call.in_session = line["op"] in WRITES and line.get("session") is not False
    return call


def refuse_all(why: str) -> None:
    for text in sys.stdin:
        answer = {"n": json.loads(text)["n"], "error": _made("unusable", "no", why)}
        print(json.dumps(answer), flush=True)


def serve(client: Client, timeout_ms: int) -> None:
    poller = zmq.Poller()
    poller.register(0, zmq.POLLIN)
    rest, is_open, closing = b"", True, None
    while True:
        ready = client.turn_once(poller)
        if not is_open and not any(call.number or call is closing for call in client.calls):
            if closing is not None or not client.session:
                break
            closing = Call("close_session", {}, 0.5)
            client.begin(closing)
        if 0 in ready:
            data = os.read(0, 1 << 20)
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                client.begin(call_of(json.loads(text), timeout_ms))
            if not data:
                is_open = False
                poller.unregister(0)
    for line in client.lines:
        line.close()
    client.context.term()


def main() -> None:
    print(json.dumps({"ready": "reference 1", "outstanding": 64}), flush=True)
    timeout_ms = int(os.environ["DKV_TIMEOUT_MS"])
    try:
        credentials = None
        if os.environ.get("DKV_INSECURE") != "1":
            names = ("DKV_TRUST", "DKV_CERTIFICATE", "DKV_KEY")
            credentials = Credentials(*(os.environ[name] for name in names))
    except Unusable as error:
        refuse_all(str(error))
        return
    serve(Client(os.environ["DKV_ENDPOINTS"].split(","), credentials), timeout_ms)


if __name__ == "__main__":
    main()
