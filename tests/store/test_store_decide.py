"""What made a spool is seen from the spool; the decision is kept, and nothing is made where something else lies."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest
from nobody import as_nobody

from maildir_imapd.errors import NoSpool
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.decide import FILE, Decision, decide
from maildir_imapd.store.maildir.layout import Places


def made(path: Path) -> None:
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True, exist_ok=True)


def auto(root: Path) -> Places:
    return Places(os.fsencode(root), "auto")


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


HEADER = b"maildir-imapd layout 1\n"

# What lies below the root, in words of its paths; which kind that is, where INBOX is, and what clients see.
SPOOLS = {
    "dovecot": (["", ".Sent", ".Sent.2024"], "maildir++", "", ["INBOX", "Sent", "Sent.2024"]),
    "one folder": ([""], "maildir++", "", ["INBOX"]),
    "an odd directory beside flat folders": (["", ".Sent", "backup"], "maildir++", "", ["INBOX", "Sent"]),
    "dovecot fs": (["", "Sent", "Lists/Garden"], "fs", "", ["INBOX", "Lists", "Lists/Garden", "Sent"]),
    "mbsync": (["INBOX", "Sent", "Lists/Garden"], "fs", "INBOX", ["INBOX", "Lists", "Lists/Garden", "Sent"]),
    "mutt": (["inbox", "sent"], "fs", "inbox", ["INBOX", "sent"]),
    "no INBOX yet": (["work", "home"], "fs", "INBOX", ["INBOX", "home", "work"]),
    "flat with INBOX apart": (["INBOX", ".Sent"], "maildir++", "INBOX", ["INBOX", "Sent"]),
    "deep": (["a/b/c"], "fs", "INBOX", ["INBOX", "a", "a/b", "a/b/c"]),
}


@pytest.mark.parametrize("name", SPOOLS)
def test_what_made_a_spool(name: str, tmp_path: Path) -> None:
    folders, kind, inbox, names = SPOOLS[name]
    for each in folders:
        made(tmp_path / each)
    before = everything(tmp_path)
    found = decide(auto(tmp_path))
    assert found.places.kind == kind
    assert found.places.inbox == (os.fsencode(tmp_path / inbox) if inbox else None)
    assert found.why
    account = Account(auto(tmp_path), fsync="never")
    assert [row.name for row in account.folders()] == names
    # Nothing is written until there is something to keep it for, but for the INBOX that each account has.
    new = {inbox, *(f"{inbox}/{sub}" for sub in ("cur", "new", "tmp"))} if inbox else set()
    assert everything(tmp_path) <= before | new
    account.mailbox("INBOX")
    assert decide(auto(tmp_path)).places == found.places


def test_a_decision_stays_whatever_comes_later(tmp_path: Path) -> None:
    made(tmp_path / "INBOX")
    made(tmp_path / "Sent")
    first = Account(auto(tmp_path), fsync="never")
    first.mailbox("Sent")
    assert (tmp_path / os.fsdecode(FILE)).exists()
    made(tmp_path)
    made(tmp_path / ".Other")
    later = decide(auto(tmp_path))
    assert later.said
    assert (later.places.kind, later.places.inbox) == ("fs", os.fsencode(tmp_path / "INBOX"))


def test_what_was_served_as_usual_stays_so(tmp_path: Path) -> None:
    """From before there was a file: an index of ours beside INBOX says enough."""
    made(tmp_path)
    Account(bytes(tmp_path), fsync="never").mailbox("INBOX")
    made(tmp_path / "backup")
    assert decide(auto(tmp_path)) == Decision(Places(bytes(tmp_path)), "it has been served so before", said=True)


def test_nothing_is_made_where_something_else_lies(tmp_path: Path) -> None:
    (tmp_path / "Documents").mkdir()
    (tmp_path / ".profile").touch()
    before = everything(tmp_path)
    with pytest.raises(NoSpool) as caught:
        Account(auto(tmp_path), fsync="never")
    assert str(tmp_path) in caught.value.detail
    assert everything(tmp_path) == before


@pytest.mark.parametrize("files", [[], ["subscriptions"], ["dovecot-uidvalidity", "maildirsize"]])
def test_an_empty_root_is_a_new_users(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert decide(auto(tmp_path)).places.kind == "maildir++"
    assert decide(auto(tmp_path / "none")).places.kind == "maildir++"


@pytest.mark.parametrize(("folder", "utf8"), [("été", True), ("&AOk-t&AOk-", False), ("A & B", True), ("plain", False)])
def test_how_names_are_spelled(tmp_path: Path, folder: str, utf8: bool) -> None:
    made(tmp_path / "INBOX")
    made(tmp_path / folder)
    assert decide(auto(tmp_path)).places.utf8 is utf8


@pytest.mark.parametrize("text", [b"", HEADER.replace(b"1", b"2") + b"fs\nutf-7\n\n", HEADER + b"fs\nutf-7\n../x\n"])
def test_a_file_that_says_nothing_is_no_decision(tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path)
    (tmp_path / os.fsdecode(FILE)).write_bytes(text)
    assert decide(auto(tmp_path)).places.kind == "maildir++"
    assert "file of the layout not understood" in caplog.text


def test_what_is_said_is_not_looked_for(tmp_path: Path) -> None:
    made(tmp_path / "INBOX")
    said = Places(bytes(tmp_path), "maildir++")
    assert decide(said).places is said


@pytest.mark.parametrize("there", [["new"], ["new", "tmp"], ["tmp", "subscriptions"]])
def test_a_maildir_that_is_not_whole_is_completed(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    account = Account(auto(tmp_path), fsync="never")
    assert [row.name for row in account.folders()] == ["INBOX"]
    assert (tmp_path / "cur").is_dir()


def test_a_home_is_not_walked_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maildir_imapd.store.maildir.decide._LOOKS", 20)
    for number in range(50):
        (tmp_path / f"{number:02}" / "more").mkdir(parents=True)
    made(tmp_path / "49")
    with pytest.raises(NoSpool):
        decide(auto(tmp_path))
    made(tmp_path / "05")
    assert decide(auto(tmp_path)).places.kind == "fs"


def test_a_spool_that_cannot_be_written_is_decided_at_each_start() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        root = Path(directory) / "Mail"
        made(root / "INBOX")
        made(root / "Sent")
        for path in (root, *root.rglob("*")):
            path.chmod(0o555)

        def work() -> None:
            account = Account(auto(root), fsync="never")
            assert account.mailbox("Sent").read_only
            assert [row.name for row in account.folders()] == ["INBOX", "Sent"]

        as_nobody(work)
        assert not (root / os.fsdecode(FILE)).exists()
        for path in (root, *root.rglob("*")):
            path.chmod(0o755)


def test_two_that_meet_it_at_once_keep_one_decision(tmp_path: Path) -> None:
    made(tmp_path / "INBOX")
    made(tmp_path / "Sent")
    accounts = [Account(auto(tmp_path), fsync="never") for _ in range(8)]
    threads = [threading.Thread(target=account.mailbox, args=("Sent",)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decide(auto(tmp_path)) == Decision(accounts[0].layout.places, "an earlier look decided so", said=True)
    assert not list(tmp_path.glob("maildir-imapd.layout?*"))
