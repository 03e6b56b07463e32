"""From the names in the settings to back ends in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
