"""What was expunged can be had back: as it was, for a while, beside the quota, and never in none of the two places."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import die_at, run
from spool import Spool

from maildir_imapd.errors import DiskFull, LockTimeout
from maildir_imapd.store.account import Account
from maildir_imapd.store.deleted import NAME
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.store.maildir.layout import Places

DAY = 86400


def opened(root: Path, *, seconds: float = 7 * DAY, kind: str = "maildir++", **given: Any) -> Account:
    account = Account(Places(os.fsencode(root), kind=kind), fsync="never", **given)
    account.deleted.seconds = seconds
    return account


def uids(account: Account, name: str) -> list[int]:
    return list(account.mailbox(name).sync().uids)


def kept(account: Account) -> dict[str, int]:
    """How many messages are kept, by mailbox."""
    if not account.deleted.there():
        return {}
    hidden = account.deleted.account()
    found = {row.name: len(hidden.mailbox(row.name).sync()) for row in hidden.folders() if row.selectable}
    return {name: count for name, count in found.items() if count}


def expunge(account: Account, name: str, *which: int, flagged: int = 0) -> None:
    account.mailbox(name).expunge(which or uids(account, name), flagged=flagged)


@pytest.mark.parametrize("kind", ["maildir++", "fs"])
def test_it_is_kept_under_the_mailbox_it_was_in(kind: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "M", nested=kind == "fs")
    spool.simple("INBOX", 2)
    spool.simple("Lists/Wörk" if kind == "fs" else "Lists.Wörk", 3)
    account = opened(spool.root, kind=kind)
    work = f"Lists{account.delimiter}Wörk"
    expunge(account, "INBOX", 1)
    expunge(account, work)
    assert kept(account) == {"INBOX": 1, work: 3}
    # No client is shown it, and nobody who comes later.
    for each in (account, opened(spool.root, kind=kind)):
        assert [row.name for row in each.folders()] == ["INBOX", "Lists", work]
    assert not each.passed_over()


def test_flags_keywords_and_dates_come_along(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    account = opened(spool.root)
    box = account.mailbox("INBOX")
    received, body = box.sync().received[0], box.read(1)
    box.set_flags([1], add=box.flags([b"\\Seen", b"\\Deleted", b"$Forwarded", b"Ann"], create=True))
    expunge(account, "INBOX", 1, flagged=DELETED)
    there = account.deleted.account().mailbox("INBOX")
    rows = there.sync()
    assert set(rows.flag_names(rows.flags[0], 1)) == {b"\\Seen", b"$Forwarded", b"Ann"}
    assert rows.received[0] == received
    assert rows.saved[0] > time.time() - 60
    assert there.read(1) == body
    again = account.mailbox("INBOX").copy_from(there, [1])
    now = account.mailbox("INBOX").sync()
    assert list(again) == [(1, 2)]
    assert set(now.flag_names(now.flags[0], 2)) == {b"\\Seen", b"$Forwarded", b"Ann"}


def test_only_what_goes_is_kept(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    account = opened(spool.root)
    box = account.mailbox("INBOX")
    box.set_flags([2], add=box.flags([b"\\Deleted"], create=False))
    expunge(account, "INBOX", 1, 2, 3, flagged=DELETED)
    assert uids(account, "INBOX") == [1, 3]
    assert kept(account) == {"INBOX": 1}


def test_without_the_setting_nothing_is(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    spool.simple("Work", 1)
    account = opened(spool.root, seconds=0)
    expunge(account, "INBOX")
    account.delete("Work")
    assert not account.deleted.there()
    assert not (spool.root / os.fsdecode(NAME)).exists()


def test_a_move_keeps_nothing_and_a_mailbox_that_is_deleted_all(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    spool.simple("Work", 2)
    account = opened(spool.root)
    account.mailbox("Work").copy_from(account.mailbox("INBOX"), [1, 2], move=True)
    assert kept(account) == {}
    account.delete("Work")
    assert kept(account) == {"Work": 4}
    assert [row.name for row in account.folders()] == ["INBOX"]


def test_beside_the_quota(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    account = opened(spool.root, quota_messages=10)

    def used() -> int:
        usage = account.quota.usage()
        assert usage is not None
        return usage.used.messages

    assert used() == 3
    expunge(account, "INBOX")
    assert (used(), kept(account)) == (0, {"INBOX": 3})
    account.quota.doubt()
    assert used() == 0


def test_gone_for_good_when_its_time_is_over(spool: Spool) -> None:
    spool.simple("INBOX", 2)
    spool.simple("Work", 2)
    account = opened(spool.root)
    expunge(account, "INBOX")
    expunge(account, "Work")
    now = time.time()
    assert account.deleted.expire(now + 6 * DAY) == 0
    assert account.deleted.expire(now + 8 * DAY, lambda: False) == 0
    assert account.deleted.expire(now + 8 * DAY) == 4
    assert kept(account) == {}
    assert not list((spool.root / os.fsdecode(NAME)).rglob("*:2,*"))
    # And the empty folder after a while.
    account.deleted.expire(now + 8 * DAY)
    assert [row.name for row in account.deleted.account().folders()] == ["INBOX"]


def test_the_oldest_go_where_they_are_too_many_octets(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("INBOX", 2)
    spool.simple("Work", 2)
    account = opened(spool.root)
    expunge(account, "Work", 1)
    expunge(account, "INBOX")
    expunge(account, "Work", 2)
    hidden = account.deleted.account()
    boxes = [hidden.mailbox(name) for name in ("INBOX", "Work")]
    whole = sum(box.amount([1, 2]).storage for box in boxes)
    account.deleted.octets = whole
    assert account.deleted.expire(time.time()) == 0
    account.deleted.octets = whole - 1
    assert account.deleted.expire(time.time()) == 1
    account.deleted.octets = 1
    assert account.deleted.expire(time.time()) == 3
    account.deleted.octets = 0
    assert kept(account) == {}


def test_whoever_removes_them_is_called(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    account = opened(spool.root)
    called: list[int] = []
    account.deleted.wanted = lambda: called.append(1)
    expunge(account, "INBOX")
    assert called == [1]


@pytest.mark.parametrize("error", [DiskFull, LockTimeout])
def test_what_cannot_be_kept_goes_all_the_same(
    error: Callable[[], Exception], spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nobody could make room."""

    def fails(*_: object, **__: object) -> None:
        raise error()

    spool.simple("INBOX", 1)
    account = opened(spool.root)
    monkeypatch.setattr(Mailbox, "copy_from", fails)
    expunge(account, "INBOX")
    assert uids(account, "INBOX") == []
    assert "expunged messages not kept" in caplog.text


