"""Taking over spools, as values: each kind of finding, whom it is about, and how many."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from nobody import as_nobody
from spool import Spool

from maildir_imapd.auth.base import Identity
from maildir_imapd.config import Config, load
from maildir_imapd.server import adopting
from maildir_imapd.server.adopting import Finding, Report

CRYPTED = b"CRYPTED\x03\x07" + bytes(40)


class Heard:
    """What a person who waits is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.seen = 0

    def user(self, user: str, messages: int) -> None:
        self.said.append(f"{user} {messages}")

    def folder(self, mailbox: str) -> None:
        self.said.append(mailbox)

    def files(self, more: int) -> None:
        self.seen += more


def config(root: Path) -> Config:
    return load(None, {"mail_location": f"maildir:{root}", "fsync": "never"})


def run(root: Path, *, dry_run: bool = True, heard: Heard | None = None) -> Report:
    report = Report(dry_run)
    adopting.adopt(config(root), Identity("ann", home=str(root)), report, heard or Heard())
    return report


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    for name, uidvalidity in (("INBOX", 5), ("a", 6)):
        (base,) = spool.simple(name, 1)
        (spool.path(name) / "dovecot-uidlist").write_text(f"3 V{uidvalidity} N10 Gaa\n9 :{base}\n")
    return spool


def kinds(report: Report) -> list[tuple[str, str, int]]:
    return [(found.kind, found.where, found.count) for found in report.findings()]


@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_to_say(spool: Spool, dry_run: bool) -> None:
    heard = Heard()
    report = run(spool.root, dry_run=dry_run, heard=heard)
    assert report.status() == 0
    assert not list(report.findings())
    assert [(one.mailbox, one.server, one.messages, one.uidvalidity, one.uidnext) for one in report.folders] == [
        ("INBOX", "dovecot", 1, 5, 10),
        ("a", "dovecot", 1, 6, 10),
    ]
    assert heard.said == ["ann 2", "INBOX", "a"]
    assert heard.seen == 2
    assert bool(list(spool.root.rglob("maildir-imapd*"))) is not dry_run


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_is_encrypted(spool: Spool, dry_run: bool) -> None:
    """Before a client meets it, and also once the folder has been taken over."""
    for _ in range(3):
        spool.put("a", CRYPTED, "S")
    spool.put("INBOX", CRYPTED)
    for _ in range(2):
        report = run(spool.root, dry_run=dry_run)
        assert kinds(report) == [("encrypted", "INBOX", 1), ("encrypted", "a", 3)]
        assert report.kinds() == {"encrypted": (2, 4)}
        assert report.status() == 1
        assert [one.messages for one in report.folders] == [2, 4]


def test_what_is_not_served(spool: Spool) -> None:
    cur = spool.root / "cur"
    (cur / "7.link:2,S").symlink_to("/dev/zero")
    os.mkfifo(cur / "5.fifo:2,S")
    (spool.root / ".Linked").symlink_to(spool.root)
    spool.simple("with\nlf", 1)
    report = run(spool.root)
    assert kinds(report) == [
        ("no-message", "INBOX", 2),
        ("link", ".Linked", 1),
        ("name", '".with\\x0alf"', 1),
    ]
    assert report.status() == 1


def test_lists_of_uids(spool: Spool, tmp_path: Path) -> None:
    (spool.root / "dovecot-uidlist").write_text("3 V5 N10 Gaa\nx\n")
    listed = spool.path("a") / "dovecot-uidlist"
    listed.rename(tmp_path / "elsewhere")
    listed.symlink_to(tmp_path / "elsewhere")
    spool.simple("b", 2)
    (spool.path("b") / "dovecot.index.log").touch()
    for dry_run in (True, False):
        report = run(spool.root, dry_run=dry_run)
        assert kinds(report) == [("uids-damaged", "INBOX", 1), ("uids-unreadable", "a", 1), ("uids-missing", "b", 2)]
        assert report.status() == 1
    # What had no list of UIDs has one now, and no longer asks for a look.
    assert kinds(run(spool.root)) == [("uids-unreadable", "a", 1)]


def test_another_uidvalidity(spool: Spool) -> None:
    run(spool.root, dry_run=False)
    (spool.path("a") / "dovecot-uidlist").write_text("3 V77 N10 Gaa\n")
    report = run(spool.root, dry_run=False)
    assert [found.kind for found in report.findings()] == ["uidvalidity"]


def test_no_maildir(tmp_path: Path) -> None:
    report = run(tmp_path / "none")
    assert [(found.kind, found.user, found.where) for found in report.findings()] == [("no-maildir", "ann", "")]
    assert report.status() == 1


def test_an_error_is_no_finding_like_others(tmp_path: Path) -> None:
    report = Report(dry_run=True)
    # %h of a user who has none.
    adopting.adopt(load(None, {"mail_location": "maildir:%h/M"}), Identity("ann"), report, Heard())
    assert [found.kind for found in report.findings()] == ["failed"]
    assert report.status() == 3
    report.elsewhere.append(Finding("link", "ann", "x", "words"))
    assert report.status() == 3
    report.interrupted = True
    assert report.status() == 130


def test_what_an_ordinary_user_may_not_read() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        spool = Spool(Path(directory) / "Maildir")
        base = spool.put("INBOX", b"x", "S")
        spool.simple("closed", 1)
        spool.simple("entirely", 1)
        (spool.root / "cur" / f"{base}:2,S").chmod(0)
        (spool.path("closed") / "cur").chmod(0)
        if os.geteuid() == 0:
            for path in (spool.root, *spool.root.rglob("*")):
                os.chown(path, 65534, 65534)
            # A file that is another's.
            os.chown(spool.root / "cur" / f"{base}:2,S", 0, 0)
        spool.path("entirely").chmod(0)

        def look() -> None:
            report = run(spool.root)
            assert kinds(report) == [
                ("message-unreadable", "INBOX", 1),
                ("folder-unreadable", "closed", 1),
                ("folder-unreadable", "entirely", 1),
            ]
            assert [(one.messages, one.new_uids) for one in report.folders[1:]] == [(None, False)] * 2
            words = [found.words for found in report.findings()]
            assert words[2] == f"The mailbox cannot be read: {spool.path('entirely')}: Permission denied"
            assert report.status() == 1

        as_nobody(look)


def test_each_kind_has_words() -> None:
    assert set(adopting.KINDS) > adopting.ERRORS
    assert all(adopting.KINDS.values())
