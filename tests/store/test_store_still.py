"""Whether anything has happened, asked of the kernel: as strict as stamps, whoever made it happen and however."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import filesystems, inotify
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.threads import still as module
from maildir_imapd.store.threads.still import Mark, Still
from maildir_imapd.store.watch import Watcher

ACL = b"dovecot-acl"


@pytest.fixture
def still() -> Iterator[Still]:
    found = Still(ACL, trusting=True)
    yield found
    found.close()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    found = Watcher("inotify")
    yield found
    found.close()


@pytest.fixture
def box(tmp_path: Path) -> Path:
    for name in ("cur", "new", "tmp", "elsewhere"):
        (tmp_path / "Box" / name).mkdir(parents=True)
    (tmp_path / "Box" / "cur" / "old").write_bytes(b"")
    (tmp_path / "Box" / "tmp" / "coming").write_bytes(b"")
    return tmp_path / "Box"


def marked(still: Still, box: Path) -> Mark:
    mark = still.mark([(os.fsencode(box / name), inotify.NEW) for name in ("new", "cur")])
    assert mark is not None
    return mark


CHANGES: dict[str, Callable[[Path], object]] = {
    "made": lambda box: (box / "cur" / "x").write_bytes(b""),
    "delivered": lambda box: os.rename(box / "tmp" / "coming", box / "new" / "1"),
    "linked": lambda box: os.link(box / "tmp" / "coming", box / "cur" / "1"),
    "renamed": lambda box: os.rename(box / "cur" / "old", box / "cur" / "old:2,S"),
    "removed": lambda box: os.unlink(box / "cur" / "old"),
    "moved away": lambda box: os.rename(box / "cur" / "old", box / "elsewhere" / "old"),
    "by another process": lambda box: subprocess.run(
        [sys.executable, "-c", "import os, sys; os.rename(*sys.argv[1:])", box / "cur" / "old", box / "cur" / "older"],
        check=True,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_happened_is_known_at_once(still: Still, box: Path, change: str) -> None:
    mark = marked(still, box)
    assert not still.holds(mark, 0), "nobody has looked yet"
    turn = still.renew(mark)
    assert still.holds(mark, turn)
    CHANGES[change](box)
    assert not still.holds(mark, turn)
    assert not still.holds(mark, turn), "and stays so"
    turn = still.renew(mark)
    assert still.holds(mark, turn)


def test_what_happens_beside_it_is_nothing(still: Still, box: Path) -> None:
    mark = marked(still, box)
    turn = still.renew(mark)
    (box / "tmp" / "x").write_bytes(b"")
    (box / "cur" / "old").read_bytes()
    assert still.holds(mark, turn)


def test_who_began_to_look_before_does_not_take_it_for_the_last(still: Still, box: Path) -> None:
    """Another thread has looked since, and seen what this one has not."""
    mark = marked(still, box)
    first = still.renew(mark)
    (box / "new" / "x").write_bytes(b"")
    second = still.renew(mark)
    assert not still.holds(mark, first)
    assert still.holds(mark, second)


@pytest.mark.parametrize("how", ["renamed", "removed", "replaced"])
def test_a_directory_that_is_another_one_is_watched_no_more(still: Still, box: Path, how: str) -> None:
    mark = marked(still, box)
    still.renew(mark)
    if how == "removed":
        (box / "new").rmdir()
    else:
        os.rename(box / "new", box / "was-new")
    if how != "renamed":
        (box / "new").mkdir()
    assert not still.holds(mark, still.renew(mark))
    assert mark.lost
    if how == "replaced":
        again = marked(still, box)
        turn = still.renew(again)
        assert still.holds(again, turn)
        (box / "new" / "x").write_bytes(b"")
        assert not still.holds(again, turn)


@pytest.mark.parametrize("how", ["linked", "missing", "a file"])
def test_what_cannot_be_watched_has_no_mark(still: Still, box: Path, how: str) -> None:
    (box / "new").rmdir()
    if how == "linked":
        (box / "new").symlink_to("elsewhere")
    elif how == "a file":
        (box / "new").write_bytes(b"")
    assert still.mark([(os.fsencode(box / name), inotify.NEW) for name in ("cur", "new")]) is None


def test_without_watches_left_there_is_no_mark(still: Still, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = marked(still, box)
    turn = still.renew(kept)
    true, given = inotify.Inotify.watch, []

    def watch(self: inotify.Inotify, path: bytes, mask: int) -> int:
        if given:
            raise OSError(errno.ENOSPC, "No space left on device")
        given.append(path)
        return true(self, path, mask)

    monkeypatch.setattr(inotify.Inotify, "watch", watch)
    wanted = [(os.fsencode(box / name), inotify.NEW) for name in ("elsewhere", "tmp")]
    assert still.mark(wanted) is None
    monkeypatch.undo()
    assert still.mark(wanted) is None, "it is not tried again"
    assert still.holds(kept, turn)


def test_a_process_takes_a_part_of_the_watches(still: Still, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_most", lambda: 3 * module.SHARE)
    mark = marked(still, box)
    wanted = [(os.fsencode(box / name), inotify.NEW) for name in ("elsewhere", "tmp")]
    assert still.mark(wanted) is None
    del mark
    gc.collect()
    assert still.mark(wanted) is not None, "those of a mark that is gone are free again"


def test_without_inotify_there_is_no_mark(still: Still, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(inotify, "Inotify", refused)
    assert still.mark([(os.fsencode(box / "cur"), inotify.NEW)]) is None


def test_a_deaf_file_system_is_not_trusted(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Still(ACL)
    monkeypatch.setattr(filesystems, "deaf", lambda path: "nfs")
    assert found.mark([(os.fsencode(box / "cur"), inotify.NEW)]) is None
    found.close()


def test_lost_events_mean_that_nothing_holds(still: Still, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = marked(still, box)
    turn = still.renew(mark)
    (box / "tmp" / "x").write_bytes(b"")
    monkeypatch.setattr(inotify.Inotify, "drain", lambda self: (set(), set(), set(), True))
    monkeypatch.setattr(still, "_poll", Ready())
    assert not still.holds(mark, turn)
    assert not mark.lost


def test_events_without_an_end_mean_that_nothing_holds(
    still: Still, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = marked(still, box)
    turn = still.renew(mark)
    monkeypatch.setattr(still, "_poll", Ready())
    assert not still.holds(mark, turn)


class Ready:
    """A poll that always says that there is something."""

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        return [(0, 1)]


def test_after_the_end_nothing_holds(still: Still, box: Path) -> None:
    mark = marked(still, box)
    turn = still.renew(mark)
    still.close()
    assert not still.holds(mark, turn)
    assert not still.holds(mark, still.renew(mark))
    assert still.mark([(os.fsencode(box / "cur"), inotify.NEW)]) is None
    still.close()


# --- a mailbox --------------------------------------------------------------------------------------


def next_tick() -> None:
    """Return once the clock that stamps files has moved on."""
    began = time.clock_gettime_ns(scan._COARSE)
    while time.clock_gettime_ns(scan._COARSE) == began:
        pass


def settle(found: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the mailbox know that nothing has happened."""
    next_tick()
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    for _ in range(6):
        found.sync(keep_new=True)
    assert found._unmoved.holds(found._folder.index.state), "it is watched"


