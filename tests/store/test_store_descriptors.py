"""Descriptors: one owner, counted users, no number after close, and what goes when they run short."""

from __future__ import annotations

import errno
import gc
import os
import resource
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash import run
from hypothesis import given
from hypothesis import strategies as st
from open_files import descriptor_count, descriptors_to_begin_with
from spool import Spool

from maildir_imapd.errors import MailboxMissing, TooManyFiles
from maildir_imapd.store.account import Account
from maildir_imapd.store.current import rest
from maildir_imapd.store.disk import descriptors
from maildir_imapd.store.disk.descriptors import Closed, Descriptor, Resting
from maildir_imapd.store.disk.unused import Bounds, Cost, Shelf, Unused
from maildir_imapd.store.folder import first_contact
from maildir_imapd.store.index.cache import Cache
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.watch import Watcher


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.fixture
def descriptor() -> Iterator[Descriptor]:
    found = Descriptor(os.open(os.devnull, os.O_RDONLY), "test")
    yield found
    found.close()


def test_the_last_user_closes(descriptor: Descriptor) -> None:
    with descriptor.use() as number:
        with descriptor.use() as again:
            assert again == number
            descriptor.close()
            assert is_open(number)
        assert is_open(number)
        assert descriptor.number == number, "whoever is inside may go on"
    assert not is_open(number)


def test_nobody_gets_the_number_of_what_is_closed(descriptor: Descriptor) -> None:
    number = descriptor.number
    descriptor.close()
    other = os.open(os.devnull, os.O_RDONLY)
    try:
        assert other == number, "the kernel gives the lowest number that is free"
        with pytest.raises(Closed, match="test is closed") as raised, descriptor.use():
            pass
        assert raised.value.errno == errno.EBADF
        with pytest.raises(Closed):
            assert descriptor.number
        descriptor.close()
        assert is_open(other), "a second close is nobody's"
    finally:
        os.close(other)


def test_nobody_comes_in_while_the_last_user_goes_on(descriptor: Descriptor) -> None:
    with descriptor.use():
        descriptor.close()
        assert descriptor.closed
        with pytest.raises(Closed), descriptor.use():
            pass


@given(st.lists(st.sampled_from(["use", "leave", "close"]), max_size=12))
def test_open_as_long_as_anybody_is_in_it(acts: list[str]) -> None:
    descriptor = Descriptor(os.open(os.devnull, os.O_RDONLY))
    number, users, closed = descriptor.number, 0, False
    for act in acts:
        if act == "use" and not closed:
            descriptor.__enter__()
            users += 1
        elif act == "leave" and users:
            descriptor.__exit__(None, None, None)
            users -= 1
        elif act == "close":
            descriptor.close()
            closed = True
        assert is_open(number) == (not closed or users > 0)
    descriptor.close()
    for _ in range(users):
        descriptor.__exit__(None, None, None)
    assert not is_open(number)


# --- the budget -----------------------------------------------------------------------------------


def test_a_call_without_a_descriptor_is_tried_once_more() -> None:
    unused = Unused()
    shelf: Shelf[str, object] = Shelf(unused)
    calls: list[int] = []

    def call() -> str:
        calls.append(len(unused))
        if len(unused):
            raise OSError(errno.EMFILE, "Too many open files")
        return "done"

    while descriptors.relieve(1):
        pass
    shelf.put("a", object(), Cost())
    assert descriptors.again(call) == "done"
    assert calls == [1, 0]
    with pytest.raises(OSError, match="always"):
        descriptors.again(_always)


def _always() -> None:
    raise OSError(errno.EMFILE, "always")


# --- mailboxes -------------------------------------------------------------------------------------


def test_an_account_nobody_has_keeps_nothing_open(spool: Spool) -> None:
    before = descriptors_to_begin_with()
    gc.disable()
    try:
        account = Account(os.fsencode(spool.root), fsync="never")
        account.create("a")
        account.mailbox("a").sync()
        account.mailbox("INBOX").sync()
        account.folders()
        assert descriptor_count() > before
        del account
        assert descriptor_count() == before, "without a collection"
    finally:
        gc.enable()


