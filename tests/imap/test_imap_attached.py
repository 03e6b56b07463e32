"""$HasAttachment and $HasNoAttachment for what APPEND and REPLACE bring, where a setting says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import StoreError
from maildir_imapd.store.maildir import keywords
from maildir_imapd.store.maildir.delivery import Delivery

WITH = b"Content-Type: application/pdf\r\n\r\nx\r\n"
WITHOUT = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture
def client(tmp_path: Path) -> MemoryClient:
    made = MemoryWires(Spool(tmp_path / "Maildir").root, replace(POLICY, attachment_keywords=True)).connect(login=True)
    made.command(b"a SELECT INBOX")
    return made


def literal(message: bytes) -> bytes:
    return b"{%d+}\r\n%b" % (len(message), message)


def flags(client: MemoryClient) -> list[bytes]:
    lines = client.command(b"x UID FETCH 1:* FLAGS")[:-1]
    return [
        line.split(b"FLAGS (")[1].rstrip(b")").replace(b"\\Recent", b"").strip() for line in lines if b"FETCH" in line
    ]


def test_append(client: MemoryClient) -> None:
    done = client.command(b"a APPEND INBOX %b (\\Seen) %b" % (literal(WITH), literal(WITHOUT)))[-1]
    assert done.startswith(b"a OK")
    assert flags(client) == [b"$HasAttachment", b"\\Seen $HasNoAttachment"]
    client.command(b"b UID REPLACE 1 INBOX %b" % literal(WITHOUT))
    assert flags(client) == [b"\\Seen $HasNoAttachment", b"$HasNoAttachment"]
    client.command(b"c APPEND INBOX CATENATE (TEXT %b TEXT {1+}\r\nx)" % literal(WITH))
    assert flags(client)[-1] == b"$HasAttachment"


def test_what_a_client_says_itself_holds(client: MemoryClient) -> None:
    client.command(b"a APPEND INBOX ($hasnoattachment) %b" % literal(WITH))
    assert flags(client) == [b"$hasnoattachment"]


def test_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    client = MemoryWires(Spool(tmp_path / "Maildir").root).connect(login=True)
    client.command(b"a SELECT INBOX")
    client.command(b"a APPEND INBOX %b" % literal(WITH))
    assert flags(client) == [b""]


def test_of_a_file_that_cannot_be_read_nothing_is_known(client: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Delivery) -> None:
        raise StoreError(detail="Input/output error")

    monkeypatch.setattr(Delivery, "contents", broken)
    assert client.command(b"a APPEND INBOX %b" % literal(WITH))[-1].startswith(b"a OK")
    assert flags(client) == [b""]


def test_keywords_that_have_no_room_are_left_out(client: MemoryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keywords, "LIMIT", 1)
    assert client.command(b"a APPEND INBOX (one) %b" % literal(WITH))[-1].startswith(b"a OK")
    assert flags(client) == [b"one"]
