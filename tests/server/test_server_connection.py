"""The loop of one connection, without a server around it: deadlines, and what a stranger may do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from client import Client

from maildir_imapd.auth.base import Credential, Password
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, ShuttingDown
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.server import connection, settings
from maildir_imapd.server.connection import converse
from maildir_imapd.server.imap_service import ImapService
from maildir_imapd.server.transport import Transport
from maildir_imapd.store.account import Account


def serve(rules: Policy, tmp_path: Path, *, leave: list[ShuttingDown] | None = None) -> tuple[Client, threading.Thread]:
    """One connection in a thread."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    conn = Transport(ours)

    def gate(credential: Credential) -> Access:
        if not isinstance(credential, Password) or credential.password != b"secret":
            raise AuthenticationFailed
        return Access(credential.user, Account(bytes(tmp_path / "Maildir"), fsync="never"))

    service = ImapService(Engine(rules, gate, wake=conn.bell.ring), conn.send)
    thread = threading.Thread(
        target=converse, args=(conn, service), kwargs={"leaving": lambda: leave[0] if leave else None}
    )
    thread.start()
    return Client(theirs), thread


def test_autologout(tmp_path: Path) -> None:
    client, thread = serve(Policy(plaintext_login=True, idle_timeout=0.05), tmp_path)
    client.line()
    client.start("LOGIN ann secret")
    assert client.until(r"\* BYE")[-1].startswith(b"* BYE Autologout")
    assert client.line() == b""
    thread.join(30)


def test_the_end_of_the_process(tmp_path: Path) -> None:
    leave: list[ShuttingDown] = []
    client, thread = serve(Policy(plaintext_login=True), tmp_path, leave=leave)
    client.line()
    client.ok("LOGIN ann secret")
    leave.append(ShuttingDown())
    # The server may have looked, said goodbye and gone before it had to be asked.
    with contextlib.suppress(ConnectionError):
        client.start("NOOP")
    client.until(r"\* BYE .*shutting down")
    thread.join(30)


def test_strangers_and_passwords(tmp_path: Path) -> None:
    """From elsewhere than loopback there is no login without TLS, whatever plaintext_login says."""
    config = load(None, {"plaintext_login": "loopback"})
    client, thread = serve(settings.policy(config, tls=True, loopback=False), tmp_path)
    assert b"LOGINDISABLED" in (greeting := client.line())
    assert b"AUTH=" not in greeting
    assert b"STARTTLS" in greeting
    assert b" NO [PRIVACYREQUIRED] " in client.command("LOGIN ann secret")[-1]
    assert b" NO [PRIVACYREQUIRED] " in client.command("AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=")[-1]
    assert b" BAD " in client.command("SELECT INBOX")[-1]
    client.ok("LOGOUT")
    thread.join(30)


def test_the_next_user(tmp_path: Path) -> None:
    """RFC 8437: deflated until then, and the new login pipelined."""
    client, thread = serve(Policy(plaintext_login=True, compress=True), tmp_path)
    client.line()
    client.ok("LOGIN ann secret")
    client.ok("COMPRESS DEFLATE")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    client.send(
        packer.compress(b"x SELECT INBOX\r\ny UNAUTHENTICATE\r\n")
        + packer.flush(zlib.Z_FINISH)
        + b"z AUTHENTICATE PLAIN AGJvYgBzZWNyZXQ=\r\n"
    )
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    deflated = b""
    while not reader.eof:
        deflated += reader.decompress(client.sock.recv(65536))
    assert b"\r\nx OK [READ-WRITE]" in deflated
    assert deflated.count(b"\r\n", deflated.index(b"y OK [CAPABILITY ")) == 1
    plain = reader.unused_data
    while not plain.endswith(b"\r\n"):
        plain += client.sock.recv(65536)
    assert plain.startswith(b"z OK [CAPABILITY ")
    assert b"COMPRESS=DEFLATE" in plain
    client.ok("LOGOUT")
    thread.join(30)


