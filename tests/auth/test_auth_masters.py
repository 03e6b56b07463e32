"""Master users: who may act for whom, how he says so, and where it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_back_end import Clock, Fake

from maildir_imapd.auth.base import Credential, External, Password, Proven, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.masters import Masters
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.config import load
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, ConfigError, Goodbye, ImapdError
from maildir_imapd.server.failures import Failures

USERS = """\
ann@example.org:{PLAIN}a::::::
ben@example.com:{PLAIN}b::::::
locked@example.org:{PLAIN}x:::::: nologin
near@example.org:{PLAIN}x:::::: allow_nets=192.0.2.0/24
root:{PLAIN}r::::::
"""
MASTERS = """\
root:{PLAIN}power::::::
helper:{PLAIN}help:::::: acts_for=*@example.org
out:{PLAIN}out:::::: nologin
near:{PLAIN}near:::::: allow_nets=192.0.2.0/24
nobodys:{PLAIN}none:::::: acts_for=,
"""

Make = Callable[..., Chain]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(**more: object) -> Chain:
        (tmp_path / "users").write_text(USERS)
        (tmp_path / "masters").write_text(MASTERS)
        masters = Masters(PasswdFile(str(tmp_path / "masters")), "*")
        return Chain([PasswdFile(str(tmp_path / "users"))], masters=masters, **more)  # type: ignore[arg-type]

    return make


def test_by_name_and_by_authorization_identity(make: Make) -> None:
    chain = make(remember=300)
    for credential in (
        Password("ann@example.org*root", b"power"),
        Password("ann@example.org*root", b"power", "ann@example.org"),
        Password("root", b"power", "ann@example.org"),
        Password("Root", b"power", "Ann@Example.org"),
        External("root", "ann@example.org"),
        Proven("ann@example.org*root", "X", True, "{PLAIN}power"),
    ):
        identity = chain.identify(credential, "192.0.2.1")
        assert (identity.user, identity.acting) == ("ann@example.org", "root")
    # As himself he has the password of a user.
    assert chain.identify(Password("root", b"r")).acting is None
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("root", b"power"))
    assert chain.identify(Password("ann@example.org", b"a")).acting is None


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        (Password("ann@example.org*root", b"a"), AuthenticationFailed),
        (Password("ann@example.org*root", b"r"), AuthenticationFailed),
        (Password("ann@example.org*root", b""), AuthenticationFailed),
        (Password("ann@example.org*none", b"power"), AuthenticationFailed),
        (Password("ann@example.org*out", b"out"), AuthenticationFailed),
        (Password("ann@example.org*near", b"near"), AuthenticationFailed),
        (Password("ann@example.org*ben@example.com", b"b"), AuthenticationFailed),
        (Password("locked@example.org*root", b"power"), AuthenticationFailed),
        (Password("near@example.org*root", b"power"), AuthenticationFailed),
        (Password("nobody@example.org*root", b"power"), AuthenticationFailed),
        (Password("../ann*root", b"power"), AuthenticationFailed),
        (Password("*root", b"power"), AuthenticationFailed),
        (Password("ann@example.org*", b"power"), AuthenticationFailed),
        (Password("a*b*root", b"power"), AuthenticationFailed),
        (Password("ben@example.com*helper", b"help"), AuthorizationFailed),
        (Password("ann@example.org*nobodys", b"none"), AuthorizationFailed),
        (Password("ann@example.org*root", b"power", "ben@example.com"), AuthorizationFailed),
        (Password("ann@example.org", b"a", "ben@example.com"), AuthorizationFailed),
        (Password("root", b"r", "ann@example.org"), AuthenticationFailed),
        (Password("helper", b"help", "ben@example.com"), AuthorizationFailed),
        (External("out", "ann@example.org"), AuthenticationFailed),
        (External("ann@example.org", "ben@example.com"), AuthorizationFailed),
        (Proven("ann@example.org*root", "X", False, "{PLAIN}power"), AuthenticationFailed),
        (Proven("ann@example.org*root", "X", True, "{PLAIN}a"), AuthenticationFailed),
    ],
)
def test_who_may_not(make: Make, credential: Credential, error: type[ImapdError]) -> None:
    with pytest.raises(error):
        make().identify(credential, "198.51.100.1")


def test_for_whom(make: Make) -> None:
    assert make().identify(Password("ann@example.org*helper", b"help")).user == "ann@example.org"


def test_without_masters_it_is_a_name_like_others(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(USERS)
    chain = Chain([PasswdFile(str(tmp_path / "users"))])
    for credential in (Password("ann@example.org*root", b"a"), Password("ann@example.org*root", b"power")):
        with pytest.raises(AuthenticationFailed):
            chain.identify(credential)


def test_the_secret_of_a_master(make: Make) -> None:
    chain = make()
    assert chain.stored("ann@example.org*root") == "{PLAIN}power"
    assert chain.stored("ann@example.org*out") is chain.stored("x*none") is None
    assert chain.stored("ann@example.org*near", "198.51.100.1") is None


def test_a_token_of_a_masters(tmp_path: Path) -> None:
    """The issuer says that it is root, and the file that root may act for others."""
    (tmp_path / "users").write_text(USERS)
    (tmp_path / "masters").write_text(MASTERS)
    tokens = Fake({"root": b"token", "ann@example.org": b"hers"}, takes=(Token,))
    users = PasswdFile(str(tmp_path / "users"))
    chain = Chain([users, tokens], masters=Masters(PasswdFile(str(tmp_path / "masters")), "*"))
    identity = chain.identify(Token("ann@example.org", b"token", "ann@example.org"))
    assert (identity.user, identity.acting) == ("ann@example.org", "root")
    with pytest.raises(AuthorizationFailed):
        chain.identify(Token("ben@example.com", b"hers", "ben@example.com"))
    with pytest.raises(AuthenticationFailed):
        chain.identify(Token("locked@example.org", b"token", "locked@example.org"))


def test_a_back_end_that_cannot_say_who_is_locked_out(tmp_path: Path) -> None:
    (tmp_path / "masters").write_text(MASTERS)
    chain = Chain([Fake({"ann": b"a"})], masters=Masters(PasswdFile(str(tmp_path / "masters")), "*"))
    with pytest.raises(AuthenticationFailed) as failure:
        chain.identify(Password("ann*root", b"power"))
    assert failure.value.detail == "acts-for-unchecked"


def test_the_log_and_the_count(make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What is guessed is the master's password, whoever it is to be for."""
    caplog.set_level("INFO")
    clock = Clock()
    monkeypatch.setattr("maildir_imapd.auth.chain.time", clock)
    failures = Failures(64, clock.monotonic)
    chain = make(delay=2, failures=failures)
    chain.tries("127.0.0.1", "peer").identify(Password("ann@example.org*root", b"power"))
    assert "acts for another master=root user=ann@example.org peer=peer" in caplog.text
    for n in range(16):
        with pytest.raises((AuthenticationFailed, Goodbye)):
            chain.tries(f"192.0.2.{n}", "peer").identify(Password(f"u{n}*root", b"wrong"))
    assert chain.pause(1, "root", "198.51.100.1") > 2
    assert chain.pause(1, "u1", "198.51.100.1") == 2
    assert "power" not in caplog.text


@pytest.mark.parametrize("written", ["", "**", "a", "@", ".", "-", " ", "\n", "é"])
def test_what_can_be_in_a_name_separates_nothing(written: str) -> None:
    with pytest.raises(ConfigError, match=r"auth.master.separator"):
        load(None, {"auth_master_separator": written})
    assert load(None, {"auth_master_separator": "%"}).auth_master_separator == "%"