def test_what_others_have_removed_meanwhile_keeps_no_other_from_it(spool: Spool) -> None:
    spool.simple("INBOX", 3)
    account = opened(spool.root)
    uids(account, "INBOX")
    spool.remove("INBOX", spool.files("INBOX")[0].partition(":")[0])
    account.mailbox("INBOX").expunge([1, 2, 3])
    assert uids(account, "INBOX") == []
    assert kept(account) == {"INBOX": 2}


def test_the_directory_may_be_removed_at_any_time(spool: Spool) -> None:
    import shutil

    spool.simple("INBOX", 2)
    account = opened(spool.root)
    expunge(account, "INBOX", 1)
    shutil.rmtree(spool.root / os.fsdecode(NAME))
    assert kept(account) == {}
    expunge(account, "INBOX", 2)
    assert kept(account) == {"INBOX": 1}


def test_two_threads_at_once(spool: Spool) -> None:
    spool.simple("INBOX", 60)
    spool.simple("Work", 60)
    accounts = [opened(spool.root) for _ in range(2)]
    together = threading.Barrier(4)

    def work(account: Account, name: str) -> None:
        box = account.mailbox(name)
        together.wait()
        box.expunge(list(range(1, 61)))

    threads = [threading.Thread(target=work, args=(a, name)) for a in accounts for name in ("INBOX", "Work")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = kept(accounts[0])
    # Both may have kept one that only one of them has removed.
    assert all(60 <= count <= 120 for count in found.values())
    assert set(found) == {"INBOX", "Work"}
    assert uids(accounts[1], "INBOX") == uids(accounts[1], "Work") == []


def bodies(account: Account, name: str) -> set[bytes]:
    box = account.mailbox(name)
    return {box.read(uid) for uid in box.sync().uids}


@pytest.mark.slow
@pytest.mark.parametrize("delete", [False, True])
def test_dying_everywhere(delete: bool, tmp_path: Path) -> None:
    """Each message is in its mailbox or among the kept ones, or in both; and whoever comes next can go on."""
    for number in range(1, 400):
        spool = Spool(tmp_path / str(number) / "M")
        spool.simple("Work", 3)
        account = opened(spool.root)
        before = bodies(account, "Work")

        def dying(spool: Spool = spool, number: int = number) -> object:
            account = opened(spool.root)
            box = account.mailbox("Work")
            found = list(box.sync().uids)
            die_at(number, torn=False)
            if delete:
                account.delete("Work")
            else:
                box.expunge(found)
            durable.step = None
            return None

        lived, _ = run(dying)
        for lock in spool.root.rglob("*.lock"):
            os.utime(lock, (1, 1))
        account = opened(spool.root)
        there = bodies(account, "Work") if account.exists("Work") else set()
        hidden = bodies(account.deleted.account(), "Work") if "Work" in kept(account) else set()
        assert there | hidden == before, number
        if there:
            expunge(account, "Work")
            assert bodies(account.deleted.account(), "Work") == before
        assert account.deleted.expire(time.time() + 8 * DAY) >= 3
        if lived:
            assert number > 5
            return
    raise AssertionError("it never came to its end")
