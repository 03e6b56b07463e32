"""maildirsize: read as others write it, kept true by what we do, counted anew when it must be."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest
from crash import Died, die_at, run
from spool import Spool

from maildir_imapd.errors import CannotDo, NoPermission, OverQuota, StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.filename import DELETED
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.records import quota
from maildir_imapd.store.records.quota import FILE, MARK, NOTHING, Amount, Quota, parse, render

NONE: frozenset[int] = frozenset()


def said(spool: Spool) -> bytes:
    return (spool.root / os.fsdecode(FILE)).read_bytes()


def write(spool: Spool, data: bytes, *, age: float = 0) -> None:
    path = spool.root / os.fsdecode(FILE)
    path.write_bytes(data)
    os.utime(path, (time.time() - age,) * 2)


def marked(spool: Spool) -> bool:
    return (spool.root / os.fsdecode(MARK)).exists()


def used(account: Account) -> Amount:
    usage = account.quota.usage()
    assert usage is not None
    return usage.used


def deliver(account: Account, name: str, text: bytes = b"Subject: x\r\n\r\nbody\r\n") -> int:
    box = account.mailbox(name)
    item = box.deliver()
    item.write(text)
    return box.commit([(item, Flags(), 1_000_000_000)])[0]


@pytest.fixture
def account(spool: Spool) -> Account:
    return Account(bytes(spool.root), fsync="never", quota_storage=10_000, quota_messages=10)


@pytest.mark.parametrize(
    ("data", "limit", "sum_", "lines", "sound"),
    [
        (b"10485760S,1000C\n0 0\n73 1\n", (10485760, 1000), (73, 1), 2, True),
        (b"1000S\n          73            1\n         -73           -1\n", (1000, 0), (0, 0), 2, True),
        (b"0S\n5 1\n", (0, 0), (5, 1), 1, True),
        (b"7C\n5 1\n", (0, 7), (5, 1), 1, True),
        (b" 5S , 7C \n5 1", (5, 7), (5, 1), 1, True),
        (b"5S,9X,,-3C\n5 1\n\n", (5, 0), (5, 1), 1, True),
        (b"5S\n", (5, 0), (0, 0), 0, False),
        (b"", (0, 0), (0, 0), 0, False),
        (b"5S\n5\n", (5, 0), (0, 0), 1, False),
        (b"5S\nx y\n5 1\n", (5, 0), (5, 1), 2, False),
        (b"5S\n-5 1\n", (5, 0), (-5, 1), 1, False),
        (b"5S\n5 -1\n", (5, 0), (5, -1), 1, False),
        (b"\0" * 20, (0, 0), (0, 0), 0, False),
    ],
)
def test_parse(data: bytes, limit: tuple[int, int], sum_: tuple[int, int], lines: int, sound: bool) -> None:
    found = parse(data)
    assert (found.limit, found.used, found.lines, found.sound) == (limit, sum_, lines, sound)


def test_a_long_file_is_not_sound() -> None:
    assert parse(b"5S\n" + b"1 0\n" * 1000).sound
    assert not parse(b"5S\n" + b"1 0\n" * 1400).sound


def test_render() -> None:
    assert render(Amount(10485760, 1000), Amount(73, 1), padded=False) == b"10485760S,1000C\n73 1\n"
    assert render(NOTHING, Amount(73, 1), padded=True) == b"0S\n          73            1\n"


def test_without_a_quota_nothing_is_written(spool: Spool) -> None:
    account = Account(bytes(spool.root), fsync="never")
    before = set(os.listdir(spool.root))
    deliver(account, "INBOX")
    spool.simple("INBOX", 1)
    account.mailbox("INBOX").sync()
    account.mailbox("INBOX").expunge([1])
    assert account.quota.usage() is None
    assert not {os.fsdecode(FILE), os.fsdecode(MARK)} & (set(os.listdir(spool.root)) - before)


def test_our_own_changes_are_appended(account: Account, spool: Spool) -> None:
    assert used(account) == (0, 0)
    assert said(spool) == b"10000S,10C\n0 0\n"
    account.create("box")
    deliver(account, "INBOX")
    deliver(account, "INBOX", b"A: b\r\n\r\n")
    account.mailbox("box").copy_from(account.mailbox("INBOX"), [1, 2])
    account.mailbox("INBOX").expunge([1])
    assert said(spool) == b"10000S,10C\n0 0\n17 1\n6 1\n23 2\n-17 -1\n"
    account.mailbox("box").copy_from(account.mailbox("INBOX"), [2], move=True)
    assert said(spool).endswith(b"\n-17 -1\n")
    assert used(account) == (29, 3)
    assert not marked(spool)


def test_a_mailbox_that_is_deleted(account: Account, spool: Spool) -> None:
    account.create("box")
    deliver(account, "box")
    deliver(account, "INBOX")
    assert used(account) == (34, 2)
    account.rename("box", "other")
    assert used(account) == (34, 2)
    account.delete("other")
    assert used(account) == (17, 1)


def test_sizes_come_from_the_name_or_the_file(account: Account, spool: Spool) -> None:
    spool.put("INBOX", b"12345\n", "", base="1.M1P1.h,S=100")
    spool.put("INBOX", b"12345\n", "S", base="2.M1P1.h")
    spool.put("a", b"12345\n", None, base="3.M1P1.h")
    (spool.root / "cur" / ".hidden").touch()
    (spool.root / "..other" / "cur").mkdir(parents=True)
    (spool.root / "..other" / "cur" / "4.M1P1.h:2,").touch()
    assert used(account) == (112, 3)
    inbox = account.mailbox("INBOX")
    assert used(account) == (112, 3)
    inbox.expunge([1, 2])
    assert said(spool) == b"10000S,10C\n112 3\n-106 -2\n"


def test_what_others_do_is_found(account: Account, spool: Spool) -> None:
    bases = spool.simple("INBOX", 3)
    before = used(account)
    inbox = account.mailbox("INBOX")
    assert used(account) == before
    spool.remove("INBOX", bases[0])
    spool.simple("INBOX", 2, None)
    inbox.sync()
    assert marked(spool)
    after = used(account)
    assert after.messages == 4
    assert not marked(spool)
    spool.reflag("INBOX", bases[1], "S")
    inbox.sync()
    assert not marked(spool)
    # Another process, which did not see it happen, is told by the mark.
    spool.remove("INBOX", bases[1])
    inbox.sync()
    assert used(Account(bytes(spool.root), fsync="never")).messages == 3


def test_expunging_what_somebody_else_has_removed(account: Account, spool: Spool) -> None:
    bases = spool.simple("INBOX", 3)
    inbox = account.mailbox("INBOX")
    used(account)
    spool.remove("INBOX", bases[0])
    assert inbox.expunge([1, 2]) == [1, 2]
    assert used(account).messages == 1


def test_a_delivery_program_that_counts(account: Account, spool: Spool) -> None:
    inbox = account.mailbox("INBOX")
    assert used(account) == (0, 0)
    spool.put("INBOX", b"12345\n", None)
    with open(spool.root / os.fsdecode(FILE), "ab") as file:
        file.write(b"6 1\n")
    assert used(account) == (6, 1)
    inbox.sync()
    assert used(account) == (6, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"10000S,10C\n" + b"0 0\n" * 1400,
        b"10000S,10C\n-1 0\n",
        b"10000S,10C\nnonsense\n",
        b"",
        b"9S\n7 7\n",  # the limit is another one now
        b"10000S,10C\n10000 1\n1 0\n",  # over, and more than one line
    ],
)
def test_counted_anew(account: Account, spool: Spool, data: bytes) -> None:
    spool.put("INBOX", b"12345\n", "")
    write(spool, data)
    assert used(account) == (6, 1)
    assert said(spool) == b"10000S,10C\n6 1\n"
    assert not list((spool.root / "tmp").iterdir())


def test_a_fresh_count_that_says_over_is_believed_for_a_while(account: Account, spool: Spool) -> None:
    write(spool, b"10000S,10C\n20000 1\n")
    assert used(account) == (20000, 1)
    write(spool, b"10000S,10C\n20000 1\n", age=1000)
    assert used(account) == (0, 0)


def test_the_limit_of_the_file(spool: Spool) -> None:
    """Courier's spools: the first line is the limit, and stays it."""
    spool.put("INBOX", b"12345\n", "")
    write(spool, b"100S,2C\n         -73           -1\n")
    (spool.root / "courierimapuiddb").write_bytes(b":1 1 1\n")
    account = Account(bytes(spool.root), fsync="never", mirror="courier")
    usage = account.quota.usage()
    assert usage is not None
    assert (usage.used, usage.limit) == ((6, 1), (100, 2))
    assert said(spool) == b"100S,2C\n           6            1\n"
    deliver(account, "INBOX")
    assert said(spool) == b"100S,2C\n           6            1\n          17            1\n"
    with pytest.raises(OverQuota):
        account.quota.demand(Amount(1, 1))


