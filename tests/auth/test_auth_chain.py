"""Back ends in order, what is remembered, and how long a wrong answer takes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from fake_back_end import Clock, Fake

from maildir_imapd.auth.base import Credential, External, Identity, NoCredential, Password, Proven, Registered, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.errors import AuthenticationFailed, AuthorizationFailed, Goodbye, Unavailable
from maildir_imapd.server.failures import Failures


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("maildir_imapd.auth.chain.time", clock)
    return clock


# --- who decides ----------------------------------------------------------------------------------


def test_the_first_that_knows_the_user_decides() -> None:
    one, two = Fake({"ann": b"one"}), Fake({"ann": b"two", "ben": b"two"})
    chain = Chain([one, two])
    assert chain.identify(Password("ann", b"one")).user == "ann"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"two"))
    assert chain.identify(Password("ben", b"two")).user == "ben"
    assert (one.asked, two.asked) == (["ann", "ann"], ["ben"])
    # A stranger is checked once, so that he costs what a wrong password does.
    for name in ("cyd", "../ann", ""):
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password(name, b"one"))
    assert one.asked[2:] == ["cyd", "", ""]
    assert two.asked == ["ben"]


def test_in_small_letters_too() -> None:
    chain = Chain([Fake({"Ann": b"a", "ben": b"b"}), Fake({"ann": b"two"})])
    assert chain.identify(Password("Ann", b"a")).user == "Ann"
    assert chain.identify(Password("BEN", b"b", "BEN")).user == "ben"
    assert chain.identify(Password("ANN", b"two")).user == "ann"


def test_one_that_cannot_be_asked_is_not_passed_over() -> None:
    """He could be locked there; and that he cannot come in now is never said as a wrong password."""
    first, second = Fake({"ann": b"one"}), Fake({"ann": b"two", "ben": b"two"})
    first.down = True
    with pytest.raises(Unavailable):
        Chain([first, second]).identify(Password("ben", b"two"))
    assert Chain([second, first]).identify(Password("ben", b"two"))
    with pytest.raises(Unavailable):
        Chain([second, first]).identify(Password("nobody", b"two"))


def test_without_a_back_end_nobody_comes_in() -> None:
    with pytest.raises(Unavailable):
        Chain([]).identify(Password("ann", b"secret"))
    with pytest.raises(Unavailable):
        Chain([Fake({"ann": b"secret"})]).identify(Token("ann", b"secret"))


def test_each_credential_goes_to_who_can_check_it() -> None:
    chain = Chain([Fake({"ann": b"secret"}), Fake({"ann": b"token"}, takes=(Token, External))])
    assert chain.identify(Token("ann", b"token")).user == "ann"
    assert chain.identify(External("ann")).user == "ann"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Token("ann", b"secret"))


def test_one_whom_only_the_credential_names() -> None:
    """From where he comes, and whether the name leads elsewhere, is looked at behind it."""
    back_end = Fake({"ann": b"good", "../ben": b"bad"}, takes=(Token,))
    chain = Chain([back_end])
    assert chain.identify(Token("", b"good"), "192.0.2.1").user == "ann"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Token("", b"bad"), "192.0.2.1")
    back_end.identities["ann"] = Identity("ann", nets=())
    with pytest.raises(AuthenticationFailed):
        chain.identify(Token("", b"good"), "192.0.2.1")


def test_as_whom_one_acts() -> None:
    chain = Chain([Fake({"ann": b"secret", "ben": b"secret"})])
    for authzid in (None, "ann"):
        assert chain.identify(Password("ann", b"secret", authzid)).user == "ann"
    with pytest.raises(AuthorizationFailed):
        chain.identify(Password("ann", b"secret", "ben"))
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"wrong", "ben"))


def test_who_may_act_for_another() -> None:
    """The back end answers with the other's identity; what is remembered of one is none of the other."""

    class Masters(Fake):
        def check(self, credential: Credential) -> Identity:
            return Identity(credential.authzid or super().check(credential).user)

    chain = Chain([Masters({"ann": b"secret", "ben": b"secret"})], remember=300)
    for _ in range(2):
        assert chain.identify(Password("ann", b"secret", "ben")).user == "ben"
        assert chain.identify(Password("ann", b"secret")).user == "ann"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"secret", "../ben"))


def test_who_there_is() -> None:
    one, two = Fake({"ann": b"", "ben": b""}), Fake({"ben": b"", "cyd": b""})
    two.identities["ben"] = Identity("ben", home="/second")
    chain = Chain([one, two])
    assert [(who.user, who.home) for who in chain.everybody()] == [("ann", None), ("ben", None), ("cyd", None)]
    assert chain.find("cyd") == Identity("cyd")
    assert chain.find("Ann") is None


