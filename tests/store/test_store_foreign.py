"""Other programs in the same folder: mutt, mbsync, file managers, and whoever puts FIFOs into cur/."""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from checkpoints import downgrade

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, RECENT, SEEN
from maildir_imapd.store.maildir.flags import Flags


def known(box: Mailbox) -> dict[bytes, int]:
    return dict(zip(box.snapshot.names, box.snapshot.uids, strict=True))


def bits(box: Mailbox, uid: int) -> int:
    return box.snapshot.flags[box.snapshot.position(uid)]


# --- flags and deletions ----------------------------------------------------------------------------


def test_flags_changed_outside_get_a_mod_sequence(maildir: Any) -> None:
    first, _ = maildir.fill(2)
    box = maildir.open()
    cur = maildir.path / "cur"
    (cur / f"{first}:2,").rename(cur / f"{first}:2,SF")
    box.sync()
    assert bits(box, 1) == SEEN | FLAGGED
    assert list(box.snapshot.modseqs) == [2, 1]
    assert f"{first}:2,FS" in maildir.names()


def test_a_keyword_without_a_bit_comes_to_a_message_that_somebody_renames(maildir: Any) -> None:
    first, _ = maildir.fill(2)
    box = maildir.open()
    box.flags([b"k%d" % n for n in range(filename.IN_BITS)], create=True)
    more = box.flags([b"one-more"], create=True)
    assert (more.bits, len(more)) == (0, 1)
    cur = maildir.path / "cur"
    (cur / f"{first}:2,").rename(cur / f"{first}:2,F")
    assert box.set_flags([1], add=Flags(SEEN) | more).changed == [1]
    assert box.snapshot.flag_names(bits(box, 1), 1) == (b"\\Flagged", b"\\Seen", b"one-more")


def test_a_file_deleted_outside_is_expunged(maildir: Any) -> None:
    first, _ = maildir.fill(2)
    box = maildir.open()
    (maildir.path / "cur" / f"{first}:2,").unlink()
    assert list(box.sync().uids) == [2]
    assert box.vanished_since(1) == [(1, 1)]
    assert list(maildir.open().snapshot.uids) == [2]


def test_a_base_that_comes_back_keeps_its_uid(maildir: Any) -> None:
    first, _ = maildir.fill(2)
    box = maildir.open()
    path = maildir.path / "cur" / f"{first}:2,"
    path.rename(maildir.path / "away")
    assert list(box.sync().uids) == [2]
    (maildir.path / "away").rename(maildir.path / "cur" / f"{first}:2,S")
    other = maildir.open()
    assert list(other.sync().uids) == [1, 2]
    assert bits(other, 1) == SEEN
    assert other.snapshot.revivals == 1
    assert other.vanished_since(1) == []
    assert list(box.sync().uids) == [1, 2]
    assert maildir.deliver(box) == 3


@pytest.mark.parametrize("where", ["cur", "new"])
@pytest.mark.parametrize("rest", [False, True])
def test_a_base_that_is_used_again_is_another_message(maildir: Any, where: str, rest: bool) -> None:
    """As procmail does with its MH names. *rest*: we have written a checkpoint in the meantime."""
    maildir.put("msg.AbCd:2,S")
    maildir.put("msg.EfGh:2,")
    box = maildir.open()
    path = maildir.path / "cur" / "msg.AbCd:2,S"
    when = path.stat().st_mtime
    path.unlink()
    assert list(box.sync().uids) == [2]
    if rest:
        box = maildir.open()
    maildir.put("msg.AbCd" if where == "new" else "msg.AbCd:2,", b"Subject: another\n\n", where=where)
    os.utime(maildir.path / where / ("msg.AbCd" if where == "new" else "msg.AbCd:2,"), (when + 60, when + 60))
    assert list(box.sync().uids) == [2, 3]
    assert box.read(3) == b"Subject: another\n\n"


def test_a_base_that_is_used_again_before_we_looked_is_another_message(maildir: Any) -> None:
    maildir.put("msg.AbCd:2,S")
    maildir.put("msg.EfGh:2,")
    box = maildir.open()
    path = maildir.path / "cur" / "msg.AbCd:2,S"
    when = path.stat().st_mtime
    path.unlink()
    maildir.put("msg.AbCd", b"Subject: another\n\n", where="new")
    os.utime(maildir.path / "new" / "msg.AbCd", (when + 60, when + 60))
    for _ in range(3):
        box.sync(look=True)
    assert list(box.snapshot.uids) == [2, 3]
    assert box.read(3) == b"Subject: another\n\n"
    assert not bits(box, 3) & SEEN


