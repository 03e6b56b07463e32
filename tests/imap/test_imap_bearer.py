"""A token that is not good, as clients of OAUTHBEARER hear of it: a challenge, a line of theirs, and the NO."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from fake_back_end import Fake
from memory import POLICY

from maildir_imapd.auth.base import Credential, NoCredential, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Exchange, Situation
from maildir_imapd.auth.offered import Offered
from maildir_imapd.errors import Unavailable
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account


class BearerClient:
    """A session whose users have tokens."""

    def __init__(self, root: Path) -> None:
        self.back_end = Fake({"ann": b"good"}, takes=(Token,))
        chain = Chain([self.back_end])
        self.tries = chain.tries("127.0.0.1", "peer")
        self.account = Account(bytes(root), fsync="never")
        self.out = b""
        ways = Offered(chain, (), lambda: Situation(scope="mail"))
        self.engine = Engine(POLICY, self.gate, ways)
        self.reply = Reply(self.take)

    def take(self, data: bytes) -> None:
        self.out += data

    def gate(self, credential: Credential) -> Access:
        return Access(self.tries.identify(credential).user, self.account)

    def send(self, line: bytes) -> list[bytes]:
        self.out = b""
        self.engine.feed(line + b"\r\n", self.reply)
        return self.out.split(b"\r\n")[:-1]


@pytest.fixture
def client(tmp_path: Path) -> BearerClient:
    return BearerClient(tmp_path / "Maildir")


def message(token: bytes, user: bytes = b"ann") -> bytes:
    return base64.b64encode(b"n,a=%b,\1auth=Bearer %b\1\1" % (user, token))


def test_a_good_one(client: BearerClient) -> None:
    (capability, _) = client.send(b"a CAPABILITY")
    assert b"AUTH=OAUTHBEARER AUTH=XOAUTH2" in capability
    assert b"AUTH=PLAIN" not in capability
    assert client.send(b"b AUTHENTICATE OAUTHBEARER " + message(b"good"))[-1].endswith(b"Logged in")


@pytest.mark.parametrize("answer", [b"AQ==", b"", b"*", b"no base64"])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_bad_one(client: BearerClient, answer: bytes, at_once: bool) -> None:
    if at_once:
        lines = client.send(b"a AUTHENTICATE OAUTHBEARER " + message(b"bad"))
    else:
        assert client.send(b"a AUTHENTICATE OAUTHBEARER") == [b"+ "]
        lines = client.send(message(b"bad"))
    (challenge,) = lines
    assert json.loads(base64.b64decode(challenge.removeprefix(b"+ "))) == {
        "status": "invalid_token",
        "schemes": "bearer",
        "scope": "mail",
    }
    assert client.send(answer) == [b"a NO [AUTHENTICATIONFAILED] User name or password is wrong"]
    assert client.send(b"b NOOP")[-1].startswith(b"b OK")
    assert client.send(b"c AUTHENTICATE OAUTHBEARER " + message(b"good"))[-1].endswith(b"Logged in")


def test_for_somebody_else(client: BearerClient) -> None:
    (challenge,) = client.send(b"a AUTHENTICATE OAUTHBEARER " + message(b"good", b"ben"))
    assert challenge.startswith(b"+ ")
    assert client.send(b"AQ==")[-1].startswith(b"a NO [AUTHORIZATIONFAILED]")


def test_an_issuer_that_cannot_be_asked(client: BearerClient) -> None:
    client.back_end.down = True
    (answer,) = client.send(b"a AUTHENTICATE XOAUTH2 " + base64.b64encode(b"user=ann\1auth=Bearer good\1\1"))
    assert answer.startswith(b"a NO [UNAVAILABLE]")
    with pytest.raises(Unavailable):
        client.tries.identify(Token("ann", b"good"))


def test_after_too_many_it_is_over(client: BearerClient) -> None:
    for _ in range(3):
        client.send(b"a AUTHENTICATE OAUTHBEARER " + message(b"bad"))
        client.send(b"AQ==")
    assert client.send(b"a AUTHENTICATE OAUTHBEARER " + message(b"bad"))[-1].startswith((b"* BYE", b"a NO"))
    assert client.engine.over


class Refusing:
    """Leads one mechanism, which is over before the client has said anything."""

    def offered(self, *, private: bool) -> tuple[bytes, ...]:
        return (b"NTLM",)

    def begin(self, name: bytes, *, private: bool) -> Exchange:
        return self._exchange()

    def _exchange(self) -> Exchange:
        if self.offered(private=True):
            return NoCredential("ann")
        yield b""


@pytest.mark.parametrize("initial", [b"", b" YQ=="])
def test_an_exchange_that_is_over_at_once(client: BearerClient, initial: bytes) -> None:
    client.engine.session.ways = Refusing()
    (answer,) = client.send(b"a AUTHENTICATE NTLM%b" % initial)
    assert answer.startswith(b"a NO [AUTHENTICATIONFAILED]")
    (answer,) = client.send(b"b NOOP")
    assert answer.startswith(b"b OK")
