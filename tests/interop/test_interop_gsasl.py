"""GNU SASL's client against a running server: mechanisms, with and without a binding to the connection."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Running, program, start_server, stop_server

from maildir_imapd.auth import schemes

pytestmark = [pytest.mark.slow, pytest.mark.interop]

OLDER = "--priority=NORMAL:-VERS-TLS1.3"
SCRAM = [f"SCRAM-SHA-{size}{plus}" for size in ("1", "256") for plus in ("", "-PLUS")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("gsasl")
    names = (*SCRAM, "CRAM-MD5", "ANONYMOUS")
    options = (*(f"--auth-mechanisms={name}" for name in names), "--auth-anonymous-user=new")
    running = start_server(base, *options, users=1)
    made = subprocess.run(
        [program("gsasl"), "--mkpasswd", "--mechanism=SCRAM-SHA-1", "--password=secret"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = {
        "plain": "{PLAIN}secret",
        "old": made.stdout.strip(),
        "new": schemes.make(b"secret", "SCRAM-SHA-256"),
        "hash": schemes.make(b"secret", "SSHA"),
    }
    (base / "passwd").write_text("".join(f"{user}:{stored}::::::\n" for user, stored in lines.items()))
    yield running
    stop_server(running)


def log_in(running: Running, mechanism: str, user: str, *options: str, password: str = "secret") -> tuple[bool, str]:
    """Whether gsasl has logged in, and all that it has said."""
    done = subprocess.run(
        [
            program("gsasl"),
            "--imap",
            f"--connect=127.0.0.1:{running.port}",
            "--hostname=localhost",
            f"--x509-ca-file={running.base / 'cert.pem'}",
            f"--mechanism={mechanism}",
            f"--authentication-id={user}",
            f"--password={password}",
            "--no-client-first",
            "--verbose",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    said = done.stdout + done.stderr
    return "] Logged in" in said, said


@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram(running: Running, mechanism: str) -> None:
    """Under TLS 1.2 the client binds by tls-unique, which is the one kind that both know."""
    binds = (OLDER,) if mechanism.endswith("-PLUS") else ("--no-cb",)
    own = "old" if "-1" in mechanism else "new"
    for user in ("plain", own):
        good, said = log_in(running, mechanism, user, *binds)
        assert good, said
        good, said = log_in(running, mechanism, user, *binds, password="wrong")
        assert not good, said
        assert "[AUTHENTICATIONFAILED]" in said, said
    for user in ("nobody", "hash"):
        good, said = log_in(running, mechanism, user, *binds)
        assert not good, said
        assert "[AUTHENTICATIONFAILED]" in said, said


def test_cram_md5(running: Running) -> None:
    assert log_in(running, "CRAM-MD5", "plain")[0]
    for user, password in (("plain", "wrong"), ("new", "secret"), ("nobody", "secret")):
        good, said = log_in(running, "CRAM-MD5", user, password=password)
        assert not good, said
        assert "[AUTHENTICATIONFAILED]" in said, said


def test_anonymous(running: Running) -> None:
    good, said = log_in(running, "ANONYMOUS", "x", "--anonymous-token=guest@example.org")
    assert good, said


def test_without_starttls_there_is_none(running: Running, tmp_path: Path) -> None:
    good, said = log_in(running, "SCRAM-SHA-256", "plain", "--no-starttls")
    assert good, said  # over loopback, as plaintext_login says
    log = (running.base / "log").read_text()
    assert "secret" not in log
    assert re.search(r"login .*method=SCRAM-SHA-256 .*tls=False", log), log
