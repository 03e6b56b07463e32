"""What is open although nobody uses it: one list for a process, bounded by descriptors, octets and age."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import run
from memory import MemoryClient
from open_files import descriptor_count, descriptors_to_begin_with
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import descriptors, unused
from maildir_imapd.store.disk.unused import Bounds, Cost, Shelf, Unused
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.store.watch import Watcher

MANY = Bounds(descriptors=1000)
ORDINARY = Cost(1, 10)


class Thing:
    """Something to keep."""


class Clock:
    """Seconds that go when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keep(shelf: Shelf[str, Thing], names: str, cost: Cost = ORDINARY) -> Callable[[], str]:
    """Keep a thing for each name, and give what says which are still there."""
    there: dict[str, weakref.ref[Thing]] = {}
    for name in names:
        thing = Thing()
        there[name] = weakref.ref(thing)
        shelf.put(name, thing, cost)
    del thing
    return lambda: "".join(name for name, ref in there.items() if ref() is not None)


@pytest.mark.parametrize("bounds", [Bounds(descriptors=3), Bounds(descriptors=9, octets=39)])
def test_beyond_a_bound_the_longest_unused_goes_whoever_it_belongs_to(bounds: Bounds) -> None:
    whole = Unused(bounds)
    first, second = Shelf[str, Thing](whole), Shelf[str, Thing](whole)
    ours, theirs = keep(first, "abc"), keep(second, "de")
    assert (ours(), theirs(), len(whole), whole.cost) == ("c", "de", 3, Cost(3, 30))


def test_what_is_used_again_is_the_last_to_go() -> None:
    shelf: Shelf[str, Thing] = Shelf(Unused(Bounds(descriptors=2)))
    thing = Thing()
    shelf.put("a", thing, Cost(1))
    there = keep(shelf, "b")
    shelf.put("a", thing, Cost(1))
    keep(shelf, "c")
    assert there() == ""
    last = weakref.ref(thing)
    del thing
    assert last() is not None


def test_what_is_used_again_at_the_same_price_counts_once_and_is_as_young_as_its_last_use() -> None:
    clock = Clock()
    whole = Unused(Bounds(descriptors=2, age_seconds=60.0), clock)
    shelf: Shelf[str, Thing] = Shelf(whole)
    thing = Thing()
    shelf.put("a", thing, ORDINARY)
    there = keep(shelf, "b")
    clock.now += 59
    shelf.put("a", thing, ORDINARY)
    assert whole.cost == Cost(2, 20)
    clock.now += 1
    assert whole.let_go_old() == 10
    assert (there(), whole.cost) == ("", ORDINARY)
    shelf.put("a", Thing(), ORDINARY)
    assert (len(whole), whole.cost) == (1, ORDINARY), "another thing in its place"


def test_what_alone_is_beyond_the_bounds_is_not_kept() -> None:
    whole = Unused(Bounds(descriptors=3))
    there = keep(Shelf(whole), "ab", Cost(4))
    assert (there(), whole.cost) == ("", Cost())


def test_what_is_old_goes_when_somebody_comes_by() -> None:
    clock = Clock()
    whole = Unused(Bounds(9, age_seconds=60.0), clock)
    shelf: Shelf[str, Thing] = Shelf(whole)
    old = keep(shelf, "a")
    clock.now += 59
    young = keep(shelf, "b")
    assert whole.let_go_old() == 0
    assert (old(), young()) == ("a", "b")
    clock.now += 1
    assert whole.let_go_old() == 10
    assert (old(), young()) == ("", "b")


def test_what_somebody_uses_costs_nothing() -> None:
    whole = Unused(MANY)
    shelf: Shelf[str, Thing] = Shelf(whole)
    thing = Thing()
    shelf.put("a", thing, Cost(1, 10))
    shelf.take("a", Thing())
    assert len(whole) == 1, "another one of that name"
    shelf.take("a", thing)
    shelf.take("a")
    assert (len(whole), whole.cost) == (0, Cost())


