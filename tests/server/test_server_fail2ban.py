"""fail2ban over the log of a real server, whose clients try to have others banned."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from client import Client
from running import program, start_server, stop_server

pytestmark = pytest.mark.interop

FILTER = Path(__file__).parents[2] / "contrib" / "fail2ban" / "maildir-imapd.conf"
VICTIM = "203.0.113.66"
NAMES = [
    b"ann",
    b"ann with spaces",
    b"[ann]",
    b'ann" peer=203.0.113.66:1 tries=1',
    b"ann peer=203.0.113.66:1 tries=1",
    b"ann] peer=[2001:db8:bad::1]:1 tries=4",
    b"2026-01-01T00:00:00+0000 warning pid=1 login failed user=x peer=203.0.113.66:1 tries=1",
    b"\xe2\x80\xa82026-01-01T00:00:00+0000 warning pid=1 login failed user=x peer=203.0.113.66:1 tries=1",
    b"ann\\",
    b'ann\\" peer=203.0.113.66:1 tries=1 why=x',
    b"x" * 600 + b" peer=203.0.113.66:1 tries=1",
]


def test_nobody_is_banned_for_anothers_name(tmp_path: Path) -> None:
    server = start_server(tmp_path, "--imap-proxy=127.0.0.1:0", "--proxy-networks=127.0.0.1")
    expected = []
    try:
        for n, name in enumerate(NAMES):
            for header in (f"TCP4 192.0.2.{n + 1} 192.0.2.250", f"TCP6 2001:db8::{n + 1:x} 2001:db8::ffff"):
                sock = socket.create_connection(("127.0.0.1", server.ports["imap_proxy"]), timeout=30)
                with Client(sock) as client:
                    client.send(f"PROXY {header} 4711 143\r\n".encode())
                    assert client.line().startswith(b"* OK")
                    client.start_tls(_context(tmp_path))
                    client.send(b"a LOGIN {%d+}\r\n%b wrong\r\n" % (len(name), name))
                    assert b"AUTHENTICATIONFAILED" in client.until("a ")[-1]
                    # The same again is no second guess.
                    client.send(b"b LOGIN {%d+}\r\n%b wrong\r\n" % (len(name), name))
                    assert b"AUTHENTICATIONFAILED" in client.until("b ")[-1]
                expected.append(header.split()[1])
    finally:
        stop_server(server)
    log = server.base / "log"
    assert VICTIM in log.read_text()
    done = subprocess.run(
        [program("fail2ban-regex"), "-o", "<ip>", str(log), str(FILTER)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert set(found) == set(expected)
    # As fail2ban has lines of the journal: a name and a number before what was logged, whose moment it knows otherwise.
    journal = re.sub(r"^(\S+) (?=[a-z]+ pid=)", r"\1host maildir-imapd[4711]: ", log.read_text(), flags=re.MULTILINE)
    (tmp_path / "journal").write_text(journal)
    done = subprocess.run(
        [program("fail2ban-regex"), "-o", "<ip>", str(tmp_path / "journal"), str(FILTER)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) == set(expected), done.stderr


def _context(base: Path) -> ssl.SSLContext:

    return ssl.create_default_context(cafile=str(base / "cert.pem"))
