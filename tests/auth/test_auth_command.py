"""A program in the manner of checkpassword."""

from __future__ import annotations

import os
import pwd
import sys
import textwrap
from pathlib import Path

import pytest

from maildir_imapd.auth import command
from maildir_imapd.auth.base import Identity, Password, QuotaLimits
from maildir_imapd.auth.beside import Questions
from maildir_imapd.auth.command import CheckCommand
from maildir_imapd.errors import AuthenticationFailed, Unavailable
from maildir_imapd.server.aside import Directly

PROGRAM = """
import os, sys, time
user, password, moment, rest = os.read(3, 4096).split(b"\\0")
assert rest == b"" and moment.isdigit(), rest
opened = sorted(int(number) for number in os.listdir("/proc/self/fd"))
assert opened[:4] == [0, 1, 2, 3] and len(opened) == 5, opened  # the last is of the list itself
assert os.getcwd() == "/" and set(os.environ) <= {"PATH", "LC_CTYPE"}, os.environ
if user == b"away":
    sys.exit(111)
if user == b"dies":
    os.kill(os.getpid(), 9)
if user == b"hangs":
    time.sleep(3600)
if user == b"talks":
    os.execvp("/bin/sh", ["sh", "-c", "yes"])
if (user, password) not in [(b"ann", "Gr\\u00fc\\u00dfe: 1".encode()), (b"ben", b"b"), (b"eve", b"e"), (b"odd", b"o")]:
    sys.exit(1)
os.environ.update(USER=user.decode(), HOME="/home/" + user.decode())
if user == b"ann":
    os.environ.update(userdb_quota_rule="*:bytes=5", allow_nets="192.0.2.0/24", secret="x", EXTRA="allow_nets")
if user == b"ben":
    os.environ.update(USER="../ben")
if user == b"odd":
    os.environ.update(userdb_uid="nobody here")
if os.geteuid() == 0 and user == b"eve":
    os.setgid(65534)
    os.setuid(65534)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    path = tmp_path / "checkpassword"
    path.write_text(textwrap.dedent(PROGRAM))
    return [sys.executable, str(path)]


def users(words: list[str], seconds: float = 30) -> CheckCommand:
    asks = Directly({"command": command.answer(words)})
    return CheckCommand(Questions("command", asks, most=2, seconds=seconds))


def test_right_and_wrong(words: list[str]) -> None:
    found = users(words).check(Password("ann", "Grüße: 1".encode()))
    assert (found.user, found.home, found.quota, found.uid) == ("ann", "/home/ann", QuotaLimits(5), found.uid)
    assert found.nets is not None
    assert found.may_come_from("192.0.2.7")
    for user, password in [("ann", b"wrong"), ("nobody", b"x"), ("ann", b""), ("", b"x"), ("a/b", b"x"), ("ben", b"b")]:
        with pytest.raises(AuthenticationFailed):
            users(words).check(Password(user, password))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_whoever_it_has_become_owns_the_mail(words: list[str]) -> None:
    found = users(words).check(Password("eve", b"e"))
    assert (found.uid, found.gid) == (pwd.getpwuid(65534).pw_uid, 65534)


@pytest.mark.parametrize("user", ["away", "dies", "odd"])
def test_what_it_cannot_say_is_not_wrong(words: list[str], user: str) -> None:
    with pytest.raises(Unavailable):
        users(words).check(Password(user, b"o"))


def test_no_such_program() -> None:
    with pytest.raises(Unavailable):
        users(["/nowhere/checkpassword"]).check(Password("ann", b"x"))


def command_line(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended


@pytest.mark.long
@pytest.mark.parametrize("user", ["hangs", "talks"])
def test_one_that_does_not_end_is_killed(words: list[str], user: str) -> None:
    with pytest.raises(Unavailable):
        users(words, 1).check(Password(user, b"x"))
    while words[1].encode() in b"".join(map(command_line, Path("/proc").glob("[0-9]*/cmdline"))):
        pass  # it has been killed, and is on its way out


def test_it_knows_nobody(words: list[str]) -> None:
    found = users(words).look_up("anybody")
    assert found is not None
    assert found.identity == Identity("anybody")
    assert users(words).look_up("../ann") is None
    assert list(users(words).users()) == []


def test_nobody_who_may_not_log_in() -> None:
    assert command.said("ann", b"0\n0\nUSER=ann\0HOME=/h\0PATH=x\0uid=5\0") == Identity("ann", home="/h")
    with pytest.raises(AuthenticationFailed):
        command.said("ann", b"0\n0\nUSER=ann\0EXTRA=nologin\0nologin=y\0")
