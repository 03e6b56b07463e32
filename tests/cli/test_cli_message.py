"""maildir-imapd message: by the search language, with and without a server beside it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from client import Client
from running import Running
from spool import SIMPLE, Spool
from tools import process, rows, run, said, text, tree

from maildir_imapd.cli.group import DATA, FAILED, TRY_AGAIN, USAGE
from maildir_imapd.store.account import Account

LETTER = (
    "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nbody \u001b[2J\n".encode()
)


@pytest.fixture
def full(spool: Spool) -> Spool:
    spool.simple("INBOX", 3)
    spool.put("INBOX", LETTER, "S")
    spool.simple("old", 2, "T")
    return spool


def found(spool: Spool, *words: str) -> list[tuple[str, int]]:
    return [(row["mailbox"], row["uid"]) for row in rows(spool, "message", "search", *words)]


def test_search(full: Spool) -> None:
    assert found(full) == [("INBOX", 1), ("INBOX", 2), ("INBOX", 3), ("INBOX", 4), ("old", 1), ("old", 2)]
    assert found(full, "SUBJECT", "grüße") == [("INBOX", 4)]
    assert found(full, "OR SEEN DELETED", "-m", "o%") == [("old", 1), ("old", 2)]
    assert found(full, 'TEXT "body of 2"') == [("INBOX", 2)]
    assert found(full, "SEEN LARGER 1000000") == []
    line = run(full, "message", "search", "SEEN", "-m", "INBOX")[0]
    assert line[1:3] == ["INBOX", "4"]
    assert line[3].startswith("2026-11-02 1")
    assert line[4:] == [str(len(LETTER) + 4), "\\Seen", "Jürgen <j@example.org>", "Grüße"]


@pytest.mark.parametrize(
    "words",
    [["NOPE"], ["SUBJECT"], ["SUBJECT", "two words"], ["FILTER x"], ["SUBJECT {3}\r\nabc"], ["UID x"], ["ALL\n"]],
)
def test_what_is_no_search(full: Spool, words: list[str]) -> None:
    before = tree(full.root)
    assert said(full, "message", "search", *words, status=DATA).startswith("maildir-imapd: this is no search: ")
    said(full, "message", "expunge", *words, "-m", "*", "--yes", status=DATA)
    assert tree(full.root) == before


@pytest.mark.parametrize(
    "words",
    [
        ["flag", "ALL", "-a", "flagged"],
        ["move", "ALL", "--to", "old"],
        ["copy", "ALL", "--to", "old"],
        ["expunge", "ALL"],
    ],
)
def test_dry_run_changes_nothing(full: Spool, words: list[str]) -> None:
    """Neither where no server of ours has been, nor where one has."""
    for _ in range(2):
        before = tree(full.root)
        told = rows(full, "message", *words, "-m", "INBOX", "--dry-run")
        assert [row["uid"] for row in told] == [1, 2, 3, 4]
        assert tree(full.root) == before
        run(full, "message", "search", "ALL")


def test_flag(full: Spool) -> None:
    told = rows(full, "message", "flag", "UID 1:2", "-m", "INBOX", "-a", "flagged", "-a", "$Work", "-r", "seen")
    assert [(row["uid"], row["flags"]) for row in told] == [(1, ["\\Flagged", "$Work"]), (2, ["\\Flagged", "$Work"])]
    assert found(full, "KEYWORD $Work FLAGGED") == [("INBOX", 1), ("INBOX", 2)]
    assert rows(full, "message", "flag", "UID 1:2", "-m", "INBOX", "-a", "\\Flagged") == []
    assert "this is no flag" in said(full, "message", "flag", "ALL", "-m", "*", "-a", "a b", status=USAGE)
    assert "which flags?" in said(full, "message", "flag", "ALL", "-m", "*", status=USAGE)
    assert "to add and to remove" in said(full, "message", "flag", "ALL", "-m", "*", "-a", "x", "-r", "x", status=USAGE)


def test_copy_and_move(full: Spool) -> None:
    told = rows(full, "message", "copy", "SEEN", "-m", "*", "--to", "old")
    assert [(row["mailbox"], row["uid"], row["to"], row["to_uid"]) for row in told] == [("INBOX", 4, "old", 3)]
    told = rows(full, "message", "move", "ALL", "-m", "*", "--to", "old")
    assert [row["to_uid"] for row in told] == [4, 5, 6, 7], "those of the target stay"
    assert found(full, "ALL", "-m", "INBOX") == []
    assert len(full.files("old")) == 7
    before = tree(full.root)
    assert "doesn't exist" in said(full, "message", "move", "ALL", "-m", "*", "--to", "nope", status=FAILED)
    assert tree(full.root) == before


def test_a_copy_is_within_the_quota(full: Spool) -> None:
    (full.root / "maildirsize").write_text("0S,7C\n0 6\n")
    assert "quota" in said(full, "message", "copy", "ALL", "-m", "INBOX", "--to", "old", status=TRY_AGAIN).lower()
    assert len(full.files("old")) == 2


def test_expunge(full: Spool) -> None:
    before = tree(full.root)
    assert "give --yes" in said(full, "message", "expunge", "DELETED", "-m", "*", status=USAGE)
    assert len(full.files("old")) == 2
    assert [row["uid"] for row in rows(full, "message", "expunge", "DELETED", "-m", "*", "--yes")] == [1, 2]
    assert full.files("old") == []
    assert before
    assert rows(full, "message", "expunge", "DELETED", "-m", "*", "--yes") == []


@pytest.mark.long
def test_fetch(full: Spool, tmp_path: Path) -> None:
    before = full.files("INBOX")
    assert text(full, "message", "fetch", "SUBJECT grüße").encode() == LETTER
    location = f"--mail-location=maildir:{full.root}"
    done = process("message", "fetch", "UID 1", "-m", "INBOX", "-s", "HEADER.FIELDS (Subject)", location, octets=True)
    assert done.stdout == b"Subject: message 1\r\n\r\n"
    done = process("message", "fetch", "UID 2", "-m", "INBOX", "-s", "TEXT", location, octets=True)
    assert done.stdout == b"body of 2\r\n"
    assert full.files("INBOX") == before, "it is not read"
    assert "narrow the search" in said(full, "message", "fetch", "ALL", status=USAGE)
    assert "narrow the search" in said(full, "message", "fetch", "UID 1", status=USAGE)
    assert "no message was found" in said(full, "message", "fetch", "UID 99", status=FAILED)
    assert "no section" in said(full, "message", "fetch", "UID 1", "-m", "INBOX", "-s", "nope", status=DATA)
    assert "no section 3" in said(full, "message", "fetch", "UID 1", "-m", "INBOX", "-s", "3", status=FAILED)
    paths = run(full, "message", "fetch", "ALL", "-o", str(tmp_path / "out"))
    assert len(paths) == 6
    assert Path(paths[0][0]).read_bytes() == SIMPLE % (1, 1, 1)
    assert "File exists" in said(full, "message", "fetch", "ALL", "-o", str(tmp_path / "out"), status=FAILED)


@pytest.mark.long
def test_beside_a_server_an_idle_client_hears(server: Running) -> None:
    """A command is a process like a worker: the same locks, the same bell."""
    name, spool = server.user()
    spool.simple("INBOX", 3)
    spool.folder("other")
    location = f"--mail-location=maildir:{spool.root}"
    with Client.to(server.port, user=name) as client, Client.to(server.port, user=name) as second:
        client.ok("SELECT INBOX")
        second.ok("SELECT other")
        tag, other = client.idle(), second.idle()
        assert process("message", "flag", "UID 2", "-m", "INBOX", "-a", "flagged", location).returncode == 0
        client.until(r"\* 2 FETCH .*\\Flagged")
        assert process("message", "copy", "UID 2", "-m", "INBOX", "--to", "other", location).returncode == 0
        second.until(r"\* 1 EXISTS")
        done = process("message", "move", "UID 1", "-m", "INBOX", "--to", "other", location)
        assert done.stdout.split("\t")[-2:] == ["other", "2\n"]
        client.until(r"\* 1 EXPUNGE")
        second.until(r"\* 2 EXISTS")
        assert process("message", "expunge", "ALL", "-m", "INBOX", "--yes", location).returncode == 0
        client.until(r"\* \d EXPUNGE")
        client.until(r"\* \d EXPUNGE")
        client.done(tag)
        second.done(other)
        assert client.ok("UID SEARCH ALL")[0].strip() == b"* SEARCH"


def test_what_controls_a_terminal_is_not_printed(spool: Spool) -> None:
    spool.put("INBOX", b"Subject: =?utf-8?q?a=1B[2Jb?=\nFrom: x\x07y\n\n", "")
    out = text(spool, "message", "search")
    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.long
@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
def test_it_asks_on_a_terminal(full: Spool, answer: str, left: int) -> None:
    ours, theirs = pty.openpty()
    try:
        words = ("message", "expunge", "ALL", "-m", "old", f"--mail-location=maildir:{full.root}")
        command = subprocess.Popen(
            [sys.executable, "-m", "maildir_imapd", *words],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "dumb"},
        )
        seen = b""
        while b"Remove 2 messages for good?" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, f"{answer}\n".encode())
        printed, _ = command.communicate(timeout=60)
        assert len(printed.splitlines()) == 2 - left
        assert command.returncode == (FAILED if left else 0)
        assert len(full.files("old")) == left
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_comes_between_the_plan_and_the_deed_stays(full: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has said yes to two messages has not said so to a third."""
    from maildir_imapd.cli import message

    monkeypatch.setattr(message, "demand_consent", lambda question, yes: full.simple("old", 1, "T"))
    assert [row["uid"] for row in rows(full, "message", "expunge", "DELETED", "-m", "old")] == [1, 2]
    assert len(full.files("old")) == 1


