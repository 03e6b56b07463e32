from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from maildir_imapd.auth import schemes
from maildir_imapd.auth.base import External, Password, Token
from maildir_imapd.auth.passwdfile import PasswdFile, parse
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable


def write(path: Path, text: str) -> PasswdFile:
    path.write_text(text)
    return PasswdFile(str(path))


def test_all_fields_of_dovecots_line() -> None:
    line = "ann@example.org:{PLAIN}secret:1000:100:Ann:/home/ann:/bin/sh:userdb_mail=maildir:~/M nologin\r\n"
    entry = parse(line)["ann@example.org"]
    assert entry.stored == "{PLAIN}secret"
    assert entry.identity.uid == 1000
    assert entry.identity.gid == 100
    assert entry.identity.home == "/home/ann"
    assert entry.identity.mail == "maildir:~/M"
    assert not entry.may_log_in
    assert "secret" not in repr(entry)


def test_names_of_users_and_groups() -> None:
    identity = parse("ann:{PLAIN}x:root:root::/h")["ann"].identity
    assert (identity.uid, identity.gid) == (0, 0)


@pytest.mark.parametrize(
    "line",
    [
        ":{PLAIN}x",
        "ann:{NTLM}secret",
        "ann:secret",
        "ann:{PLAIN}x:secret:",
        "ann:{PLAIN}x:1:secret",
        "ann:{PLAIN}x:99999999999:1",
        "ann:{PLAIN}x:4294967295:1",
        "ann:{PLAIN}x:²:1",
        "ann:{PLAIN}x:::::: allow_nets=secret",
    ],
)
def test_a_bad_line_is_passed_over_and_never_quoted(
    line: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("maildir_imapd"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        entries = parse(f"# users\n\n{line}\nben:{{PLAIN}}y\n", "users")
    assert list(entries) == ["ben"]
    (record,) = caplog.records
    fields = record.fields  # type: ignore[attr-defined]
    assert fields["line"] == "users:3"
    assert "secret" not in str(fields["why"])


def test_the_first_of_two_lines_counts() -> None:
    assert parse("ann:{PLAIN}a\nann:{PLAIN}b\n")["ann"].stored == "{PLAIN}a"


def test_right_and_wrong(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{PLAIN}secret\nempty:\nnobody:{PLAIN}secret:::::: nologin\n")
    assert users.check(Password("ann", b"secret")).user == "ann"
    for user, password in [
        ("ann", b"Secret"),
        ("ann", b""),
        ("Ann", b"secret"),
        ("unknown", b"secret"),
        ("empty", b""),
        ("nobody", b"secret"),
        ("", b""),
    ]:
        with pytest.raises(AuthenticationFailed) as caught:
            users.check(Password(user, password))
        assert caught.value.text == "User name or password is wrong"


def test_who_is_on_record(tmp_path: Path) -> None:
    """Any change of the password, or of whether he may log in at all, is another version."""
    path = tmp_path / "users"
    users = write(path, "ann:{PLAIN}one\n")
    first = users.look_up("ann")
    assert first is not None
    assert first == users.look_up("ann")
    assert users.look_up("Ann") is None
    assert users.look_up("") is None
    for line in ("ann:{PLAIN}other\n", "ann:{PLAIN}one:::::: nologin\n", "ann:{PLAIN}one::::/elsewhere::\n"):
        path.write_text(line)
        assert users.look_up("ann") != first


def test_only_passwords_are_checked(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{PLAIN}secret\n")
    assert users.takes == (Password,)
    for credential in (Token("ann", b"secret"), External("ann")):
        with pytest.raises(AuthenticationFailed):
            users.check(credential)


def test_an_unknown_user_costs_what_a_known_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = write(tmp_path / "users", "a:{PLAIN}x\nb:{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E\nc:{SSHA}AAAA\nd:\n")
    compared = []
    verify = schemes.verify
    monkeypatch.setattr(schemes, "verify", lambda stored, password: compared.append(stored) or verify(stored, password))
    for user in ("unknown", "d"):
        with pytest.raises(AuthenticationFailed):
            users.check(Password(user, b"x"))
    assert compared == ["{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E"] * 2


def test_a_stored_password_that_cannot_be_used(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{SHA512-CRYPT}broken\n")
    with pytest.raises(AuthenticationFailed):
        users.check(Password("ann", b"broken"))


def test_a_change_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users"
    users = write(path, "ann:{PLAIN}one\n")
    path.write_text("ann:{PLAIN}three\n")
    assert users.check(Password("ann", b"three"))
    with pytest.raises(AuthenticationFailed):
        users.check(Password("ann", b"one"))
    other = tmp_path / "other"
    other.write_text("ben:{PLAIN}seven\n")
    os.replace(other, path)
    assert users.users() == ["ben"]


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{PLAIN}one\n")
    (tmp_path / "users").unlink()
    with pytest.raises(Unavailable):
        users.check(Password("ann", b"one"))
    with pytest.raises(Unavailable):
        users.look_up("ann")
    with pytest.raises(Unavailable):
        users.users()
    with pytest.raises(ConfigError, match="No such file"):
        PasswdFile(str(tmp_path / "users"))


def test_an_unknown_user_costs_what_the_dearest_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most lines are of a cheap scheme; a known user of the dear one must not show by his time."""
    dear = "{BLF-CRYPT}$2y$12$" + "a" * 53
    lines = [f"u{n}:{{SSHA256}}{'A' * 48}\n" for n in range(9)]
    (tmp_path / "passwd").write_text("".join(lines) + f"ann:{dear}\nben:{{SHA512-CRYPT}}$6$salt$x\n")
    asked: list[str] = []
    monkeypatch.setattr(schemes, "verify", lambda stored, password: asked.append(stored))
    with pytest.raises(AuthenticationFailed):
        PasswdFile(str(tmp_path / "passwd")).check(Password("nobody", b"x"))
    assert asked == [dear]
