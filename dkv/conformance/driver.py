"""The driver of a binding under test: a program that is told a line and answers with one.

Owns: its process, its lines as JSON, what it prints besides. Must never know what is played. The
contract is in docs/protocol.md, section 13; a program that breaks it fails the rule being played.
"""

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

READY_S = 10.0
_LINE_BYTES_MAX = 64 * 1024 * 1024
_PIPE_BYTES = 1 << 20
_TOLD_BYTES = 2_000  # of its stderr, for people


class Broken(Exception):
    """The binding, or its driver, did not do what the rule asks; in words."""


class Driver:
    """Runs from here until `kill`. `env` is what it is given besides this process' own."""

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DKV_")}
        self._told = bytearray()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**kept, **env},
            )
        except OSError as error:
            raise Broken(f"{command[0]} cannot be started: {error.strerror}") from error
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self.stdout_fd, self.stderr_fd = self._stdout.fileno(), self._stderr.fileno()
        for descriptor in (self.stdout_fd, self.stderr_fd):
            os.set_blocking(descriptor, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):  # a line of megabytes would go by 64 KiB a turn
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.stdout_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._rest = bytearray()
        self.is_silent = False  # its stdout has ended

    def tell(self, line: dict[str, Any]) -> None:
        try:
            self._stdin.write(json.dumps(line).encode() + b"\n")
            self._stdin.flush()
        except OSError as error:
            raise Broken("the driver takes no more lines: it has ended") from error

    def heard(self) -> list[dict[str, Any]]:
        """The lines that have come since the last call."""
        try:
            data = os.read(self.stdout_fd, 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            self.is_silent = True
            return []
        self._rest += data
        if len(self._rest) > _LINE_BYTES_MAX:
            raise Broken("the driver wrote a line without an end")
        *lines, self._rest = self._rest.split(b"\n")
        return [_read(bytes(line)) for line in lines if line.strip()]

    def overhear(self) -> bool:
        """Take what it said on stderr; False: that has ended."""
        try:
            data = os.read(self.stderr_fd, 1 << 16)
        except BlockingIOError:
            return True
        self._told = (self._told + data)[-_TOLD_BYTES:]
        return bool(data)

    @property
    def stderr(self) -> str:
        return self._told.decode(errors="replace").strip()

    def end_of_lines(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def ended(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        self.end_of_lines()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._stderr.close()


def _read(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Broken(f"the driver wrote what is no JSON: {line[:80]!r}") from error
    if type(found) is not dict:
        raise Broken(f"the driver wrote a line that is no object: {line[:80]!r}")
    return found