def test_a_mailbox_that_is_made_anew_meanwhile_is_left_alone(full: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    from maildir_imapd.cli import message

    def again(question: str, yes: bool) -> None:
        run(full, "mailbox", "delete", "old", "--yes")
        run(full, "mailbox", "create", "old")
        full.simple("old", 2, "T")

    monkeypatch.setattr(message, "demand_consent", again)
    assert "UIDVALIDITY" in said(full, "message", "expunge", "DELETED", "-m", "old", status=FAILED)
    assert len(full.files("old")) == 2


# --- undelete -----------------------------------------------------------------------------------------


def removed(spool: Spool, mailbox: str, uids: list[int], **given: int) -> Account:
    """Have messages expunged by somebody with whom they can be had back."""
    account = Account(os.fsencode(spool.root), fsync="never", **given)  # type: ignore[arg-type]
    account.deleted.seconds = 86400
    account.mailbox(mailbox).expunge(uids)
    return account


def test_undelete_lists_what_there_is(full: Spool) -> None:
    assert rows(full, "message", "undelete", "--list") == []
    assert rows(full, "message", "undelete", "ALL") == []
    removed(full, "INBOX", [2, 4])
    removed(full, "old", [1])
    before = tree(full.root)

    def listed(*words: str) -> list[tuple[str, str]]:
        return [(row["mailbox"], row["subject"]) for row in rows(full, "message", "undelete", *words)]

    everything = listed("--list")
    assert [name for name, _ in everything] == ["INBOX", "INBOX", "old"]
    assert listed("SUBJECT grüße", "--list") == [("INBOX", "Grüße")]
    assert listed("ALL", "-m", "old", "--dry-run") == everything[2:]
    assert listed("SAVEDBEFORE 1-Jan-2020", "--list") == []
    assert tree(full.root) == before


def test_undelete_brings_back_what_is_asked_for_and_where_it_was(full: Spool) -> None:
    said(full, "message", "undelete", status=USAGE)
    account = removed(full, "INBOX", [2, 4])
    account.delete("old")
    found = rows(full, "message", "undelete", "SUBJECT grüße")
    assert [(row["mailbox"], row["to"], row["to_uid"]) for row in found] == [("INBOX", "INBOX", 5)]
    assert found_flags(full, "UID 5", "INBOX") == ["\\Seen"]
    # The mailbox is made, and what was marked as deleted is not any more, or the next EXPUNGE would take it again.
    again = rows(full, "message", "undelete", "ALL", "-m", "old")
    assert [(row["to"], row["to_uid"]) for row in again] == [("old", 1), ("old", 2)]
    assert found_flags(full, "UID 1", "old") == []
    assert [row["mailbox"] for row in rows(full, "message", "undelete", "--list")] == ["INBOX"]


def found_flags(spool: Spool, search: str, mailbox: str) -> list[str]:
    (row,) = rows(spool, "message", "search", search, "-m", mailbox)
    return [flag for flag in row["flags"] if flag != "\\Recent"]


def test_undelete_elsewhere_and_within_the_quota(full: Spool, tmp_path: Path) -> None:
    account = removed(full, "INBOX", [1, 2], quota_messages=5)
    assert "doesn't exist" in said(full, "message", "undelete", "ALL", "--to", "nowhere", status=FAILED)
    moved = rows(full, "message", "undelete", "UID 1", "--to", "old")
    assert [(row["mailbox"], row["to"]) for row in moved] == [("INBOX", "old")]
    usage = account.quota.usage()
    assert usage is not None
    assert usage.used.messages == 5
    # There is room for none any more.
    (tmp_path / "conf").write_text("quota_messages = 5\n")
    assert "quota" in said(full, "message", "undelete", "ALL", f"--config={tmp_path}/conf", status=TRY_AGAIN)
    assert len(rows(full, "message", "undelete", "--list")) == 1


def test_what_the_command_itself_expunges_can_be_had_back(full: Spool, tmp_path: Path) -> None:
    (tmp_path / "conf").write_text('keep_expunged = "2w"\n')
    text(full, "message", "expunge", "UID 1", "-m", "INBOX", "--yes", f"--config={tmp_path}/conf")
    assert len(rows(full, "message", "undelete", "--list")) == 1
