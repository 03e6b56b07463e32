"""The command line alone is enough: without a certificate the server makes itself one, once."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from maildir_imapd.auth import schemes

pytestmark = pytest.mark.slow


def test_own_certificate(tmp_path: Path) -> None:
    users = tmp_path / "passwd"
    users.write_text(f"ann:{schemes.make(b'secret', 'SSHA')}::::::\n")
    made = tmp_path / "state" / "maildir-imapd" / "cert.pem"
    for _ in range(2):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "maildir_imapd", "serve", "--imaps", "127.0.0.1:0", "--workers", "1"),
                *("--mail-location", f"maildir:{tmp_path}/%n/Maildir", "--passwd-file", str(users)),
                *("--log-file", str(tmp_path / "log")),
            ],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        )
        assert process.stdout is not None
        with process.stdout:
            line = process.stdout.readline()
            port = int(line.partition("127.0.0.1:")[2].partition(";")[0])
            context = ssl.create_default_context(cafile=str(made))
            with context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), timeout=20), server_hostname="localhost"
            ) as sock:
                assert sock.recv(1000).startswith(b"* OK [CAPABILITY")
            certificate = made.read_bytes()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    # The second start found the first one's.
    assert made.read_bytes() == certificate
    assert (made.parent / "key.pem").stat().st_mode & 0o777 == 0o600
    assert "no tls_cert is set" in (tmp_path / "log").read_text()
