"""What may come between two steps of a change: readers, other processes, no memory; memory is what the disk says."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from crash import Died
from spool import Spool

from maildir_imapd import errors
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import changes
from maildir_imapd.store.folder.directories import Directories
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index import boot, builder
from maildir_imapd.store.index import index as index_module
from maildir_imapd.store.index.index import Index
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.threads import locks

TEXT = b"A: 1\r\n\r\nx\r\n"


def deliver(box: Mailbox, text: bytes = TEXT) -> list[int]:
    item = box.deliver()
    item.write(text)
    return box.commit([(item, Flags(), 1_700_000_000)])


def texts(box: Mailbox) -> dict[int, bytes]:
    return {uid: box.read(uid) for uid in box.sync(look=True).uids}


# --- the disk has it, and memory fails ---------------------------------------------------------------


def test_readers_fill_counts_while_the_next_snapshot_is_made(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = maildir.open()
    deliver(box)
    old = box.snapshot
    true = builder.Builder._append

    def append(self: Any, *args: Any) -> None:
        true(self, *args)
        # Other threads look in the meantime.
        assert (old.unseen, old.deleted, old.recent, old.in_new) == (1, 0, 1, 0)

    class Filling(dict[str, int]):
        """A dictionary that a reader fills while somebody walks it."""

        def items(self) -> Any:
            for pair in super().items():
                self["another"] = 0
                yield pair

    old._counts = Filling(old._counts)
    monkeypatch.setattr(builder.Builder, "_append", append)
    assert deliver(box) == [2]
    assert box.snapshot.uidnext == 3


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize("where", ["_append", "finish"])
def test_no_uid_twice_when_the_next_snapshot_cannot_be_made(
    maildir: Any, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    box = maildir.open()
    deliver(box, b"A: 1\r\n\r\n")
    true = getattr(builder.Builder, where)

    def fail(self: Any, *args: Any) -> Any:
        monkeypatch.setattr(builder.Builder, where, true)
        raise error

    monkeypatch.setattr(builder.Builder, where, fail)
    with pytest.raises((MemoryError, errors.StoreError)):
        deliver(box, b"A: 2\r\n\r\n")
    assert len(maildir.names()) == 1, "a message whose sender was told of an error is not there"
    uid = deliver(box, b"A: 3\r\n\r\n")[0]
    newcomer = maildir.open()
    assert texts(box) == texts(newcomer)
    assert texts(box) == {1: b"A: 1\n\n", uid: b"A: 3\n\n"}


def test_what_fails_behind_the_write_is_no_error(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = maildir.open()
    deliver(box)

    def no_memory(modseq: int) -> None:
        raise MemoryError

    monkeypatch.setattr(box._folder.lock, "ring", no_memory)
    assert deliver(box) == [2]
    monkeypatch.undo()
    assert texts(box) == texts(maildir.open())


def test_a_catch_up_that_fails_half_way_leaves_no_hole(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = maildir.open(), maildir.open()
    uids = deliver(theirs)
    before = ours.sync()
    theirs.set_flags(uids, add=Flags(SEEN))
    theirs._folder.index._rotate_at = 0
    theirs.set_flags(uids, add=Flags(FLAGGED))
    true, left = Index._open_journal, [1]

    def out_of_descriptors(self: Index) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return true(self)

    monkeypatch.setattr(Index, "_open_journal", out_of_descriptors)
    after = ours.sync()
    if after.modseq == before.modseq:
        after = ours.sync()
    delta = ours.since(before.modseq)
    assert after.flags[0] & (SEEN | FLAGGED) == SEEN | FLAGGED
    assert delta is None or list(delta.changed) == list(uids)


# --- a name taken for identity -----------------------------------------------------------------------


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_hard_link_to_the_journal_hides_no_rotation(maildir: Any, first: str, caplog: Any) -> None:
    ours, theirs = maildir.open(), maildir.open()
    deliver(theirs, b"A: 1\r\n\r\n")
    ours.sync()
    os.link(maildir.path / "maildir-imapd.journal", maildir.path / "backup")
    theirs._folder.index._rotate_at = 0
    deliver(theirs, b"A: 2\r\n\r\n")
    with caplog.at_level(logging.ERROR):
        for n, box in enumerate([ours, theirs] if first == "ours" else [theirs, ours], 3):
            assert deliver(box, b"A: %d\r\n\r\n" % n) == [n]
    assert texts(ours) == texts(theirs) == {n: b"A: %d\n\n" % n for n in range(1, 5)}
    assert caplog.records == []


def test_a_lock_file_that_has_another_name_now_is_no_lock(maildir: Any) -> None:
    box = maildir.open()
    deliver(box)
    os.link(maildir.path / "maildir-imapd.lock", maildir.path / "backup")
    (maildir.path / "maildir-imapd.lock").unlink()
    other = maildir.open()
    deliver(other)
    with other._folder.exclusive(), pytest.raises(errors.LockTimeout):
        box.sync(look=True, patience=0)


def test_a_folder_made_anew_is_another_one(spool: Spool) -> None:
    here, elsewhere = (Account(os.fsencode(spool.root), fsync="never") for _ in range(2))
    here.create("x")
    old = here.mailbox("x")
    deliver(old, b"A: what the client sees as UID 1\r\n\r\n")
    elsewhere.delete("x")
    elsewhere.create("x")
    deliver(elsewhere.mailbox("x"), b"A: somebody else's\r\n\r\n")
    new = here.mailbox("x")
    assert new is not old
    assert old.gone
    with pytest.raises(errors.MailboxMissing):
        new.copy_from(old, [1], move=True)
    assert texts(new) == {1: b"A: somebody else's\n\n"}


@pytest.mark.parametrize(
    "act",
    [
        lambda box, under: box.set_flags([1], add=Flags(SEEN), under=under),
        lambda box, under: box.expunge([1], under=under),
        lambda box, under: box.copy_from(box, [1], under=under),
        lambda box, under: box.copy_from(box, [1], move=True, under=under),
        lambda box, under: box.read(1, under=under),
    ],
)
def test_a_uid_of_another_uidvalidity_is_no_message(tmp_path: Path, act: Any) -> None:
    """On nested directories a folder with children stays the same directory when it is deleted and made anew."""
    here, elsewhere = (Account(Places(os.fsencode(tmp_path), kind="fs"), fsync="never") for _ in range(2))
    here.create("x/child")
    box = here.mailbox("x")
    deliver(box, b"A: old\r\n\r\n")
    under = box.uidvalidity
    elsewhere.delete("x")
    elsewhere.create("x")
    deliver(elsewhere.mailbox("x"), b"A: new\r\n\r\n")
    with pytest.raises((errors.MailboxMissing, errors.MessageGone)):
        act(box, under)
    newcomer = elsewhere.mailbox("x")
    assert texts(newcomer) == {1: b"A: new\n\n"}
    assert not newcomer.snapshot.flags[0] & SEEN


def test_a_folder_that_is_being_emptied_has_no_damage(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """DELETE puts it elsewhere and empties it, with no lock of the folder."""
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("x")
    deliver(account.mailbox("x"))
    box = Mailbox(os.fsencode(spool.path("x")), fsync="never")
    true, left = Directories.check_place, [1]

    def check_place(self: Directories) -> None:
        true(self)
        if left[0]:
            left[0] = 0
            trash = spool.root / "..trash"
            spool.path("x").rename(trash)
            (trash / "maildir-imapd.journal").unlink()

    monkeypatch.setattr(Directories, "check_place", check_place)
    with pytest.raises(errors.MailboxMissing):
        box.set_flags([1], add=Flags(SEEN))
    assert "damaged" not in caplog.text


def test_what_is_told_of_an_append_is_of_one_moment(maildir: Any) -> None:
    box = maildir.open()
    uids = deliver(box)
    assert uids.uidvalidity == box.uidvalidity
    copied = box.copy_from(box, [1])
    assert (list(copied), copied.uidvalidity) == ([(1, 2)], box.uidvalidity)


# --- half-made things --------------------------------------------------------------------------------


def interrupted(account: Account) -> None:
    """Die in the middle of RENAME p r."""
    left = [2]

    def step(action: str, what: object) -> None:
        if action == "rename":
            left[0] -= 1
            if not left[0]:
                raise Died

    durable.step = step
    with pytest.raises(Died):
        account.rename("p", "r")
    durable.step = None


@pytest.mark.parametrize("next_act", ["list", "create", "rename", "open"])
def test_a_rename_is_finished_by_whoever_comes_next(spool: Spool, next_act: str) -> None:
    here, elsewhere = (Account(os.fsencode(spool.root), fsync="never") for _ in range(2))
    for name in ("p", "p.a", "p.b", "q", "q.a"):
        here.create(name)
    here.set_special_use("p.b", (b"\\Junk",))
    elsewhere.folders()
    interrupted(here)
    there = elsewhere
    match next_act:
        case "create":
            elsewhere.create("other")
        case "rename":
            elsewhere.rename("q", "s")
        case "open":
            there = Account(os.fsencode(spool.root), fsync="never")
    found = {folder.name for folder in there.folders()}
    assert {"r", "r.a", "r.b"} <= found
    assert not {"p", "p.a", "p.b"} & found
    assert not os.path.lexists(spool.root / "maildir-imapd.rename")
    assert there.special_use().get("r.b") == (b"\\Junk",)


def test_an_intent_leads_nowhere_outside(tmp_path: Path) -> None:
    root, other = tmp_path / "mail", tmp_path / "other"
    account = Account(os.fsencode(root), fsync="never")
    other.mkdir()
    (other / "secret").write_text("x")
    lines = [(other / "secret", root / ".taken"), (root / "cur", other / "cur"), (root / "x/../../other", root / ".y")]
    (root / "maildir-imapd.rename").write_bytes(
        b"".join(os.fsencode(a) + b"\0" + os.fsencode(b) + b"\n" for a, b in lines)
    )
    account.create("new")
    assert (other / "secret").exists()
    assert os.listdir(other) == ["secret"]
    assert not (root / "maildir-imapd.rename").exists()


# --- waiting with others behind ----------------------------------------------------------------------


def test_a_folder_that_is_slow_to_open_holds_up_nobody_else(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("slow")
    account.create("fast")
    inside, go_on = threading.Event(), threading.Event()
    true = Mailbox._load

    def load(self: Mailbox) -> Any:
        if self.path.endswith(b".slow"):
            inside.set()
            assert go_on.wait(20)
        return true(self)

    monkeypatch.setattr(Mailbox, "_load", load)
    found: list[Mailbox] = []
    openers = [threading.Thread(target=lambda: found.append(account.mailbox("slow"))) for _ in range(3)]
    for opener in openers:
        opener.start()
    assert inside.wait(20)
    account.mailbox("fast")
    assert {"fast", "slow"} <= {folder.name for folder in account.folders()}
    account.create("another")
    go_on.set()
    for opener in openers:
        opener.join()
    assert len(found) == 3
    assert len(set(map(id, found))) == 1


def test_who_waits_for_an_opening_that_fails_tries_himself(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("a")
    inside, go_on = threading.Event(), threading.Event()
    true, left = Mailbox._load, [1]

    def load(self: Mailbox) -> Any:
        if left[0]:
            left[0] = 0
            inside.set()
            assert go_on.wait(20)
            raise errors.StoreError(detail="once")
        return true(self)

    monkeypatch.setattr(Mailbox, "_load", load)
    failed: list[Exception] = []
    found: list[Mailbox] = []

    def first() -> None:
        try:
            account.mailbox("a")
        except errors.StoreError as error:
            failed.append(error)

    one = threading.Thread(target=first)
    one.start()
    assert inside.wait(20)
    two = threading.Thread(target=lambda: found.append(account.mailbox("a")))
    two.start()
    go_on.set()
    one.join()
    two.join()
    assert len(failed) == len(found) == 1


def test_a_look_for_the_watch_thread_waits_for_nothing(maildir: Any) -> None:
    box = maildir.open()
    deliver(box)
    held = os.open(maildir.path / "maildir-imapd.lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    maildir.put("1700000000.M1P1.host", where="new")
    try:
        with pytest.raises(errors.LockTimeout):
            box.refresh()
    finally:
        os.close(held)
    with box._folder.shared(), pytest.raises(errors.LockTimeout):
        box.refresh()
    box.refresh()
    assert len(box.snapshot) == 2


def test_a_look_for_the_watch_thread_waits_for_no_other_server(maildir: Any) -> None:
    box = maildir.open(mirror="dovecot", coexist=True)
    deliver(box)
    (maildir.path / "dovecot-uidlist.lock").write_text("1:elsewhere")
    maildir.put("1700000000.M1P1.host", where="new")
    with pytest.raises(errors.LockTimeout):
        box.refresh()


@pytest.mark.parametrize("name", ["maildir-imapd.uidvalidity", "maildir-imapd.account.lock"])
def test_no_lock_of_a_file_is_waited_for_without_end(spool: Spool, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    account = Account(os.fsencode(spool.root), fsync="never")
    account.create("a")
    held = os.open(spool.root / name, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    waits: list[str] = []

    def flock(number: int, path: bytes, timeout: float = locks.TIMEOUT_SECONDS, *, rank: Any) -> None:
        waits.append(os.fsdecode(path))
        assert timeout <= locks.TIMEOUT_SECONDS
        true(number, path, 0, rank=rank)

    true = locks.flock
    monkeypatch.setattr(locks, "flock", flock)
    try:
        with pytest.raises(errors.LockTimeout, match="in use"):
            account.create("b")
            account.mailbox("b")
    finally:
        os.close(held)
    assert any(path.endswith(name) for path in waits)


def test_a_lock_whose_name_cannot_be_looked_at_is_given_back(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    box = maildir.open()
    deliver(box)
    true = os.stat

    def stat(path: Any, **more: Any) -> os.stat_result:
        if path == b"maildir-imapd.lock":
            raise OSError(errno.EIO, "Input/output error")
        return true(path, **more)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(errors.StoreError):
        box.set_flags([1], add=Flags(SEEN))
    monkeypatch.undo()
    assert maildir.open(lock_timeout=0.0).set_flags([1], add=Flags(SEEN)).changed == [1]


# --- two machines on one spool -----------------------------------------------------------------------


def test_the_word_of_a_start_says_which_machine() -> None:
    assert boot.own() == boot.own()
    assert not boot.anew(b"b1@m1", (b"b1@m1",))
    assert boot.anew(b"b2@m1", (b"b1@m1",))
    assert not boot.anew(b"b2@m2", (b"b1@m1",)), "another machine is up: nothing of it is lost"
    assert boot.anew(b"b3@m2", (b"b1@m1", b"b2@m2"))
    assert boot.anew(b"b2@m2", (b"b1",)), "of before the machine stood there"
    assert not boot.anew(b"b1@m1", (b"b1",))
    assert boot.anew(b"b2", (b"b1@m1",)), "no machine-id here"


def test_another_machine_goes_on_where_the_first_one_is(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Neither is the machine of the test, which may have no machine-id.
    monkeypatch.setattr(index_module.Index, "boot", b"b1@m1")
    one = maildir.open()
    monkeypatch.setattr(one._folder.index, "boot", b"b1@m1")
    deliver(one)
    monkeypatch.setattr(index_module.Index, "boot", b"b2@m2")
    two = maildir.open()
    assert two.sync().uidnext == 2
    assert deliver(two) == [2]
    assert deliver(one) == [3]
    assert texts(one) == texts(two)


def test_what_a_start_raises_is_on_record_before_it_is_shown(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what the other machine gives out meanwhile would be old to us, and hidden."""
    one = maildir.open()
    deliver(one)
    monkeypatch.setattr(index_module.Index, "boot", b"later@" + boot.own().partition(b"@")[2])
    two = maildir.open()
    monkeypatch.undo()
    raised = two.snapshot.uidnext
    assert raised == 1001
    assert maildir.open().snapshot.uidnext == raised
    assert deliver(one) == [raised]
    assert list(two.sync().uids) == [1, raised]