def test_what_a_client_expunged_comes_back_as_a_new_message(maildir: Any) -> None:
    first, _ = maildir.fill(2)
    box = maildir.open()
    path = maildir.path / "cur" / f"{first}:2,"
    data = path.read_bytes()
    box.expunge([1])
    path.write_bytes(data)
    assert list(box.sync().uids) == [2, 3]


def test_a_message_put_back_into_new_stays_the_same(maildir: Any) -> None:
    first, _ = maildir.fill(2, "S")
    box = maildir.open()
    (maildir.path / "cur" / f"{first}:2,S").rename(maildir.path / "new" / first)
    for _ in range(3):
        box.sync(look=True)
    assert list(box.snapshot.uids) == [1, 2]
    assert bits(box, 1) == SEEN
    assert maildir.names("new") == []


def test_a_message_left_in_new_is_still_the_same_in_cur(maildir: Any) -> None:
    box = maildir.open()
    for n in range(4):
        maildir.put(f"{n + 1}.h", where="new")
    assert list(box.sync(keep_new=True).uids) == [1, 2, 3, 4]
    new, cur = maildir.path / "new", maildir.path / "cur"
    (new / "1.h").rename(cur / "1.h:2,S")
    (new / "2.h").unlink()
    (new / "3.h").rename(new / "3.h:2,")
    assert list(box.sync(keep_new=True).uids) == [1, 3, 4]
    assert bits(box, 1) == SEEN | RECENT
    assert box.read(1)
    assert box.read(3)
    other = maildir.open()
    assert other.read(3)
    assert list(other.sync(keep_new=True).uids) == [1, 3, 4]
    assert list(other.sync().uids) == [1, 3, 4]
    assert maildir.names("new") == []
    assert other.snapshot.in_new == 0
    assert list(box.sync().uids) == [1, 3, 4]
    assert box.snapshot.names == [b"1.h", b"3.h", b"4.h"]


# --- listings that lie ------------------------------------------------------------------------------


def listings(monkeypatch: Any, *lies: set[str]) -> list[int]:
    """Leave names out of the next listings of cur/, one set of bases a listing."""
    true = scan.names
    left = list(lies)
    calls = [0]

    def names(folder: int, directory: bytes, owner: int | None) -> list[bytes]:
        found = true(folder, directory, owner)
        if directory == b"cur":
            calls[0] += 1
            if left:
                lie = left.pop(0)
                return [name for name in found if os.fsdecode(name.partition(b":")[0]) not in lie]
        return found

    monkeypatch.setattr(scan, "names", names)
    return calls


def test_a_name_that_one_listing_lacks_is_only_a_suspect(maildir: Any, monkeypatch: Any) -> None:
    bases = maildir.fill(4)
    box = maildir.open()
    calls = listings(monkeypatch, set(bases[:2]))
    assert list(box.sync(look=True).uids) == [1, 2, 3, 4]
    assert calls[0] == 3
    listings(monkeypatch, set(bases[:1]), set(bases[:1]), set())
    assert list(box.sync(look=True).uids) == [1, 2, 3, 4], "two of three is not enough"
    assert box.snapshot.modseq == 1


def test_in_a_busy_folder_nobody_is_expunged(maildir: Any, monkeypatch: Any) -> None:
    bases = maildir.fill(4)
    box = maildir.open()
    (maildir.path / "cur" / f"{bases[0]}:2,").unlink()
    ticks = iter(range(10**6))
    true = scan.look
    monkeypatch.setattr(scan, "look", lambda folder: (next(ticks), *true(folder)[1:]))
    for _ in range(3):
        assert list(box.sync().uids) == [1, 2, 3, 4]
        assert box.recheck() == pytest.approx(0.05)
    with pytest.raises(errors.MessageGone):
        box.read(1)
    assert box.read(2)
    monkeypatch.setattr(scan, "look", true)
    assert list(box.sync().uids) == [2, 3, 4]


