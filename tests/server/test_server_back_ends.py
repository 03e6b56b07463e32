"""From the names in the settings to back ends in their order."""

from __future__ import annotations

import imaplib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from running import Running, start_server, stop_server

from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import Password, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, ConfigError
from maildir_imapd.server import back_ends, settings


def chain(**given: Any) -> Chain:
    return settings.chain(load(None, {"auth_failure_delay": 0, **given}))


def test_files_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("ann:{PLAIN}one\n")
    (tmp_path / "two").write_text("ann:{PLAIN}two\nben:{PLAIN}b\n")
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains" / "example.org").write_text("eve:{PLAIN}e\n")
    asked = chain(passwd_file=[f"{tmp_path}/one", f"{tmp_path}/two", f"{tmp_path}/domains/%d"])
    assert [each.name for each in asked.back_ends] == [f"{tmp_path}/one", f"{tmp_path}/two", f"{tmp_path}/domains/%d"]
    for user, password in (("ann", b"one"), ("ben", b"b"), ("eve@example.org", b"e")):
        assert asked.identify(Password(user, password)).user == user
    with pytest.raises(AuthenticationFailed):
        asked.identify(Password("ann", b"two"))
    assert [who.user for who in asked.everybody()] == ["ann", "ben", "eve@example.org"]
    assert asked.at_hand


def test_names_are_spelled_before_anybody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann@example.org:{PLAIN}a\n")
    asked = chain(passwd_file=f"{tmp_path}/users", auth_default_realm="Example.org", auth_username_format="%Lu")
    for name in ("ann", "Ann", "ANN@EXAMPLE.ORG"):
        assert asked.identify(Password(name, b"a")).user == "ann@example.org"
        assert asked.identify(Password(name, b"a", authzid=name)).user == "ann@example.org"
    found = asked.find("ANN")
    assert found is not None
    assert [who.user for who in asked.everybody()] == ["ann@example.org"]


def test_a_percent_sign_in_a_path(tmp_path: Path) -> None:
    (tmp_path / "100%").write_text("ann:{PLAIN}a\n")
    assert chain(passwd_file=f"{tmp_path}/100%%").find("ann") is not None
    with pytest.raises(ConfigError, match="variables"):
        load(None, {"passwd_file": f"{tmp_path}/100%"})


def test_what_a_worker_must_reach() -> None:
    config = load(None, {"passwd_file": ["/etc/mail/passwd", "/srv/%d/passwd"]})
    assert back_ends.files(config) == ("/etc/mail/passwd", "/srv/")


def test_tokens_need_to_be_told_from_others(tmp_path: Path) -> None:
    """Whatever lets anybody's token in is refused at the start."""
    (tmp_path / "secret").write_text("s\n")
    keys = {"auth": ["oauth"], "oauth_issuer": "https://i.example", "oauth_keys": "https://i.example/keys"}
    asking = {
        "auth": ["oauth"],
        "oauth_issuer": "https://i.example",
        "oauth_introspection": "https://i.example/introspect",
        "oauth_client_id": "imap",
    }
    for wrong, match in (
        ({"auth": ["oauth"]}, "oauth_issuer"),
        ({**keys, "oauth_issuer": ""}, "oauth_issuer"),
        (keys, "oauth_audience"),
        (asking, "oauth_client_secret_file"),
        ({**asking, "oauth_client_secret_file": str(tmp_path / "none")}, "oauth_client_secret_file"),
        ({**keys, "oauth_audience": "imap", "oauth_ca": str(tmp_path / "secret")}, "oauth_ca"),
        ({**keys, "oauth_keys": "http://i.example/keys"}, "https"),
        ({**keys, "oauth_algorithms": "none"}, "oauth-algorithms|oauth_algorithms"),
        ({**keys, "oauth_algorithms": "HS256"}, "oauth-algorithms|oauth_algorithms"),
    ):
        with pytest.raises(ConfigError, match=match):
            chain(**wrong)
    (back_end,) = chain(**keys, oauth_audience="imap").back_ends
    assert back_end.takes == (Token,)
    assert (
        chain(**asking, oauth_client_secret_file=str(tmp_path / "secret")).back_ends[0].name
        == "oauth https://i.example"
    )


# --- whole servers --------------------------------------------------------------------------------


def login(running: Running, user: str, password: str = "secret") -> str:
    """Try to log in; return AUTH, or what the server says."""
    with imaplib.IMAP4("127.0.0.1", running.port) as client:
        try:
            client.login(user, password)
        except imaplib.IMAP4.error as error:
            return str(error)
        return str(client.state)


@pytest.mark.slow
def test_users_of_a_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "users.db") as database:
        database.execute("CREATE TABLE users (name TEXT, password TEXT)")
        database.execute("INSERT INTO users VALUES ('ann@example.org', ?)", (schemes.make(b"secret", "SHA512-CRYPT"),))
    database.close()
    query = "SELECT password FROM users WHERE name = '%u'"
    options = ["--auth=sql", f"--sql-connect=sqlite:{tmp_path}/users.db", f"--sql-password-query={query}"]
    options += ["--auth-default-realm=example.org", "--auth-username-format=%Lu", "--auth-cache-negative-time=0"]
    running = start_server(tmp_path, *options, users=1)
    try:
        assert login(running, "Ann") == "AUTH"
        assert (tmp_path / "ann" / "Maildir").is_dir()
        assert "AUTHENTICATIONFAILED" in login(running, "ann", "wrong")
        assert "AUTHENTICATIONFAILED" in login(running, "u0")  # the file is not asked
        (tmp_path / "users.db").rename(tmp_path / "elsewhere")
        (tmp_path / "users.db").write_bytes(b"no database" * 100)
        assert "UNAVAILABLE" in login(running, "ben")
    finally:
        stop_server(running)


@pytest.mark.slow
def test_a_back_end_that_hangs_hurts_nobody_else(tmp_path: Path) -> None:
    """Many ask it, and users of the file come in meanwhile."""
    program = tmp_path / "check"
    program.write_text(f"#!/bin/sh\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.1; done\nexit 1\n")
    program.chmod(0o755)
    options = ["--auth=passwd-file", "--auth=command", f"--auth-command={program}", "--auth-timeout=2m"]
    running = start_server(tmp_path, *options, "--auth-connections=2", users=20)
    try:
        with ThreadPoolExecutor(12) as threads:
            strangers = [threads.submit(login, running, f"stranger{n}") for n in range(12)]
            assert [login(running, f"u{n}") for n in range(20)] == ["AUTH"] * 20
            assert not any(each.done() for each in strangers)
            (tmp_path / "go").touch()
            assert all("AUTHENTICATIONFAILED" in each.result() for each in strangers)
        assert login(running, "u0", "wrong").count("AUTHENTICATIONFAILED") == 1
    finally:
        stop_server(running)
