"""A worker near its memory_limit: who needs much waits, and is told NO; all others go on."""

from __future__ import annotations

import quopri
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, start_server, stop_server

MIB = 1024 * 1024
# The wait is a second here, and not twenty.
PROGRAM = """
from maildir_imapd.imap import progress
progress.ROOM_SECONDS = 1.0
from maildir_imapd.cli import main
main(prog_name="maildir-imapd")
"""
LINE = "Grüße an alle, die das lesen: äöü\n".encode()
# Of 104 MiB half is for large messages: one of these takes more than half of that.
TEXT = LINE * (7 * MIB // len(LINE))
HEADER = b"From: a@example.org\nSubject: large\nContent-Transfer-Encoding: quoted-printable\n\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    running = start_server(
        tmp_path, "--memory-limit=104M", "--workers=1", users=2, program=("-c", PROGRAM), log="server.log"
    )
    yield running
    stop_server(running)


def reads_little(port: int, user: str) -> Client:
    """A client whose own machine takes in little of what it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", port))
    client = Client(sock)
    client.line()
    client.ok(f"LOGIN {user} secret")
    return client


@pytest.mark.slow
def test_one_waits_and_is_refused_and_the_others_work(server: Running) -> None:
    user, spool = server.user()
    (spool.root / "cur" / "1700000000.M1P1.host:2,S").write_bytes(HEADER + quopri.encodestring(TEXT))
    (spool.root / "cur" / "1700000001.M2P1.host:2,S").write_bytes(b"Subject: small\n\nhello\n")
    first, second, third = (reads_little(server.port, user) for _ in range(3))
    for client in (first, second, third):
        client.ok("SELECT INBOX")
    tag = first.start("FETCH 1 (BINARY.PEEK[1])")
    line = first.line()
    announced = re.fullmatch(rb"\* 1 FETCH \(BINARY\[1\] \{(\d+)\}", line)
    assert announced, line
    # From here on it does not read. What it takes is not the second one's.
    waiting = second.start("FETCH 1 (BINARY.PEEK[1])")
    assert third.ok("FETCH 2 (ENVELOPE BODY.PEEK[])")[0].startswith(b"* 2 FETCH")
    assert third.ok("FETCH 1 (BODY.PEEK[TEXT]<0.70> RFC822.SIZE)")[0].startswith(b"* 1 FETCH")
    refused = second.until(waiting + " ")
    assert refused[-1] == waiting.encode() + b" NO [LIMIT] The server has no memory for this just now; try again later"
    second.ok("NOOP")
    assert first.octets(int(announced[1])).replace(b"\r\n", b"\n") == TEXT
    first.until(tag + " OK")
    assert second.ok("FETCH 1 (BINARY.SIZE[1])")[0] == b"* 1 FETCH (BINARY.SIZE[1] %d)" % int(announced[1])
    assert (server.base / "server.log").read_text().count("no memory for a large message") == 1
