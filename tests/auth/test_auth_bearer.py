"""The messages of OAUTHBEARER and XOAUTH2."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildir_imapd.auth.base import Token
from maildir_imapd.auth.bearer import oauthbearer, xoauth2
from maildir_imapd.auth.mechanisms import Exchange, Situation
from maildir_imapd.errors import AuthenticationFailed


def run(exchange: Exchange, message: bytes) -> Token:
    assert next(exchange) == b""
    with pytest.raises(StopIteration) as stop:
        exchange.send(message)
    assert isinstance(stop.value.value, Token)
    return stop.value.value


def test_oauthbearer() -> None:
    # RFC 7628 4.1
    message = b"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer vF9dft4qmT==\1\1"
    assert run(oauthbearer(Situation()), message) == Token("user@example.com", b"vF9dft4qmT==", "user@example.com")
    assert run(oauthbearer(Situation()), b"n,,\1auth=bearer  x.y\1\1") == Token("", b"x.y")
    assert run(oauthbearer(Situation()), b"y,a=a=2Cb=3Dc,\1auth=Bearer x\1\1").user == "a,b=c"


def test_xoauth2() -> None:
    assert run(xoauth2(Situation()), b"user=ann@example.org\1auth=Bearer x-y\1\1") == Token(
        "ann@example.org", b"x-y", "ann@example.org"
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1",
        b"n,,\1\1",
        b"n,,\1auth=Bearer x\1",
        b"n,,\1auth=Basic x\1\1",
        b"n,,\1auth=Bearer x y\1\1",
        b"n,,\1auth=Bearer x\1auth=Bearer y\1\1",
        b"n,,\1auth=Bearer \1\1",
        b"n,,\1auth\1\1",
        b"n,ann,\1auth=Bearer x\1\1",
        b"n,a=a=2X,\1auth=Bearer x\1\1",
        b"n,a=a\0b,\1auth=Bearer x\1\1",
        b"n,a=" + b"x" * 256 + b",\1auth=Bearer x\1\1",
        b"p=tls-unique,,\1auth=Bearer x\1\1",
        b"n,,x\1auth=Bearer x\1\1",
        b"n,a=\xff,\1auth=Bearer x\1\1",
        b"n,,\1auth=Bearer \xc3\xa9\1\1",
        b"ann\1auth=Bearer x\1\1",
    ],
)
def test_messages_that_are_none(message: bytes) -> None:
    for begin in (oauthbearer, xoauth2):
        exchange = begin(Situation())
        next(exchange)
        with pytest.raises(AuthenticationFailed):
            exchange.send(message)


def test_what_is_said_of_a_bad_token() -> None:
    where = Situation(scope="mail", discovery="https://issuer.example/.well-known/openid-configuration")
    message = b"n,,\1auth=Bearer x\1\1"
    assert json.loads(run(oauthbearer(where), message).refusal) == {
        "status": "invalid_token",
        "schemes": "bearer",
        "scope": "mail",
        "openid-configuration": where.discovery,
    }
    assert json.loads(run(xoauth2(Situation()), b"user=a" + message[3:]).refusal) == {
        "status": "401",
        "schemes": "bearer",
    }
    assert "Bearer" not in repr(run(oauthbearer(where), message))


PIECES = st.sampled_from(b"n|y|,|a=|=2C|\1|\1\1|auth=|Bearer |user=|x|\0|\xff|host=|%|/".split(b"|"))


@pytest.mark.long
@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_whatever_comes(message: bytes) -> None:
    for begin in (oauthbearer, xoauth2):
        exchange = begin(Situation())
        next(exchange)
        with contextlib.suppress(AuthenticationFailed), pytest.raises(StopIteration):
            exchange.send(message)
