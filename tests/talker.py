"""A conversation with another server that goes on beside ours."""

from __future__ import annotations

import subprocess
import threading

ANSWER_WITHIN = 60.0  # seconds; Dovecot itself waits 120 at most for a lock, and none is held that long here


class Talker:
    """A server on pipes that stays, for one command after the other. One that does not answer in time is ended."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.process = process
        self.name = name
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def command(self, text: str) -> list[bytes]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        hung = threading.Event()

        def end() -> None:
            hung.set()
            self.process.kill()

        guard = threading.Timer(ANSWER_WITHIN, end)
        guard.start()
        lines = []
        try:
            self.process.stdin.write(f"t {text}\r\n".encode())
            self.process.stdin.flush()
            while line := self.process.stdout.readline():
                lines.append(line)
                if line.startswith(b"t "):
                    break
        finally:
            guard.cancel()
        assert not hung.is_set(), f"{self.name} did not answer {text!r} in {ANSWER_WITHIN:.0f} s; it said {lines}"
        assert lines, f"{self.name} closed the connection at {text!r}"
        assert lines[-1].startswith(b"t "), f"{self.name} closed the connection at {text!r}, having said {lines}"
        assert not lines[-1].startswith(b"t BAD"), lines[-1]
        return lines

    def end(self) -> None:
        """See it off; it has been told to go, or it goes now."""
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate(timeout=30)
