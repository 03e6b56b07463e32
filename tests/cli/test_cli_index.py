"""maildir-imapd index and quota."""

from __future__ import annotations

from pathlib import Path

import pytest
from client import Client
from running import Running
from spool import Spool
from tools import process, rows, run, said, tree

from maildir_imapd.cli.group import FAILED, USAGE


def test_show_and_verify(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    before = tree(spool.root)
    assert rows(spool, "index", "verify")[0]["kind"] == "no-index"
    assert tree(spool.root) == before
    run(spool, "message", "search")
    before = tree(spool.root)
    (shown,) = rows(spool, "index", "show", "INBOX")
    assert (shown["messages"], shown["uidnext"], shown["set_aside"]) == (3, 4, 0)
    assert shown["checkpoint"] > 0
    assert rows(spool, "index", "verify") == []
    assert tree(spool.root) == before


def test_what_is_wrong_is_found_and_made_anew(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    run(spool, "message", "flag", "UID 2", "-m", "INBOX", "-a", "flagged")
    spool.simple("INBOX", 1)
    run(spool, "message", "search")
    (shown,) = rows(spool, "index", "show")
    journal = spool.root / "maildir-imapd.journal"
    journal.write_bytes(journal.read_bytes().replace(b"f 2 +F", b"f 3 +F"))
    found = rows(spool, "index", "verify", status=FAILED)
    assert "damaged" in {row["kind"] for row in found}
    before = tree(spool.root)
    rows(spool, "index", "rebuild", "INBOX", "--dry-run")
    assert tree(spool.root) == before
    (anew,) = rows(spool, "index", "rebuild", "INBOX")
    assert anew["uidvalidity"] == shown["uidvalidity"], "the lock file says which UIDs were given out"
    assert anew["set_aside"] == 0
    assert rows(spool, "index", "verify") == []
    flagged = rows(spool, "message", "search", "FLAGGED")
    assert [(row["uid"], row["subject"]) for row in flagged] == [(2, "message 2")], "the folder remembers its flags"
    assert [row["uid"] for row in rows(spool, "message", "search", "NOT SUBJECT 4")] == [1, 2, 3]


def test_rebuild_keeps_every_uid(spool: Spool) -> None:
    spool.simple("INBOX", 5)
    run(spool, "message", "expunge", "UID 2:3", "-m", "INBOX", "--yes")
    before = [(row["uid"], row["subject"]) for row in rows(spool, "message", "search")]
    (shown,) = rows(spool, "index", "rebuild", "INBOX")
    assert shown["uidnext"] == 6
    assert [(row["uid"], row["subject"]) for row in rows(spool, "message", "search")] == before
    assert rows(spool, "index", "rebuild", "nope", status=FAILED) == []


def test_renumber_when_it_is_asked_for(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    spool.simple("Lists", 1)
    run(spool, "message", "expunge", "UID 1", "-m", "INBOX", "--yes")
    shown, lists = rows(spool, "index", "show")
    before = tree(spool.root)
    rows(spool, "index", "renumber", "INBOX", "--dry-run")
    run(spool, "index", "renumber", "INBOX", status=USAGE)
    assert tree(spool.root) == before
    (anew,) = rows(spool, "index", "renumber", "INBOX", "--yes")
    assert anew["uidvalidity"] > shown["uidvalidity"]
    assert (anew["messages"], anew["uidnext"]) == (2, 3)
    assert rows(spool, "index", "show", "Lists") == [lists]
    assert rows(spool, "index", "verify", "INBOX") == []


@pytest.mark.long
def test_a_client_is_sent_away_by_a_renumbering(server: Running) -> None:
    name, spool = server.user()
    spool.simple("INBOX", 2)
    with Client.to(server.port, user=name) as client:
        client.ok("SELECT INBOX")
        words = ("index", "renumber", "INBOX", "--yes", f"--mail-location=maildir:{spool.root}")
        assert process(*words).returncode == 0
        client.start("NOOP")
        assert b"BYE" in client.line()
    with Client.to(server.port, user=name) as client:
        assert any(b"UIDNEXT 3" in line for line in client.ok("SELECT INBOX"))


@pytest.mark.long
def test_a_client_goes_on_after_a_rebuild(server: Running) -> None:
    name, spool = server.user()
    spool.simple("INBOX", 2)
    with Client.to(server.port, user=name) as client:
        client.ok("SELECT INBOX")
        assert process("index", "rebuild", "INBOX", f"--mail-location=maildir:{spool.root}").returncode == 0
        assert b"UID 2" in b"".join(client.ok("UID FETCH 2 (UID RFC822.SIZE BODY.PEEK[TEXT])"))
        client.ok("UID STORE 1 +FLAGS (\\Flagged)")
        assert process("index", "verify", f"--mail-location=maildir:{spool.root}").returncode == 0


def test_quota(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    assert run(spool, "quota", "show")[0][1:] == ["", "", "", ""]
    assert rows(spool, "quota", "recalc")[0]["storage"] is None
    (spool.root / "maildirsize").write_text("1000000S,10C\n5 7\n")
    before = tree(spool.root)
    assert rows(spool, "quota", "show")[0]["messages"] == 7
    assert rows(spool, "quota", "recalc", "--dry-run")[0]["messages"] == 2
    assert tree(spool.root) == before
    (counted,) = rows(spool, "quota", "recalc")
    assert (counted["messages"], counted["messages_limit"], counted["storage_limit"]) == (2, 10, 1000000)
    assert rows(spool, "quota", "show") == [counted]


def test_there_is_no_mail(tmp_path: Path) -> None:
    assert "There is no Maildir" in said(tmp_path / "none", "quota", "show", status=FAILED)
    assert not (tmp_path / "none").exists()
