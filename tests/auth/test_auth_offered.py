"""Which mechanisms are announced: those that can let somebody in where the client is."""

from __future__ import annotations

import pytest
from fake_back_end import Fake

from maildir_imapd.auth.base import Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import MECHANISMS, Offered
from maildir_imapd.errors import PrivacyRequired, Refused
from maildir_imapd.setting import auth


def offered(chain: Chain, *named: str, situation: Situation | None = None) -> list[str]:
    """What is announced where a password may be sent."""
    ways = Offered(chain, named, lambda: situation or Situation())
    return [name.decode() for name in ways.offered(private=True)]


def test_the_settings_know_all() -> None:
    assert set(auth.MECHANISMS) == set(MECHANISMS)


def test_what_back_ends_take_is_announced() -> None:
    passwords, tokens = Fake({"ann": b"secret"}), Fake({}, takes=(Token,))
    assert offered(Chain([passwords])) == ["PLAIN", "LOGIN"]
    assert "PLAIN" not in offered(Chain([tokens]))
    assert "PLAIN" in offered(Chain([tokens, passwords]))
    assert offered(Chain([])) == []


def test_what_is_not_named_is_not_there() -> None:
    chain = Chain([Fake({"ann": b"secret"})])
    assert offered(chain, "LOGIN") == ["LOGIN"]
    ways = Offered(chain, ("LOGIN",), Situation)
    for name in (b"PLAIN", b"NONE", b"\xff"):
        with pytest.raises(Refused, match="not supported"):
            ways.begin(name, private=True)
    assert next(ways.begin(b"LOGIN", private=True)) == b"Username:"


def test_where_no_password_may_be_sent_nothing_is() -> None:
    ways = Offered(Chain([Fake({"ann": b"secret"})]), (), Situation)
    assert ways.offered(private=False) == ()
    with pytest.raises(PrivacyRequired):
        ways.begin(b"PLAIN", private=False)
