"""Tokens and devices against whole servers: over TLS, in workers that have given up their rights."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from issuer import AUDIENCE, Issuer
from running import Running, start_server, stop_server

from maildir_imapd.auth import last_use

pytestmark = pytest.mark.slow


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def running(tmp_path: Path, issuer: Issuer) -> Iterator[Running]:
    (tmp_path / "devices").write_text("u1:{PLAIN}dddd:::reader:::made=1 scope=read\n")
    (tmp_path / "used").mkdir()
    options = {
        "auth-device-file": tmp_path / "devices",
        "auth-device-used-file": tmp_path / "used" / "used",
        "last-login-file": tmp_path / "logins",
        "oauth-issuer": issuer.url,
        "oauth-audience": AUDIENCE,
        "oauth-keys": f"{issuer.url}/keys",
        "oauth-user-claim": "sub",
        "userdb": "passwd-file",
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    running = start_server(tmp_path, "--auth=passwd-file", "--auth=oauth", *given, users=3)
    yield running
    stop_server(running)


def show(client: Client, token: bytes, user: str = "") -> list[bytes]:
    claimed = f"a={user}".encode() if user else b""
    return client.command(
        "AUTHENTICATE OAUTHBEARER " + base64.b64encode(b"n,%b,\1auth=Bearer %b\1\1" % (claimed, token)).decode()
    )


def test_tokens_and_devices(running: Running, issuer: Issuer) -> None:
    with Client.to(running.port) as client:
        assert b"AUTH=OAUTHBEARER" in client.greeting
        assert b"Logged in" in show(client, issuer.token({"sub": "u0"}), "u0")[-1]
        assert b"READ-WRITE" in client.ok("SELECT INBOX")[-1]
    with Client.to(running.port) as client:
        for token in (issuer.token({"sub": "nobody"}), issuer.token({"sub": "u0", "exp": 1})):
            tag = client.start(
                "AUTHENTICATE OAUTHBEARER " + base64.b64encode(b"n,,\1auth=Bearer %b\1\1" % token).decode()
            )
            client.until(r"\+ ")
            client.send(b"AQ==\r\n")
            assert b"NO [AUTHENTICATIONFAILED]" in client.until(tag)[-1]
    with Client.to(running.port) as client:
        client.ok('ID ("name" "Reader")')
        client.ok("LOGIN u1 dddd")
        assert b"READ-ONLY" in client.ok("SELECT INBOX")[-1]
        assert b"NO [NOPERM]" in client.command("CREATE Work")[-1]
    uses = last_use.read((running.base / "used" / "used").read_bytes())
    assert uses["u1", "reader"].program == "Reader"
    logins = last_use.read((running.base / "logins").read_bytes())
    assert {user: use.program for (user, _), use in logins.items()} == {"u0": "", "u1": "Reader"}
    log = (running.base / "log").read_text()
    assert "why=token-expired" in log
    assert "why=not-in-userdb" in log
    assert "Bearer" not in log
    assert "dddd" not in log
