from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from maildir_imapd.auth import passwdfile, schemes
from maildir_imapd.auth.base import External, Password, Proven, Token
from maildir_imapd.auth.passwdfile import PasswdFile, PasswdFiles, parse
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


def test_what_is_checked(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{PLAIN}secret\n")
    assert users.takes == (Password, Proven, External)
    with pytest.raises(AuthenticationFailed):
        users.check(Token("ann", b"secret"))


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


def test_a_line_that_is_passed_over_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However often the file changes elsewhere; and anew once the line itself does."""
    path = tmp_path / "users"
    users = write(path, "ann:{PLAIN}x\nben:{NTLM}secret\n")

    def said() -> list[str]:
        users.looked_through()
        lines = [record.fields for record in caplog.records if record.message == "passwd-file line passed over"]  # type: ignore[attr-defined]
        caplog.clear()
        return [f"{fields['line']} {fields['user']}" for fields in lines]

    assert said() == [f"{path}:2 ben"]
    path.write_text("ann:{PLAIN}x\n# another\nben:{NTLM}secret\n")
    assert users.users() == ["ann"]
    assert said() == []
    path.write_text("ann:{PLAIN}x\nben:{NTLM}other\n")
    users.users()
    assert said() == [f"{path}:2 ben"]
    path.write_text("ann:{PLAIN}x\n")
    users.users()
    assert said() == []
    path.write_text("ann:{PLAIN}x\nben:{NTLM}other\n")
    users.users()
    assert said() == [f"{path}:2 ben"]


@pytest.mark.parametrize("line", [":{PLAIN}x", "{PLAIN}secret", "sec ret", "../secret:{NTLM}x"])
def test_what_can_be_no_name_is_not_said(line: str, caplog: pytest.LogCaptureFixture) -> None:
    """It may be a torn line with the password in front."""
    parse(f"{line}\n", "users")
    for record in caplog.records:
        assert "secret" not in str(record.fields)  # type: ignore[attr-defined]


def test_a_user_whose_line_is_passed_over_has_no_wrong_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To the client it is the same; the log says what is wrong."""
    users = write(tmp_path / "users", "ann:{PLAIN}x\nben:{NTLM}secret\nann:{NTLM}y\n")
    for name in ("ben", "Ben"):
        with pytest.raises(AuthenticationFailed) as broken:
            users.check(Password(name, b"secret"))
        assert broken.value.detail == "line-passed-over"
        (fields,) = [record.fields for record in caplog.records if record.message == "the user's line is passed over"]  # type: ignore[attr-defined]
        assert fields == {"user": name, "line": f"{users.path}:2", "why": "the scheme NTLM is not supported"}
        caplog.clear()
    for user in ("ann", "unknown"):
        with pytest.raises(AuthenticationFailed) as wrong:
            users.check(Password(user, b"secret"))
        assert wrong.value.detail == ""
        assert wrong.value.text == broken.value.text
    assert users.check(Password("ann", b"x"))
    (tmp_path / "users").write_text("ben:{PLAIN}secret\n")
    assert users.check(Password("ben", b"secret"))


def test_a_hash_that_cannot_be_used_is_no_wrong_password(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{SHA512-CRYPT}broken\n")
    with pytest.raises(AuthenticationFailed) as caught:
        users.check(Password("ann", b"broken"))
    assert caught.value.detail == "stored-password"


def test_yescrypt_as_a_system_writes_it(tmp_path: Path) -> None:
    stored = "$y$j9T$FVaGqvPFgoVGjzZ1$.248ku3K32Va.n3t8ICJjjS/MwdqwXqrREgtTX3wN07"
    users = write(tmp_path / "users", f"ann:{stored}\nben:{{CRYPT}}{stored}\neve:$y$torn\n")
    assert users.users() == ["ann", "ben"]
    for user in ("ann", "ben"):
        assert users.check(Password(user, "Grüße 1".encode())).user == user
        with pytest.raises(AuthenticationFailed):
            users.check(Password(user, b"wrong"))


# --- one file a domain ----------------------------------------------------------------------------


def domain(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "passwd").write_text(text)


def test_a_file_for_each_domain(tmp_path: Path) -> None:
    domain(tmp_path, "example.org", "ann:{PLAIN}org::::/org/ann::\nben@example.org:{PLAIN}b\n")
    domain(tmp_path, "example.net", "ann:{PLAIN}net\nleft@elsewhere.example:{PLAIN}x\n")
    users = PasswdFiles(f"{tmp_path}/%d/passwd")
    assert users.check(Password("ann@example.org", b"org")).home == "/org/ann"
    assert users.check(Password("ann@example.net", b"net")).user == "ann@example.net"
    assert users.check(Password("ben@example.org", b"b")).user == "ben@example.org"
    for user, password in [
        ("ann@example.net", b"org"),
        ("ann", b"org"),
        ("ann@nowhere.example", b"org"),
        ("ann@..", b"org"),
        ("ann@example.org/../example.org", b"org"),
        ("ann@*", b"org"),
        ("", b""),
    ]:
        with pytest.raises(AuthenticationFailed):
            users.check(Password(user, password))
    assert users.look_up("ann@nowhere.example") is None
    assert users.look_up("ann@../x") is None
    assert list(users.users()) == ["ann@example.net", "ann@example.org", "ben@example.org"]
    domain(tmp_path, "new.example", "eve:{PLAIN}e\n")
    assert users.check(Password("eve@new.example", b"e")).user == "eve@new.example"
    (tmp_path / "new.example" / "passwd").unlink()
    assert users.look_up("eve@new.example") is None


def test_a_change_in_a_domains_file_is_another_version(tmp_path: Path) -> None:
    domain(tmp_path, "example.org", "ann:{PLAIN}one\n")
    users = PasswdFiles(f"{tmp_path}/%d/passwd")
    before = users.look_up("ann@example.org")
    assert before == users.look_up("ann@example.org")
    domain(tmp_path, "example.org", "ann:{PLAIN}other\n")
    assert users.look_up("ann@example.org") != before


def test_a_domains_file_that_cannot_be_read_is_no_wrong_password(tmp_path: Path) -> None:
    (tmp_path / "example.org" / "passwd").mkdir(parents=True)
    users = PasswdFiles(f"{tmp_path}/%d/passwd")
    with pytest.raises(Unavailable):
        users.look_up("ann@example.org")


def test_an_unknown_domain_costs_what_the_dearest_known_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = "{BLF-CRYPT}$2y$12$" + "a" * 53
    domain(tmp_path, "example.org", f"ann:{dear}\n")
    domain(tmp_path, "example.net", "ann:{PLAIN}x\n")
    users = PasswdFiles(f"{tmp_path}/%d/passwd")
    assert users.look_up("ann@example.org")
    assert users.look_up("ann@example.net")
    asked: list[str] = []
    monkeypatch.setattr(schemes, "verify", lambda stored, password: asked.append(stored))
    with pytest.raises(AuthenticationFailed):
        users.check(Password("nobody@nowhere.example", b"x"))
    assert asked == [dear]


def test_a_second_line_counts_where_the_first_cannot_be_used(tmp_path: Path) -> None:
    users = write(tmp_path / "users", "ann:{NTLM}x\nann:{PLAIN}y\nann:{PLAIN}z\n")
    assert users.check(Password("ann", b"y"))
    assert users.users() == ["ann"]


def test_a_large_file_is_understood_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes while somebody else looks through the new file gets his answer by one line of it."""
    path = tmp_path / "users"
    users = write(path, "ann:{PLAIN}one\n")
    path.write_text("".join(f"u{n}:{{PLAIN}}x\n" for n in range(5000)) + "ann:{PLAIN}two\n")
    looking = []

    def look(self: PasswdFile, lines: object) -> None:
        looking.append(lines)

    monkeypatch.setattr(PasswdFile, "_look_through", look)
    understood = []
    of_line = passwdfile._line
    monkeypatch.setattr(passwdfile, "_line", lambda line: understood.append(line) or of_line(line))
    assert users.check(Password("ann", b"two"))
    assert understood == ["ann:{PLAIN}two"]
    users.looked_through()
    assert len(looking) == 1


def test_nobody_waits_until_a_changed_file_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even who has noticed the change; and what was found in one that has changed again counts for nothing."""
    path = tmp_path / "users"
    users = write(path, "ann:{PLAIN}one\n")
    go_on = threading.Event()
    look = PasswdFile._look_through

    def wait(self: PasswdFile, lines: object) -> None:
        assert go_on.wait(60)
        look(self, lines)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(PasswdFile, "_look_through", wait)
    path.write_text("ann:{SSHA}four\n")
    assert users.stored("ann") == "{SSHA}four"
    path.write_text("ann:{PLAIN}three\n")
    assert users.check(Password("ann", b"three"))
    assert users.all_kept_as({"PLAIN"})
    go_on.set()
    users.looked_through()
    assert users.all_kept_as({"PLAIN"})


# --- who shows no password ------------------------------------------------------------------------


def test_who_is_known_by_other_means(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\nben:{PLAIN}x:::::: nologin\ncyd:\n")
    file = PasswdFile(str(tmp_path / "passwd"))
    assert file.check(External("ann")).user == "ann"
    assert file.check(External("cyd")).user == "cyd"
    for user in ("ben", "dan", ""):
        with pytest.raises(AuthenticationFailed):
            file.check(External(user))
    assert [registered is not None and registered.may_log_in for registered in map(file.look_up, ("ann", "ben"))] == [
        True,
        False,
    ]


def test_a_proof_is_of_the_secret_that_stands_there_now(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\nben:{PLAIN}x:::::: nologin\ncyd:\n")
    file = PasswdFile(str(tmp_path / "passwd"))
    assert file.stored("ann") == "{PLAIN}secret"
    assert file.stored("cyd") is file.stored("dan") is None
    assert file.check(Proven("ann", "CRAM-MD5", True, "{PLAIN}secret")).user == "ann"
    for credential in (
        Proven("ann", "CRAM-MD5", False, "{PLAIN}secret"),
        Proven("ann", "CRAM-MD5", True, "{PLAIN}older"),
        Proven("ben", "CRAM-MD5", True, "{PLAIN}x"),
        Proven("cyd", "CRAM-MD5", True, ""),
        Proven("dan", "CRAM-MD5", True, ""),
        Token("ann", b"secret"),
    ):
        with pytest.raises(AuthenticationFailed):
            file.check(credential)
    assert "secret" not in repr(Proven("ann", "CRAM-MD5", True, "{PLAIN}secret"))


def test_whether_all_have_secrets_of_a_kind(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\ncyd:\n")
    file = PasswdFile(str(tmp_path / "passwd"))
    assert file.all_kept_as({"PLAIN", "CLEAR"})
    assert not file.all_kept_as({"CLEAR"})
    (tmp_path / "passwd").write_text("cyd:\n")
    file.look_up("cyd")
    assert not file.all_kept_as({"PLAIN"})


def test_secrets_in_the_file_of_a_domain(tmp_path: Path) -> None:
    (tmp_path / "example.org").write_text("ann:{PLAIN}secret\n")
    files = PasswdFiles(f"{tmp_path}/%d")
    assert files.stored("ann@example.org") == "{PLAIN}secret"
    assert files.stored("ann@example.com") is None
    assert files.check(External("ann@example.org")).user == "ann@example.org"
    assert files.check(Proven("ann@example.org", "X", True, "{PLAIN}secret")).user == "ann@example.org"
    with pytest.raises(AuthenticationFailed):
        files.check(External("ann@example.com"))
    assert not files.all_kept_as({"PLAIN"})
