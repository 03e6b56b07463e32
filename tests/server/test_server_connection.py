"""The loop of one connection, without a server around it: deadlines, and what a stranger may do."""

from __future__ import annotations

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
from maildir_imapd.errors import AuthenticationFailed, ConfigError, ShuttingDown
from maildir_imapd.imap.session import Access, Policy, Session
from maildir_imapd.server import connection, supervisor
from maildir_imapd.server.connection import converse
from maildir_imapd.server.transport import Transport
from maildir_imapd.server.worker import policy, server_metadata
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

    session = Session(rules, gate, wake=conn.bell.ring)
    thread = threading.Thread(
        target=converse, args=(conn, session), kwargs={"leaving": lambda: leave[0] if leave else None}
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
    client.start("NOOP")
    client.until(r"\* BYE .*shutting down")
    thread.join(30)


def test_strangers_and_passwords(tmp_path: Path) -> None:
    """From elsewhere than loopback there is no login without TLS, whatever plaintext_login says."""
    config = load(None, {"plaintext_login": "loopback"})
    client, thread = serve(policy(config, tls=True, loopback=False), tmp_path)
    assert b"LOGINDISABLED" in (greeting := client.line())
    assert b"AUTH=" not in greeting
    assert b"STARTTLS" in greeting
    assert b" NO [PRIVACYREQUIRED] " in client.command("LOGIN ann secret")[-1]
    assert b" NO [PRIVACYREQUIRED] " in client.command("AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=")[-1]
    assert b" BAD " in client.command("SELECT INBOX")[-1]
    client.ok("LOGOUT")
    thread.join(30)
    assert not policy(load(None, {}), tls=False, loopback=True).plaintext_login
    assert policy(config, tls=False, loopback=True).plaintext_login


def test_what_the_server_tells_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "metadata"
    file.write_text("# ours\n/shared/admin mailto:postmaster@example.org\n")
    config = load(None, {"server_metadata": str(file), "acl": "no"})
    told = server_metadata(config)
    assert told == ((b"/shared/admin", b"mailto:postmaster@example.org"),)
    assert server_metadata(load(None, {})) == ()
    rules = policy(config, tls=False, loopback=True, metadata=told)
    assert (rules.server_metadata, rules.acl) == (told, False)
    file.write_text("/private/comment x\n")
    with pytest.raises(ConfigError, match="line 1 "):
        server_metadata(config)
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        server_metadata(config)


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


def test_the_pause_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that die young are replaced ever more slowly; those that die together count once."""
    parent = supervisor.Supervisor(load(None, {"workers": 3}), lambda: load(None, {}))
    dead: list[tuple[int, int]] = []
    monkeypatch.setattr("os.waitpid", lambda *_: dead.pop() if dead else (0, 0))
    pauses = []
    for age in (1.0, 1.0, 1.0, 100.0):
        for pid in (10, 11, 12):
            parent.children[pid] = supervisor.Child(pid, 0, time.monotonic() - age)
            dead.append((pid, 0))
        parent.children[13] = supervisor.Child(13, 0, 0)
        parent._reap()
        pauses.append(parent._pause)
    assert pauses == [0.5, 1.0, 2.0, 0.0]
