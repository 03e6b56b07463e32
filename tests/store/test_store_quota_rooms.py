"""Mailboxes that the quota treats otherwise, and who has counted the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.errors import OverQuota
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.records.quota import Amount
from maildir_imapd.store.records.quota_rooms import COUNTED, Grace, MailboxRoom

TRASH = MailboxRoom(("Trash",), ignored=True)
BELOW = MailboxRoom(("Trash", "*"), ignored=True)
ROOMY = MailboxRoom(("Trash",), storage=50, messages_percent=50)
TEXT = b"Subject: x\r\n\r\nbody\r\n"  # 17 octets on the disk


def opened(spool: Spool, *rooms: MailboxRoom, storage: int = 100, messages: int = 4) -> Account:
    account = Account(Places(bytes(spool.root), "fs" if spool.nested else "maildir++"), fsync="never")
    account.limit(storage, messages, 0, rooms)
    return account


def used(account: Account) -> Amount:
    usage = account.quota.usage()
    assert usage is not None
    return usage.used


def deliver(account: Account, name: str) -> int:
    box = account.mailbox(name)
    item = box.deliver()
    item.write(TEXT)
    return box.commit([(item, box.flags((), create=False), 1_000_000_000)])[0]


def move(account: Account, source: str, target: str, uid: int) -> None:
    account.mailbox(target).copy_from(account.mailbox(source), [uid], move=True)


def file(spool: Spool) -> Path:
    return spool.root / "maildirsize"


def counted_anew(spool: Spool) -> bool:
    """Whether the file has no more than what was counted."""
    return len(file(spool).read_text().splitlines()) == 2


@pytest.mark.parametrize("nested", [False, True])
def test_one_that_does_not_count(tmp_path: Path, nested: bool) -> None:
    spool = Spool(tmp_path / "Maildir", nested=nested)
    for name in ("Trash", "Work"):
        spool.folder(name)
    account = opened(spool, TRASH)
    uid = deliver(account, "INBOX")
    deliver(account, "Trash")
    assert used(account) == (17, 1)
    move(account, "INBOX", "Trash", uid)
    assert used(account) == (0, 0)
    move(account, "Trash", "Work", 1)
    assert used(account) == (17, 1)
    account.mailbox("Trash").expunge([2])
    account.mailbox("Work").expunge([1])
    assert used(account) == (0, 0)
    # Whatever is counted anew says the same.
    deliver(account, "Trash")
    recounted = account.quota.recount()
    assert recounted is not None
    assert recounted.used == (0, 0)


@pytest.mark.parametrize("nested", [False, True])
def test_those_below(tmp_path: Path, nested: bool) -> None:
    spool = Spool(tmp_path / "Maildir", nested=nested)
    account = opened(spool, BELOW)
    below = account.delimiter.join(("Trash", "old"))
    for name in (below, "Trashes"):
        account.create(name)
        deliver(account, name)
    deliver(account, "Trash")
    assert used(account) == (34, 2)
    account = opened(spool, BELOW, TRASH)
    assert used(account) == (17, 1)


def test_room_for_everything_and_for_more(spool: Spool) -> None:
    for name in ("Trash", "Work"):
        spool.folder(name)
    account = opened(spool, TRASH)
    quota, trash, work = account.quota, account.mailbox("Trash").path, account.mailbox("Work").path
    quota.demand(Amount(10**9, 10**9), trash)
    quota.demand_message(10**9, trash)
    quota.demand_copy(trash, lambda: Amount(10**9, 1))
    with pytest.raises(OverQuota):
        quota.demand(Amount(101, 1), work)
    assert quota.demands_move(trash, work)
    assert not quota.demands_move(work, trash)
    account = opened(spool, ROOMY)
    account.quota.demand(Amount(150, 6), trash)
    for more in (Amount(151, 1), Amount(1, 7)):
        with pytest.raises(OverQuota):
            account.quota.demand(more, trash)
    with pytest.raises(OverQuota):
        account.quota.demand(Amount(101, 1), work)
    # It counts all the same, and is no limit where there is none.
    deliver(account, "Trash")
    assert used(account) == (17, 1)
    opened(spool, ROOMY, messages=0).quota.demand(Amount(1, 1000), trash)


def test_the_last_message_may_take_the_grace(spool: Spool) -> None:
    account = opened(spool, storage=100)
    account.quota.grace = Grace(5, 10)
    account.quota.demand_message(115)
    with pytest.raises(OverQuota):
        account.quota.demand_message(116)
    with pytest.raises(OverQuota):
        account.quota.demand(Amount(101, 1))
    spool.put("INBOX", b"x" * 99 + b"\n")
    account.quota.recount()
    with pytest.raises(OverQuota):
        account.quota.demand_message(1)
    # There is none for the number of messages.
    account = opened(spool, storage=1000, messages=1)
    account.quota.grace = Grace(100)
    with pytest.raises(OverQuota):
        account.quota.demand_message(1)


def test_a_limit_below_what_is_used(spool: Spool) -> None:
    spool.folder("Trash")
    account = opened(spool, MailboxRoom(("Trash",), storage=10), storage=0, messages=0)
    account.limit(1000, 0)
    for _ in range(3):
        deliver(account, "INBOX")
    account.limit(20, 0, 0, (MailboxRoom(("Trash",), storage=10),))
    assert used(account) == (51, 3)
    for folder in ("INBOX", "Trash"):
        with pytest.raises(OverQuota):
            account.quota.demand_message(1, account.mailbox(folder).path)
    move(account, "INBOX", "Trash", 1)
    account.mailbox("INBOX").expunge([2, 3])
    assert used(account) == (17, 1)


def test_other_rules_are_counted_anew(spool: Spool) -> None:
    spool.folder("Trash")
    account = opened(spool)
    for name in ("Trash", "INBOX"):
        deliver(account, name)
    assert used(account) == (34, 2)
    assert not (spool.root / os.fsdecode(COUNTED)).exists()
    assert used(opened(spool, TRASH)) == (17, 1)
    assert (spool.root / os.fsdecode(COUNTED)).exists()
    assert used(opened(spool)) == (34, 2)
    assert not (spool.root / os.fsdecode(COUNTED)).exists()


def test_what_another_program_has_counted_is_not_believed(spool: Spool) -> None:
    spool.folder("Trash")
    account = opened(spool, TRASH)
    for name in ("Trash", "INBOX"):
        deliver(account, name)
    assert used(account) == (17, 1)
    # It counts all mailboxes, in a file of its own; later again, in one that may have the number of ours.
    for _ in range(4):
        other = spool.root / "tmp" / "other"
        other.write_text("100S,4C\n34 2\n")
        other.rename(file(spool))
        assert used(account) == (17, 1)
        assert used(opened(spool, TRASH)) == (17, 1)
    # In ours another program adds a line, and is believed.
    with file(spool).open("a") as ours:
        ours.write("5 1\n")
    assert used(account) == (22, 2)


def test_one_that_gets_the_name_or_loses_it(spool: Spool) -> None:
    for name in ("Trash", "Work"):
        spool.folder(name)
    account = opened(spool, TRASH)
    for name in ("Trash", "Work", "Work"):
        deliver(account, name)
    assert used(account) == (34, 2)
    account.rename("Trash", "Old")
    assert used(account) == (51, 3)
    account.rename("Work", "Trash")
    assert used(account) == (17, 1)
    # Another program does it, and tells nobody.
    spool.path("Trash").rename(spool.path("Elsewhere"))
    assert used(account) == (51, 3)
    spool.path("Elsewhere").rename(spool.path("Trash"))
    assert used(opened(spool, TRASH)) == (17, 1)


def test_one_that_is_not_there(spool: Spool) -> None:
    account = opened(spool, TRASH)
    deliver(account, "INBOX")
    assert used(account) == (17, 1)
    deliver(account, "INBOX")
    assert not counted_anew(spool)
    assert used(account) == (34, 2)
    assert not counted_anew(spool)
    account.create("Trash")
    deliver(account, "Trash")
    assert used(account) == (34, 2)


def test_a_name_that_no_mailbox_can_have_is_passed_over(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    account = opened(spool, MailboxRoom(("x" * 300,), ignored=True), TRASH)
    assert "treat otherwise" in caplog.text
    spool.folder("Trash")
    deliver(account, "Trash")
    assert used(account) == (0, 0)


def test_a_note_that_cannot_be_read_is_none(spool: Spool) -> None:
    account = opened(spool, TRASH)
    deliver(account, "INBOX")
    assert used(account) == (17, 1)
    (spool.root / os.fsdecode(COUNTED)).unlink()
    (spool.root / os.fsdecode(COUNTED)).mkdir()
    assert used(account) == (17, 1)
    assert used(opened(spool)) == (17, 1)