class Silence:
    """A transport to which nothing comes after IDLE; waiting is the clock, and at *rings* (seconds) the bell rings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rings: list[float]) -> None:
        self.now, self._rings, self._begun = 0.0, rings, False
        self.said: list[tuple[float, bytes]] = []
        monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: self.now))

    def wait(self, timeout: float) -> tuple[bool, bytes | None]:
        assert timeout > 0
        if not self.now and not self._begun:
            self._begun = True
            return False, b"a SELECT INBOX\r\nb IDLE\r\n"
        if self._rings and self._rings[0] <= self.now + timeout:
            self.now = self._rings.pop(0)
            return True, b""
        self.now += timeout
        return False, b""

    def send(self, data: bytes) -> None:
        self.said.append((self.now, data))

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("keepalive", "rings", "expected"),
    [
        (120.0, [], [120, 240, 360, 480, 600]),
        # What is told is a word like any other, and a bell for nothing is none.
        (120.0, [100.0, 150.0], [100, 220, 340, 460, 580, 600]),
        (0.0, [], [600]),
        (600.0, [], [600]),
        (7000.0, [], [600]),
    ],
)
def test_a_client_in_idle_hears_from_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keepalive: float, rings: list[float], expected: list[float]
) -> None:
    """And is sent away all the same, when it has said nothing for long enough."""
    line = Silence(monkeypatch, rings)
    account = Account(bytes(tmp_path / "Maildir"), fsync="never")
    rules = Policy(idle_timeout=600.0, idle_keepalive=keepalive)
    engine = Engine(rules, preauth=Access("ann", account))
    service = ImapService(engine, line.send)
    announce = service.announce

    def news() -> None:
        announce()
        if line.now == 100:
            service._reply.write(b"* 1 EXISTS\r\n")
            service._reply.flush()

    monkeypatch.setattr(service, "announce", news)
    converse(line, service)  # type: ignore[arg-type]  # what it uses of a transport is there
    said = [(now, data) for now, data in line.said if now]
    assert [now for now, _ in said] == expected
    assert all(data == b"* OK Still here\r\n" for now, data in said if now not in (100, 600))
    assert said[-1][1].startswith(b"* BYE")


def test_a_client_in_idle_hears_through_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, thread = serve(Policy(plaintext_login=True, compress=True, idle_keepalive=0.01), tmp_path)
    client.line()
    client.ok("LOGIN ann secret")
    client.ok("COMPRESS DEFLATE")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    client.send(packer.compress(b"x IDLE\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
    reader = zlib.decompressobj(-zlib.MAX_WBITS)
    heard = b""
    while heard.count(b"* OK Still here\r\n") < 2:
        heard += reader.decompress(client.sock.recv(65536))
    client.send(packer.compress(b"DONE\r\ny LOGOUT\r\n") + packer.flush(zlib.Z_SYNC_FLUSH))
    while b"y OK" not in heard:
        heard += reader.decompress(client.sock.recv(65536))
    thread.join(30)


def test_the_time_to_log_in_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted from the greeting, or from when the last user left."""
    later = [0.0]
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + later[0]))
    client, thread = serve(Policy(plaintext_login=True, login_timeout=100, idle_timeout=1000), tmp_path)
    client.line()
    client.ok("LOGIN ann secret")
    later[0] += 500
    client.ok("UNAUTHENTICATE")
    client.ok("LOGIN ann secret")
    client.ok("LOGOUT")
    thread.join(30)


def test_three_bad_commands(tmp_path: Path) -> None:
    """A web browser that was led here (cross-protocol requests) is sent away."""
    client, thread = serve(Policy(), tmp_path)
    client.line()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n\r\na LOGIN ann secret\r\n")
    lines = client.until(r"\* BYE")
    assert not any(b" OK" in line for line in lines)
    thread.join(30)


def test_endless_lines_before_login(tmp_path: Path) -> None:
    client, thread = serve(Policy(), tmp_path)
    client.line()
    client.send(b"a " + b"x" * 100_000 + b"\r\n")
    assert client.until(r"(a|\*) (BAD|BYE)")
    client.sock.shutdown(socket.SHUT_WR)
    thread.join(30)
