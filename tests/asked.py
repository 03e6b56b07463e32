"""A worker with sockets at which programs ask, and such a program."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from maildir_imapd.config import load
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.worker import Acceptor, Worker

LONG = 20.0


class Asker:
    """A connection of one that asks."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        if isinstance(address, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(LONG)
            self.sock.connect(address)
        else:
            self.sock = socket.create_connection(address, timeout=LONG)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line; b"" when the server has closed."""
        try:
            return self.file.readline()
        except ConnectionError:
            return b""

    def rest(self) -> bytes:
        """All until the server closes."""
        try:
            return self.file.read()
        except ConnectionError:
            return b""


@contextmanager
def answering(base: Path, services: Sequence[str], users: str, **given: object) -> Iterator[dict[str, tuple[str, int]]]:
    """Serve *services* with these users; gives the address of each."""
    (base / "passwd").write_text(users)
    if os.geteuid() == 0:
        given = {"mail_user": "root", **given}
    given = {"mail_location": f"maildir:{base}/%n/Maildir", "auth_failure_delay": 0, "fsync": "never", **given}
    config = load(None, {"watch": "poll", "passwd_file": str(base / "passwd"), **given})
    socks = {name: socket.create_server(("127.0.0.1", 0)) for name in services}
    for sock in socks.values():
        sock.setblocking(False)
    listeners = [Acceptor(sock, False, name, asked=True) for name, sock in socks.items()]
    worker = Worker(config, None, listeners, Beats())
    worker.look_after()
    try:
        yield {name: sock.getsockname() for name, sock in socks.items()}
    finally:
        worker.stop_accepting()
        worker.watcher.close(timeout=1)
