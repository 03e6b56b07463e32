"""The control socket of a server under test: by our commands, each a process, and by the protocol itself."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from running import control_place


def run(base: Path, *words: str, timeout: float = 60.0, uid: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of ours against the server of *base*, as a process; *uid*: as another user."""
    group = len(words) > 1 and words[0] in ("log", "rawlog")
    at = 2 if group else 1
    command = [sys.executable, "-m", "maildir_imapd", *words[:at], f"--socket={control_place(base)}", *words[at:]]
    other: dict[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **other)


def told(base: Path, *words: str, status: int = 0) -> Any:
    """Run a command with --json and return what it says; it must end with *status*."""
    found = run(base, *words, "--json")
    assert found.returncode == status, (found.returncode, found.stdout, found.stderr)
    return json.loads(found.stdout)


class Talk:
    """A connection that speaks the protocol, or nonsense."""

    def __init__(self, base: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(control_place(base))
        self._file = self.sock.makefile("rb")

    def send(self, value: object) -> None:
        """Send a request."""
        self.raw(json.dumps(value).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        """Send octets."""
        self.sock.sendall(data)

    def read(self) -> Any:
        """Read one answer; None at the end."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def ask(self, command: str, **fields: object) -> Any:
        """Ask, and return the answer."""
        self.send({"version": 1, "command": command, **fields})
        return self.read()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


NOBODY = 65534
ROOT = os.geteuid() == 0
