"""A spool that other hosts serve, too: nothing is believed that they may have changed, and a mount may go and come."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd import errors
from maildir_imapd.store import watch
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import descriptors, durable, filesystems, fresh
from maildir_imapd.store.index import boot, cache, index, loading
from maildir_imapd.store.index.index import forget
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags


def open_shared(maildir: Any, **options: Any) -> Mailbox:
    box = maildir.open(shared_spool="yes", **options)
    assert isinstance(box, Mailbox)
    return box


def uids(box: Mailbox) -> list[int]:
    return list(box.sync().uids)


def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What durable is about to do from here on, in its order."""
    done: list[str] = []
    monkeypatch.setattr(durable, "step", lambda action, what: done.append(action))
    return done


# --- what is asked of the server ------------------------------------------------------------------


def test_a_fresh_look_is_a_look(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "file")
    Path(os.fsdecode(path)).write_text("x" * 70)
    (tmp_path / "link").symlink_to("file")
    directory = descriptors.open_directory(os.fsencode(tmp_path))
    number = descriptors.open(path, os.O_RDONLY)
    try:
        for found, true in (
            (fresh.stat(path), os.stat(path)),
            (fresh.stat(b"file", dir_fd=directory), os.stat(path)),
            (fresh.fstat(number), os.stat(path)),
            (fresh.stat(b"link", dir_fd=directory, follow_symlinks=False), os.lstat(tmp_path / "link")),
        ):
            assert found == tuple(getattr(true, name) for name in fresh.Look._fields)
        with pytest.raises(FileNotFoundError):
            fresh.stat(b"nothing", dir_fd=directory)
    finally:
        os.close(number)
        os.close(directory)


def test_without_statx_it_is_a_look_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.fsencode(tmp_path)
    with_it = fresh.stat(path)
    monkeypatch.setattr(fresh, "_statx", None)
    assert fresh.stat(path) == with_it


@pytest.mark.parametrize(
    ("said", "kind", "shared"),
    [("yes", None, True), ("no", "nfs", False), ("auto", "nfs", True), ("auto", None, False), ("auto", "fuse", True)],
)
def test_what_is_said_goes_before_what_is_mounted(
    said: filesystems.SharedSpool, kind: str | None, shared: bool, maildir: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: kind)
    box = maildir.open(shared_spool=said)
    assert box._folder.directories.shared is shared


# --- two hosts ------------------------------------------------------------------------------------


def test_what_one_host_does_the_other_sees(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "ROTATE_OCTETS", 400)
    maildir.fill(4)
    here, there = open_shared(maildir), open_shared(maildir)
    for n in range(30):
        one, other = (here, there) if n % 3 else (there, here)
        one.set_flags([1 + n % 4], add=Flags(SEEN if n % 2 else FLAGGED))
        one.set_flags([1 + n % 4], remove=Flags(SEEN | FLAGGED))
        maildir.put(f"18000000{n:02}.M1P1.h", where="new")
        assert uids(one) == uids(other) == list(range(1, 6 + n))
        assert other.snapshot.flags == one.snapshot.flags
    assert here._folder.index.state.generation > 5
    here.expunge([2, 3])
    assert uids(there) == uids(here)


