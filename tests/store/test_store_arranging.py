"""The mailboxes that the administrator sets up are made, and no others, and what the user does to them holds."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from spool import Spool

from maildir_imapd.errors import DiskFull
from maildir_imapd.store.account import Account
from maildir_imapd.store.arranging import arrange
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.records import usual
from maildir_imapd.store.records.usual import FOR_NEW_USERS, INTENT, UsualMailbox, parse, render

NEW = ["Drafts", "Junk", "Sent", "Trash"]
SUBSCRIBED = UsualMailbox(("Lists", "Work"), None, "subscribe")
MADE = UsualMailbox(("Bin",), b"\\Trash", "create")
LEFT = UsualMailbox(("Out",), b"\\Sent")


def opened(root: Path, *mailboxes: UsualMailbox, welcome: bool = False, **given: Any) -> Account:
    account = Account(os.fsencode(root), fsync="never", welcome=welcome, **given)
    account.usual = mailboxes
    arrange(account)
    return account


def names(account: Account) -> list[str]:
    return [row.name for row in account.folders() if row.name != "INBOX"]


def test_a_new_user_has_what_new_users_have(tmp_path: Path) -> None:
    account = opened(tmp_path / "Maildir", welcome=True)
    assert names(account) == NEW
    assert sorted(account.subscriptions()) == NEW
    assert account.special_use() == {name: (b"\\" + name.encode(),) for name in NEW}
    assert not (tmp_path / "Maildir" / os.fsdecode(INTENT)).exists()
    # What he removes stays away.
    account.delete("Junk")
    account.unsubscribe("Sent")
    again = opened(tmp_path / "Maildir", welcome=True)
    assert names(again) == ["Drafts", "Sent", "Trash"]
    assert "Sent" not in again.subscriptions()


@pytest.mark.parametrize("kind", ["maildir++", "fs"])
def test_in_every_layout(kind: Any, tmp_path: Path) -> None:
    places = Places(os.fsencode(tmp_path / "M"), kind=kind)
    account = Account(places, fsync="never", welcome=True)
    arrange(account)
    assert names(account) == NEW
    opened_again = Account(places, fsync="never", welcome=True)
    opened_again.usual = (SUBSCRIBED,)
    arrange(opened_again)
    assert f"Lists{opened_again.delimiter}Work" in opened_again.subscriptions()


def test_a_spool_that_is_there_gets_nothing(spool: Spool) -> None:
    assert names(opened(spool.root, welcome=True)) == []
    # Nor one whose INBOX alone is missing.
    spool.folder("Mine")
    for sub in ("cur", "new", "tmp"):
        shutil.rmtree(spool.root / sub)
    assert names(opened(spool.root, welcome=True)) == ["Mine"]


def test_what_the_setting_says(spool: Spool) -> None:
    spool.folder("Out")
    account = opened(spool.root, SUBSCRIBED, MADE, LEFT)
    assert names(account) == ["Bin", "Lists", "Lists.Work", "Out"]
    assert account.subscriptions() == ["Lists.Work"]
    assert account.special_use() == {"Bin": (b"\\Trash",), "Out": (b"\\Sent",)}
    # What its user has chosen goes before it.
    account.set_special_use("Lists.Work", (b"\\Trash",))
    assert account.special_use() == {"Lists.Work": (b"\\Trash",), "Out": (b"\\Sent",)}
    account.usual = ()
    assert account.special_use() == {"Lists.Work": (b"\\Trash",)}


def test_what_is_there_is_left_as_it_is(spool: Spool) -> None:
    account = opened(spool.root, SUBSCRIBED)
    account.unsubscribe("Lists.Work")
    assert opened(spool.root, SUBSCRIBED).subscriptions() == []
    account.delete("Lists.Work")
    again = opened(spool.root, SUBSCRIBED)
    assert "Lists.Work" in names(again)
    assert again.subscriptions() == ["Lists.Work"]


def test_below_the_prefix(spool: Spool) -> None:
    account = opened(spool.root, MADE, SUBSCRIBED, prefix="INBOX.")
    assert names(account) == ["INBOX.Bin", "INBOX.Lists", "INBOX.Lists.Work"]
    assert account.special_use() == {"INBOX.Bin": (b"\\Trash",)}
    assert (spool.root / ".Lists.Work" / "cur").is_dir()


def test_what_cannot_be_made_is_passed_over(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    wrong = UsualMailbox((".",), None, "create")
    account = opened(spool.root, wrong, MADE)
    assert names(account) == ["Bin"]
    assert "mailbox not made" in caplog.text
    assert not (spool.root / os.fsdecode(INTENT)).exists()
    caplog.clear()
    assert names(opened(spool.root, UsualMailbox(("Other",), None, "create"), quota_mailboxes=2)) == ["Bin"]
    assert "mailbox not made" in caplog.text


def test_a_full_disk_is_a_matter_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Account, name: str) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(Account, "create", full)
        assert names(opened(tmp_path / "M", welcome=True)) == []
    assert names(opened(tmp_path / "M", welcome=True)) == NEW


def test_several_at_once(tmp_path: Path) -> None:
    """One makes, all others wait or find it made: each sees all of them."""
    found: list[list[str]] = []
    together = threading.Barrier(4)

    def look() -> None:
        together.wait()
        account = opened(tmp_path / "M", MADE, welcome=True)
        found.append(names(account))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [sorted([*NEW, "Bin"])] * 4


def test_the_intent_comes_back_and_nonsense_in_it_is_nothing(tmp_path: Path) -> None:
    several = (SUBSCRIBED, UsualMailbox(("Ärger",), None, "create"))
    assert parse(render(several)) == several
    assert [each.levels for each in parse(render(FOR_NEW_USERS))] == [each.levels for each in FOR_NEW_USERS]
    assert parse(b"\xff\nno\tX\ncreate\n\tX\ncreate\t\n") == ()
    usual.begin(os.fsencode(tmp_path), several)
    assert (tmp_path / os.fsdecode(INTENT)).read_bytes() == render(several)
    (tmp_path / os.fsdecode(INTENT)).write_bytes(b"create\t../../etc\nsubscribe\tINBOX\ncreate\tA//B\n\0")
    assert names(opened(tmp_path)) == []
    assert not (tmp_path.parent / "etc").exists()