def test_no_limit_is_kept_true_all_the_same(spool: Spool) -> None:
    write(spool, b"0S\n0 0\n")
    account = Account(bytes(spool.root), fsync="never")
    deliver(account, "INBOX")
    assert said(spool) == b"0S\n0 0\n17 1\n"
    account.quota.demand(Amount(1 << 60, 1 << 60))


def test_demand(account: Account, spool: Spool) -> None:
    write(spool, b"10000S,10C\n9000 9\n")
    account.quota.demand(Amount(1000, 1))
    for more in (Amount(1001, 1), Amount(0, 2)):
        write(spool, b"10000S,10C\n9000 9\n")
        with pytest.raises(OverQuota):
            account.quota.demand(more)
    # What is over already may shrink.
    write(spool, b"10000S,10C\n20000 10\n")
    account.quota.demand(Amount(-5, 0))
    # An old count that says "no" is doubted first.
    write(spool, b"10000S,10C\n9000 9\n", age=1000)
    account.quota.demand(Amount(9000, 9))


def test_limits_change(account: Account, spool: Spool) -> None:
    assert used(account) == (0, 0)
    account.limit(0, 3)
    used(account)
    assert said(spool) == b"0S,3C\n0 0\n"


def test_the_mode_is_kept(account: Account, spool: Spool) -> None:
    write(spool, b"")
    path = spool.root / os.fsdecode(FILE)
    path.chmod(0o640)
    used(account)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_stops_nobody(account: Account, spool: Spool) -> None:
    spool.put("INBOX", b"12345\n", "")

    def step(action: str, what: object) -> None:
        if action in ("write", "create"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    durable.step = step
    try:
        assert used(account) == (6, 1)
    finally:
        durable.step = None
    assert used(account) == (6, 1)
    assert said(spool) == b"10000S,10C\n6 1\n"


def test_an_append_that_cannot_be_written_is_doubted(account: Account, spool: Spool) -> None:
    assert used(account) == (0, 0)

    def step(action: str, what: object) -> None:
        if action == "write" and isinstance(what, tuple) and what[1] == b"6 1\n":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    durable.step = step
    deliver(account, "INBOX", b"A: b\r\n\r\n")
    durable.step = None
    assert marked(spool)
    assert used(account) == (6, 1)


def test_an_append_during_a_count_is_not_lost(account: Account, spool: Spool) -> None:
    other = Quota(bytes(spool.root), Amount(10_000, 10), folders=account._layout.storage, synced=False)
    assert used(account) == (0, 0)
    spool.put("INBOX", b"12345\n", "")
    account.quota.doubt()
    done = []

    def step(action: str, what: object) -> None:
        if action == "replace" and what == FILE and not done:
            # The count is made, its file not yet in place.
            done.append(True)
            spool.put("INBOX", b"1234567\n", "")
            other.add(Amount(8, 1))

    durable.step = step
    assert used(account) == (14, 2)
    durable.step = None
    assert said(spool) == b"10000S,10C\n14 2\n"


def test_an_append_to_a_file_that_was_just_replaced(account: Account, spool: Spool) -> None:
    assert used(account) == (0, 0)
    other = Quota(bytes(spool.root), Amount(10_000, 10), folders=account._layout.storage, synced=False)
    done = []

    def step(action: str, what: object) -> None:
        if action == "write" and not done:
            done.append(True)
            other.doubt()
            other.usage()
            spool.put("INBOX", b"12345\n", "")

    durable.step = step
    account.quota.add(Amount(6, 1))
    durable.step = None
    assert marked(spool)
    assert used(account) == (6, 1)


def test_the_first_count_misses_nothing(account: Account, spool: Spool) -> None:
    """There is no file to append to while it is made for the first time."""
    account.quota.add(Amount(6, 1))
    assert marked(spool)


def test_a_directory_at_rest_is_listed_once(account: Account, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("INBOX", 3)
    spool.age()
    monkeypatch.setattr(quota, "GRAIN_SECONDS", -1.0)  # the inode's own stamp cannot be set back
    first = used(account)
    listed = []
    real = os.listdir

    def listdir(path: int) -> list[str]:
        listed.append(path)
        return real(path)

    monkeypatch.setattr(quota.os, "listdir", listdir)
    account.quota.doubt()
    assert used(account) == first
    assert not listed
    spool.simple("INBOX", 1, None)
    account.quota.doubt()
    assert used(account).messages == 4
    assert len(listed) == 1  # new/


def test_a_crash_between_the_folder_and_the_count(account: Account, spool: Spool) -> None:
    """The delta is written before the journal: a death before it is found by the next scan."""
    assert used(account) == (0, 0)

    def step(action: str, what: object) -> None:
        if action == "write" and isinstance(what, tuple) and what[1] == b"17 1\n":
            raise Died

    durable.step = step
    with pytest.raises(Died):
        deliver(account, "INBOX")
    durable.step = None
    again = Account(bytes(spool.root), fsync="never", quota_storage=10_000, quota_messages=10)
    again.mailbox("INBOX").sync()
    assert used(again) == (17, 1)
    again.mailbox("INBOX").set_flags([1], add=Flags(DELETED))
    assert used(again) == (17, 1)


def test_change(spool: Spool) -> None:
    spool.put("INBOX", b"12345\n", "")
    account = Account(bytes(spool.root), quota_mailboxes=3)
    account.quota.change(Amount(2048, 7))
    assert said(spool) == b"2048S,7C\n6 1\n"
    account.quota.change(NOTHING)
    assert said(spool) == b"0S\n6 1\n"
    with pytest.raises(CannotDo):
        account.quota.change(Amount(1 << 63, 0))
    account.quota.change(Amount(quota.LARGEST, quota.LARGEST))
    usage = account.quota.usage()
    assert usage is not None
    assert usage.limit == (quota.LARGEST, quota.LARGEST)
    account.limit(5, 0)
    with pytest.raises(NoPermission):
        account.quota.change(Amount(3, 3))


def test_a_change_that_cannot_be_written_is_an_error(spool: Spool) -> None:
    account = Account(bytes(spool.root), fsync="never")
    write(spool, b"1000S\n0 0\n")

    def step(action: str, what: object) -> None:
        if action == "create":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    durable.step = step
    try:
        with pytest.raises(StoreError):
            account.quota.change(Amount(5, 5))
    finally:
        durable.step = None
    assert said(spool) == b"1000S\n0 0\n"


def test_a_count_does_not_undo_a_change(spool: Spool) -> None:
    write(spool, b"1000S\n")
    account = Account(bytes(spool.root), fsync="never")
    other = Account(bytes(spool.root), fsync="never")
    done = []

    def step(action: str, what: object) -> None:
        if action == "write" and not done:
            # The count has read the old limit, and writes it.
            done.append(True)
            # Another process: it knows nothing of our locks.
            thread = threading.Thread(target=other.quota.change, args=(Amount(5, 5),))
            thread.start()
            thread.join()

    durable.step = step
    usage = account.quota.usage()
    durable.step = None
    assert done
    assert usage is not None
    assert usage.limit == (5, 5)
    assert said(spool) == b"5S,5C\n0 0\n"
    assert not os.listdir(spool.root / "tmp")


def test_a_file_that_goes_while_it_is_counted_is_not_made_again(spool: Spool) -> None:
    write(spool, b"1000S\n")
    account = Account(bytes(spool.root), fsync="never")
    path = spool.root / os.fsdecode(FILE)

    def step(action: str, what: object) -> None:
        if action == "write":
            path.unlink()

    durable.step = step
    account.quota.usage()
    durable.step = None
    assert not path.exists()
    assert account.quota.usage() is None


def test_a_change_by_another_process_is_kept_to(spool: Spool) -> None:
    here = Account(bytes(spool.root), fsync="never")
    deliver(here, "INBOX")
    there = Account(bytes(spool.root), fsync="never")
    there.quota.change(Amount(0, 2))
    here.quota.demand(Amount(1, 1))
    deliver(here, "INBOX")
    assert said(spool) == b"0S,2C\n17 1\n17 1\n"
    with pytest.raises(OverQuota):
        here.quota.demand(Amount(1, 1))


@pytest.mark.parametrize("number", range(1, 12))
def test_a_crash_during_a_change(spool: Spool, number: int) -> None:
    spool.put("INBOX", b"12345\n", "")
    write(spool, b"1000S\n6 1\n")

    def work() -> None:
        account = Account(bytes(spool.root))
        die_at(number, torn=False)
        account.quota.change(Amount(5000, 5))

    lived, _ = run(work)
    usage = Account(bytes(spool.root)).quota.usage()
    assert usage is not None
    assert usage.used == (6, 1)
    assert usage.limit in ([(5000, 5)] if lived else [(1000, 0), (5000, 5)])