def test_the_journal_is_opened_anew_for_each_look(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    here, there = open_shared(maildir), open_shared(maildir)
    opened: list[bytes] = []
    real = descriptors.open

    def noting(path: bytes, *given: Any, **others: Any) -> int:
        opened.append(path)
        return real(path, *given, **others)

    monkeypatch.setattr(descriptors, "open", noting)
    there.set_flags([1], add=Flags(SEEN))
    opened.clear()
    here.sync()
    assert loading.JOURNAL in opened


def test_an_inode_that_comes_back_is_not_the_same_journal(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host has removed ours, nobody's kernel here keeps its number from being given again."""
    maildir.fill(2)
    box, other = open_shared(maildir), open_shared(maildir)
    with other._folder.exclusive():
        other._folder.index.rotate()
    state = box._folder.index.state
    there = os.stat(maildir.path / "maildir-imapd.journal").st_ino
    box._folder.index.state = type(state)(
        **{name: getattr(state, name) for name in state.__dataclass_fields__ if name != "inode"}, inode=there
    )
    other.set_flags([2], add=Flags(FLAGGED))
    assert uids(box) == [1, 2]
    assert box.snapshot.flags == other.snapshot.flags


def test_each_batch_is_synced_while_the_lock_is_held(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    box = open_shared(maildir, fsync="never")
    done = calls(monkeypatch)
    box.set_flags([1], add=Flags(SEEN))
    assert done.count("sync") == 3  # of the lock's file before, of the journal, and of the bell
    assert done.index("sync") < len(done) - 1 - done[::-1].index("write")
    assert done[-1] == "sync"
    assert not box._folder.lock.is_open


def test_without_other_hosts_nothing_is_synced_for_them(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    box = maildir.open(fsync="never")
    done = calls(monkeypatch)
    box.set_flags([1], add=Flags(SEEN))
    assert "sync" not in done
    assert box._folder.lock.is_open


def test_who_has_lost_the_lock_writes_nothing(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that we were cut off from has given it to another host; it says so of the lock's file alone."""
    maildir.fill(2)
    box, other = open_shared(maildir), open_shared(maildir)
    before = (maildir.path / "maildir-imapd.journal").read_bytes()
    real = durable.sync_data

    def lost(number: int) -> None:
        if os.readlink(f"/proc/self/fd/{number}").endswith(".lock"):
            raise OSError(errno.EBADFD, os.strerror(errno.EBADFD))
        real(number)

    with monkeypatch.context() as within:
        within.setattr(durable, "sync_data", lost)
        with pytest.raises(errors.SpoolGone):
            box.set_flags([1], add=Flags(SEEN))
    assert (maildir.path / "maildir-imapd.journal").read_bytes() == before
    other.set_flags([2], add=Flags(FLAGGED))
    assert uids(box) == uids(other) == [1, 2]
    assert box.snapshot.flags == other.snapshot.flags
    # The name of the first file says it all the same.
    assert box.snapshot.flags[0] & SEEN


def test_a_bell_that_is_ahead_of_the_journal_is_looked_at_again(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    box, other = open_shared(maildir), open_shared(maildir)
    other.set_flags([1], add=Flags(SEEN))
    real, stale = type(box._folder.index).catch_up, []

    def blind(this: Any) -> None:
        """As if this kernel showed the journal of before."""
        stale.append(this)

    monkeypatch.setattr(type(box._folder.index), "catch_up", blind)
    with box._folder.exclusive():
        pass
    monkeypatch.setattr(type(box._folder.index), "catch_up", real)
    assert stale
    assert box._folder.index.state.snapshot.modseq == other.snapshot.modseq
    assert not list(maildir.path.glob("*.damaged"))


def test_stamps_are_good_after_two_minutes(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of another host may be behind, and the stamp of what it does be older than one that is there."""
    maildir.fill(1)
    box = open_shared(maildir)
    box.sync()
    real, apart = time.time_ns, 10
    monkeypatch.setattr(time, "time_ns", lambda: real() + apart * 1_000_000_000)
    box.sync(look=True)
    assert not box._folder.index.state.stamp.settled
    times = [(maildir.path / name).stat() for name in ("cur", "new")]
    maildir.put("1900000000.M1P1.behind", where="new")
    for name, found in zip(("cur", "new"), times, strict=True):
        os.utime(maildir.path / name, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert uids(box) == [1, 2]
    apart = 200
    box.sync(look=True)
    assert box._folder.index.state.stamp.settled
    assert scan.SHARED_SETTLE_NS == 120 * 10**9


def test_each_host_has_a_cache_of_its_own(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    here, there = open_shared(maildir), open_shared(maildir)
    here.cache.put_many(b"f", [(1, b"here")])
    monkeypatch.setattr(boot, "machine", lambda: b"another-machine")
    monkeypatch.setattr(filename, "host", lambda: b"elsewhere")
    assert there.cache.get_many([1], b"f") == [None]
    there.cache.put_many(b"f", [(1, b"there")])
    assert here.cache.get_many([1], b"f") == [b"here"]
    assert len(list(maildir.path.glob("maildir-imapd.cache.*-*"))) == 2
    assert maildir.open().cache.get_many([1], b"f") == [None]
    assert cache.name_in(os.fsencode(maildir.path), "auto") == cache.NAME


def test_large_checkpoints_are_read_whole(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once another host has put its own in the place nobody could read the rest."""
    from maildir_imapd.store.index import checkpoint

    monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 100)
    maildir.fill(5)
    open_shared(maildir).close()
    assert not maildir.open().snapshot.here("uids")
    assert open_shared(maildir).snapshot.here("uids")


def test_what_is_shared_is_polled(maildir: Any) -> None:
    watcher = watch.Watcher("auto", interval=0.02, shared=True)
    try:
        assert watcher.still is None
        box = open_shared(maildir, watcher=watcher)
        box.listen(lambda: None)
        assert watcher._polled == {id(box)}
    finally:
        watcher.close()


# --- a mount that goes and comes back ----------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> Account:
    return Account(os.fsencode(tmp_path / "Maildir"), fsync="never", shared_spool="yes")


def deliver(account: Account, count: int = 1) -> None:
    for _ in range(count):
        Path(os.fsdecode(account.inbox), "new", os.fsdecode(filename.unique())).write_text("Subject: x\n\nbody\n")


def dead(number: int) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN])
def test_a_mount_that_is_lost_is_unavailable_and_no_mailbox_gone(
    number: int, spool: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(spool, 3)
    box = spool.mailbox("INBOX")
    before = list(box.sync().uids)
    with monkeypatch.context() as within:
        within.setattr(fresh, "stat", dead(number))
        box._stat = fresh.stat
        with pytest.raises(errors.SpoolGone):
            box.sync()
        with pytest.raises(errors.SpoolGone):
            box.set_flags(before[:1], add=Flags(SEEN))
        assert box.stands()
        assert not box.gone
    box._stat = fresh.stat
    deliver(spool)
    assert list(box.sync().uids) == [*before, before[-1] + 1]
    box.set_flags(before[:1], add=Flags(SEEN))


def test_what_was_open_is_opened_anew_under_its_numbers(spool: Account) -> None:
    deliver(spool, 2)
    box = spool.mailbox("INBOX")
    box.sync()
    folder = box._folder
    number, modseq = folder.fd, box.snapshot.modseq
    elsewhere = descriptors.open_directory(b"/proc")
    os.dup2(elsewhere, number, inheritable=False)  # as far from the folder as a mount that has gone
    os.close(elsewhere)
    folder.standing.lost = True
    folder.files.suspect()
    assert list(box.sync().uids) == [1, 2]
    assert folder.fd == number
    assert os.path.samestat(os.fstat(number), os.stat(folder.path))
    assert box.snapshot.modseq == modseq
    assert box.load(1)


def test_another_device_is_another_mount(spool: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same folder in another mount: its inode, and another device than that of what is open."""
    deliver(spool, 2)
    box = spool.mailbox("INBOX")
    box.sync()
    renewed: list[object] = []
    standing = box._folder.standing
    real = standing.renew
    monkeypatch.setattr(standing, "renew", lambda: renewed.append(1) or real())
    device, inode = standing.now.identity
    from dataclasses import replace

    standing.now = box._folder.directories = replace(standing.now, identity=(device + 1, inode))
    box.identity = standing.now.identity
    assert box.stands()
    assert list(box.sync().uids) == [1, 2]
    assert renewed == [1]
    assert not box.gone
    assert standing.now.identity == (device, inode)


def test_a_mount_that_comes_back_empty_expunges_nothing(spool: Account) -> None:
    deliver(spool, 2)
    box = spool.mailbox("INBOX")
    box.sync()
    root, aside = os.fsdecode(spool.root), os.fsdecode(spool.root) + ".aside"
    os.rename(root, aside)
    with pytest.raises(errors.SpoolGone):
        box.sync()
    assert not box.gone
    with pytest.raises(errors.SpoolGone):
        spool.demand_there()
    os.rename(aside, root)
    assert list(box.sync().uids) == [1, 2]


def test_a_folder_that_is_deleted_is_gone_all_the_same(spool: Account) -> None:
    spool.create("Work")
    box = spool.mailbox("Work")
    os.rename(os.fsdecode(box.path), os.fsdecode(box.path) + "-aside")
    with pytest.raises(errors.MailboxMissing):
        box.sync()
    assert box.gone


def test_a_right_that_is_missing_for_a_moment_is_looked_for_again(
    spool: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(spool)
    box = spool.mailbox("INBOX")
    box.sync()
    with monkeypatch.context() as within:
        within.setattr(os, "access", lambda *_, **__: False)
        box._folder.standing.lost = True
        box._folder.files.suspect()
        box.sync()
        assert box.read_only
    box.sync(look=True)
    assert not box.read_only


def test_what_clients_were_told_is_not_forgotten(spool: Account) -> None:
    deliver(spool)
    box = spool.mailbox("INBOX")
    box.sync()
    told = box.snapshot.modseq
    forget(box._folder.index)
    box._folder.files.suspect()
    assert box.sync().modseq >= told


@pytest.mark.parametrize(
    ("number", "network", "gone"),
    [(errno.EIO, True, True), (errno.EIO, False, False), (errno.ESTALE, False, True), (errno.EACCES, True, False)],
)
def test_which_errors_are_of_a_mount(
    number: int, network: bool, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "nfs" if network else None)
    error = durable.store_error(OSError(number, "x"), os.fsencode(tmp_path / "file"))
    assert isinstance(error, errors.SpoolGone) is gone


def test_a_server_that_lets_nobody_write_is_no_mount_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "fuse")
    refused = OSError(errno.EROFS, "x")
    assert isinstance(durable.store_error(refused, os.fsencode(tmp_path / "file")), errors.SpoolGone)
    real = os.fstatvfs
    read_only = type("Found", (), {"f_flag": os.ST_RDONLY})
    monkeypatch.setattr(os, "fstatvfs", lambda number: read_only if real(number) else None)
    assert isinstance(durable.store_error(refused, os.fsencode(tmp_path / "file")), errors.SpoolUnreadable)


# --- a file system without RENAME_NOREPLACE -------------------------------------------------------------


@pytest.fixture
def plain_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> int:
        import ctypes

        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(durable, "_renameat2", unknown)


@pytest.fixture
def at(tmp_path: Path) -> Any:
    directory = descriptors.open_directory(os.fsencode(tmp_path))
    yield directory
    os.close(directory)


def test_a_rename_goes_over_no_file(plain_renames: None, tmp_path: Path, at: int) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        durable.rename(b"a", b"b", at, at)
    durable.rename(b"a", b"c", at, at)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"b": "b", "c": "a"}
    with pytest.raises(FileNotFoundError):
        durable.rename(b"a", b"d", at, at)
    assert not durable.has_exclusive_rename(b"b", b"e", at)


def test_a_rename_that_was_done_already_is_done(plain_renames: None, tmp_path: Path, at: int) -> None:
    """The server has made the second name, and its answer was lost."""
    (tmp_path / "a").write_text("a")
    os.link(tmp_path / "a", tmp_path / "b")
    durable.rename(b"a", b"b", at, at)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_another_program_did_meanwhile_counts(
    plain_renames: None, tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a")

    def step(action: str, what: object) -> None:
        if action == "unlink":
            (tmp_path / "a").rename(tmp_path / "theirs")

    monkeypatch.setattr(durable, "step", step)
    with pytest.raises(FileNotFoundError):
        durable.rename(b"a", b"b", at, at)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_a_directory_is_renamed_too(plain_renames: None, tmp_path: Path, at: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        durable.rename(b"a", b"b", at, at)
    durable.rename(b"a", b"c", at, at)
    assert (tmp_path / "c").is_dir()


@pytest.mark.parametrize("where", ["cur", "new"])
def test_a_rename_that_died_in_the_middle_makes_no_second_message(where: str, maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    box.sync()
    second = maildir.path / where / (f"{base}:2,S" if where == "cur" else base)
    os.link(maildir.path / "cur" / f"{base}:2,", second)
    for _ in range(3):
        found = box.sync(look=True)
    assert list(found.uids) == [1]
    assert maildir.names("cur") + maildir.names("new") == [f"{base}:2,"]


def test_a_copy_by_hand_is_a_message_of_its_own(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    box.sync()
    (maildir.path / "cur" / f"{base}:2,S").write_bytes((maildir.path / "cur" / f"{base}:2,").read_bytes())
    for _ in range(3):
        found = box.sync(look=True)
    assert len(found.uids) == 2


def test_all_of_it_works_without_the_flag(plain_renames: None, maildir: Any) -> None:
    maildir.fill(2)
    maildir.put("1800000000.M1P1.h", where="new")
    box = open_shared(maildir)
    assert uids(box) == [1, 2, 3]
    box.set_flags([1, 3], add=Flags(SEEN))
    box.expunge([2])
    assert uids(open_shared(maildir)) == [1, 3]
    assert all(name.endswith("S") for name in maildir.names())


def test_batches_of_a_dead_host_are_not_counted(maildir: Any) -> None:
    """It died between the journal and the end of its batch; whoever has the lock next writes over it."""
    maildir.fill(1)
    box = open_shared(maildir)
    with (maildir.path / "maildir-imapd.journal").open("ab") as journal:
        journal.write(b"f 1 +S\n")
    other = open_shared(maildir)
    other.set_flags([1], add=Flags(FLAGGED))
    assert uids(box) == [1]
    assert box.snapshot.flags == other.snapshot.flags