def test_a_mailbox_at_which_nothing_happens_is_not_looked_at(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildir.fill(3)
    found = maildir.open(watcher=watcher)
    settle(found, monkeypatch)

    monkeypatch.setattr(found._unmoved, "begin", not_to_be_called)
    assert len(found.sync(keep_new=True)) == 3


@pytest.mark.parametrize("times", range(3))
def test_what_others_do_to_a_mailbox_is_seen_at_once(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Another program delivers, renames, removes; and puts another cur/ in the place of the one there was."""
    names = maildir.fill(4)
    found = maildir.open(watcher=watcher)
    cur = Path(os.fsdecode(found.path)) / "cur"
    settle(found, monkeypatch)
    maildir.put("1900000000.M1P1.h", where="new")
    assert len(found.sync(keep_new=True)) == 5
    settle(found, monkeypatch)
    first = sorted(os.listdir(cur))[times]
    os.rename(cur / first, cur / (first.partition(":")[0] + ":2,F"))
    snapshot = found.sync(keep_new=True)
    assert sum(b"\\Flagged" in snapshot.flag_names(bits) for bits in snapshot.flags) == 1
    settle(found, monkeypatch)
    os.unlink(cur / sorted(os.listdir(cur))[times])
    assert len(found.sync(keep_new=True)) == 4
    settle(found, monkeypatch)
    os.rename(cur, cur.with_name("was-cur"))
    os.rename(cur.with_name("was-cur"), cur)
    found.sync(keep_new=True)
    os.rename(cur, cur.with_name("was-cur"))
    cur.mkdir()
    os.link(cur.with_name("was-cur") / sorted(os.listdir(cur.with_name("was-cur")))[0], cur / "1900000001.M1P1.h:2,")
    snapshot = found.sync(keep_new=True)
    assert b"1900000001.M1P1.h" in snapshot.names
    assert len(snapshot) == 2, names
    settle(found, monkeypatch)
    (cur / "1900000002.M1P1.h:2,").write_bytes(b"Subject: x\n\nbody\n")
    assert len(found.sync(keep_new=True)) == 3


def test_what_another_process_of_ours_writes_is_seen_at_once(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyword beyond the letters changes no name: the journal alone says so."""
    maildir.fill(2)
    found = maildir.open(watcher=watcher)
    other = maildir.open()
    settle(found, monkeypatch)
    uid = found.snapshot.uids[0]
    words = [b"word%d" % number for number in range(30)]
    other.set_flags([uid], add=other.flags(words, create=True))
    snapshot = found.sync(keep_new=True)
    assert {*words} <= {*snapshot.flag_names(snapshot.flags[0], uid)}


def test_a_mailbox_whose_path_leads_elsewhere_is_not_taken_for_unchanged(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing happens in cur/ and new/ when a directory above is renamed."""
    maildir.fill(2)
    found = maildir.open(watcher=watcher)
    settle(found, monkeypatch)
    path = Path(os.fsdecode(found.path))
    os.rename(path, path.with_name("was"))
    assert not found._unchanged(keep_new=True)
    os.rename(path.with_name("was"), path)


def young(found: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the mailbox know that nothing has happened although the stamps are too young to say so."""
    monkeypatch.setattr(scan, "SETTLE_NS", 3600 * 10**9)
    for _ in range(6):
        found.sync(keep_new=True)
    state = found._folder.index.state
    assert not state.stamp.settled
    assert found._unmoved.holds(state), "it is watched"


@pytest.mark.parametrize("change", ["delivered", "renamed", "removed", "by another process"])
def test_what_happens_to_a_young_mailbox_is_seen_at_once(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    maildir.fill(3)
    found = maildir.open(watcher=watcher)
    cur = Path(os.fsdecode(found.path)) / "cur"
    other = maildir.open()
    young(found, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(found._unmoved, "begin", not_to_be_called)
        assert len(found.sync(keep_new=True)) == 3, "nothing is looked at while nothing happens"
    first = sorted(os.listdir(cur))[0]
    if change == "delivered":
        maildir.put("1900000000.M1P1.h", where="new")
        assert len(found.sync(keep_new=True)) == 4
    elif change == "renamed":
        os.rename(cur / first, cur / (first.partition(":")[0] + ":2,F"))
        snapshot = found.sync(keep_new=True)
        assert [b"\\Flagged" in snapshot.flag_names(bits) for bits in snapshot.flags].count(True) == 1
    elif change == "removed":
        os.unlink(cur / first)
        assert len(found.sync(keep_new=True)) == 2
    else:
        other.set_flags([other.snapshot.uids[0]], add=other.flags([b"\\Seen"], create=True))
        assert found.sync(keep_new=True).unseen == other.snapshot.unseen == 2


def test_a_young_mailbox_is_listed_again_when_its_stamps_have_grown_old(
    maildir: Any, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened within the grain of the clock, before anybody watched, shows in no stamp and is no event."""
    maildir.fill(3)
    found = maildir.open(watcher=watcher)
    young(found, monkeypatch)
    proved = found._unmoved.proved
    assert proved is not None
    monkeypatch.setattr(time, "monotonic", lambda: proved[2] + 1)
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    assert not found._unmoved.holds(found._folder.index.state)
    assert not found._unchanged(keep_new=True)


def not_to_be_called(*_: object) -> None:
    raise AssertionError("looked")


# --- the rows of LIST ---------------------------------------------------------------------------------


@pytest.fixture
def account(tmp_path: Path, watcher: Watcher) -> Account:
    root = tmp_path / "Maildir"
    for folder in (".", ".one", ".one.two", ".three"):
        for name in ("cur", "new", "tmp"):
            (root / folder / name).mkdir(parents=True)
    return Account(os.fsencode(root), fsync="never", watcher=watcher)


def rows(account: Account) -> dict[str, bool | None]:
    return {row.name: row.marked for row in account.folders()}


def listed(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the account know its rows without a look."""
    for _ in range(3):
        account.listing.limited(account.folders())
    seen = account.listing._seen
    assert seen is not None
    assert account.listing._holds(seen), "it is watched"


def test_folders_at_which_nothing_happens_are_not_looked_at(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(account, monkeypatch)

    def look(*_: object) -> None:
        raise AssertionError("looked")

    monkeypatch.setattr(account.listing, "_marked", look)
    monkeypatch.setattr(account.acls, "among", look)
    found = account.folders()
    assert [row.name for row in found] == ["INBOX", "one", "one.two", "three"]
    assert account.folders() is found
    assert account.listing.limited(found) == set()


def test_what_happens_to_folders_is_listed_at_once(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.fsdecode(account.root))
    listed(account, monkeypatch)
    assert rows(account) == {"INBOX": False, "one": False, "one.two": False, "three": False}
    (root / ".one.two" / "new" / "1").write_bytes(b"")
    assert rows(account)["one.two"] is True
    listed(account, monkeypatch)
    (root / ".one.two" / "new" / "1").unlink()
    assert rows(account)["one.two"] is False
    listed(account, monkeypatch)
    os.rename(root / ".three" / "new", root / ".three" / "was")
    (root / ".three" / "new").mkdir()
    (root / ".three" / "new" / "1").write_bytes(b"")
    assert rows(account)["three"] is True
    listed(account, monkeypatch)
    os.rename(root / ".three", root / ".four")
    assert "three" not in rows(account)
    assert rows(account)["four"] is True


@pytest.mark.parametrize("how", ["written", "renamed", "linked"])
def test_a_list_of_rights_counts_at_once(account: Account, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    root = Path(os.fsdecode(account.root))
    (root / "list").write_bytes(b"owner lr\n")
    place = root / ".one" / os.fsdecode(ACL)
    listed(account, monkeypatch)
    if how == "written":
        place.write_bytes(b"owner lr\n")
    elif how == "renamed":
        os.rename(root / "list", place)
    else:
        os.link(root / "list", place)
    assert account.listing.limited(account.folders()) == {os.fsencode(root / ".one")}
    listed(account, monkeypatch)
    place.unlink()
    assert account.listing.limited(account.folders()) == set()


def test_an_account_that_nobody_has_gives_its_watches_back(account: Account, watcher: Watcher) -> None:
    for _ in range(3):
        account.folders()
    assert watcher.still is not None
    assert watcher.still._watched
    seen = account.listing._seen
    assert seen is not None
    account.listing._seen = None
    del seen
    gc.collect()
    with watcher.still._guard:
        watcher.still._sweep()
    assert not watcher.still._watched


# --- events that nobody has to read -------------------------------------------------------------------


def queued(still: Still) -> int:
    """How many octets of events wait to be read."""
    assert still._inotify is not None
    found = array("i", [0])
    fcntl.ioctl(still._inotify.fileno(), termios.FIONREAD, found)
    return found[0]


def test_many_changes_are_one_event(still: Still, box: Path) -> None:
    """STORE on a large mailbox renames ten thousand files, under our own watch."""
    mark = marked(still, box)
    turn = still.renew(mark)
    for number in range(500):
        os.rename(box / "cur" / "old", box / "cur" / "older")
        os.rename(box / "cur" / "older", box / "cur" / "old")
        assert queued(still) <= 100, number
    assert not still.holds(mark, turn)
    turn = still.renew(mark)
    assert still.holds(mark, turn)
    os.rename(box / "cur" / "old", box / "cur" / "older")
    assert not still.holds(mark, turn)


def test_two_who_watch_one_directory(still: Still, box: Path) -> None:
    """One event ends the watch for both, and each has it set again for himself."""
    one, other = marked(still, box), marked(still, box)
    first, second = still.renew(one), still.renew(other)
    (box / "cur" / "x").write_bytes(b"")
    assert not still.holds(one, first)
    assert not still.holds(other, second)
    first = still.renew(one)
    assert still.holds(one, first)
    assert not still.holds(other, second)
    (box / "cur" / "x").unlink()
    assert not still.holds(one, first)
    first, second = still.renew(one), still.renew(other)
    assert still.holds(one, first)
    assert still.holds(other, second)
    del one
    gc.collect()
    (box / "cur" / "x").write_bytes(b"")
    assert not still.holds(other, second)


def test_that_a_watch_has_ended_may_be_lost(still: Still, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = marked(still, box)
    turn = still.renew(mark)
    (box / "cur" / "x").write_bytes(b"")
    true = inotify.Inotify.drain

    def drain(self: inotify.Inotify) -> tuple[set[int], set[int], set[int], bool]:
        true(self)
        return set(), set(), set(), True

    with monkeypatch.context() as lossy:
        lossy.setattr(inotify.Inotify, "drain", drain)
        assert not still.holds(mark, turn)
    turn = still.renew(mark)
    assert still.holds(mark, turn)
    (box / "cur" / "x").unlink()
    assert not still.holds(mark, turn)


def test_a_watch_that_cannot_be_set_again(still: Still, box: Path) -> None:
    """The directory had its event, and has gone since, of which nobody was told."""
    mark = marked(still, box)
    turn = still.renew(mark)
    (box / "new" / "x").write_bytes(b"")
    assert not still.holds(mark, turn)
    os.rename(box / "new", box / "was-new")
    assert not still.holds(mark, still.renew(mark))
    assert mark.lost
