"""Messages go by themselves when their time is over, and no others."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from crash import die_at, run
from spool import Spool

from maildir_imapd.errors import LockTimeout, MailboxMissing
from maildir_imapd.store import expiring
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.expiring import expire
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.records.usual import UsualMailbox

DAY = 86400
RULE = UsualMailbox(("Trash",), b"\\Trash", "no", 30 * DAY)
COUNT = UsualMailbox(("Trash",), None, "no", 0, 3)


def opened(spool: Spool, **given: int) -> tuple[Account, Mailbox]:
    account = Account(os.fsencode(spool.root), fsync="never", **given)  # type: ignore[arg-type]
    return account, account.mailbox("Trash")


def test_by_when_they_came_and_not_by_their_dates(spool: Spool) -> None:
    spool.simple("Trash", 3)
    spool.simple("INBOX", 1)
    account, box = opened(spool)
    now = time.time()
    rows = box.sync()
    assert max(rows.received) < now - 7 * DAY < min(rows.saved)
    assert expire(box, replace(RULE, expunge_after=7 * DAY), now) == 0
    assert expire(box, RULE, now + 29 * DAY) == 0
    assert expire(box, RULE, now + 31 * DAY) == 3
    assert (len(box.sync()), len(account.mailbox("INBOX").sync())) == (0, 1)


def test_a_copy_has_just_come(spool: Spool) -> None:
    spool.simple("INBOX", 1)
    spool.folder("Trash")
    account, box = opened(spool)
    source = account.mailbox("INBOX")
    box.copy_from(source, list(source.sync().uids), move=True)
    assert expire(box, replace(RULE, expunge_after=3600), time.time()) == 0
    assert len(box.sync()) == 1


def test_the_oldest_go_beyond_a_number(spool: Spool) -> None:
    spool.simple("Trash", 5)
    _, box = opened(spool)
    last = list(box.sync().uids)[-3:]
    assert expire(box, COUNT, time.time()) == 2
    assert list(box.sync().uids) == last
    assert expire(box, COUNT, time.time()) == 0


def test_one_whose_date_is_not_known_or_ahead_stays(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.simple("Trash", 3)
    _, box = opened(spool)
    rows = box.sync()

    class Rows:
        uids = rows.uids
        saved = (0, int(time.time()) + 400 * DAY, 1)

    assert expiring.expired(Rows, RULE, time.time() + 31 * DAY) == [rows.uids[2]]  # type: ignore[arg-type]
    assert expiring.expired(Rows, replace(COUNT, expunge_beyond=1), 0.0) == [*rows.uids[1:]]  # type: ignore[arg-type]


def test_in_pieces_that_can_be_ended(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiring, "PIECE_MESSAGES", 2)
    spool.simple("Trash", 5)
    _, box = opened(spool)
    answers = iter((True, True, False))
    assert expire(box, RULE, time.time() + 31 * DAY, lambda: next(answers)) == 4
    assert len(box.sync()) == 1


def test_another_sees_it_and_the_quota_is_right(spool: Spool) -> None:
    spool.simple("Trash", 4)
    account, box = opened(spool, quota_messages=10)
    other, shown = opened(spool, quota_messages=10)
    assert len(shown.sync()) == 4
    usage = account.quota.usage()
    assert usage is not None
    assert usage.used.messages == 4
    assert expire(box, RULE, time.time() + 31 * DAY) == 4
    assert len(shown.sync()) == 0
    for each in (account, other):
        usage = each.quota.usage()
        assert usage is not None
        assert usage.used == type(usage.used)(0, 0)


def test_numbers_that_mean_others_now_are_not_used(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailbox is deleted and made anew between the look and the change."""
    spool.simple("Trash", 2)
    account, box = opened(spool)
    true = Mailbox.expunge

    def late(self: Mailbox, uids: list[int], **given: int) -> list[int]:
        monkeypatch.setattr(Mailbox, "expunge", true)
        account.delete("Trash")
        account.create("Trash")
        spool.simple("Trash", 2)
        return true(self, uids, **given)

    monkeypatch.setattr(Mailbox, "expunge", late)
    with pytest.raises((MailboxMissing, LockTimeout)):
        expire(box, RULE, time.time() + 31 * DAY)
    assert len(account.mailbox("Trash").sync()) == 2


def test_two_processes_at_once(spool: Spool) -> None:
    spool.simple("Trash", 200)
    opened(spool)[1].sync()
    now = time.time() + 31 * DAY
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                os._exit(expire(opened(spool)[1], RULE, now))
            finally:
                os._exit(255)
        children.append(child)
    assert sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) == 200
    assert len(opened(spool)[1].sync()) == 0


@pytest.mark.slow
def test_dying_everywhere(tmp_path: Path) -> None:
    """What is gone is gone, what is there is whole, and who comes next does the rest."""
    now = time.time() + 31 * DAY
    for number in range(1, 300):
        spool = Spool(tmp_path / str(number) / "Maildir")
        spool.simple("Trash", 3)
        before = list(opened(spool)[1].sync().uids)

        def dying(spool: Spool = spool, number: int = number) -> object:
            _, box = opened(spool)
            die_at(number, torn=False)
            expire(box, RULE, now)
            durable.step = None
            return None

        lived, _ = run(dying)
        _, box = opened(spool)
        rows = box.sync()
        assert set(rows.uids) <= set(before)
        assert len(spool.files("Trash")) == len(rows)
        expire(box, RULE, now)
        assert len(box.sync()) == 0
        assert spool.files("Trash") == []
        assert box.sync().uidnext == before[-1] + 1
        if lived:
            assert number > 2
            return
    raise AssertionError("it never came to its end")
