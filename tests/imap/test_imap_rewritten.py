"""Files of messages that other programs write to after we have looked: RFC822.SIZE, ENVELOPE and all that is cached."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.store.folder import rounds

NEW = b"From: New <new@example.org>\nSubject: second subject\nX-Label: a\n\n" + b"a much longer body\n" * 30
ITEMS = b"(RFC822.SIZE ENVELOPE BODYSTRUCTURE PREVIEW)"


@pytest.fixture(autouse=True)
def _rounds_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 0.0)


def connected(wires: MemoryWires) -> MemoryClient:
    client = wires.connect(login=True)
    client.command(b"s SELECT INBOX")
    return client


def said(client: MemoryClient, items: bytes, number: int = 1) -> bytes:
    lines = client.command(b"f FETCH %d %b" % (number, items))
    assert lines[-1].startswith(b"f OK"), lines
    return b"\r\n".join(lines[:-1])


def size(text: bytes) -> int:
    found = re.search(rb"RFC822.SIZE (\d+)", text)
    assert found is not None
    return int(found[1])


def rewrite(path: Path, data: bytes = NEW) -> None:
    """Write to a file in place: the same inode under the same name."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def crlf(data: bytes) -> int:
    return len(data) + data.count(b"\n")


def test_what_was_written_in_place_is_seen_by_the_next_session(spool: Spool) -> None:
    [base] = spool.simple("INBOX", 1)
    wires = MemoryWires(spool.root)
    assert b"message 1" in said(connected(wires), ITEMS)
    rewrite(spool.find("INBOX", base))
    text = said(connected(wires), ITEMS)
    assert b"second subject" in text
    assert b"a much longer body" in text
    assert size(text) == crlf(NEW)


def test_and_by_the_next_process(spool: Spool) -> None:
    [base] = spool.simple("INBOX", 1)
    said(connected(MemoryWires(spool.root)), ITEMS)
    rewrite(spool.find("INBOX", base))
    text = said(connected(MemoryWires(spool.root)), ITEMS)
    assert b"second subject" in text
    assert size(text) == crlf(NEW)


def test_whoever_reads_the_body_gets_the_size_that_goes_with_it(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 3600.0)
    [base] = spool.simple("INBOX", 1)
    client = connected(MemoryWires(spool.root))
    said(client, ITEMS)
    rewrite(spool.find("INBOX", base))
    assert size(said(client, b"(RFC822.SIZE BODY.PEEK[])")) == crlf(NEW)
    text = said(client, ITEMS)
    assert b"second subject" in text
    assert size(text) == crlf(NEW)


def test_what_is_found_for_one_column_is_true_for_all(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 3600.0)
    [base] = spool.simple("INBOX", 1)
    client = connected(MemoryWires(spool.root))
    said(client, b"(RFC822.SIZE ENVELOPE)")
    rewrite(spool.find("INBOX", base))
    text = said(client, b"(RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    assert b"second subject" in text
    assert size(text) == crlf(NEW)


def test_of_a_file_that_is_being_written_nothing_is_kept(spool: Spool) -> None:
    path = spool.root / "cur" / "1700000001.M1P1.host:2,"
    path.write_bytes(b"")
    wires = MemoryWires(spool.root)
    assert size(said(connected(wires), ITEMS)) == 0
    with path.open("ab") as file:
        file.write(NEW[:40])
    assert b"second" not in said(connected(wires), ITEMS)
    with path.open("ab") as file:
        file.write(NEW[40:])
    text = said(connected(MemoryWires(spool.root)), ITEMS)
    assert b"second subject" in text
    assert size(text) == crlf(NEW)


def test_a_file_that_gets_its_old_time_back_when_it_is_whole(spool: Spool) -> None:
    path = spool.root / "cur" / "1700000001.M1P1.host:2,"
    path.write_bytes(NEW[:50])
    os.utime(path, (time.time() - 60, time.time() - 60))  # the copy has rested for a while
    wires = MemoryWires(spool.root)
    said(connected(wires), ITEMS)
    path.write_bytes(NEW)
    os.utime(path, (1_600_000_000, 1_600_000_000))
    text = said(connected(wires), ITEMS)
    assert b"second subject" in text
    assert size(text) == crlf(NEW)
    os.utime(path, (1_600_000_001, 1_600_000_001))
    rewrite(path, NEW.replace(b"second", b"third"))
    os.utime(path, (1_600_000_002, 1_600_000_002))
    assert b"third subject" in said(connected(wires), ITEMS)


def test_sorting_and_searching_go_by_what_is_there(spool: Spool) -> None:
    first, _ = spool.simple("INBOX", 2)
    wires = MemoryWires(spool.root)
    client = connected(wires)
    for _ in range(2):
        assert client.command(b"a SORT (SUBJECT) UTF-8 ALL")[0] == b"* SORT 1 2"
        assert client.command(b"a SEARCH TEXT longer")[0] == b"* SEARCH"
    rewrite(spool.find("INBOX", first))
    client = connected(wires)
    assert client.command(b"a SORT (SUBJECT) UTF-8 ALL")[0] == b"* SORT 2 1"
    assert client.command(b"a SEARCH TEXT longer")[0] == b"* SEARCH 1"


def test_a_large_message_that_is_fetched_in_pieces(spool: Spool) -> None:
    base = spool.put("INBOX", b"Subject: x\n\n" + b"a" * 200_000, "")
    client = connected(MemoryWires(spool.root))
    assert b"aaaa" in b"".join(client.command(b"f FETCH 1 BODY.PEEK[]<100.4>"))
    rewrite(spool.find("INBOX", base), b"Subject: x\n\n" + b"b" * 200_000)
    assert b"bbbb" in b"".join(client.command(b"f FETCH 1 BODY.PEEK[]<100.4>"))


def test_a_client_hears_of_no_change(spool: Spool) -> None:
    [base] = spool.simple("INBOX", 1)
    client = connected(MemoryWires(spool.root))
    client.command(b"e ENABLE CONDSTORE")
    before = said(client, b"(UID MODSEQ INTERNALDATE)")
    rewrite(spool.find("INBOX", base))
    assert client.command(b"n NOOP") == [b"n OK NOOP completed"]
    said(client, b"(BODY.PEEK[])")
    assert said(client, b"(UID MODSEQ INTERNALDATE)") == before