def test_a_mailbox_that_is_let_go_is_not_handed_out(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its descriptors are closed other threads run: they get another object, with descriptors of its own."""
    account = Account(os.fsencode(spool.root), fsync="never", unused=Unused(Bounds(descriptors=4)))
    account.create("a")
    account.create("b")
    inside, go_on = threading.Event(), threading.Event()
    true = Descriptor.close

    def close(self: Descriptor) -> None:
        true(self)
        if threading.current_thread().name == "evict":
            inside.set()
            go_on.wait(20)

    monkeypatch.setattr(Descriptor, "close", close)
    first = weakref.ref(account.mailbox("a"))
    thread = threading.Thread(target=lambda: account.mailbox("b"), name="evict")
    thread.start()
    assert inside.wait(20)
    again = account.mailbox("a")
    assert first() is None
    item = again.deliver()
    item.write(b"A: 1\r\n\r\n")
    assert again.commit([(item, Flags(), 1)]) == [1]
    go_on.set()
    thread.join()
    assert account.mailbox("a") is again
    assert len(again.sync(look=True)) == 1


def test_a_delivery_outlives_its_mailbox(spool: Spool) -> None:
    account = Account(os.fsencode(spool.root), fsync="never")
    box = Mailbox(os.fsencode(spool.root), fsync="never")
    item = box.deliver()
    box.close()
    with pytest.raises(OSError, match="closed"), box._folder.directories.folder.use():
        pass
    item.write(b"A: 1\r\n\r\nx\r\n")
    item.close()
    assert item.trouble is None
    assert account.mailbox("INBOX").commit([(item, Flags(), 1)]) == [1]


def test_a_delivery_that_is_forgotten_leaves_nothing(spool: Spool) -> None:
    box = Account(os.fsencode(spool.root), fsync="never").mailbox("INBOX")
    before = descriptors_to_begin_with()
    item = box.deliver()
    item.write(b"x")
    assert len(os.listdir(spool.root / "tmp")) == 1
    del item
    assert os.listdir(spool.root / "tmp") == []
    assert descriptor_count() == before


def many_folders_under_a_low_limit(root: Path, *, watched: bool) -> list[str]:
    """What goes wrong when one user looks at more folders than the process may have descriptors."""
    # Others' tests may have left some open that nobody has collected yet.
    limit = 100 + descriptors_to_begin_with()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    trouble = []
    watcher = Watcher() if watched else None
    first, second = (Account(os.fsencode(root / name), fsync="never", watcher=watcher) for name in ("one", "two"))
    for n in range(60):
        first.create(f"f{n}")
    for account, names in ((first, [f"f{n}" for n in range(60)]), (second, ["INBOX"]), (first, ["f0", "f59"])):
        for name in names:
            try:
                item = account.mailbox(name).deliver()
                item.write(b"A: 1\r\n\r\n")
                box = account.mailbox(name)
                box.commit([(item, Flags(), 1)])
                box.listen(lambda: None).close()
            except Exception as error:
                trouble.append(f"{name}: {error!r}")
    return trouble


@pytest.mark.long
@pytest.mark.parametrize("watched", [False, True])
def test_one_user_with_many_folders_leaves_descriptors_for_the_others(tmp_path: Path, watched: bool) -> None:
    """Also where folders are still watched that nobody listens to any more."""
    _, trouble = run(lambda: many_folders_under_a_low_limit(tmp_path, watched=watched))
    assert trouble == []


def test_a_directory_that_cannot_be_listed_for_want_of_descriptors_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(Places(os.fsencode(tmp_path), kind="fs"), fsync="never")
    account.create("a/b")
    while descriptors.relieve(1):
        pass
    true = os.scandir

    def scandir(directory: int) -> object:
        if os.path.samestat(os.fstat(directory), os.stat(tmp_path / "a")):
            raise OSError(errno.EMFILE, "Too many open files")
        return true(directory)

    account._layout.forget()
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(TooManyFiles):
        account.folders()


# --- what rests ------------------------------------------------------------------------------------


def test_one_that_rests_is_opened_anew_by_who_uses_it() -> None:
    opened: list[int] = []

    def opens() -> int:
        opened.append(os.open(os.devnull, os.O_RDONLY))
        return opened[-1]

    descriptor = Resting(os.open(os.devnull, os.O_RDONLY), "test", opens)
    with descriptor.use() as number:
        descriptor.rest()
        assert not descriptor.resting, "somebody uses it"
    descriptor.rest()
    descriptor.rest()
    assert descriptor.resting
    with pytest.raises(Closed):
        assert descriptor.number
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)
    with descriptor.use() as number, descriptor.use() as again:
        assert number == again == opened[-1]
    assert len(opened) == 1
    descriptor.rest()
    descriptor.close()
    assert not descriptor.resting
    with pytest.raises(Closed), descriptor.use():
        pass


def test_one_that_cannot_be_opened_anew_may_be_the_next_time() -> None:
    wrong: list[OSError] = [OSError(errno.EMFILE, "full")]

    def opens() -> int:
        if wrong:
            raise wrong.pop()
        return os.open(os.devnull, os.O_RDONLY)

    descriptor = Resting(os.open(os.devnull, os.O_RDONLY), "test", opens)
    descriptor.rest()
    with pytest.raises(OSError, match="full"), descriptor.use():
        pass
    with descriptor.use() as number:
        os.fstat(number)
    descriptor.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(number)


def test_many_threads_open_it_once_and_leave_nothing_open() -> None:
    descriptor = Resting(os.open(os.devnull, os.O_RDONLY), "test", lambda: os.open(os.devnull, os.O_RDONLY))
    before = descriptors_to_begin_with()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(400):
                with descriptor.use() as number:
                    os.fstat(number)
                descriptor.rest()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert descriptor.resting
    assert descriptor_count() == before - 1
    descriptor.close()


def resting(spool: Spool) -> tuple[Account, Mailbox]:
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("Box")
    box = account.mailbox("Box")
    item = box.deliver()
    item.write(b"A: 1\r\n\r\nx\r\n")
    box.commit([(item, box.flags([], create=False), 1)])
    box.listen(lambda: None)
    before = descriptor_count()
    rest(box)
    assert descriptor_count() == before - 2, "the folder and its journal"
    return account, box


def test_a_mailbox_that_rests_is_as_it_was(spool: Spool) -> None:
    account, box = resting(spool)
    before = descriptor_count()
    assert box.sync() is box.snapshot
    assert box.read(1) == b"A: 1\n\nx\n"
    assert descriptor_count() == before + 2
    rest(box)
    assert box.set_flags([1], add=Flags(2)).changed == [1]
    rest(box)
    # Another process has gone on with it, and begun a new journal.
    other = Mailbox(box.path, fsync="never")
    other.set_flags([1], remove=Flags(2))
    with other._folder.exclusive():
        other._folder.index.rotate()
        other._folder.index.rotate()
    other.set_flags([1], add=Flags(4))
    assert box.sync().flags[0] & 6 == 4
    rest(box)
    assert box.refresh() is not False
    assert box._folder.index.resting, "who only looked leaves it as it was"
    account.rename("Box", "Other")
    assert box.gone
    other.close()


@pytest.mark.parametrize("how", ["gone", "renamed", "another", "journal"])
def test_one_that_is_not_there_any_more_is_missed_when_it_wakes(spool: Spool, how: str) -> None:
    _, box = resting(spool)
    path = Path(os.fsdecode(box.path))
    match how:
        case "gone":
            shutil.rmtree(path)
        case "renamed":
            path.rename(path.with_name("elsewhere"))
        case "another":
            # On most file systems it gets the inode that has just become free.
            shutil.rmtree(path)
            for name in ("", "cur", "new", "tmp"):
                (path / name).mkdir()
        case _:
            (path / "maildir-imapd.journal").unlink()
            # As where it had been open: the index is mended.
            before = box.uidvalidity
            assert (len(box.sync()), box.uidvalidity) == (1, before)
            return
    assert not box.stands()
    with pytest.raises(MailboxMissing):
        box.sync(look=True)
    assert box.gone


def test_two_folders_that_had_one_inode_are_two(spool: Spool) -> None:
    """A copy asks for it: where it takes the other for itself, it copies its own messages."""
    account, box = resting(spool)
    path = Path(os.fsdecode(box.path))
    shutil.rmtree(path)
    for name in ("", "cur", "new", "tmp"):
        (path / name).mkdir()
    other = Mailbox(box.path, fsync="never")
    other.identity = box.identity
    with pytest.raises(MailboxMissing):
        other.copy_from(box, [1])
    other.close()
    del account


def test_a_delivery_to_one_that_rests_and_has_gone(spool: Spool) -> None:
    _, box = resting(spool)
    shutil.rmtree(box.path)
    with pytest.raises(MailboxMissing):
        box.deliver()
    assert box.gone


def test_files_of_one_that_rests_and_has_gone_cannot_be_looked_at(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had seen more of them than their names."""
    monkeypatch.setattr(first_contact, "FEW_MESSAGES", 0)
    spool.simple("Box", 50)
    box = Mailbox(os.fsencode(spool.root / ".Box"), fsync="never")
    assert not box.snapshot.seen
    rest(box)
    shutil.rmtree(box.path)
    with pytest.raises(MailboxMissing):
        box.snapshot.see()


def test_a_cache_that_is_just_opened_cannot_rest(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others know it before it is read to its end."""
    _, box = resting(spool)
    box.cache.put_many(b"x", [(1, b"y")])
    box.cache.close()
    read = Cache._read

    def rests(cache: Cache, number: int) -> None:
        rest(box)
        os.fstat(number)
        read(cache, number)

    monkeypatch.setattr(Cache, "_read", rests)
    assert box.cache.get_many([1], b"x") == [b"y"]
    rest(box)
    assert not box.cache.is_open


@pytest.mark.parametrize("how", ["gone", "another", "longer"])
def test_a_cache_that_is_another_one_when_it_wakes(spool: Spool, how: str, caplog: pytest.LogCaptureFixture) -> None:
    _, box = resting(spool)
    box.cache.put_many(b"x", [(1, b"y")])
    rest(box)
    path = Path(os.fsdecode(box.cache_path)) / "maildir-imapd.cache"
    match how:
        case "gone":
            path.unlink()
        case "another":
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data[:-1] + b"z")
        case _:
            other = Mailbox(box.path, fsync="never")
            other.cache.put_many(b"x", [(2, b"z")])
            other.close()
    assert box.cache.get_many([1], b"x") == [b"y" if how == "longer" else None]
    box.cache.put_many(b"x", [(1, b"a")])
    assert box.cache.get_many([1], b"x") == [b"a"]
    assert "cache not" not in caplog.text


def test_on_a_shared_spool_the_journal_rests(spool: Spool) -> None:
    """The folder stays open; what another host has written, and rotated, meanwhile is seen all the same."""
    spool.simple("INBOX", 2)
    one, other = (Mailbox(os.fsencode(spool.root), fsync="never", shared_spool="yes") for _ in range(2))
    before = descriptors_to_begin_with()
    rest(one)
    assert descriptor_count() == before - 1
    assert one.sync() is one.snapshot
    assert descriptor_count() == before - 1, "nothing has happened, so nothing is opened"
    other.set_flags([1], add=Flags(2))
    assert one.sync().flags[0] & 2
    rest(one)
    other.set_flags([1], remove=Flags(2))
    with other._folder.exclusive():
        other._folder.index.rotate()
    other.set_flags([2], add=Flags(4))
    assert [flags & 6 for flags in one.sync().flags] == [0, 4]
    rest(one)
    assert one.set_flags([1], add=Flags(4)).changed == [1]
    assert other.sync().flags[0] & 4
    for box in (one, other):
        box.close()


def test_beside_an_index_elsewhere_the_journal_rests(spool: Spool, tmp_path: Path) -> None:
    spool.simple("INBOX", 1)
    box = Mailbox(os.fsencode(spool.root), fsync="never", index=os.fsencode(tmp_path / "index"))
    before = descriptors_to_begin_with()
    rest(box)
    assert descriptor_count() == before - 1
    assert box.set_flags([1], add=Flags(4)).changed == [1]
    box.close()