def test_a_shelf_ends_with_its_owner_and_what_leaves_is_told() -> None:
    whole = Unused(MANY)
    left: list[object] = []
    shelf, other = Shelf[str, Thing](whole, left.append), Shelf[str, Thing](whole)
    thing = Thing()
    shelf.put("a", thing, Cost(1))
    there = keep(other, "a")
    del shelf
    assert left == [thing]
    assert (there(), len(whole)) == ("a", 1)


@pytest.fixture
def _no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that other tests have left open stands in the way."""
    monkeypatch.setattr(descriptors, "_keepers", weakref.WeakSet())


@pytest.mark.usefixtures("_no_others")
def test_when_descriptors_run_short_the_longest_unused_goes() -> None:
    first, second = Unused(MANY), Unused(MANY)
    a, b = Shelf[str, Thing](first), Shelf[str, Thing](second)
    there = [keep(a, "a"), keep(b, "b"), keep(a, "c")]
    assert descriptors.relieve(1000)
    assert [each() for each in there] == ["", "b", "c"]
    assert descriptors.relieve(1)
    assert not descriptors.relieve(1)


def test_the_usual_bounds_are_a_share_of_what_the_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((1000, 500), (resource.RLIM_INFINITY, unused.DESCRIPTORS_MOST), (1 << 30, 100_000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert unused.usual_bounds().descriptors == most


# --- mailboxes -------------------------------------------------------------------------------------


def accounts(tmp_path: Path, whole: Unused, count: int, folders: int, watcher: Watcher | None = None) -> list[Account]:
    found = []
    for n in range(count):
        account = Account(os.fsencode(tmp_path / f"u{n}"), fsync="never", unused=whole, watcher=watcher)
        for f in range(folders):
            account.create(f"f{f}")
        found.append(account)
    return found


@pytest.mark.long
def test_all_accounts_of_a_process_have_one_bound(tmp_path: Path) -> None:
    whole = Unused(Bounds(descriptors=30))
    before = descriptors_to_begin_with()
    for account in accounts(tmp_path, whole, 4, 20):
        for f in range(20):
            account.mailbox(f"f{f}").sync()
        assert descriptor_count() - before <= 30 + 5
        assert 0 < whole.cost.descriptors <= 30
    # What it is said to have open is what is open.
    del account
    gc.collect()
    assert descriptor_count() == before


def test_the_price_of_a_mailbox_is_what_it_has_open(tmp_path: Path) -> None:
    whole = Unused(MANY)
    [account] = accounts(tmp_path, whole, 1, 0)
    before = descriptors_to_begin_with()
    box = account.mailbox("INBOX")
    item = box.deliver()
    item.write(b"A: 1\r\n\r\nx\r\n")
    box.commit([(item, box.flags([], create=False), 1)])
    box.cache.put_many(b"x", [(1, b"y")])
    box.listen(lambda: None).close()
    assert whole.cost.descriptors == descriptor_count() - before == 4


def test_the_price_of_a_mailbox_follows_what_is_read_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once when its index has changed or a session has left it, and after a moment at the latest."""
    whole = Unused(MANY)
    [account] = accounts(tmp_path, whole, 1, 0)
    box = account.mailbox("INBOX")
    empty = whole.cost
    box.commit([(_delivery(box, number), box.flags([], create=False), 1) for number in range(300)])
    assert account.mailbox("INBOX") is box
    filled = whole.cost
    assert filled.octets >= empty.octets + 300 * 40
    box.cache.put_many(b"x", [(uid, b"y" * 1000) for uid in range(1, 301)])
    later = time.monotonic() + 2.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert account.mailbox("INBOX") is box
    assert whole.cost.octets > filled.octets


def _delivery(box: Mailbox, number: int) -> Delivery:
    item = box.deliver()
    item.write(b"A: %d\r\n\r\nx\r\n" % number)
    return item


def test_a_mailbox_that_somebody_listens_to_does_not_stand_there(tmp_path: Path) -> None:
    whole = Unused(MANY)
    [account] = accounts(tmp_path, whole, 1, 1)
    box = account.mailbox("f0")
    assert len(whole) == 1
    first, second = box.listen(lambda: None), box.listen(lambda: None)
    assert len(whole) == 0
    assert account.mailbox("f0") is box
    first.close()
    assert len(whole) == 0
    second.close()
    assert len(whole) == 1


