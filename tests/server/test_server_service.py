"""A second protocol beside IMAP: the loop and the worker need to know nothing of it."""

from __future__ import annotations

import ast
import socket
from collections.abc import Mapping
from pathlib import Path

from maildir_imapd.config import load
from maildir_imapd.errors import Goodbye, ShuttingDown
from maildir_imapd.server import connection, worker
from maildir_imapd.server.heartbeat import Beats
from maildir_imapd.server.service import Port, Service
from maildir_imapd.server.sessions import Visit
from maildir_imapd.server.transport import Transport
from maildir_imapd.server.worker import Acceptor, Worker

LONG = 20.0  # a test that waits so long has failed


class Echo:
    """A service that says what it hears, in capitals; an empty line ends it."""

    logged_in = True
    patience = LONG
    quiet = 0.0
    upgrade = None

    def __init__(self, visit: Visit, transport: Transport) -> None:
        self.over = False
        self.sent = 0
        self._visit = visit
        self._transport = transport

    @property
    def who(self) -> Mapping[str, object]:
        return {"peer": self._visit.peer}

    def _say(self, data: bytes) -> None:
        self.sent += len(data)
        self._transport.send(data)

    def greet(self) -> None:
        self._say(b"hello\n")

    def feed(self, data: bytes) -> None:
        self._say(data.upper())
        self.over = data == b"\n"

    def announce(self) -> None: ...

    def keep_alive(self) -> None: ...

    def upgraded(self, kind: bytes) -> None: ...

    def say_goodbye(self, goodbye: Goodbye) -> None:
        self._say(goodbye.text.encode() + b"\n")
        self.over = True

    def close(self) -> None:
        self.over = True

    def note(self, event: str, **fields: object) -> None: ...


class EchoPort:
    def refusal(self, text: str) -> bytes:
        return b"no: " + text.encode() + b"\n"

    def open(self, visit: Visit, transport: Transport, *, secure: bool) -> Service:
        return Echo(visit, transport)


def test_a_listener_names_what_is_served(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("")
    config = load(None, {"watch": "poll", "passwd_file": str(tmp_path / "passwd"), "connections_per_address": 2})
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    echo: Port = EchoPort()
    working = Worker(config, None, [Acceptor(sock, implicit_tls=False, service="echo")], Beats())
    working.ports["echo"] = echo
    working.look_after()
    try:
        address = sock.getsockname()
        with (
            socket.create_connection(address, timeout=LONG) as one,
            socket.create_connection(address, timeout=LONG) as other,
        ):
            one_lines, other_lines = one.makefile("rb"), other.makefile("rb")
            assert (one_lines.readline(), other_lines.readline()) == (b"hello\n", b"hello\n")
            here = working.sessions.here()
            assert {visit.service for visit in here} == {"echo"}
            assert {visit.peer for visit in here} == {"{}:{}".format(*client.getsockname()) for client in (one, other)}
            one.sendall(b"said\n")
            assert one_lines.readline() == b"SAID\n"
            # One of them is sent away, and then all.
            next(visit for visit in here if visit.peer.endswith(f":{one.getsockname()[1]}")).send_away(Goodbye("Go"))
            assert one_lines.read() == b"Go\n"
            with (
                socket.create_connection(address, timeout=LONG) as third,
                socket.create_connection(address, timeout=LONG) as fourth,
            ):
                # Who has been here longest makes room.
                assert third.makefile("rb").readline() == fourth.makefile("rb").readline() == b"hello\n"
                assert other_lines.read() == b"Too many connections; try again later\n"
                other_lines = third.makefile("rb")
                working.sessions.say_goodbye(ShuttingDown())
                assert other_lines.read() == b"Server is shutting down\n"
    finally:
        working.stop_accepting()
        working.watcher.close()


def test_neither_loop_nor_worker_knows_a_protocol() -> None:
    for module in (connection, worker):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module is not None
                assert not node.module.startswith("maildir_imapd.imap"), module.__name__
