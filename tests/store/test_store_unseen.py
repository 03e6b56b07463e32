"""A first contact by names alone: what is known of the files, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from maildir import Maildir

from maildir_imapd.store.folder import first_contact
from maildir_imapd.store.index import checkpoint
from maildir_imapd.store.index.columns import FILE_COLUMNS
from maildir_imapd.store.maildir.filename import FLAGGED, IN_NEW, RECENT, SEEN
from maildir_imapd.store.maildir.flags import Flags

INDEX = "maildir-imapd.index"


@pytest.fixture(autouse=True)
def _never_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_contact, "FEW_MESSAGES", 0)


def sections(maildir: Maildir) -> set[str]:
    head = (maildir.path / INDEX).read_bytes().split(b"\n\n")[0]
    return {line.split()[1].decode() for line in head.split(b"\n") if line.startswith(b"o ")}


def what_files_tell(maildir: Maildir) -> list[tuple[int, int]]:
    found = []
    for name in maildir.names():
        path = maildir.path / "cur" / name
        found.append((int(path.stat().st_mtime), path.stat().st_size))
    return found


def dated(maildir: Maildir) -> None:
    for at, name in enumerate(maildir.names()):
        os.utime(maildir.path / "cur" / name, (1_500_000_000 + at, 1_500_000_000 + at))


def test_nobody_looks_at_a_file(maildir: Maildir) -> None:
    maildir.fill(5, "S")
    box = maildir.open()
    assert list(box.snapshot.uids) == [1, 2, 3, 4, 5]
    assert box.snapshot.unseen == 0
    assert not box.snapshot.seen
    assert sections(maildir).isdisjoint(FILE_COLUMNS)


def test_a_column_that_is_asked_for_is_made_of_the_files(maildir: Maildir) -> None:
    maildir.fill(3)
    maildir.put("1700000099.M1P1.host,S=20,W=23:2,", b"Subject: x\n\nbody\nab\n")
    dated(maildir)
    rows = maildir.open().snapshot
    assert list(rows.received) == [when for when, _ in what_files_tell(maildir)]
    assert rows.sizes[3] == 23
    assert all(rows.fingerprints)
    assert rows.seen


def test_after_the_answer_all_is_on_record(maildir: Maildir) -> None:
    maildir.fill(3)
    dated(maildir)
    box = maildir.open()
    box.sync(files=True)
    assert sections(maildir) >= FILE_COLUMNS
    inode = (maildir.path / INDEX).stat().st_ino
    box.sync(files=True)
    assert (maildir.path / INDEX).stat().st_ino == inode, "once"
    again = maildir.open()
    assert again.snapshot.received == box.snapshot.received
    assert again.snapshot.seen


def test_who_comes_before_that_looks_for_himself(maildir: Maildir) -> None:
    maildir.fill(3)
    dated(maildir)
    maildir.open()
    again = maildir.open()
    assert not again.snapshot.seen
    assert list(again.snapshot.received) == [when for when, _ in what_files_tell(maildir)]
    again.sync(files=True)
    assert sections(maildir) >= FILE_COLUMNS


@pytest.mark.parametrize("small", [True, False])
def test_changes_before_that_are_changes_all_the_same(
    maildir: Maildir, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if not small:
        monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)
    maildir.fill(3)
    dated(maildir)
    box = maildir.open()
    box.set_flags([1], add=Flags(SEEN | FLAGGED))
    box.expunge([2])
    uid = maildir.deliver(box)
    assert uid == 4
    for each in (box, maildir.open()):
        each.sync(files=True)
        rows = each.snapshot
        assert list(rows.uids) == [1, 3, 4]
        assert list(rows.received) == [1_500_000_000, 1_500_000_002, 1_000_000_000]
        assert all(each.read(uid) for uid in rows.uids)
        assert sections(maildir) >= FILE_COLUMNS


def test_two_who_have_it_open_agree(maildir: Maildir) -> None:
    maildir.fill(4)
    dated(maildir)
    one, other = maildir.open(), maildir.open()
    one.sync(files=True)
    maildir.deliver(other)
    other.sync(files=True)
    one.sync()
    for column in ("uids", "received", "sizes", "fingerprints", "names", "flags"):
        assert getattr(one.snapshot, column) == getattr(other.snapshot, column), column


def test_what_is_no_message_is_none(maildir: Maildir, tmp_path: Path) -> None:
    maildir.fill(1)
    (maildir.path / "cur" / "1600000000.dir:2,S").mkdir()
    os.mkfifo(maildir.path / "cur" / "1600000001.fifo:2,S")
    (tmp_path / "elsewhere").write_bytes(b"Subject: y\n\n")
    (maildir.path / "cur" / "1600000002.link:2,S").symlink_to(tmp_path / "elsewhere")
    (maildir.path / "cur" / "1600000003.nowhere:2,S").symlink_to(tmp_path / "nowhere")
    box = maildir.open(follow_links="never")
    assert len(box.snapshot) == 1
    box.sync(look=True)
    assert len(box.snapshot) == 1


def test_a_link_that_is_followed_has_its_file_s_date(maildir: Maildir, tmp_path: Path) -> None:
    maildir.fill(1)
    (tmp_path / "elsewhere").write_bytes(b"Subject: y\n\n")
    os.utime(tmp_path / "elsewhere", (1_400_000_000, 1_400_000_000))
    (maildir.path / "cur" / "1600000002.link:2,S").symlink_to(tmp_path / "elsewhere")
    box = maildir.open(root=os.fsencode(maildir.path))
    assert len(box.snapshot) == 2
    assert box.snapshot.received[0] == 1_400_000_000


def test_new_mail_at_first_contact(maildir: Maildir) -> None:
    maildir.fill(2, "S")
    path = maildir.put("1800000000.n", where="new")
    os.utime(path, (1_500_000_009, 1_500_000_009))
    box = maildir.open()
    box.sync()
    assert box.snapshot.flags[2] & (RECENT | IN_NEW) == RECENT
    assert box.snapshot.received[2] == 1_500_000_009
    assert maildir.names("new") == []


def test_a_file_that_went_before_anybody_looked(maildir: Maildir) -> None:
    maildir.fill(3)
    maildir.settle()
    box = maildir.open()
    (maildir.path / "cur" / maildir.names()[1]).unlink()
    assert box.snapshot.fingerprints[1] == 0
    assert box.snapshot.fingerprints[2] != 0
    for _ in range(2):
        box.sync(look=True)
    assert list(box.snapshot.uids) == [1, 3]


def test_a_base_that_was_marked_before_anybody_looked(maildir: Maildir) -> None:
    """As mbsync does: the name is all that is known, and enough."""
    first, second = maildir.fill(2)
    box = maildir.open()
    (maildir.path / "cur" / f"{first}:2,").rename(maildir.path / "cur" / f"{first},U=7:2,")
    box.sync(look=True)
    assert list(box.snapshot.uids) == [1, 2]
    assert box.snapshot.names == [os.fsencode(f"{first},U=7"), os.fsencode(second)]


def test_damage_before_anybody_looked(maildir: Maildir) -> None:
    maildir.fill(3)
    dated(maildir)
    box = maildir.open()
    maildir.deliver(box)
    with (maildir.path / "maildir-imapd.journal").open("r+b") as journal:
        journal.seek(20)
        journal.write(b"x")
    again = maildir.open()
    again.sync(files=True)
    assert list(again.snapshot.received) == [1_500_000_000 + at for at in range(3)] + [1_000_000_000]
    assert all(again.read(uid) for uid in again.snapshot.uids)


def test_where_nothing_can_be_written_it_is_in_memory(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(3)
    dated(maildir)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("maildir_imapd.store.disk.durable.put", full)
    box = maildir.open()
    box.sync(files=True)
    assert list(box.snapshot.received) == [1_500_000_000 + at for at in range(3)]
    assert not (maildir.path / INDEX).exists()


def test_every_other_name_goes_through_the_same_hands(maildir: Maildir) -> None:
    """Out of the ordinary: no info, a tail, letters in the wrong order, one base twice."""
    maildir.put("1600000000.a")
    maildir.put("1600000001.b:2,SF")
    maildir.put("1600000002.c:2,S,tail")
    maildir.put("1600000003.d:2,S")
    maildir.put("1600000003.d:2,FS")
    box = maildir.open()
    for _ in range(3):
        box.sync(look=True, files=True)
    assert len(box.snapshot) == 5
    assert box.snapshot.names[:3] == [b"1600000000.a", b"1600000001.b", b"1600000002.c"]
    assert all(box.read(uid) for uid in box.snapshot.uids)


def test_what_is_moved_before_anybody_has_looked(make_maildir: Callable[[str], Maildir]) -> None:
    """Its files are looked at, and no others."""
    maildir, other = make_maildir("A"), make_maildir("B")
    maildir.fill(5, "S")
    dated(maildir)
    told = what_files_tell(maildir)
    box, target = maildir.open(), other.open()
    pairs = list(target.copy_from(box, [2, 4], move=True))
    assert [old for old, _ in pairs] == [2, 4]
    assert not box.snapshot.seen
    assert list(box.snapshot.uids) == [1, 3, 5]
    assert list(target.snapshot.received) == [told[1][0], told[3][0]]
    assert all(target.snapshot.fingerprints)
    assert [target.read(uid) for _, uid in pairs] == [b"Subject: 2\n\nbody\n", b"Subject: 4\n\nbody\n"]
    again = target.snapshot.fingerprints[:]
    box.sync(files=True)
    assert box.snapshot.seen
    assert list(box.snapshot.received) == [told[0][0], told[2][0], told[4][0]]
    assert [box.read(uid) for uid in (1, 3, 5)] == [b"Subject: %d\n\nbody\n" % n for n in (1, 3, 5)]
    fresh = maildir.open()
    assert list(fresh.snapshot.received) == list(box.snapshot.received)
    assert list(fresh.snapshot.fingerprints) == list(box.snapshot.fingerprints)
    target.sync(look=True)
    assert target.snapshot.fingerprints == again


def test_a_link_is_copied_before_anybody_has_looked(make_maildir: Callable[[str], Maildir], tmp_path: Path) -> None:
    maildir, other = make_maildir("A"), make_maildir("B")
    maildir.fill(1)
    (tmp_path / "elsewhere").write_bytes(b"Subject: x\n\nlinked\n")
    os.utime(tmp_path / "elsewhere", (1_400_000_000, 1_400_000_000))
    (maildir.path / "cur" / "1600000000.M1P1.host:2,").symlink_to(tmp_path / "elsewhere")
    box, target = maildir.open(follow_links="owner"), other.open(follow_links="owner")
    [(_, uid)] = target.copy_from(box, [1], move=True)
    assert target.read(uid) == b"Subject: x\n\nlinked\n"
    assert not any(path.is_symlink() for path in (other.path / "cur").iterdir())
    assert target.snapshot.received[0] == 1_400_000_000
