"""maildir-imapd explain: one message, by its file or by its UID."""

from __future__ import annotations

import pytest
from spool import Spool
from tools import rows, run, said, text, tree

from maildir_imapd.cli.group import FAILED, USAGE


@pytest.fixture
def read(spool: Spool) -> Spool:
    spool.simple("INBOX", 3)
    run(spool, "message", "search")
    run(spool, "message", "flag", "UID 2", "-m", "INBOX", "-a", "flagged", "-a", "$Work")
    return spool


def test_a_message(read: Spool) -> None:
    before = tree(read.root)
    (told,) = rows(read, "explain", "INBOX", "2")
    assert (told["uid"], told["there"], told["flags"]) == (2, True, ["\\Flagged", "$Work"])
    assert told["file"] == str(read.root / "cur" / read.files("INBOX")[1])
    assert [each["event"] for each in told["history"]][-1] in ("flags", "keywords")
    assert told["size"] > told["octets"]
    assert rows(read, "explain", told["file"]) == [told]
    assert rows(read, "explain", told["file"].partition(":")[0] + ":2,") == [told], "by a name that it had"
    lines = text(read, "explain", "INBOX", "2")
    assert "flags:\t\\Flagged $Work\n" in lines
    assert "history:\n" in lines
    assert tree(read.root) == before


def test_one_that_is_gone(read: Spool) -> None:
    run(read, "message", "expunge", "UID 2", "-m", "INBOX", "--yes")
    (told,) = rows(read, "explain", "INBOX", "2")
    assert not told["there"]
    assert told["history"][-1]["event"] == "expunged"


def test_no_message(read: Spool) -> None:
    assert "nothing on record" in said(read, "explain", "INBOX", "99", status=FAILED)
    assert "doesn't exist" in said(read, "explain", "nope", "1", status=FAILED)
    assert "no mailbox has this message" in said(read, "explain", "/nowhere/cur/x", status=FAILED)
    assert "which message?" in said(read, "explain", "INBOX", "x", status=USAGE)
    assert "which message?" in said(read, "explain", "INBOX", "1", "2", status=USAGE)
