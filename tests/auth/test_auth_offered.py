"""Which mechanisms are announced: those that can let somebody in where the client is."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_back_end import Fake

from maildir_imapd.auth import scram
from maildir_imapd.auth.base import External, NoCredential, Token
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import MECHANISMS, Offered
from maildir_imapd.auth.passwdfile import PasswdFile
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


def test_secrets_that_a_mechanism_can_do_with(tmp_path: Path) -> None:
    """One that would fail for some users is not announced, unless it is named."""
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    file = PasswdFile(str(tmp_path / "passwd"))
    chain = Chain([file])
    assert offered(chain) == ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"]
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\nben:" + scram.make("SCRAM-SHA-256", b"secret") + "\n")
    file.look_up("ann")
    file.looked_through()
    assert offered(chain) == ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
    assert offered(Chain([file, Fake({"ann": b"secret"})])) == ["PLAIN", "LOGIN"]
    assert offered(Chain([Fake({"ann": b"secret"})]), "SCRAM-SHA-1") == []
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\nben:{SSHA}afYEmDogHOBsTnOT5XOZj9sQxK+HsV5E\n")
    file.look_up("ann")
    file.looked_through()
    assert offered(chain) == ["PLAIN", "LOGIN"]
    assert offered(chain, "SCRAM-SHA-1", "PLAIN") == ["SCRAM-SHA-1", "PLAIN"]


def test_what_there_is_to_bind_to(tmp_path: Path) -> None:
    """A client of TLS 1.3 that knows the usual binding only would fail by another."""
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    chain = Chain([PasswdFile(str(tmp_path / "passwd"))])
    newer = Situation(bindings={"tls-server-end-point": b"x"})
    older = Situation(bindings={"tls-server-end-point": b"x", "tls-unique": b"y"})
    assert offered(chain, situation=newer)[0] == "SCRAM-SHA-256"
    assert offered(chain, situation=older)[:2] == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]
    assert offered(chain, "SCRAM-SHA-256-PLUS", situation=newer) == ["SCRAM-SHA-256-PLUS"]
    assert offered(chain, "SCRAM-SHA-256-PLUS") == []


def test_a_client_that_has_been_lied_to(tmp_path: Path) -> None:
    """What is offered stands in the exchange's situation."""
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    chain = Chain([PasswdFile(str(tmp_path / "passwd"))])
    exchange = Offered(chain, (), lambda: Situation(bindings={"tls-unique": b"y"}, stored=chain.stored)).begin(
        b"SCRAM-SHA-256", private=True
    )
    next(exchange)
    with pytest.raises(StopIteration) as end:
        exchange.send(b"y,,n=ann,r=nonce")
    assert end.value.value == NoCredential()


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


def test_what_is_there_only_where_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    chain = Chain([PasswdFile(str(tmp_path / "passwd"))])
    guests = Situation(anonymous="ann")
    assert not {"CRAM-MD5", "ANONYMOUS"} & set(offered(chain, situation=guests))
    assert offered(chain, "CRAM-MD5", "ANONYMOUS", situation=guests) == ["CRAM-MD5", "ANONYMOUS"]
    assert offered(chain, "CRAM-MD5", "ANONYMOUS") == ["CRAM-MD5"]
    # A guest may change nothing, whoever he is there.
    assert chain.identify(External("ann", anonymous=True)).read_only
    assert not chain.identify(External("ann")).read_only