def test_a_change_that_hides_in_the_same_tick_is_found_later(maildir: Any, monkeypatch: Any) -> None:
    bases = maildir.fill(2)
    box = maildir.open()
    box.set_flags([2], add=Flags(FLAGGED))
    frozen = scan.look(box._folder.fd)
    monkeypatch.setattr(scan, "look", lambda folder: frozen)
    monkeypatch.setattr(Mailbox, "_unchanged", lambda self, keep_new: False)
    cur = maildir.path / "cur"
    (cur / f"{bases[0]}:2,").rename(cur / f"{bases[0]}:2,S")
    assert bits(box, 1) == 0
    box.sync()
    assert bits(box, 1) == 0, "the stamp says nothing"
    assert 0 < box.recheck() < 5
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    box.sync()
    assert bits(box, 1) == SEEN
    assert box.recheck() is None


def test_nothing_to_look_at_again_once_it_is_quiet(maildir: Any, monkeypatch: Any) -> None:
    maildir.fill(2)
    monkeypatch.setattr(scan, "SETTLE_NS", 0)
    box = maildir.open()
    box.sync(look=True)
    calls = listings(monkeypatch)
    for _ in range(5):
        box.sync()
    assert calls == [0]
    assert box.recheck() is None
    other = maildir.open()
    other.sync()
    assert calls == [0], "what one process has settled is settled for all"


# --- bases ------------------------------------------------------------------------------------------


def test_mbsync_renames_a_base(maildir: Any) -> None:
    bases = maildir.fill(3, "S")
    box = maildir.open()
    cur = maildir.path / "cur"
    for n, base in enumerate(bases):
        (cur / f"{base}:2,S").rename(cur / f"{base},U={n + 7}:2,FS")
    assert list(box.sync().uids) == [1, 2, 3]
    assert box.snapshot.names == [os.fsencode(f"{base},U={n + 7}") for n, base in enumerate(bases)]
    assert bits(box, 2) == SEEN | FLAGGED
    assert box.read(2)
    assert maildir.open().snapshot.names == box.snapshot.names
    (cur / f"{bases[0]},U=7:2,FS").rename(cur / f"{bases[0]},U=19:2,FS")
    assert list(box.sync().uids) == [1, 2, 3]
    assert box.snapshot.names[0].endswith(b",U=19")