def test_on_a_full_disk_nothing_is_raised_and_nothing_given_out(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(maildir.open())
    monkeypatch.setattr(index_module.Index, "boot", b"later")

    def full(action: str, what: object) -> None:
        if action == "write":
            raise OSError(errno.ENOSPC, "No space left on device")

    durable.step = full
    box = maildir.open()
    assert box.snapshot.uidnext == 2
    assert len(box.snapshot) == 1
    durable.step = None
    assert deliver(box) == [1001]


@pytest.mark.parametrize(
    "act",
    [
        lambda box: box.set_flags(list(box.snapshot.uids), add=Flags(SEEN)),
        lambda box: box.expunge(list(box.snapshot.uids)),
    ],
)
def test_long_work_gives_way_between_its_pieces(maildir: Any, monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    monkeypatch.setattr(changes, "_PIECE_MESSAGES", 4)
    maildir.fill(10)
    box = maildir.open()
    held: list[int] = []
    true = Folder.exclusive

    def exclusive(self: Folder, **more: Any) -> Any:
        held.append(1)
        return true(self, **more)

    monkeypatch.setattr(Folder, "exclusive", exclusive)
    act(box)
    assert len(held) == 3
    monkeypatch.undo()
    assert texts(box) == texts(maildir.open())
    assert len(box.snapshot) == 0 or box.snapshot.unseen == 0


def test_a_flag_that_was_taken_back_saves_its_message(maildir: Any) -> None:
    """By another session, or by another program, between the look for what is deleted and the lock."""
    maildir.fill(3, "T")
    box, other = maildir.open(), maildir.open()
    marked = [uid for uid, bits in zip(box.sync().uids, box.snapshot.flags, strict=True) if bits & DELETED]
    assert len(marked) == 3
    other.set_flags([1], remove=Flags(DELETED))
    file = next(
        path for path in (maildir.path / "cur").iterdir() if os.fsencode(path.name).startswith(box.snapshot.names[1])
    )
    file.rename(file.with_name(file.name.replace("T", "S")))
    assert box.expunge(marked, flagged=DELETED) == [3]
    assert set(texts(box)) == {1, 2}
    assert texts(box) == texts(maildir.open())
