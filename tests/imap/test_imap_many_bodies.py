"""Bodies of many messages in one FETCH: from a directory that is open meanwhile, with whatever lies in it by then."""

from __future__ import annotations

import errno
import gzip
import os
import re
from pathlib import Path

import pytest
from memory import MemoryClient
from spool import Spool

from maildir_imapd.imap.columns import cached, rows
from maildir_imapd.store.account import Account
from maildir_imapd.store.folder.files import Files

ALL = b"f FETCH 1:* (UID BODY.PEEK[])"


def connect(account: Account) -> MemoryClient:
    client = MemoryClient(account)
    client.read_line()
    client.command(b"L LOGIN ann secret")
    return client


def bodies(client: MemoryClient, command: bytes = ALL) -> dict[int, bytes]:
    """The bodies of an answer, by UID."""
    before = len(client._out)
    client.send(command + b"\r\n")
    out = bytes(client._out[before:])
    del client._out[before:]
    found = {}
    while (line := re.match(rb"\* \d+ FETCH \(UID (\d+) BODY\[\] \{(\d+)\}\r\n", out)) is not None:
        size = int(line[2])
        found[int(line[1])] = out[line.end() : line.end() + size]
        assert out[line.end() + size :].startswith(b")\r\n")
        out = out[line.end() + size + 3 :]
    assert re.search(rb"(?:\A|\n)f (?:OK|NO) ", out[:400]), out[:400]
    return found


@pytest.fixture
def mixed(spool: Spool, tmp_path: Path) -> Spool:
    """Messages as they may lie: read and unread, a large one, packed, behind a link, empty, in new/."""
    spool.simple("INBOX", 10, "S")
    spool.put("INBOX", b"Subject: large\n\n" + b"x" * 70 + b"\n" * 300_000, "")
    spool.put("INBOX", gzip.compress(b"Subject: packed\n\nhello\n"), "", base="1793613900.M1P1.test")
    spool.put("INBOX", b"\x04Subject: begins as if it were packed\n\nhello\n", "")
    spool.put("INBOX", b"", "")
    elsewhere = spool.folder("Elsewhere") / "message"
    elsewhere.write_bytes(b"Subject: linked\n\nhello\n")
    (spool.root / "cur" / "1793613999.M2P1.test:2,").symlink_to(elsewhere)
    spool.put("INBOX", b"Subject: \0 and CRLF\r\n\r\nhello\r\n", "")
    spool.simple("INBOX", 2, None)
    return spool


def test_many_are_what_each_is_alone(mixed: Spool) -> None:
    client = connect(Account(os.fsencode(mixed.root), fsync="never"))
    client.command(b"e EXAMINE INBOX")
    many = bodies(client)
    assert len(many) == 18 >= cached.MANY
    assert many == {
        uid: body for n in range(1, 19) for uid, body in bodies(client, b"f FETCH %d (UID BODY.PEEK[])" % n).items()
    }
    for subject in (b"linked", b"packed", b"begins as if it were packed"):
        assert [b"Subject: %b\r\n" % subject in body for body in many.values()].count(True) == 1
    assert any(len(body) > 256 * 1024 for body in many.values())
    assert bodies(client, b"f UID FETCH 1:* (BODY.PEEK[])") == many


def test_what_others_do_meanwhile_is_found_where_it_is(mixed: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the look at the folder: one is renamed, one removed, and another cur/ is in the place of the one open."""
    client = connect(Account(os.fsencode(mixed.root), fsync="never"))
    client.command(b"s SELECT INBOX")
    before = bodies(client)
    cur = mixed.root / "cur"
    names = mixed.files("INBOX")
    true = Files.open_cur

    def disturbed(self: Files) -> int:
        number = true(self)
        base = names[0].partition(":")[0]
        os.rename(cur / names[0], cur / f"{base}:2,FS")
        (cur / names[1]).unlink()
        cur.rename(mixed.root / "was")
        cur.mkdir()
        for entry in (mixed.root / "was").iterdir():
            entry.rename(cur / entry.name)
        return number

    monkeypatch.setattr(Files, "open_cur", disturbed)
    after = bodies(client)
    monkeypatch.undo()
    gone = before.keys() - after.keys()
    assert len(gone) == 1
    assert after == {uid: body for uid, body in before.items() if uid not in gone}


def test_without_a_descriptor_for_it_all_are_read_all_the_same(mixed: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(Account(os.fsencode(mixed.root), fsync="never"))
    client.command(b"s SELECT INBOX")
    before = bodies(client)

    def none(self: Files) -> int:
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(Files, "open_cur", none)
    assert bodies(client) == before


def test_nothing_stays_open_behind_it(mixed: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(Account(os.fsencode(mixed.root), fsync="never"))
    client.command(b"s SELECT INBOX")
    bodies(client)
    before = len(os.listdir("/proc/self/fd"))
    bodies(client)
    true = rows.read

    def fails(*args: object, **others: object) -> object:
        raise ConnectionError("the client has gone")

    monkeypatch.setattr(rows, "read", fails)
    client.send(ALL + b"\r\n")
    monkeypatch.setattr(rows, "read", true)
    client.engine.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_one_that_was_written_to_is_sent_as_it_is_now(mixed: Spool) -> None:
    client = connect(Account(os.fsencode(mixed.root), fsync="never"))
    client.command(b"s SELECT INBOX")
    client.command(b"f FETCH 1:* (UID RFC822.SIZE ENVELOPE)")
    file = mixed.root / "cur" / mixed.files("INBOX")[2]
    file.write_bytes(b"Subject: written anew\n\nother words\n")
    again = bodies(client)
    assert again[3] == b"Subject: written anew\r\n\r\nother words\r\n"
    assert b"RFC822.SIZE %d" % len(again[3]) in client.command(b"f FETCH 3 (RFC822.SIZE)")[0]
    assert b"written anew" in client.command(b"f FETCH 3 (ENVELOPE)")[0]
