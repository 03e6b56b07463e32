"""Every protocol script, in memory and over sockets with TLS and two workers; those in fs/ on nested directories."""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imap_script import USER, Runner
from memory import MemoryWires
from running import Running, start_server, stop_server
from spool import Spool

from maildir_imapd.imap.columns import message
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.reply import Reply
from maildir_imapd.message import blocks
from maildir_imapd.store.account import Account
from maildir_imapd.store.current import CurrentFolder, rest
from maildir_imapd.store.folder import reading
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir.layout import Places

SCRIPTS = sorted((Path(__file__).parent / "scripts").rglob("*.imap"))

# Commands after which news come by themselves.
UNASKED = re.compile(r"C: \S+ (NOTIFY SET|IDLE)\b")


def nested(script: Path) -> bool:
    return script.parent.name == "fs"


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_in_memory(script: Path, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir", nested=nested(script))
    places = Places(bytes(spool.root), "fs" if spool.nested else "maildir++")
    Runner(spool, MemoryWires(Account(places, fsync="never")), {"user": USER}).run(script)


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_as_if_every_message_were_large(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes out of the file in blocks is what goes out of memory."""
    monkeypatch.setattr(message, "LARGE_OCTETS", 20)
    monkeypatch.setattr(reading, "BEGINNING_OCTETS", 16)
    monkeypatch.setattr(blocks, "BLOCK_OCTETS", 7)
    monkeypatch.setattr(blocks, "KEPT_OCTETS", 100)
    test_in_memory(script, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_as_if_every_client_only_waited(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each command, and between any two looks, the mailbox lets go of its files."""
    feed, sync = Engine.feed, CurrentFolder.sync

    def fed(engine: Engine, data: bytes, reply: Reply) -> None:
        feed(engine, data, reply)
        if engine.session.view is not None:
            rest(engine.session.view.mailbox)

    def synced(box: CurrentFolder, **how: Any) -> Snapshot:
        rest(box)
        return sync(box, **how)

    monkeypatch.setattr(Engine, "feed", fed)
    monkeypatch.setattr(CurrentFolder, "sync", synced)
    test_in_memory(script, tmp_path)


class SocketClient:
    """A connection to the running server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read_line(self) -> bytes | None:
        while (end := self._in.find(b"\r\n")) < 0:
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._in += data
        line = bytes(self._in[:end])
        del self._in[: end + 2]
        return line

    def unread(self) -> bytes:
        while select.select([self.sock], [], [], 0)[0]:
            data = self.sock.recv(65536)
            if not data:
                break
            self._in += data
        return bytes(self._in)


class SocketWires:
    """Every second client inside TLS."""

    def __init__(self, server: Running, user: str) -> None:
        self.server = server
        self.user = user
        self.clients: list[SocketClient] = []

    def connect(self, *, login: bool) -> SocketClient:
        client = SocketClient(self.server.connect(tls=len(self.clients) % 2 == 1))
        self.clients.append(client)
        client.read_line()
        if login:
            client.send(f"L LOGIN {self.user} secret\r\n".encode())
            line = client.read_line()
            assert line is not None
            assert line.startswith(b"L OK"), line
        return client

    def changed(self) -> None:
        """The server finds out by itself."""

    def close(self) -> None:
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.sock.close()


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_over_sockets(script: Path, server: Running) -> None:
    user, spool = server.user(nested=nested(script))
    wires = SocketWires(server, user)
    try:
        Runner(spool, wires, {"user": user}).run(script)
    finally:
        wires.close()


@pytest.fixture(scope="module")
def polling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without inotify, as on a network file system."""
    running = start_server(tmp_path_factory.mktemp("polling"), "--watch=poll", "--poll-interval=0.1", users=40)
    yield running
    stop_server(running)
    log = (running.base / "log").read_text()
    assert "Traceback" not in log, log


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [path for path in SCRIPTS if UNASKED.search(path.read_text())], ids=lambda path: path.stem
)
def test_polling(script: Path, polling: Running) -> None:
    """Those in which somebody waits for news; all else is the same."""
    test_over_sockets(script, polling)
