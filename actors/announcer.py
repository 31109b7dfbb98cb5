"""What a node says to people: one line each, on standard error.

Owns: the form of a line and the rate (one line a second and reason; what was left out is counted).
Must never know why something is said. Lines never hold keys, values or secrets.

    text  2026-11-24T09:00:00.123Z n1 info    leader: n2 leads, term 4
    json  {"ts": "2026-…Z", "level": "info", "node": "n1", "reason": "leader", "message": "n2 …"}
          and `request_id` (hex), if it is about one
"""

import json
import sys
from datetime import UTC, datetime

_LEVELS = ("debug", "info", "warning", "error")
_PER_REASON_S = 1.0


class Announcer:
    """Lines below `level` are not written. `form`: text or json. Used from one thread."""

    def __init__(self, node: str, level: str, form: str = "text") -> None:
        self.form = form
        self._node = node
        self._floor = _LEVELS.index(level)
        self._last_s: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(
        self, severity: str, reason: str, words: str, now_s: float, request_id: bytes = b""
    ) -> None:
        """`now_s`: Unix seconds. Control characters are shown escaped."""
        if _LEVELS.index(severity) < self._floor:
            return
        if severity != "error" and 0 <= now_s - self._last_s.get(reason, 0) < _PER_REASON_S:
            self._left_out[reason] = self._left_out.get(reason, 0) + 1
            return
        self._last_s[reason] = now_s
        left_out = self._left_out.pop(reason, 0)
        more = f" (and {left_out} more like this)" if left_out else ""
        safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
        line = self._line(severity, reason, f"{safe}{more}", now_s, request_id.hex())
        try:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        except OSError:  # whoever read it has gone; the node goes on
            pass

    def _line(self, severity: str, reason: str, message: str, now_s: float, request_id: str) -> str:
        stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        if self.form == "json":
            fields = {"ts": stamp, "level": severity, "node": self._node, "reason": reason}
            fields["message"] = message
            return json.dumps(fields | ({"request_id": request_id} if request_id else {}))
        about = f" [request {request_id}]" if request_id else ""
        return f"{stamp} {self._node} {severity:<7} {reason}: {message}{about}"