# --- from where -----------------------------------------------------------------------------------


def test_from_elsewhere_a_right_password_is_as_any_other() -> None:
    """The password is not looked at: neither the hash nor what is remembered tells that it was right."""
    back_end = Fake({"ann": b"secret"})
    back_end.identities["ann"] = Identity("ann", nets=(ip_network("192.0.2.0/24"),))
    chain = Chain([back_end], remember=300)
    assert chain.identify(Password("ann", b"secret"), "192.0.2.9")
    back_end.asked.clear()
    for password in (b"secret", b"wrong"):
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password("ann", password), "198.51.100.9")
    assert back_end.asked == ["", ""]


# --- what is remembered ---------------------------------------------------------------------------


def test_a_remembered_password_ends_with_the_entry(tmp_path: Path) -> None:
    passwd = tmp_path / "passwd"
    passwd.write_text("ann:{PLAIN}secret\n")
    chain = Chain([PasswdFile(str(passwd))], remember=300)
    assert chain.identify(Password("ann", b"secret"))
    passwd.write_text("ann:{PLAIN}secret:::::: nologin\n")
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"secret"))
    passwd.write_text("ann:{PLAIN}another\n")
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"secret"))
    passwd.write_text("")
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"another"))


def test_a_remembered_password_needs_no_hash(clock: Clock) -> None:
    back_end = Fake({"ann": b"secret"}, takes=(Password, Token))
    chain = Chain([back_end], remember=300)
    for _ in range(3):
        assert chain.identify(Password("ann", b"secret")).user == "ann"
    assert back_end.asked == ["ann"]
    # Only for whoever shows the very same, and for so long.
    assert chain.identify(Token("ann", b"secret")).user == "ann"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Password("ann", b"wrong"))
    clock.now += 299
    assert chain.identify(Password("ann", b"secret"))
    assert len(back_end.asked) == 3
    clock.now += 2
    assert chain.identify(Password("ann", b"secret"))
    assert len(back_end.asked) == 4


def test_what_was_right_is_remembered_for_where_it_came_from() -> None:
    """A back end may let in from one address and not from another; it is told."""

    class Near(Fake):
        def check(self, credential: Credential) -> Identity:
            if isinstance(credential, Password | External) and credential.host == "192.0.2.7":
                return super().check(credential)
            raise AuthenticationFailed

    chain = Chain([Near({"ann": b"secret"}, takes=(Password, External))], remember=300)
    for credential in (Password("ann", b"secret"), External("ann"), Password("ANN", b"secret", "ann")):
        for _ in range(2):
            assert chain.identify(credential, "192.0.2.7").user == "ann"
            for host in ("192.0.2.8", None):
                with pytest.raises(AuthenticationFailed):
                    chain.identify(credential, host)


def test_nothing_is_remembered_where_the_setting_says_so() -> None:
    back_end = Fake({"ann": b"secret"})
    chain = Chain([back_end])
    for _ in range(2):
        assert chain.identify(Password("ann", b"secret"))
    assert back_end.asked == ["ann", "ann"]


# --- what is wrong again --------------------------------------------------------------------------


