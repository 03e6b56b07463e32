"""The first SELECT of a folder, which looks at names alone: what clients see of it."""

from __future__ import annotations

import os
import re

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.imap import engine
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store import mailbox
from maildir_imapd.store.folder import first_contact


@pytest.fixture(autouse=True)
def _never_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_contact, "FEW_MESSAGES", 0)


def test_the_files_are_looked_at_when_the_client_is_silent(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    seen: list[bool] = []
    take = client.reply._send

    def look(data: bytes) -> None:
        if b"EXISTS" in data:
            seen.append(wires.account.mailbox("INBOX").snapshot.seen)
        take(data)

    client.reply = Reply(look)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    assert seen == [False]
    assert client.engine.quiet == engine.SETTLE_SECONDS
    assert client.command(b"f FETCH 1:* (FLAGS)")[-1].startswith(b"f OK")
    assert not wires.account.mailbox("INBOX").snapshot.seen, "whoever asks for flags need not wait for that"
    client.engine.keep_alive(client.reply)
    assert wires.account.mailbox("INBOX").snapshot.seen
    assert client.engine.quiet == engine.REST_SECONDS
    client.engine.keep_alive(client.reply)
    assert client.engine.quiet == 0
    assert client.unread() == b""


def test_they_are_looked_at_though_the_client_is_never_silent(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("INBOX", 3)
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    now = 100.0
    monkeypatch.setattr(client.engine, "_ticks", lambda: now)
    client.command(b"s SELECT INBOX")
    now += engine.SETTLE_AT_LATEST_SECONDS / 2
    client.command(b"f FETCH 1:* (FLAGS)")
    assert not wires.account.mailbox("INBOX").snapshot.seen
    now += engine.SETTLE_AT_LATEST_SECONDS / 2
    client.command(b"g FETCH 1:* (FLAGS)")
    assert wires.account.mailbox("INBOX").snapshot.seen


def test_who_asks_in_the_same_breath_gets_the_truth(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    client = MemoryWires(spool.root).connect(login=True)
    client.send(b"s SELECT INBOX\r\nf FETCH 1:* (INTERNALDATE RFC822.SIZE)\r\nt SEARCH LARGER 1 SINCE 1-Jan-2000\r\n")
    said = client.unread()
    assert len(re.findall(rb'INTERNALDATE "\d\d-\w+-20\d\d', said)) == 3
    assert b"* SEARCH 1 2 3\r\n" in said
    assert len(re.findall(rb"RFC822.SIZE [1-9]\d*", said)) == 3


@pytest.mark.parametrize("command", [b"STATUS INBOX (MESSAGES UNSEEN)", b"EXAMINE INBOX"])
def test_others_who_only_look(spool: Spool, command: bytes) -> None:
    spool.simple("INBOX", 3)
    client = MemoryWires(spool.root).connect(login=True)
    assert client.command(b"s " + command)[-1].startswith(b"s OK")
    said = b"".join(client.command(b"z STATUS INBOX (SIZE)"))
    assert int(re.findall(rb"SIZE (\d+)", said)[0]) > 0


PAGE = b"FETCH 1:3 (INTERNALDATE SAVEDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (Subject)])"


def test_a_page_has_its_own_files_looked_at_and_no_others(spool: Spool) -> None:
    spool.simple("INBOX", 5)
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(b"s SELECT INBOX")
    first = client.command(b"f " + PAGE)
    assert not wires.account.mailbox("INBOX").snapshot.seen
    client.engine.keep_alive(client.reply)
    assert wires.account.mailbox("INBOX").snapshot.seen
    assert client.command(b"f " + PAGE) == first, "whoever is looked at alone is what he is among all"


def test_of_many_all_files_are_looked_at(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "FEW_FILES", 2)
    spool.simple("INBOX", 5)
    for line in (PAGE, b"FETCH 1:3 (ENVELOPE)", b"SORT (SUBJECT) UTF-8 ALL", b"SEARCH BODY x"):
        for path in spool.root.glob("maildir-imapd.*"):
            path.unlink()
        wires = MemoryWires(spool.root)
        client = wires.connect(login=True)
        client.command(b"s SELECT INBOX")
        client.command(b"f " + line)
        assert wires.account.mailbox("INBOX").snapshot.seen, line


def test_what_was_read_before_there_was_a_fingerprint_is_not_kept(spool: Spool) -> None:
    """Else nobody would notice that another program has put something else into the file meanwhile."""
    spool.simple("INBOX", 3)
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"s SELECT INBOX")
    assert b"message 2" in b"".join(client.command(b"f FETCH 2 (ENVELOPE)"))
    [path] = spool.root.glob("cur/*M2*")
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"message 2", b"another 2"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    client.engine.keep_alive(client.reply)
    assert b"another 2" in b"".join(client.command(b"g FETCH 2 (ENVELOPE)"))


def test_a_file_that_is_not_in_its_place_has_all_looked_at(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    wires = MemoryWires(spool.root)
    client = wires.connect(login=True)
    client.command(b"s SELECT INBOX")
    [path] = spool.root.glob("cur/*M2*")
    path.unlink()
    said = client.command(b"f FETCH 1:3 (INTERNALDATE)")
    assert wires.account.mailbox("INBOX").snapshot.seen
    assert said[-1].startswith((b"f OK", b"f NO"))
