"""A Valkey server, or a Redis server, which speaks the same, for tests: on a socket in a directory of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from running import program


@contextmanager
def valkey(base: Path) -> Iterator[str]:
    """Start one, and yield its URL; it ends with the block."""
    name = next((name for name in ("valkey-server", "redis-server") if shutil.which(name)), None)
    path = base / "valkey.sock"
    words = [name or program("redis-server"), "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "777"]
    words += ["--save", "", "--appendonly", "no", "--dir", str(base)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not _answers(path):
            assert time.monotonic() < end, "it does not start"
            time.sleep(0.05)
        yield f"unix:{path}"
    finally:
        process.terminate()
        process.wait(20)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
    except OSError:
        return False
    return True
