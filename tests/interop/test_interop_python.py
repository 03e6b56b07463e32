"""imaplib and IMAPClient as witnesses."""

from __future__ import annotations

import imaplib
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientError
from running import Running

pytestmark = [pytest.mark.interop, pytest.mark.slow]

MESSAGE = (
    b"From: Ann <ann@example.org>\r\nTo: ben@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <one@example.org>\r\n\r\nbody with Umlaut: \xc3\xbc\r\n"
)


def trust(server: Running) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(server.base / "cert.pem"))


def test_imaplib(server: Running) -> None:
    user, spool = server.user()
    spool.simple("INBOX", 3)
    with imaplib.IMAP4("localhost", server.port) as client:
        client.starttls(trust(server))
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            client.login(user, "wrong")
        assert client.login(user, "secret")[0] == "OK"
        assert client.select()[1] == [b"3"]
        assert client.search(None, "SUBJECT", '"message 2"')[1] == [b"2"]
        assert b"$Label1" in (client.store("2", "+FLAGS", r"(\Flagged $Label1)")[1][0] or b"")
        assert client.uid("SEARCH", "KEYWORD", "$Label1")[1] == [b"2"]
        assert client.append("INBOX", r"(\Seen)", imaplib.Time2Internaldate(1793613600), MESSAGE)[0] == "OK"
        client.noop()
        kind, data = client.fetch("4", "(BODY.PEEK[] FLAGS INTERNALDATE RFC822.SIZE)")
        assert kind == "OK"
        assert isinstance(data[0], tuple)
        head, body = data[0]
        assert body == MESSAGE
        assert b"RFC822.SIZE %d" % len(MESSAGE) in head + data[1]  # type: ignore[operator]
        found = imaplib.Internaldate2tuple(head + data[1])  # type: ignore[operator]
        assert found is not None
        assert time.mktime(found) == 1793613600
        assert client.create("Work")[0] == "OK"
        assert client.create("Work")[0] == "NO"
        assert client.copy("1:2", "Work")[0] == "OK"
        assert client.copy("1", "Nowhere")[1][0].startswith(b"[TRYCREATE]")
        assert client.status("Work", "(MESSAGES UIDNEXT)")[1] == [b"Work (MESSAGES 2 UIDNEXT 3)"]
        assert client.store("1", "+FLAGS.SILENT", r"\Deleted")[0] == "OK"
        assert client.expunge()[1] == [b"1"]
        assert client.rename("Work", "Done")[0] == "OK"
        assert client.subscribe("Done")[0] == "OK"
        assert client.lsub()[1] == [b'() "." Done']
        assert client.delete("Done")[0] == "OK"
        assert client.list()[1] is not None
        assert client.close()[0] == "OK"
    assert len(spool.files("INBOX")) == 3


def test_imaplib_enables(server: Running) -> None:
    """It reads capabilities once, before login, and sends no ENABLE (and no IDLE, from 3.14 on) without."""
    user, spool = server.user()
    spool.simple("INBOX", 1)
    with imaplib.IMAP4_SSL("localhost", server.tls_port, ssl_context=trust(server)) as client:
        assert {"ENABLE", "IDLE", "MOVE", "COMPRESS=DEFLATE"} <= set(client.capabilities)
        assert not {"STARTTLS", "LOGINDISABLED"} & set(client.capabilities)
        client.login(user, "secret")
        assert client.enable("UTF8=ACCEPT")[0] == "OK"
        assert client.utf8_enabled
        assert client.select()[1] == [b"1"]


@pytest.fixture
def client(server: Running) -> Iterator[tuple[IMAPClient, Any]]:
    user, spool = server.user()
    with IMAPClient("localhost", server.tls_port, ssl=True, ssl_context=trust(server)) as found:
        found.login(user, "secret")
        yield found, spool


def test_imapclient(client: tuple[IMAPClient, Any]) -> None:
    imap, spool = client
    spool.simple("INBOX", 2)
    selected = imap.select_folder("INBOX")
    assert selected[b"EXISTS"] == 2
    assert rb"\*" in selected[b"PERMANENTFLAGS"]
    when = datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)
    answer = imap.append("INBOX", MESSAGE, flags=[rb"\Answered", b"Custom"], msg_time=when)
    assert b"APPENDUID" in answer
    uid = imap.search(["KEYWORD", "Custom"])[0]
    fetched = imap.fetch([uid], ["ENVELOPE", "BODYSTRUCTURE", "FLAGS", "INTERNALDATE", "BODY[]", "RFC822.SIZE"])[uid]
    assert fetched[b"ENVELOPE"].subject == b"=?utf-8?q?Gr=C3=BC=C3=9Fe?="
    assert fetched[b"ENVELOPE"].from_[0].mailbox == b"ann"
    assert fetched[b"ENVELOPE"].sender == fetched[b"ENVELOPE"].from_
    assert fetched[b"BODYSTRUCTURE"][0].lower() == b"text"
    assert fetched[b"BODY[]"] == MESSAGE
    assert fetched[b"RFC822.SIZE"] == len(MESSAGE)
    assert fetched[b"INTERNALDATE"].timestamp() == when.timestamp()
    assert set(fetched[b"FLAGS"]) >= {rb"\Answered", b"Custom"}
    assert message_from_bytes(fetched[b"BODY[]"])["Message-ID"] == "<one@example.org>"
    assert imap.search(["SUBJECT", "Grüße"], charset="UTF-8") == [uid]
    assert imap.search(["NOT", ["SUBJECT", "message"]]) == [uid]
    assert imap.search("BODY Umlaut") == [uid]
    assert imap.add_flags([uid], [rb"\Flagged"])[uid]
    name = "Über & Größe.Unter"
    imap.create_folder(name)
    assert name in [row[2] for row in imap.list_folders()]
    imap.move([uid], name)
    assert imap.folder_status(name, ["MESSAGES"])[b"MESSAGES"] == 1
    assert imap.search() == [1, 2]
    imap.delete_messages([1])
    imap.expunge([1])
    assert imap.search() == [2]
    imap.unselect_folder()
    imap.rename_folder(name, "Plain")
    with pytest.raises(IMAPClientError, match="exist"):
        imap.select_folder(name)
    imap.delete_folder("Plain")
    assert imap.namespace()[0][0][0] == ""
    assert imap.id_({"name": "tests"})


def test_imapclient_idle(client: tuple[IMAPClient, Any]) -> None:
    imap, spool = client
    imap.select_folder("INBOX")
    imap.idle()
    try:
        delivery = threading.Thread(target=spool.simple, args=("INBOX", 1, None))
        delivery.start()
        seen: list[Any] = []
        while (1, b"EXISTS") not in seen:
            news = imap.idle_check(timeout=30)
            assert news
            seen += news
        delivery.join()
    finally:
        imap.idle_done()
    assert imap.search() == [1]
