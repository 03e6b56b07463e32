"""Virtual mailboxes of users: by the settings, by Dovecot's files, and over real sockets with two workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, start_server, stop_server

from maildir_imapd.server.virtuals import FILES, OfFiles, of_rules
from maildir_imapd.virtual_rules import USUAL, virtual_rule


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    files = tmp_path / "virtual"
    (files / "Old").mkdir(parents=True)
    (files / "Old" / "dovecot-virtual").write_text("INBOX\n  OLDER 86400\n")
    running = start_server(
        tmp_path,
        "--namespaces=Virtual/: type=virtual",
        f"--namespaces=Files/: type=virtual, location=virtual:{files}",
        "--delimiter=/",
        users=6,
    )
    yield running
    stop_server(running)
    log = (running.base / "log").read_text()
    assert "Traceback" not in log, log


@pytest.mark.long
def test_two_workers(running: Running) -> None:
    """Several sessions of one user, whichever worker they are at."""
    clients = [Client.to(running.port, user="u0") for _ in range(5)]
    first, *others = clients
    assert first.said("CREATE Work").startswith("OK")
    listed = [line.rpartition(b' "/" ')[2].strip(b'"').decode() for line in first.command('LIST "" *')]
    assert {"Virtual/All mail", "Virtual/Flagged", "Virtual/Unread", "Files/Old"} <= set(listed)
    assert b'* LIST (\\HasNoChildren \\All) "/" "Virtual/All mail"' in first.command('LIST (SPECIAL-USE) "" *')
    for talker in others:
        assert talker.said("SELECT Virtual/Unread").startswith("OK [READ-WRITE]")
        talker.send(b"i IDLE\r\n")
        talker.until(r"\+ idling")
    assert first.append("INBOX").startswith("OK")
    assert first.append("Work").startswith("OK")
    for talker in others:
        talker.until(r"\* 2 EXISTS")
    first.command("SELECT Virtual/Unread")
    uids = first.command("UID SEARCH ALL")[0]
    first.command("STORE 1 +FLAGS (\\Seen Mine)")
    for talker in others:
        talker.until(r"\* 1 FETCH \(.*\\Seen Mine.*\)")
        talker.send(b"DONE\r\n")
        talker.until("i OK")
        assert talker.command("UID SEARCH ALL")[0] == uids
    first.command("EXPUNGE")
    for talker in others:
        talker.send(b"i IDLE\r\n")
        talker.until(r"\* 1 EXPUNGE")
        talker.send(b"DONE\r\n")
        talker.until("i OK")
    assert b"* STATUS INBOX (MESSAGES 1)" in first.command("STATUS INBOX (MESSAGES)")


@pytest.mark.long
def test_a_reader_of_files_on_the_way(running: Running) -> None:
    talker = Client.to(running.port, user="u1")
    new = running.base / "u1" / "Maildir" / "new"
    assert talker.said("SELECT Virtual/Unread").startswith("OK")
    talker.send(b"i IDLE\r\n")
    talker.until(r"\+ idling")
    (new / "1700000000.M1P1.host").write_bytes(b"Subject: new\n\nnew\n")
    talker.until(r"\* 1 EXISTS")


def test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = OfFiles(f"virtual:{tmp_path}/%n", "ann@example.org", None, "/")
    assert dict(found()) == {}
    root = tmp_path / "ann"
    for name, text in (
        ("Unread", "*\n  unseen\n"),
        ("Sub/Deep", "INBOX\n  flagged"),
        ("Gr&APw-n", "INBOX\n"),
        ("Wrong", "INBOX\n  NONSENSE\n"),
        ("Empty", ""),
        ("a/b/c/d/e/f/g/h/i", "INBOX\n"),
    ):
        (root / name).mkdir(parents=True)
        (root / name / "dovecot-virtual").write_text(text)
    (root / "dovecot-virtual").write_text("INBOX\n")
    os.symlink("/nowhere", root / "Link")
    names = found()
    assert set(names) == {"Unread", "Sub/Deep", "Grün"}
    assert found() is names
    assert "Wrong" in caplog.text
    assert "NONSENSE" in caplog.text
    (root / "Unread" / "dovecot-virtual").write_text("*\n  unseen unflagged\n")
    assert found()["Unread"].digest != names["Unread"].digest
    (root / "Unread" / "dovecot-virtual").unlink()
    assert "Unread" not in found()
    (root / "Unread" / "dovecot-virtual").write_bytes(b"x" * 100_000)
    assert "Unread" not in found()


def test_files_of_maildir_plus_plus(tmp_path: Path) -> None:
    for name in (".Sub.Deep", "Other", ".Sub/inner"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dovecot-virtual").write_text("INBOX\n")
    assert set(OfFiles(f"virtual:{tmp_path}:LAYOUT=maildir++", "ann", None, ".")()) == {"Sub.Deep"}


def test_too_many_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for n in range(FILES + 1):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "dovecot-virtual").write_text("INBOX\n")
    assert len(OfFiles(f"virtual:{tmp_path}", "ann", None, "/")()) == FILES
    assert "too many virtual mailboxes" in caplog.text


def test_rules() -> None:
    found = of_rules(USUAL, ".")()
    assert {name: each.use for name, each in found.items()} == {
        "All mail": b"\\All",
        "Flagged": b"\\Flagged",
        "Unread": b"",
    }
    deep = of_rules([virtual_rule("Sub/Deep: Work/%, -Work/Old, !INBOX | UNSEEN FROM me | use=Important")], ".")()
    assert deep["Sub.Deep"].saves == "INBOX"
    assert deep["Sub.Deep"].without == ("Work.Old",)
    assert [name for name, _ in deep["Sub.Deep"].wanted] == ["Work.%", "INBOX"]


@pytest.mark.parametrize(
    "written",
    [
        "",
        "Unread",
        "Unread: *",
        "Unread: | UNSEEN",
        "Unread: * |",
        ": * | ALL",
        "a//b: * | ALL",
        "a*: * | ALL",
        "Unread: * | ALL | use=Junk",
        "Unread: * | ALL | what=ever",
        "a\tb: * | ALL",
    ],
)
def test_what_is_no_rule(written: str) -> None:
    with pytest.raises(ValueError, match=r"must be|has"):
        virtual_rule(written)


@pytest.mark.long
def test_private_seen_with_two_workers(tmp_path: Path) -> None:
    running = start_server(
        tmp_path,
        "--namespaces=shared/%u/: type=others, private_seen=yes",
        f"--acl-shared-list={tmp_path}/shares",
        "--delimiter=/",
        users=4,
    )
    try:
        owner = Client.to(running.port, user="u0")
        owner.ok("CREATE Work")
        for _ in range(3):
            assert owner.append("Work").startswith("OK")
        for reader in ("u1", "u2"):
            owner.ok(f"SETACL Work {reader} lr")
        first = [Client.to(running.port, user="u1") for _ in range(4)]
        second = [Client.to(running.port, user="u2") for _ in range(4)]
        for talker in (*first, *second):
            assert talker.said("SELECT shared/u0/Work").startswith("OK [READ-WRITE]")
        for talker in first[1:]:
            talker.send(b"i IDLE\r\n")
            talker.until(r"\+ idling")
        first[0].ok("STORE 2 +FLAGS \\Seen")
        for talker in first[1:]:
            talker.until(r"\* 2 FETCH \(.*\\Seen.*\)")
            talker.send(b"DONE\r\n")
            talker.until("i OK")
            assert b"* STATUS shared/u0/Work (UNSEEN 2)" in talker.command("STATUS shared/u0/Work (UNSEEN)")
        for talker in second:
            assert b"* STATUS shared/u0/Work (UNSEEN 3)" in talker.command("STATUS shared/u0/Work (UNSEEN)")
        assert b"* STATUS Work (UNSEEN 3)" in owner.command("STATUS Work (UNSEEN)")
    finally:
        stop_server(running)
    log = (running.base / "log").read_text()
    assert "Traceback" not in log, log
