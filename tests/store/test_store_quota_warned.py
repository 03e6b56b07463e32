"""Marks that are crossed: each is found once."""

from __future__ import annotations

import os
import threading

import pytest
from spool import Spool

from maildir_imapd.errors import StoreError
from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.flags import NO_FLAGS
from maildir_imapd.store.records.quota_warned import FILE, Crossing, Fullness, Warned, fullness

THRESHOLDS = (80, 95)


@pytest.mark.parametrize(
    ("used", "limit", "found"),
    [
        ((50, 1), (100, 0), Fullness(50, "storage", 50, 100)),
        ((50, 9), (100, 10), Fullness(90, "messages", 9, 10)),
        ((250, 1), (100, 10), Fullness(250, "storage", 250, 100)),
        ((79_999, 0), (100_000, 0), Fullness(79, "storage", 79_999, 100_000)),
        ((50, 9), (0, 0), Fullness(0)),
    ],
)
def test_how_full(used: tuple[int, int], limit: tuple[int, int], found: Fullness) -> None:
    assert fullness(used, limit) == found


def warned(spool: Spool) -> Warned:
    found = Account(bytes(spool.root), fsync="never").quota.warned
    assert found is not None
    return found


def test_crossings(spool: Spool) -> None:
    one = warned(spool)

    def cross(percent: int) -> tuple[int, int] | None:
        found = one.cross(lambda: Fullness(percent), THRESHOLDS)
        return None if found is None else (found.before, found.now.percent)

    assert cross(79) is None
    assert not (spool.root / os.fsdecode(FILE)).exists()
    assert cross(80) == (0, 80)
    assert cross(94) is None
    assert cross(110) == (80, 110)
    assert cross(95) is None
    assert cross(79) == (110, 79)
    assert cross(0) is None
    assert one.crosses(80, THRESHOLDS)
    assert not one.crosses(10, THRESHOLDS)
    # Another threshold: what is used now is over it, and nobody was told.
    assert one.cross(lambda: Fullness(50), ()) is None
    assert one.crosses(95, (95,))


def test_which_marks() -> None:
    up, down = Crossing(79, Fullness(95)), Crossing(95, Fullness(79))
    assert [threshold for threshold in (79, 80, 95, 96) if up.rises_over(threshold)] == [80, 95]
    assert [threshold for threshold in (79, 80, 95, 96) if down.falls_under(threshold)] == [80, 95]
    assert not any(up.falls_under(threshold) or down.rises_over(threshold) for threshold in (79, 80, 95, 96))


@pytest.mark.parametrize("data", [b"", b"x", b"-5\n", b"9" * 50, b"\xff\0"])
def test_a_file_of_nonsense_is_none(spool: Spool, data: bytes) -> None:
    (spool.root / os.fsdecode(FILE)).write_bytes(data)
    assert warned(spool).last() == 0


def test_a_file_that_cannot_be_written(spool: Spool) -> None:
    (spool.root / os.fsdecode(FILE)).mkdir()
    one = warned(spool)
    assert one.last() == 0
    with pytest.raises(StoreError):
        one.cross(lambda: Fullness(99), THRESHOLDS)


def test_of_many_at_once_one_finds_it(spool: Spool) -> None:
    several = [warned(spool) for _ in range(8)]
    found: list[Crossing] = []
    together = threading.Barrier(len(several))

    def cross(one: Warned) -> None:
        together.wait()
        crossing = one.cross(lambda: Fullness(90), THRESHOLDS)
        if crossing is not None:
            found.append(crossing)

    threads = [threading.Thread(target=cross, args=(one,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [Crossing(0, Fullness(90))]


def test_whoever_wants_to_hear_is_told_once_something_has_changed(spool: Spool) -> None:
    """As long as nothing has, and no threshold lies between, nothing is said."""
    account = Account(bytes(spool.root), fsync="never", quota_storage=1000)
    told: list[str] = []
    account.quota.tell()
    account.quota.crossing, account.quota.thresholds = lambda: told.append("x"), THRESHOLDS
    account.quota.tell()
    assert told == []
    account.quota.usage()
    inbox = account.mailbox("INBOX")

    def put(octets: int) -> None:
        delivery = inbox.deliver()
        delivery.write(b"S: x\r\n\r\n" + b"x" * octets + b"\r\n")
        inbox.commit([(delivery, NO_FLAGS, 1_000_000_000)])
        account.quota.tell()

    put(100)
    assert told == []
    put(750)
    assert told == ["x"]
    account.quota.tell()
    assert told == ["x"]
    # Where the file is doubted whoever hears it counts, and decides.
    account.quota.doubt()
    account.quota.tell()
    assert told == ["x", "x"]


def test_without_a_limit_nothing_is_told(spool: Spool) -> None:
    account = Account(bytes(spool.root), fsync="never")
    told: list[str] = []
    account.quota.crossing, account.quota.thresholds = lambda: told.append("x"), THRESHOLDS
    account.quota._changed = True
    account.quota.tell()
    assert told == []
