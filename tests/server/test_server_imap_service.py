"""IMAP as a worker sees it: a service that knows no socket."""

from __future__ import annotations

from maildir_imapd.config import load
from maildir_imapd.errors import Goodbye
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.policy import Policy
from maildir_imapd.server import settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.door import Door
from maildir_imapd.server.imap_service import ImapPort, ImapService
from maildir_imapd.server.service import Port, Service


def test_a_dialogue() -> None:
    said: list[bytes] = []
    service: Service = ImapService(Engine(Policy(login_timeout=7), peer="192.0.2.1:40000"), said.append)
    service.greet()
    assert said.pop().startswith(b"* OK [CAPABILITY ")
    assert not service.logged_in
    assert service.patience == 7
    service.feed(b"a NO")
    assert not said
    service.feed(b"OP\r\n")
    assert said == [b"a OK NOOP completed\r\n"]
    service.announce()
    assert len(said) == 1
    assert service.who == {"peer": "192.0.2.1:40000", "user": None}
    service.say_goodbye(Goodbye("enough"))
    assert said.pop() == b"* BYE enough\r\n"
    assert service.over
    service.close()


def test_what_the_transport_is_to_become() -> None:
    said: list[bytes] = []
    service = ImapService(Engine(Policy(tls_available=True)), said.append)
    service.greet()
    service.feed(b"a STARTTLS\r\n")
    assert service.upgrade == b"TLS"
    service.upgraded(b"TLS")
    assert service.upgrade is None
    assert service.sent == sum(map(len, said))


def test_a_refusal() -> None:
    config = load(None, {})
    door = Door(settings.chain(config), Accounts(settings.mail(config), None), settings.room(config))
    port: Port = ImapPort(config, door, tls=False)
    assert port.refusal("The server is full") == b"* BYE [UNAVAILABLE] The server is full\r\n"