def test_the_same_wrong_password_again_costs_no_check(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A telephone with an old password: as late as ever, but no hash, and nobody else is slowed by it."""
    back_end, shared = Fake({"ann": b"secret"}), Failures(64, clock.monotonic)
    chain = Chain([back_end], delay=2, failures=shared)

    def fail(user: str, password: bytes, host: str = "192.0.2.1") -> float:
        began = clock.now
        with pytest.raises(AuthenticationFailed):
            chain.tries(host, "peer").identify(Password(user, password))
        return clock.now - began

    assert fail("ann", b"old") == 2
    for _ in range(100):
        assert fail("ann", b"old") == 2
    assert back_end.asked == ["ann"]
    assert chain.pause(1, "ann", "192.0.2.1") == 2
    fields = [record.fields for record in caplog.records if record.message == "login failed"]  # type: ignore[attr-defined]
    assert fields[0] == {"user": "ann", "peer": "peer", "tries": 1}
    assert fields[1] == {"user": "ann", "peer": "peer", "tries": 1, "why": "again"}
    # Another password, another user, another address: each is a guess.
    fail("ann", b"older")
    fail("ben", b"old")
    fail("ann", b"old", "192.0.2.2")
    assert back_end.asked == ["ann", "ann", "ben", "ann"]
    # Of a stranger it is no other.
    fail("ben", b"old")
    assert len(back_end.asked) == 4
    for n in range(12):
        fail("ann", b"guess %d" % n)
    assert chain.pause(1, "ann", "192.0.2.3") > 2


def test_a_password_that_was_wrong_may_become_right(clock: Clock) -> None:
    class Hidden(Fake):
        def look_up(self, user: str) -> Registered | None:
            found = super().look_up(user)
            return found and Registered(found.identity, (None, 1))

    for back_end, seconds in ((Fake({"ann": b"secret"}), 0), (Hidden({"ann": b"secret"}), 31)):
        chain = Chain([back_end], remember=600)
        for user in ("ann", "ben"):
            with pytest.raises(AuthenticationFailed):
                chain.identify(Password(user, b"new"), "192.0.2.1")
        back_end.secrets.update(ann=b"new", ben=b"new")
        clock.now += seconds
        for user in ("ann", "ben"):
            assert chain.identify(Password(user, b"new"), "192.0.2.1").user == user
        back_end.secrets["ann"] = b"secret"
        clock.now += 601
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password("ann", b"new"), "192.0.2.1")


def test_what_was_wrong_is_known_for_a_while_and_in_a_bounded_number(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maildir_imapd.auth.chain._CACHE_SIZE", 3)
    back_end = Fake({"ann": b"secret"})
    chain = Chain([back_end])

    def asked(*passwords: bytes) -> int:
        before = len(back_end.asked)
        for password in passwords:
            with pytest.raises(AuthenticationFailed):
                chain.identify(Password("ann", password), "192.0.2.1")
        return len(back_end.asked) - before

    assert asked(b"1", b"2", b"3", b"1", b"2", b"3") == 3
    assert asked(b"4") == 1
    assert len(chain._wrong) == 3
    assert asked(b"4", b"1") == 1
    clock.now += 601
    assert asked(b"4", b"4") == 1
    assert not any(secret in b"".join(chain._wrong) for secret in (b"ann", b"192.0.2.1"))


# --- what is wrong waits --------------------------------------------------------------------------


def test_wrong_passwords_wait_longer_each_time(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    tries = Chain([Fake({"ann": b"secret"})], delay=2).tries("127.0.0.1", "peer")
    for user in ("ann", "nobody", "../ann"):
        with pytest.raises(AuthenticationFailed):
            tries.identify(Password(user, b"wrong"))
    with pytest.raises(Goodbye):
        tries.identify(Password("ann", b""))
    assert clock.slept == [2, 4, 8, 16]
    fields = [record.fields for record in caplog.records if record.message == "login failed"]  # type: ignore[attr-defined]
    assert fields[2] == {"user": "../ann", "peer": "peer", "tries": 3}


def test_the_log_says_why_where_it_is_not_the_password(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Fake):
        def check(self, credential: Credential) -> Identity:
            raise AuthenticationFailed(detail="line-passed-over")

    with pytest.raises(AuthenticationFailed):
        Chain([Broken({})]).tries("127.0.0.1", "peer").identify(Password("ann", b"wrong"))
    (fields,) = [record.fields for record in caplog.records if record.message == "login failed"]  # type: ignore[attr-defined]
    assert fields == {"user": "ann", "peer": "peer", "tries": 1, "why": "line-passed-over"}


def test_the_answer_comes_a_pause_after_the_question(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the password took to check, and whether the user is known."""
    check = Fake.check

    def slow(back_end: Fake, credential: Credential) -> Identity:
        clock.now += 1.5 if credential.user else 0.25
        return check(back_end, credential)

    monkeypatch.setattr(Fake, "check", slow)
    chain = Chain([Fake({"ann": b"secret"})], delay=2)
    for user in ("ann", "../ann"):
        began = clock.now
        with pytest.raises(AuthenticationFailed):
            chain.tries("127.0.0.1", "peer").identify(Password(user, b"wrong"))
        assert clock.now == began + 2


def test_what_is_no_wrong_password_waits_for_nothing(clock: Clock) -> None:
    back_end = Fake({"ann": b"secret"})
    tries = Chain([back_end], delay=2).tries("127.0.0.1", "peer")
    with pytest.raises(AuthorizationFailed):
        tries.identify(Password("ann", b"secret", "ben"))
    back_end.down = True
    for _ in range(9):
        with pytest.raises(Unavailable):
            tries.identify(Password("ann", b"secret"))
    assert not clock.slept


def test_failures_of_all_connections_make_the_pause_longer(clock: Clock) -> None:
    """By address, by /64 and by user, in every worker; and it fades."""
    shared = Failures(64, clock.monotonic)
    one, other = (Chain([Fake({"ann": b"secret"})], delay=2, failures=shared) for _ in range(2))

    for n in range(12):
        with pytest.raises(AuthenticationFailed):
            one.tries("192.0.2.1", "peer").identify(Password(f"nobody{n}", b"wrong"))
    assert other.pause(1, "ben", "192.0.2.1") > 2
    assert other.pause(1, "ben", "192.0.2.2") == 2
    for n in range(16):
        with pytest.raises(AuthenticationFailed):
            one.tries(f"2001:db8:0:1::{n:x}", "peer").identify(Password(f"other{n}", b"wrong"))
        with pytest.raises(AuthenticationFailed):
            one.tries(f"198.51.100.{n}", "peer").identify(Password("ann", b"wrong"))
    assert other.pause(1, "ben", "2001:db8:0:1:ffff::1") > 2
    assert other.pause(1, "ben", "2001:db8:0:2::1") == 2
    assert other.pause(1, "Ann", "192.0.2.77") > 2
    clock.now += 3600
    assert other.pause(1, "ann", "192.0.2.1") == 2
    for _ in range(500):
        shared.add("ann", "192.0.2.1")
    assert other.pause(1, "ann", "192.0.2.1") <= 60


def test_from_where_he_may_come_may_be_known_with_the_password_only() -> None:
    """A command knows nobody before it has seen his password."""

    class Late(Fake):
        def check(self, credential: Credential) -> Identity:
            return replace(super().check(credential), nets=(ip_network("192.0.2.0/24"),))

    chain = Chain([Late({"ann": b"a"})], remember=300)
    for _ in range(2):
        assert chain.identify(Password("ann", b"a"), "192.0.2.1").user == "ann"
        with pytest.raises(AuthenticationFailed):
            chain.identify(Password("ann", b"a"), "198.51.100.1")


# --- proofs ---------------------------------------------------------------------------------------


def test_who_decides_about_a_password_decides_about_a_proof(tmp_path: Path) -> None:
    """Whoever is in the first back end is not let in by the second, where his secret may be an older one."""
    (tmp_path / "passwd").write_text("ann:{PLAIN}old\nben:{PLAIN}secret\n")
    file = PasswdFile(str(tmp_path / "passwd"))
    chain = Chain([Fake({"ann": b"new"}), file])
    assert (chain.stored("ann"), chain.stored("BEN"), chain.stored("../ben")) == (None, "{PLAIN}secret", None)
    assert chain.identify(Proven("ben", "X", True, "{PLAIN}secret")).user == "ben"
    with pytest.raises(AuthenticationFailed):
        chain.identify(Proven("ann", "X", True, "{PLAIN}old"))
    with pytest.raises(Unavailable):
        Chain([Fake({"ann": b"new"})]).identify(Proven("ann", "X", True, "{PLAIN}old"))


def test_no_secret_is_told_of_who_may_not_come_in(tmp_path: Path) -> None:
    """A right proof would show that the password is right."""
    (tmp_path / "passwd").write_text("ann:{PLAIN}a:::::: allow_nets=192.0.2.0/24\nben:{PLAIN}b:::::: nologin\n")
    chain = Chain([PasswdFile(str(tmp_path / "passwd"))])
    assert chain.stored("ann", "192.0.2.9") == "{PLAIN}a"
    assert chain.stored("ann", "198.51.100.9") is None
    assert chain.stored("ben", "192.0.2.9") is None


def test_a_wrong_proof_waits_as_a_wrong_password_does(clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}a\n")
    failures = Failures(64, clock.monotonic)
    tries = Chain([PasswdFile(str(tmp_path / "passwd"))], delay=2, failures=failures).tries("127.0.0.1", "peer")
    for user, stored in (("ann", "{PLAIN}a"), ("nobody", ""), ("../ann", "")):
        with pytest.raises(AuthenticationFailed):
            tries.identify(Proven(user, "X", False, stored))
    assert clock.slept == [2, 4, 8]


def test_made_up_salts_stay() -> None:
    one, other = (Chain([], salt_key=b"key") for _ in range(2))
    assert one.salt("ann") == other.salt("Ann") != one.salt("ben")
    assert one.salt("ann") != Chain([], salt_key=b"another").salt("ann")
    assert len(one.salt("\udc80\0")) == 16


def test_what_is_no_credential_counts_and_asks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    tries = Chain([]).tries("192.0.2.1", "192.0.2.1:4711")
    for _ in range(3):
        with pytest.raises(AuthenticationFailed):
            tries.identify(NoCredential())
    with pytest.raises(Goodbye):
        tries.identify(NoCredential())
    assert [record.getMessage() for record in caplog.records].count("login failed") == 4
