"""CRAM-MD5, as RFC 2195 has it and as clients that keep to nothing have it."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.auth import cram
from maildir_imapd.auth.base import Proven
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.errors import AuthenticationFailed, Unavailable

STORED = {
    "ann": "{PLAIN}secret",
    "ann lee": "{PLAIN.B64}c2VjcmV0",
    "ben": "{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E",
    "eve": "{PLAIN}",
}


def answer(user: bytes, password: bytes) -> Proven:
    exchange = cram.exchange(Situation(stored=STORED.get))
    challenge = next(exchange)
    with pytest.raises(StopIteration) as stop:
        exchange.send(user + b" " + hmac.digest(password, challenge, "md5").hex().encode())
    assert isinstance(stop.value.value, Proven)
    return stop.value.value


def test_right_and_wrong() -> None:
    for user in ("ann", "ann lee"):
        assert answer(user.encode(), b"secret") == Proven(user, "CRAM-MD5", True, STORED[user])
        assert not answer(user.encode(), b"wrong").holds
    for user in ("ben", "eve", "nobody"):
        for password in (b"secret", b""):
            assert not answer(user.encode(), password).holds


def test_no_challenge_comes_twice() -> None:
    assert len({next(cram.exchange(Situation())) for _ in range(20)}) == 20


@pytest.mark.parametrize("message", [b"", b"ann", b" x", b"\xff x", b"a\0n x", b"x" * 256 + b" x"])
def test_messages_that_are_none(message: bytes) -> None:
    exchange = cram.exchange(Situation(stored=STORED.get))
    next(exchange)
    with pytest.raises(AuthenticationFailed):
        exchange.send(message)


@given(st.binary(max_size=60))
def test_whatever_comes_holds_not(message: bytes) -> None:
    exchange = cram.exchange(Situation(stored=STORED.get))
    next(exchange)
    with pytest.raises((AuthenticationFailed, StopIteration)) as failure:
        exchange.send(message)
    assert isinstance(failure.value, AuthenticationFailed) or not failure.value.value.holds


def test_a_back_end_that_cannot_be_asked() -> None:
    def down(user: str) -> str | None:
        raise Unavailable

    exchange = cram.exchange(Situation(stored=down))
    next(exchange)
    with pytest.raises(Unavailable):
        exchange.send(b"ann x")
