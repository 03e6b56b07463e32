"""SASL mechanisms, without a protocol around them."""

from __future__ import annotations

import pytest

from maildir_imapd.auth.base import Credential, External, NoCredential, Password
from maildir_imapd.auth.mechanisms import (
    PASSWORD_LIMIT_OCTETS,
    USER_LIMIT_CHARACTERS,
    Exchange,
    Passwords,
    Situation,
    anonymous,
    external,
    login,
    password,
    plain,
)
from maildir_imapd.errors import AuthenticationFailed, PrivacyRequired, Refused


def run(exchange: Exchange, *responses: bytes) -> tuple[list[bytes], Credential]:
    """The challenges, and what comes of the responses."""
    challenges = [next(exchange), *map(exchange.send, responses[:-1])]
    with pytest.raises(StopIteration) as stop:
        exchange.send(responses[-1])
    return challenges, stop.value.value


def test_plain() -> None:
    assert run(plain(), b"\0ann\0secret") == ([b""], Password("ann", b"secret"))
    assert run(plain(), b"ben\0ann\0secret") == ([b""], Password("ann", b"secret", "ben"))
    assert run(plain(), "\0müller\0pä".encode())[1] == Password("müller", "pä".encode())


@pytest.mark.parametrize("message", [b"", b"ann", b"ann\0secret", b"\0ann\0sec\0ret"])
def test_what_plain_is_not(message: bytes) -> None:
    exchange = plain()
    next(exchange)
    with pytest.raises(AuthenticationFailed):
        exchange.send(message)


def test_a_name_that_is_no_utf_8_has_no_password() -> None:
    assert run(plain(), b"\0\xff\0secret")[1] == Password("\ufffd", b"")
    assert run(plain(), b"\xff\0ann\0secret")[1] == Password("ann", b"", "\ufffd")
    assert run(login(), b"a\xffb", b"secret")[1] == Password("a\ufffdb", b"")


@pytest.mark.parametrize("message", [b"", b"ann", b"\0ann\0sec\0ret"])
def test_what_is_no_credential_counts_as_a_wrong_one(message: bytes) -> None:
    assert run(Passwords().begin(b"PLAIN", private=True), message)[1] == NoCredential()


def test_login() -> None:
    assert run(login(), b"ann", b"secret") == ([b"Username:", b"Password:"], Password("ann", b"secret"))


@pytest.mark.parametrize(
    ("user", "secret"),
    [
        (b"", b"secret"),
        (b"a" * (USER_LIMIT_CHARACTERS + 1), b"secret"),
        (b"ann", b"x" * (PASSWORD_LIMIT_OCTETS + 1)),
        (b"ann", b"sec\0ret"),
    ],
)
def test_what_no_password_can_be_is_the_empty_one(user: bytes, secret: bytes) -> None:
    """It goes on: who keeps count of failures hears of it."""
    assert password(user, secret) == Password(user.decode(), b"")


def test_the_longest_are_taken() -> None:
    user, secret = "ä" * USER_LIMIT_CHARACTERS, b"x" * PASSWORD_LIMIT_OCTETS
    assert password(user.encode(), secret) == Password(user, secret)


def test_who_knows_nothing_but_passwords() -> None:
    ways = Passwords()
    assert ways.offered(private=True) == (b"PLAIN", b"LOGIN")
    assert ways.offered(private=False) == ()
    assert run(ways.begin(b"PLAIN", private=True), b"\0ann\0secret")[1] == Password("ann", b"secret")
    with pytest.raises(PrivacyRequired):
        ways.begin(b"PLAIN", private=False)
    with pytest.raises(Refused, match="not supported"):
        ways.begin(b"SCRAM-SHA-256", private=True)


def test_external() -> None:
    where = Situation(certified="ann")
    assert run(external(where), b"") == ([b""], External("ann"))
    assert run(external(where), b"ben") == ([b""], External("ann", "ben"))
    for situation, message in ((where, b"\xff"), (Situation(), b""), (Situation(certified=""), b"ann")):
        exchange = external(situation)
        next(exchange)
        with pytest.raises(AuthenticationFailed):
            exchange.send(message)


def test_anonymous() -> None:
    where = Situation(anonymous="guest")
    assert run(anonymous(where), b"ann@example.org") == ([b""], External("guest", anonymous=True))
    assert run(anonymous(where), b"")[1] == External("guest", anonymous=True)
    for situation, message in (
        (where, b"\xff"),
        (where, b"x" * 1021),
        (Situation(), b"x"),
        (Situation(anonymous=""), b""),
    ):
        exchange = anonymous(situation)
        next(exchange)
        with pytest.raises(AuthenticationFailed):
            exchange.send(message)
