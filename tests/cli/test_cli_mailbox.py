"""maildir-imapd mailbox: with and without a server beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all
from spool import Spool
from tools import process, rows, run, said, tree

from maildir_imapd.cli.group import CANNOT_CREATE, CONFIG, FAILED, NO_USER, USAGE
from maildir_imapd.server import owners


def test_list(spool: Spool) -> None:
    spool.folder("work")
    spool.folder("work.old")
    run(spool, "mailbox", "create", "Sent", "--special-use", "sent", "--subscribe")
    me = run(spool, "mailbox", "list", "INBOX")[0][0]
    assert run(spool, "mailbox", "list") == [
        [me, "INBOX", "yes", "no", ""],
        [me, "Sent", "yes", "yes", "\\Sent"],
        [me, "work", "yes", "no", ""],
        [me, "work.old", "yes", "no", ""],
    ]
    assert [row[1] for row in run(spool, "mailbox", "list", "w%", "Se*")] == ["Sent", "work"]
    found = rows(spool, "mailbox", "list", "--subscribed")
    assert found == [{"user": me, "mailbox": "Sent", "selectable": True, "subscribed": True, "special_use": ["\\Sent"]}]


def test_status_says_what_a_client_would_hear_and_changes_nothing(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    spool.simple("INBOX", 1, "ST")
    before = tree(spool.root)
    found = rows(spool, "mailbox", "status")
    assert tree(spool.root) == before, "a folder that nobody has opened yet is not taken over for this"
    assert [(row["mailbox"], row["messages"], row["unseen"], row["deleted"]) for row in found] == [("INBOX", 3, 2, 1)]
    assert found[0]["uidnext"] == 4


def test_the_life_of_a_mailbox(spool: Spool) -> None:
    run(spool, "mailbox", "create", "a.b")
    assert (spool.root / ".a.b" / "cur").is_dir()
    assert "already exists" in said(spool, "mailbox", "create", "a.b", status=CANNOT_CREATE)
    assert "cannot be used" in said(spool, "mailbox", "create", "a..b", status=CANNOT_CREATE)
    run(spool, "mailbox", "rename", "a", "Grün")
    assert (spool.root / ".Gr&APw-n.b" / "cur").is_dir()
    run(spool, "mailbox", "subscribe", "Grün.b")
    assert [row[1] for row in run(spool, "mailbox", "list", "--subscribed")] == ["Grün.b"]
    assert "doesn't exist" in said(spool, "mailbox", "subscribe", "nope", status=FAILED)
    run(spool, "mailbox", "unsubscribe", "Grün.b")
    assert run(spool, "mailbox", "list", "--subscribed") == []
    before = tree(spool.root)
    assert rows(spool, "mailbox", "delete", "Grün.b", "--dry-run")[0]["mailbox"] == "Grün.b"
    assert "give --yes" in said(spool, "mailbox", "delete", "Grün.b", status=USAGE)
    assert tree(spool.root) == before
    run(spool, "mailbox", "delete", "Grün.b", "--yes")
    assert not (spool.root / ".Gr&APw-n.b").exists()
    assert "doesn't exist" in said(spool, "mailbox", "delete", "Grün.b", "--yes", status=FAILED)
    assert "INBOX cannot be deleted" in said(spool, "mailbox", "delete", "inbox", "--yes", status=FAILED)


def test_a_special_use_that_is_none(spool: Spool) -> None:
    assert "there are Archive" in said(spool, "mailbox", "create", "x", "-s", "nope", status=USAGE)
    assert not (spool.root / ".x").exists()


def test_whose(spool: Spool, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x::::::\n")
    file = f"--passwd-file={users}"
    assert "there is no user eve in" in said(spool, "mailbox", "list", "--user", "eve", file, status=NO_USER)
    assert "not both" in said(spool, "mailbox", "list", "--user", "ann", "--all-users", file, status=USAGE)
    assert "which users?" in said(spool, "mailbox", "list", "--all-users", status=CONFIG)
    done = process("mailbox", "list", "--mail-location=maildir:/nowhere/%n", "--mail-user=root", "-u", "ann", file)
    assert done.returncode == FAILED
    assert done.stderr.startswith("maildir-imapd: ann: There is no Maildir:")


def test_all_users_one_of_whom_has_no_mail(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x::::::\ncyd:{PLAIN}x::::::\n")
    for name in ("ann", "cyd"):
        Spool(tmp_path / name)
    done = process(
        *("mailbox", "list", "--all-users", f"--passwd-file={tmp_path}/users"),
        *(f"--mail-location=maildir:{tmp_path}/%n", "--mail-user=root"),
    )
    assert [line.split("\t")[:2] for line in done.stdout.splitlines()] == [["ann", "INBOX"], ["cyd", "INBOX"]]
    assert done.returncode == FAILED
    assert done.stderr.startswith("maildir-imapd: ben: There is no Maildir:")


@pytest.mark.long
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_as_root_what_is_made_is_the_owners(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "mail" / "Maildir")
    spool.simple("INBOX", 2)
    give_to(tmp_path / "mail", 54321)
    open_to_all(tmp_path)
    (tmp_path / "users").write_text(f"ann:{{PLAIN}}x:54321:54321::{tmp_path}/mail::\n")
    words = ("-u", "ann", f"--passwd-file={tmp_path}/users", "--mail-location=maildir:~/Maildir")
    for command in (
        ("mailbox", "create", "Sent"),
        ("message", "copy", "ALL", "-m", "INBOX", "--to", "Sent"),
        ("message", "flag", "ALL", "-m", "*", "-a", "flagged"),
        ("index", "rebuild", "*"),
    ):
        done = process(*command, *words)
        assert done.returncode == 0, done.stderr
    for directory, _, files in os.walk(spool.root):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            assert os.lstat(path).st_uid == 54321, path


@pytest.mark.long
def test_a_client_hears_of_it(server: Running) -> None:
    """Two workers, and a client with NOTIFY: what a command makes, names and removes reaches him."""
    name, spool = server.user()
    with Client.to(server.port, user=name) as client:
        client.ok("NOTIFY SET (PERSONAL (MailboxName SubscriptionChange))")
        location = f"--mail-location=maildir:{spool.root}"
        assert process("mailbox", "create", "made", location).returncode == 0
        client.until(r'\* LIST .*"?made"?')
        assert process("mailbox", "rename", "made", "named", location).returncode == 0
        client.until(r'\* LIST .*"?named"?')
        assert process("mailbox", "delete", "named", "--yes", location).returncode == 0
        client.until(r"\* LIST .*NonExistent.*named")


@pytest.mark.parametrize(
    "command", [("mailbox", "status"), ("index", "show"), ("index", "verify"), ("message", "search", "ALL", "-m")]
)
def test_a_name_that_is_none_is_said(command: tuple[str, ...], spool: Spool) -> None:
    """The others are shown; a pattern may match nothing, for it means as many as there are."""
    spool.simple("INBOX", 1)
    assert said(spool, *command, "Wrok", status=FAILED).endswith(": Wrok: Mailbox doesn't exist")
    assert said(spool, *command, "Wrok*", status=0) == ""
    assert said(spool, *command, "inbox", status=0) == ""