def test_a_base_listed_under_both_its_names_is_one_message(maildir: Any, monkeypatch: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    cur = maildir.path / "cur"
    (cur / f"{base}:2,").rename(cur / f"{base},U=1:2,")
    true = scan.names
    both = [[os.fsencode(f"{base}:2,"), os.fsencode(f"{base},U=1:2,")]]
    monkeypatch.setattr(scan, "names", lambda fd, d, owner: both.pop() if d == b"cur" and both else true(fd, d, owner))
    assert list(box.sync().uids) == [1]
    assert box.snapshot.names == [os.fsencode(f"{base},U=1")]


def test_a_copy_with_the_same_stem_is_a_message_of_its_own(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    maildir.put(f"{base},U=1:2,S")
    assert list(box.sync().uids) == [1, 2]
    assert known(box) == {os.fsencode(base): 1, os.fsencode(f"{base},U=1"): 2}


@pytest.mark.parametrize("copied", [False, True])
def test_of_two_missing_with_one_stem_the_fingerprint_tells_which(maildir: Any, copied: bool) -> None:
    """Nothing else does, and then it is not guessed."""
    maildir.put("1.h,U=1:2,")
    os.utime(maildir.put("1.h,U=2:2,"), ns=(1, 1_700_000_000_000_000_001))
    box = maildir.open()
    cur = maildir.path / "cur"
    (cur / "1.h,U=1:2,").unlink()
    if copied:
        shutil.copy2(cur / "1.h,U=2:2,", maildir.path / "tmp" / "copy")
        (cur / "1.h,U=2:2,").unlink()
        (maildir.path / "tmp" / "copy").rename(cur / "1.h,U=3:2,")
    else:
        (cur / "1.h,U=2:2,").rename(cur / "1.h,U=3:2,")
    box.sync()
    assert list(box.snapshot.uids) == [3 if copied else 2]


@pytest.mark.parametrize("again", [False, True])
def test_a_base_that_has_nothing_of_the_old_one(maildir: Any, again: bool) -> None:
    """As offlineimap makes it. *again*: the journal, and not a first look, knows the fingerprints."""
    bases = maildir.fill(1 if again else 3)
    box = maildir.open()
    if again:
        bases += maildir.fill(1)
        box.sync()
        uid = maildir.deliver(box)
        bases.append(os.fsdecode(box.snapshot.names[uid - 1]))
        box = maildir.open()
    cur = maildir.path / "cur"
    for n, base in enumerate(bases):
        (cur / f"{base}:2,").rename(cur / f"9999.x{n}:2,S")
    maildir.put("5.another:2,")
    assert list(box.sync().uids) == [1, 2, 3, 4]
    assert box.snapshot.names == [b"9999.x0", b"9999.x1", b"9999.x2", b"5.another"]
    assert bits(box, 2) == SEEN
    assert box.read(3)
    assert maildir.open().snapshot.names == box.snapshot.names


def test_two_names_of_one_file_are_two_messages(maildir: Any) -> None:
    """COPY within a folder makes such; another program renames both."""
    (base,) = maildir.fill(1)
    box = maildir.open()
    assert box.copy_from(box, [1]) == [(1, 2)]
    cur = maildir.path / "cur"
    for n, name in enumerate(maildir.names()):
        (cur / name).rename(cur / f"9999.x{n}:2,")
    assert sorted(known(box)) != [b"9999.x0", b"9999.x1"]
    box.sync()
    assert sorted(known(box)) == [b"9999.x0", b"9999.x1"]
    assert list(box.snapshot.uids) == [1, 2]
    assert base


@pytest.mark.parametrize("later", [1, 1_000_000_000])
def test_a_file_with_an_inode_that_was_free_is_another_message(maildir: Any, later: int) -> None:
    """It is the same inode for certain when it is the same file; the time is what a new one has of its own."""
    (base,) = maildir.fill(1)
    file = maildir.path / "cur" / f"{base}:2,"
    when = 1_700_000_000_000_004_711
    os.utime(file, ns=(when, when))
    box = maildir.open()
    file.rename(maildir.path / "cur" / "9999.x:2,")
    os.utime(maildir.path / "cur" / "9999.x:2,", ns=(when, when + later))
    assert list(box.sync().uids) == [2]


@pytest.mark.parametrize(("born", "uid"), [(-1, 1), (0, 2), (1, 2), (None, 2)])
def test_a_time_of_whole_seconds_may_be_that_of_many(
    maildir: Any, monkeypatch: Any, born: int | None, uid: int
) -> None:
    """Somebody has set it; the file is the message's if it was there before we saw that one, in *born* seconds."""
    (base,) = maildir.fill(1)
    file = maildir.path / "cur" / f"{base}:2,"
    os.utime(file, (1_700_000_000, 1_700_000_000))
    box = maildir.open()
    seen = box.snapshot.saved[0]
    assert (scan.born(box._folder.fd, b"cur/" + os.fsencode(file.name)) or 0) // 1_000_000_000 <= seen
    monkeypatch.setattr(scan, "born", lambda fd, path: None if born is None else (seen + born) * 1_000_000_000)
    file.rename(maildir.path / "cur" / "9999.x:2,")
    assert list(box.sync().uids) == [uid]


@pytest.mark.parametrize("keep_new", [False, True])
def test_a_new_base_in_new(maildir: Any, keep_new: bool) -> None:
    """What EXAMINE and STATUS leave in new/ keeps its UID likewise."""
    box = maildir.open()
    for n in range(3):
        maildir.put(f"{n + 1}.h", where="new")
    assert list(box.sync(keep_new=True).uids) == [1, 2, 3]
    new = maildir.path / "new"
    (new / "2.h").rename(new / "9999.x")
    for _ in range(2):
        assert list(box.sync(look=True, keep_new=keep_new).uids) == [1, 2, 3]
    assert known(box)[b"9999.x"] == 2
    assert box.read(2)
    assert maildir.names("new") == (["1.h", "3.h", "9999.x"] if keep_new else [])
    assert list(maildir.open().sync().uids) == [1, 2, 3]


def test_a_new_base_on_the_way_back_into_new(maildir: Any) -> None:
    """Marked as unread by a program that knows no IMAP, with a name of its own."""
    first, _ = maildir.fill(2, "S")
    box = maildir.open()
    (maildir.path / "cur" / f"{first}:2,S").rename(maildir.path / "new" / "9999.x")
    for _ in range(2):
        box.sync(look=True)
    assert known(box)[b"9999.x"] == 1
    assert len(box.snapshot) == 2
    assert maildir.names("new") == []
    assert box.read(1)


def test_an_index_of_version_1_knows_no_fingerprints(maildir: Any) -> None:
    bases = maildir.fill(2)
    maildir.open().close()
    downgrade(maildir.path / "maildir-imapd.index", 1)
    box = maildir.open()
    assert list(box.sync().uids) == [1, 2]
    assert list(box.snapshot.fingerprints) == [0, 0]
    cur = maildir.path / "cur"
    (cur / f"{bases[0]}:2,").rename(cur / f"{bases[0]},U=7:2,")
    assert list(box.sync().uids) == [1, 2]
    assert os.fsencode(f"{bases[0]},U=7") in known(box)


@pytest.mark.parametrize("mark", [",U=17", ",U=17,FMD5=7e33429f656f1e6e9d79b29c3f82c57e"])
def test_what_else_the_base_says_tells_two_with_one_stem_apart(maildir: Any, mark: str) -> None:
    maildir.put("1.h,S=1:2,")
    maildir.put("1.h,S=2,U=3:2,")
    box = maildir.open()
    cur = maildir.path / "cur"
    (cur / "1.h,S=1:2,").unlink()
    (cur / "1.h,S=2,U=3:2,").rename(cur / f"1.h,S=2{mark}:2,")
    box.sync()
    assert list(box.snapshot.uids) == [2]


def test_a_stem_of_another_message_is_no_rename(maildir: Any) -> None:
    first = maildir.put("1.h:2,S")
    when = first.stat().st_mtime
    box = maildir.open()
    first.unlink()
    os.utime(maildir.put("1.h,U=1:2,", b"Subject: another\n\n"), (when + 60, when + 60))
    box.sync()
    assert list(box.snapshot.uids) == [2]
    assert box.read(2) == b"Subject: another\n\n"
    assert list(maildir.open().snapshot.uids) == [2]


def test_the_same_base_twice_becomes_two_messages(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    maildir.put(f"{base}:2,S", b"another\n")
    for _ in range(3):
        box.sync(look=True)
    assert list(box.snapshot.uids) == [1, 2]
    assert {box.read(1), box.read(2)} == {b"Subject: 1\n\nbody\n", b"another\n"}
    assert len(maildir.names()) == 2
    names = box.snapshot.names
    box.sync(look=True)
    assert box.snapshot.names == names


def test_the_same_base_twice_from_the_beginning(maildir: Any) -> None:
    maildir.put("1.h,S=8,W=9:2,", b"another\n")
    maildir.put("1.h,S=8,W=9:2,S", b"another\n")
    os.link(maildir.path / "cur" / "1.h,S=8,W=9:2,S", maildir.path / "new" / "1.h,S=8,W=9")
    box = maildir.open()
    for _ in range(4):
        box.sync()
    assert len(box.snapshot) == 3
    assert len(maildir.names()) == 3
    assert len({filename.stem(name) for name in box.snapshot.names}) == 3
    assert all(b",S=8,W=9" in name for name in box.snapshot.names)


def test_the_same_base_in_new_and_cur(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    maildir.put(base, b"another\n", where="new")
    for _ in range(3):
        box.sync()
    assert list(box.snapshot.uids) == [1, 2]
    assert box.read(1) == b"Subject: 1\n\nbody\n"
    assert box.read(2) == b"another\n"


def test_our_rename_never_overwrites_a_message(maildir: Any, monkeypatch: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    maildir.put(f"{base}:2,S", b"another\n")
    box.set_flags([1], add=Flags(SEEN))
    assert box.read(1) == b"Subject: 1\n\nbody\n"
    assert len(maildir.names()) == 2
    assert len(box.sync()) == 2
    # The same where the kernel cannot promise it.
    monkeypatch.setattr(durable, "_renameat2", None)
    (base,) = maildir.fill(1)
    box.sync()
    maildir.put(f"{base}:2,S", b"third\n")
    box.set_flags([3], add=Flags(SEEN))
    assert box.read(3) == b"Subject: 2\n\nbody\n"
    assert len(box.sync()) == 4
    assert len(maildir.names()) == 4


# --- things that are no messages --------------------------------------------------------------------


def litter(path: Path) -> None:
    (path / "directory").mkdir()
    os.mkfifo(path / "fifo:2,S")
    (path / "link:2,").symlink_to("/etc/passwd")
    (path / "loop:2,").symlink_to("loop:2,")
    (path / ".hidden").write_bytes(b"x")
    (path / ".nfs000001").write_bytes(b"x")
    (path / "new\nline:2,").write_bytes(b"x")
    (path / "return\r:2,").write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as unix:
        # The path itself may be too long for a socket.
        unix.bind(f"/proc/self/fd/{fd}/socket")
    os.close(fd)


@pytest.mark.parametrize("where", ["cur", "new"])
def test_what_is_no_message_is_left_alone(maildir: Any, where: str) -> None:
    maildir.fill(2)
    litter(maildir.path / where)
    before = maildir.names(where)
    box = maildir.open(follow_links="no")
    assert list(box.sync(look=True).uids) == [1, 2]
    assert list(maildir.open(follow_links="no").sync(look=True).uids) == [1, 2]
    assert maildir.names(where) == before


def test_a_message_that_turns_into_something_else_is_not_read(maildir: Any) -> None:
    bases = maildir.fill(5)
    box = maildir.open(follow_links="no")
    cur = maildir.path / "cur"
    for base in bases[:4]:
        (cur / f"{base}:2,").unlink()
    os.mkfifo(cur / f"{bases[0]}:2,")
    (cur / f"{bases[1]}:2,").symlink_to("/etc/passwd")
    (cur / f"{bases[2]}:2,").mkdir()
    (cur / f"{bases[3]}:2,").symlink_to("/dev/zero")
    for uid in (1, 2, 3, 4):
        with pytest.raises(errors.MessageUnreadable) as caught:
            box.read(uid)
        assert os.fsdecode(maildir.path) in caught.value.detail
    assert box.read(5)
    assert box.sizes(range(5))[:4] == [0, 0, 0, 0]


def test_a_name_without_a_base_gets_one(maildir: Any) -> None:
    box = maildir.open()
    maildir.put(":2,S")
    for _ in range(3):
        box.sync(look=True)
    assert len(box.snapshot) == 1
    assert bits(box, 1) == SEEN
    maildir.put(":2,F", where="new")
    for _ in range(3):
        box.sync(look=True)
    assert len(box.snapshot) == 2


def test_names_of_any_bytes(maildir: Any) -> None:
    cur = os.fsencode(maildir.path / "cur")
    for name in (b"\xff\xfe 1.h:2,S", b"with space:2,", b"a" * 250 + b":2,"):
        with open(cur + b"/" + name, "wb") as file:
            file.write(b"x")
    box = maildir.open()
    assert len(box.snapshot) == 3
    assert [box.read(uid) for uid in box.snapshot.uids] == [b"x"] * 3
    other = maildir.open()
    assert other.snapshot.names == box.snapshot.names
    other.set_flags([1], add=Flags(FLAGGED))
    assert len(box.sync()) == 3


# --- races ------------------------------------------------------------------------------------------


def test_a_message_renamed_under_our_hands_is_found(maildir: Any) -> None:
    bases = maildir.fill(6)
    box = maildir.open()
    cur = maildir.path / "cur"
    for n, base in enumerate(bases):
        (cur / f"{base}:2,").rename(cur / f"{base}:2,{'DFR'[n % 3]}")
    assert box.read(1)
    for n, base in enumerate(bases):
        (cur / f"{base}:2,{'DFR'[n % 3]}").rename(cur / f"{base}:2,S")
    result = box.set_flags([1, 2], add=Flags(DELETED))
    assert (result.changed, result.gone) == ([1, 2], [])
    assert bits(box, 1) == SEEN | DELETED
    assert box.expunge([3, 4]) == [3, 4]
    assert list(box.sync().uids) == [1, 2, 5, 6]
    assert bits(box, 5) == SEEN
    assert sorted(name.partition(":")[2] for name in maildir.names()) == ["2,S", "2,S", "2,ST", "2,ST"]


def test_a_copy_finds_what_was_renamed(make_maildir: Any) -> None:
    source, target = make_maildir("A"), make_maildir("B")
    (base,) = source.fill(1)
    a, b = source.open(), target.open()
    cur = source.path / "cur"
    (cur / f"{base}:2,").rename(cur / f"{base}:2,S")
    assert b.copy_from(a, [1], move=True) == [(1, 1)]
    assert source.names() == []
    assert len(target.names()) == 1


def test_a_message_removed_while_flags_are_set(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    (maildir.path / "cur" / f"{base}:2,").unlink()
    assert box.set_flags([1], add=Flags(SEEN)).gone == [1]
    assert len(box.sync()) == 0
    assert box.set_flags([1], add=Flags(SEEN)).gone == [1]


def test_new_mail_taken_by_another_program_is_found_in_cur(maildir: Any) -> None:
    box = maildir.open()
    path = maildir.put("1.h", where="new")

    def take(action: str, what: object) -> None:
        if action == "rename" and path.exists():
            path.rename(maildir.path / "cur" / "1.h:2,S")

    durable.step = take
    assert len(box.sync()) == 0
    durable.step = None
    assert len(box.sync()) == 1
    assert bits(box, 1) == SEEN


def test_an_impatient_mutt_never_costs_a_uid(maildir: Any) -> None:
    """One program flips flags as fast as it can, without our lock; we list, read and set flags meanwhile.

    Dovecot gives false EXPUNGEs and new UIDs here (robustness.md section 3).
    """
    count = 40
    bases = maildir.fill(count)
    box = maildir.open()
    texts = {uid: box.read(uid) for uid in box.snapshot.uids}
    cur = os.fsencode(maildir.path / "cur")
    stop = threading.Event()
    flips = [0]

    def mutt() -> None:
        dice = random.Random(1)
        while not stop.is_set():
            for name in os.listdir(cur):
                base, _, letters = name.partition(b":2,")
                new = bytes(sorted(set(letters) ^ {dice.choice(b"FRS")}))
                try:
                    os.rename(cur + b"/" + name, cur + b"/" + base + b":2," + new)
                    flips[0] += 1
                except FileNotFoundError:
                    pass  # our own rename was first

    program = threading.Thread(target=mutt)
    program.start()
    dice = random.Random(2)
    try:
        while flips[0] < 3000:
            box.sync(look=True)
            uid = dice.randint(1, count)
            assert box.read(uid) == texts[uid]
            box.set_flags([uid], add=Flags(DELETED))
            box.set_flags([uid], remove=Flags(DELETED))
            assert list(box.snapshot.uids) == list(range(1, count + 1))
    finally:
        stop.set()
        program.join()
    box.sync(look=True)
    assert known(box) == {os.fsencode(base): n + 1 for n, base in enumerate(bases)}
    assert box.snapshot.uidnext == count + 1
    assert box.vanished_since(1) == []
    on_disk = {name.partition(":")[0]: name for name in maildir.names()}
    for at, base in enumerate(bases):
        assert os.fsencode(on_disk[base]) == os.fsencode(base) + filename.info(box.snapshot.flags[at] & ~RECENT)


# --- tmp/ -------------------------------------------------------------------------------------------


def test_litter_in_tmp_goes_after_36_hours(maildir: Any, monkeypatch: Any) -> None:
    from maildir_imapd.store.maildir import delivery

    tmp = maildir.path / "tmp"
    (tmp / "old").write_bytes(b"x")
    (tmp / "directory").mkdir()
    os.utime(tmp, (1, 1))
    folder = os.open(maildir.path, os.O_RDONLY)
    now = (tmp / "old").stat().st_ctime
    assert delivery.clean_tmp(folder, now + 3600) == 0
    os.utime(tmp, (1, 1))
    assert delivery.clean_tmp(folder, now + 37 * 3600) == 1
    (tmp / "young").write_bytes(b"x")
    assert delivery.clean_tmp(folder, now + 37 * 3600) == 0, "somebody has just been here"
    os.close(folder)
    assert maildir.names("tmp") == ["directory", "young"]


@pytest.mark.parametrize("mark", [";", "!"])
def test_flags_behind_another_mark_are_read_and_written_back(maildir: Any, mark: str) -> None:
    maildir.put(f"1700000001.M1P1.host{mark}2,S", b"Subject: one\n\none\n")
    maildir.put(f"1700000002.M1P1.host{mark}2,", b"Subject: two\n\ntwo\n")
    box = maildir.open()
    assert [bits & SEEN for bits in box.snapshot.flags] == [SEEN, 0]
    box.set_flags([1, 2], add=Flags(FLAGGED))
    maildir.deliver(box, bits=SEEN)
    maildir.put("1700000003.M1P1.host", where="new")
    box.sync()
    assert maildir.names()[:3] == [
        f"1700000001.M1P1.host{mark}2,FS",
        f"1700000002.M1P1.host{mark}2,F",
        f"1700000003.M1P1.host{mark}2,",
    ]
    assert maildir.names()[3].endswith(f"{mark}2,S")
    again = maildir.open()
    assert list(again.snapshot.uids) == [1, 2, 3, 4]
    assert again.read(1) == b"Subject: one\n\none\n"
    os.rename(
        maildir.path / "cur" / f"1700000001.M1P1.host{mark}2,FS",
        maildir.path / "cur" / f"1700000001.M1P1.host{mark}2,S",
    )
    assert list(again.sync(look=True).uids) == [1, 2, 3, 4]
    assert again.snapshot.flags[0] & FLAGGED == 0


def test_one_name_with_another_mark_among_others(maildir: Any) -> None:
    maildir.put("1700000001.M1P1.host:2,S")
    maildir.put("1700000002.M1P1.host;2,S")
    box = maildir.open()
    assert [bits & SEEN for bits in box.snapshot.flags] == [SEEN, SEEN]
    box.set_flags([1, 2], add=Flags(FLAGGED))
    assert maildir.names() == ["1700000001.M1P1.host:2,FS", "1700000002.M1P1.host;2,FS"]
    # The spool was carried back to where names have colons: the same messages.
    os.rename(maildir.path / "cur" / "1700000002.M1P1.host;2,FS", maildir.path / "cur" / "1700000002.M1P1.host:2,FS")
    assert list(box.sync(look=True).uids) == [1, 2]
    again = maildir.open()
    again.set_flags([2], remove=Flags(FLAGGED))
    assert maildir.names() == ["1700000001.M1P1.host:2,FS", "1700000002.M1P1.host:2,S"]


def test_a_name_without_room_for_flags(maildir: Any) -> None:
    """One file whose flags do not fit costs nobody else anything, and has its flags in the index."""
    long, fresh = "1700000002." + "x" * 241, "1700000003." + "y" * 243
    maildir.put("1700000001.M1P1.host:2,")
    maildir.put(long)
    maildir.put(fresh, where="new")
    maildir.put("1700000004.M1P1.host", where="new")
    box = maildir.open()
    box.sync()
    assert list(box.snapshot.uids) == [1, 2, 3, 4]
    assert [box.read(uid) for uid in (2, 3)] == [b"Subject: x\n\nbody\n"] * 2
    assert box.set_flags([1, 2, 3, 4], add=Flags(FLAGGED)).changed == [1, 2, 3, 4]
    assert box.set_flags([3], add=Flags(SEEN)).changed == [3]
    assert maildir.names() == ["1700000001.M1P1.host:2,F", long, fresh, "1700000004.M1P1.host:2,F"]
    for each in (box, maildir.open()):
        each.sync(look=True)
        assert list(each.snapshot.uids) == [1, 2, 3, 4]
        assert [bits & (SEEN | FLAGGED) for bits in each.snapshot.flags] == [FLAGGED] * 2 + [FLAGGED | SEEN, FLAGGED]
        assert each.read(2) == b"Subject: x\n\nbody\n"
    again = maildir.open()
    assert again.set_flags([2], remove=Flags(FLAGGED)).changed == [2]
    last = maildir.open()
    assert last.snapshot.flags[1] & FLAGGED == 0
    assert last.copy_from(last, [2]) == [(2, 5)]
    assert last.expunge([2, 3]) == [2, 3]
    assert list(last.sync(look=True).uids) == [1, 4, 5]


def test_a_new_file_without_room_for_flags(maildir: Any) -> None:
    """Also when the folder is known already."""
    box = maildir.open()
    maildir.put("1700000003." + "y" * 244, where="new")
    maildir.put("1700000004." + "z" * 200 + ":2,S")
    maildir.put("1700000005." + "z" * 230 + ":2,S")
    assert [bits & SEEN for bits in box.sync().flags] == [SEEN, SEEN, 0]
    assert maildir.names("new") == []
    assert box.set_flags([1, 2, 3], add=Flags(FLAGGED)).changed == [1, 2, 3]
    assert [bits & SEEN for bits in maildir.open().sync(look=True).flags] == [SEEN, SEEN, 0]


@pytest.mark.parametrize("name", ["new", "tmp"])
def test_a_file_where_a_directory_should_be(maildir: Any, name: str) -> None:
    """Costs what needs that directory, and not the folder."""
    maildir.fill(2)
    (maildir.path / name).rmdir()
    (maildir.path / name).write_bytes(b"a note to myself")
    box = maildir.open()
    assert list(box.sync(look=True).uids) == [1, 2]
    assert not box.read_only
    assert box.set_flags([1], add=Flags(SEEN)).changed == [1]
    assert box.copy_from(box, [1]) == [(1, 3)]
    assert box.expunge([1]) == [1]
    if name == "tmp":
        with pytest.raises(errors.StoreError):
            maildir.deliver(box)
    else:
        assert maildir.deliver(box) == 4
    assert (maildir.path / name).read_bytes() == b"a note to myself"