def test_what_is_let_go_of_is_watched_no_longer(tmp_path: Path) -> None:
    whole, watcher = Unused(Bounds(descriptors=6)), Watcher()
    try:
        [account] = accounts(tmp_path, whole, 1, 3, watcher)
        for f in range(3):
            account.mailbox(f"f{f}").listen(lambda: None).close()
        assert len(watcher._boxes) == len(whole) < 3
    finally:
        watcher.close()


def test_a_selected_mailbox_is_not_let_go_of(spool: Spool) -> None:
    """With room for nothing: it is open as long as it is selected, and no longer."""
    before = descriptors_to_begin_with()
    account = Account(os.fsencode(spool.root), fsync="never", unused=Unused(Bounds(descriptors=0)))
    client = MemoryClient(account)
    client.command(b"L LOGIN ann secret")
    client.command(b"s SELECT INBOX")
    assert client.session.view is not None
    box = client.session.view.mailbox
    for n in range(3):
        client.command(b"c CREATE f%d" % n)
        client.command(b"t STATUS f%d (MESSAGES)" % n)
    assert account.mailbox("INBOX") is box
    del box
    assert descriptor_count() > before
    client.command(b"u UNSELECT")
    assert descriptor_count() == before


# --- folders that another program has removed --------------------------------------------------------


def test_folders_that_another_program_removed_are_let_go_of(tmp_path: Path) -> None:
    whole = Unused(MANY)
    [account] = accounts(tmp_path, whole, 1, 3)
    client = MemoryClient(account)
    client.command(b"L LOGIN ann secret")
    before = descriptors_to_begin_with()
    list_status = b'x LIST "" * RETURN (STATUS (MESSAGES))'
    assert sum(line.startswith(b"* STATUS") for line in client.command(list_status)) == 4
    opened = descriptor_count()
    box = weakref.ref(account.mailbox("f1"))
    shutil.rmtree(tmp_path / "u0" / ".f1")
    assert sum(line.startswith(b"* STATUS") for line in client.command(list_status)) == 3
    assert box() is None
    assert len(whole) == 3
    assert before < descriptor_count() < opened


def test_a_folder_that_is_seen_to_be_gone_is_let_go_of(tmp_path: Path) -> None:
    """By whoever sees it first: here the watch thread's look at one that nobody listens to any more."""
    whole, watcher = Unused(MANY), Watcher()
    try:
        [account] = accounts(tmp_path, whole, 1, 1, watcher)
        account.mailbox("f0").listen(lambda: None).close()
        key = next(iter(watcher._boxes))
        gone = weakref.ref(watcher._boxes[key])
        watcher._thread.ask_to_end()
        watcher._bell.ring()
        watcher._thread.join()
        shutil.rmtree(tmp_path / "u0" / ".f0")
        watcher._look(key)
        assert (len(whole), watcher._boxes, gone()) == (0, {}, None)
    finally:
        watcher.close()


# --- with few descriptors ----------------------------------------------------------------------------


def list_status(root: Path, room: int, users: int, folders: int) -> list[str]:
    """Users who ask for the figures of all their folders at the same time; what is not as it should be."""
    limit = descriptors_to_begin_with() + room
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    whole = Unused()
    wrong: list[str] = []

    def ask(account: Account) -> None:
        client = MemoryClient(account)
        client.command(b"L LOGIN ann secret")
        for _ in range(2):
            lines = client.command(b'x LIST "" * RETURN (STATUS (MESSAGES UIDNEXT))')
            told = sum(line.startswith(b"* STATUS") for line in lines)
            if told != folders + 1 or not lines[-1].startswith(b"x OK"):
                wrong.append(f"{told} {lines[-1]!r}")

    opened = accounts(root, whole, users, folders)
    threads = [threading.Thread(target=ask, args=(account,)) for account in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.mark.long
def test_list_status_leaves_no_figure_out_for_folders_that_nobody_uses(tmp_path: Path) -> None:
    _, wrong = run(lambda: list_status(tmp_path, 80, 6, 40))
    assert wrong == []
