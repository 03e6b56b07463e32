"""A mailbox as the IMAP layer uses it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox, Seed
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, PASSED, RECENT, SEEN, keyword_bit
from maildir_imapd.store.maildir.flags import Flags


def uids(box: Mailbox) -> list[int]:
    return list(box.snapshot.uids)


def flags(box: Mailbox, uid: int) -> tuple[bytes, ...]:
    rows = box.snapshot
    return rows.flag_names(rows.flags[rows.position(uid)], uid)


def test_first_contact_in_the_order_of_arrival(maildir: Any) -> None:
    maildir.put("200.M1P1.h", where="new")
    maildir.put("100.M2P1.h:2,FS")
    maildir.put("100.M1P1.h:2,")
    box = maildir.open()
    assert box.snapshot.names == [b"100.M1P1.h", b"100.M2P1.h", b"200.M1P1.h"]
    assert uids(box) == [1, 2, 3]
    assert [flags(box, uid) for uid in (1, 2, 3)] == [(), (b"\\Flagged", b"\\Seen"), ()]
    assert box.snapshot.modseq == 1
    assert box.snapshot.uidnext == 4
    assert maildir.names("new") == []
    assert "200.M1P1.h:2," in maildir.names()


def test_the_same_after_a_restart(maildir: Any) -> None:
    maildir.fill(5, "S")
    box = maildir.open()
    box.set_flags([2, 3], add=Flags(FLAGGED))
    box.expunge([1])
    given = box.flags([b"Word"], create=True)
    box.set_flags([4], add=given)
    again = maildir.open()
    for column in ("uids", "flags", "modseqs", "received", "saved", "sizes", "names", "keywords", "uidvalidity"):
        assert getattr(again.snapshot, column) == getattr(box.snapshot, column), column
    assert (again.snapshot.uidnext, again.snapshot.modseq) == (box.snapshot.uidnext, box.snapshot.modseq)


def test_recent_is_claimed_once(maildir: Any) -> None:
    maildir.fill(2, "S")
    maildir.put("1800000000.h", where="new")
    box, other = maildir.open(), maildir.open()
    assert box.snapshot.recent == 1
    modseq = box.snapshot.modseq
    assert other.claim_recent() == {3}
    assert box.claim_recent() == frozenset()
    assert box.sync().recent == 0
    assert box.snapshot.modseq == modseq
    assert maildir.deliver(box) == 4
    assert other.sync().recent == 1
    assert box.claim_recent() == {4}
    assert other.claim_recent() == frozenset()
    assert maildir.open().snapshot.recent == 0


def test_examine_leaves_new_alone(maildir: Any) -> None:
    box = maildir.open()
    maildir.put("100.h", where="new")
    assert len(box.sync(keep_new=True)) == 1
    assert maildir.names("new") == ["100.h"]
    assert box.snapshot.recent == 1
    assert box.read(1) == b"Subject: x\n\nbody\n"
    assert len(maildir.open().sync(keep_new=True)) == 1
    assert len(box.sync()) == 1
    assert maildir.names("new") == []
    assert maildir.names() == ["100.h:2,"]
    assert box.claim_recent() == {1}


def test_flags_of_a_message_in_new(maildir: Any) -> None:
    box = maildir.open()
    maildir.put("100.h", where="new")
    box.sync(keep_new=True)
    box.set_flags([1], add=Flags(SEEN))
    assert maildir.names() == ["100.h:2,S"]
    assert maildir.names("new") == []
    assert box.snapshot.in_new == 0
    assert box.read(1)


def test_a_file_in_new_with_flags_in_its_name_keeps_them(maildir: Any) -> None:
    maildir.put("100.h:2,S", where="new")
    box = maildir.open()
    assert maildir.names() == ["100.h:2,S"]
    assert box.snapshot.flags[0] == SEEN | RECENT


def test_set_flags(maildir: Any) -> None:
    maildir.fill(4, "S")
    box = maildir.open()
    result = box.set_flags([1, 3, 9], add=Flags(FLAGGED), remove=Flags(SEEN))
    assert (result.changed, result.gone, result.modified) == ([1, 3], [9], [])
    assert result.snapshot is box.snapshot
    assert [name.partition(":2,")[2] for name in maildir.names()] == ["F", "S", "F", "S"]
    assert list(box.snapshot.modseqs) == [2, 1, 2, 1]
    result = box.set_flags([1, 2], add=Flags(FLAGGED), unchanged_since=1)
    assert (result.changed, result.modified) == ([2], [1])
    assert box.set_flags([1], add=Flags(FLAGGED)).changed == []
    assert box.snapshot.modseq == 3, "nothing happened, so nothing is told"
    box.set_flags([1, 2], add=Flags(DELETED), replace=True)
    assert [name.partition(":2,")[2] for name in maildir.names()] == ["T", "T", "F", "S"]


def test_letters_without_a_meaning_survive(maildir: Any) -> None:
    maildir.put("100.h:2,PXSq")
    box = maildir.open()
    assert flags(box, 1) == (b"\\Seen",)
    assert box.snapshot.flags[0] & PASSED
    box.set_flags([1], add=Flags(FLAGGED), replace=True)
    assert maildir.names() == ["100.h:2,FPX"]
    box.set_flags([1], add=Flags(SEEN))
    assert maildir.names() == ["100.h:2,FPSX"]


def test_a_tail_behind_a_second_comma_survives(maildir: Any) -> None:
    maildir.put("100.h:2,S,own data")
    box = maildir.open()
    assert box.read(1)
    box.set_flags([1], add=Flags(FLAGGED))
    assert maildir.names() == ["100.h:2,FS,own data"]
    other = maildir.open()
    assert other.read(1)
    assert len(other.sync(look=True)) == 1
    other.set_flags([1], remove=Flags(SEEN))
    assert maildir.names() == ["100.h:2,F,own data"]
    assert other.expunge([1]) == [1]
    assert maildir.names() == []


def test_names_are_made_canonical_when_first_seen(maildir: Any) -> None:
    maildir.put("100.h:2,SF")
    maildir.put("101.h")
    maildir.open()
    assert maildir.names() == ["100.h:2,FS", "101.h:2,"]


def test_keywords_have_letters_and_the_file_of_dovecot(maildir: Any) -> None:
    maildir.fill(1)
    (maildir.path / "dovecot-keywords").write_bytes(b"0 $Forwarded\n3 Work\n4 bad name(\n")
    before = (maildir.path / "dovecot-keywords").stat().st_mtime
    box = maildir.open()
    assert box.snapshot.keywords[:4] == (b"$Forwarded", b"", b"", b"Work")
    assert box.flags([b"\\SEEN", b"work", b"nobody"], create=False) == Flags(SEEN | keyword_bit(3))
    given = box.flags([b"Fresh", b"fresh", b"WORK"], create=True)
    assert given == Flags(keyword_bit(1) | keyword_bit(3))
    text = (maildir.path / "dovecot-keywords").read_bytes()
    assert text == b"0 $Forwarded\n1 Fresh\n3 Work\n4 bad name(\n"
    assert (maildir.path / "dovecot-keywords").stat().st_mtime >= before + 1
    box.set_flags([1], add=given)
    assert maildir.names() == ["1700000000.M1P1.host:2,bd"]
    assert flags(box, 1) == (b"Fresh", b"Work")


def test_keywords_beyond_the_letters_and_the_bits(maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    names = [b"word%d" % n for n in range(40)]
    given = box.flags(names, create=True)
    assert given.more == {36, 37, 38, 39}
    box.set_flags([1], add=given)
    assert set(flags(box, 1)) == set(names)
    again = maildir.open()
    assert set(flags(again, 1)) == set(names)
    again.set_flags([1], remove=Flags(given.bits, frozenset({36, 37, 38})))
    assert set(flags(box, 1)) == set(names), "an old snapshot stays as it is"
    box.sync()
    assert flags(box, 1) == (b"word39",)
    box.set_flags([1], replace=True)
    assert flags(box, 1) == ()
    with pytest.raises(errors.LimitReached):
        box.flags([b"more%d" % n for n in range(600)], create=True)


def test_a_letter_that_somebody_uses_gets_no_other_meaning(maildir: Any) -> None:
    maildir.put("100.h:2,a")
    box = maildir.open()
    assert box.flags([b"Word"], create=True) == Flags(keyword_bit(1))


def test_expunge(maildir: Any) -> None:
    maildir.fill(5)
    box = maildir.open()
    assert box.expunge([2, 4, 9]) == [2, 4]
    assert uids(box) == [1, 3, 5]
    assert len(maildir.names()) == 3
    assert box.vanished_since(1) == [(2, 2), (4, 4)]
    assert box.vanished_since(2) == []
    assert maildir.open().vanished_since(1) == [(2, 2), (4, 4)]
    with pytest.raises(errors.MessageGone):
        box.read(2)


def test_deliver(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open(fsync="delivery")
    items = []
    for n in range(3):
        item = box.deliver()
        item.write(b"Subject: %d\r" % n)
        item.write(b"\n\r\nbody\r\r\n\r")
        items.append((item, Flags(SEEN * (n == 1)), 1_500_000_000 + n))
    assert box.commit(items) == [2, 3, 4]
    assert maildir.names("tmp") == maildir.names("new") == []
    assert [box.snapshot.received[n] for n in (1, 2, 3)] == [1_500_000_000, 1_500_000_001, 1_500_000_002]
    assert box.read(3) == b"Subject: 1\n\nbody\r\r\n\r"
    assert list(box.snapshot.sizes)[1:] == [len(b"Subject: 1\r\n\r\nbody\r\r\n\r")] * 3
    name = box.snapshot.names[2]
    path = maildir.path / "cur" / os.fsdecode(name + b":2,S")
    assert int(path.stat().st_mtime) == 1_500_000_001
    assert box.snapshot.fingerprints[2] == scan.fingerprint(path.stat()) != 0
    assert b",S=%d,W=%d" % (path.stat().st_size, box.snapshot.sizes[2]) in name
    # The order of files is the order of UIDs, should the index be lost.
    for lost in maildir.path.glob("maildir-imapd.*"):
        lost.unlink()
    assert maildir.open().snapshot.names == box.snapshot.names


def test_nothing_to_deliver(maildir: Any) -> None:
    assert maildir.open().commit([]) == []


def test_a_delivery_given_up_leaves_nothing(maildir: Any) -> None:
    box = maildir.open()
    item = box.deliver()
    item.write(b"x" * 100000)
    item.abort()
    assert maildir.names("tmp") == []
    item = box.deliver()
    item.write(b"x")
    del item
    assert maildir.names("tmp") == []


def test_a_delivery_that_failed_takes_the_others_with_it(maildir: Any) -> None:
    box = maildir.open()
    good, bad = box.deliver(), box.deliver()
    good.write(b"x")
    bad.close()
    bad.write(b"late")
    assert bad.trouble is not None
    with pytest.raises(errors.StoreError):
        box.commit([(good, Flags(), 1), (bad, Flags(), 1)])
    assert maildir.names("tmp") == maildir.names() == []
    assert len(box.sync(look=True)) == 0


def test_copy_keeps_flags_keywords_and_dates(make_maildir: Any) -> None:
    source, target = make_maildir("A"), make_maildir("B")
    source.fill(3, "FS")
    (target.path / "dovecot-keywords").write_bytes(b"0 Other\n")
    a, b = source.open(), target.open()
    words = [b"One"] + [b"word%d" % n for n in range(38)]
    given = a.flags(words, create=True)
    a.set_flags([2], add=given)
    old = a.snapshot
    assert b.copy_from(a, [1, 2]) == [(1, 1), (2, 2)]
    assert flags(b, 1) == (b"\\Flagged", b"\\Seen")
    assert set(flags(b, 2)) == {b"\\Flagged", b"\\Seen", *words}
    assert b.snapshot.keywords[0] == b"Other"
    assert list(b.snapshot.received) == [old.received[0], old.received[1]]
    assert b.read(2) == a.read(2)
    assert b.snapshot.recent == 2
    assert uids(a) == [1, 2, 3]
    assert (source.path / "cur" / os.fsdecode(old.names[0] + b":2,FS")).stat().st_nlink == 2


def test_move(make_maildir: Any) -> None:
    source, target = make_maildir("A"), make_maildir("B")
    source.fill(3, "S")
    a, b = source.open(), target.open(fsync="delivery")
    text = a.read(2)
    assert b.copy_from(a, [2, 3], move=True) == [(2, 1), (3, 2)]
    assert uids(a) == [1]
    assert a.vanished_since(1) == [(2, 3)]
    assert b.read(1) == text
    assert a.copy_from(b, [1], move=True) == [(1, 4)]
    assert uids(a) == [1, 4]


def test_copy_into_the_same_folder(maildir: Any) -> None:
    maildir.fill(2, "S")
    box = maildir.open()
    word = box.flags([b"Word"], create=True)
    box.set_flags([1], add=word)
    assert box.copy_from(box, [1, 2]) == [(1, 3), (2, 4)]
    assert flags(box, 3) == (b"\\Seen", b"Word")
    assert box.copy_from(box, [1], move=True) == [(1, 5)]
    assert uids(box) == [2, 3, 4, 5]


def test_two_objects_for_one_folder_do_not_wait_for_each_other(maildir: Any) -> None:
    maildir.fill(2)
    one, other = maildir.open(lock_timeout=0.05), maildir.open(lock_timeout=0.05)
    assert one.copy_from(other, [1]) == [(1, 3)]


def test_copy_of_what_is_gone_copies_nothing(make_maildir: Any) -> None:
    source, target = make_maildir("A"), make_maildir("B")
    bases = source.fill(3)
    a, b = source.open(), target.open()
    with pytest.raises(errors.MessageGone):
        b.copy_from(a, [1, 9])
    (source.path / "cur" / f"{bases[1]}:2,").unlink()
    with pytest.raises(errors.MessageGone):
        b.copy_from(a, [1, 2, 3])
    assert len(b.sync(look=True)) == 0
    assert target.names() == target.names("tmp") == []
    assert uids(a) == [1, 2, 3]
    assert list(a.sync().uids) == [1, 3]
    assert b.copy_from(a, []) == []


def test_copy_where_links_are_not_possible(make_maildir: Any) -> None:
    source, target = make_maildir("A"), make_maildir("B")
    source.fill(2, "S")
    a, b = source.open(), target.open(fsync="delivery")
    received = list(a.snapshot.received)

    def no_links(action: str, what: object) -> None:
        if action == "link":
            raise OSError(18, "Invalid cross-device link")

    durable.step = no_links
    assert b.copy_from(a, [1, 2], move=True) == [(1, 1), (2, 2)]
    assert list(b.snapshot.received) == received
    assert target.names("tmp") == []
    assert b.read(1) == b"Subject: 1\n\nbody\n"
    assert len(maildir_files(target)) == 2
    assert (target.path / "cur" / target.names()[0]).stat().st_nlink == 1


def maildir_files(maildir: Any) -> list[str]:
    return maildir.names("cur") + maildir.names("new")


def test_sizes_are_counted_once(maildir: Any) -> None:
    os.utime(maildir.put("1.h:2,", b"a\nb\r\nc\n"), (1_700_000_000, 1_700_000_000))
    maildir.put("2.h,S=4,W=6:2,", b"a\nb\n")
    os.utime(maildir.put("3.h,S=9,W=99:2,", b"a\nb\n"), (1_700_000_000, 1_700_000_000))
    box = maildir.open()
    assert box.sizes([0, 1, 2]) == [9, 6, 6]
    assert sum(box.snapshot.sizes) == 21
    again = maildir.open()
    (maildir.path / "cur" / "1.h:2,").unlink()
    assert again.sizes(range(3)) == [9, 6, 6]
    again.note_sizes([(1, 10), (9, 1)])
    assert again.sizes([0]) == [10]


def test_since(maildir: Any) -> None:
    maildir.fill(4)
    box, other = maildir.open(), maildir.open()
    start = box.snapshot
    other.set_flags([1, 2], add=Flags(SEEN))
    new = maildir.deliver(other)
    gone = maildir.deliver(other)
    other.expunge([2, gone])
    box.sync()
    delta = box.since(start.modseq)
    assert delta is not None
    assert (list(delta.added), list(delta.changed), list(delta.expunged)) == ([new], [1], [2])
    columns = box.snapshot.since(start)
    assert (columns.added, columns.changed, columns.expunged) == (delta.added, delta.changed, delta.expunged)
    assert box.since(0) is None
    assert box.since(box.snapshot.modseq).added == []
    for _ in range(600):
        box.set_flags([1], add=Flags(FLAGGED))
        box.set_flags([1], remove=Flags(FLAGGED))
    assert box.since(start.modseq) is None
    assert box.since(box.snapshot.modseq - 100) is not None


def test_listeners_are_woken_without_locks(maildir: Any) -> None:
    maildir.fill(1)
    box, other = maildir.open(), maildir.open()
    woken: list[int] = []
    listener = box.listen(lambda: woken.append(box.sync().modseq))
    box.set_flags([1], add=Flags(SEEN))
    assert woken == [2]
    other.set_flags([1], add=Flags(FLAGGED))
    assert woken == [2]
    box.sync()
    assert woken == [2, 3]
    box.claim_recent()
    box.sync(look=True)
    assert woken == [2, 3], "nothing a client could see"
    listener.close()
    listener.close()
    box.set_flags([1], remove=Flags(SEEN))
    assert woken == [2, 3]


@pytest.mark.parametrize("names", [("A", "B"), ("B", "A")])
def test_of_two_folders_the_one_that_is_gone_says_so(make_maildir: Any, names: tuple[str, str]) -> None:
    source, target = map(make_maildir, names)
    source.fill(2)
    ours, theirs = source.open(), target.open()
    shutil.rmtree(target)
    with pytest.raises(errors.MailboxMissing):
        theirs.copy_from(ours, [1])
    assert theirs.gone
    assert not ours.gone
    shutil.rmtree(source)
    other = make_maildir("Other").open()
    with pytest.raises(errors.MailboxMissing):
        other.copy_from(ours, [1])
    assert ours.gone
    assert not other.gone


def _vanish(path: Path) -> None:
    """Remove a folder once something is changed in it."""

    def step(action: str, what: object) -> None:
        durable.step = None
        shutil.rmtree(path)

    durable.step = step


def test_a_folder_that_goes_in_the_middle_is_missing_and_no_defect(make_maildir: Any) -> None:
    def made(name: str) -> tuple[Any, Mailbox]:
        maildir = make_maildir(name)
        maildir.fill(3)
        return maildir, maildir.open()

    for n, work in enumerate(
        (
            lambda box, other: box.set_flags([1, 2], add=Flags(SEEN)),
            lambda box, other: box.expunge([1, 2]),
            lambda box, other: box.copy_from(other, [1, 2]),
            lambda box, other: box.copy_from(other, [1, 2], move=True),
            lambda box, other: other.copy_from(box, [1, 2], move=True),
        )
    ):
        maildir, box = made(f"Gone{n}")
        _, other = made(f"Stays{n}")
        _vanish(maildir.path)
        with pytest.raises(errors.MailboxMissing):
            work(box, other)
        assert box.gone
        assert not other.gone
        assert len(other.sync(look=True)) == 3


def test_a_folder_that_goes_while_it_is_first_looked_at_is_missing(maildir: Any) -> None:
    # What another server knew is asked for under the lock, when nothing has been listed yet.
    with pytest.raises(errors.MailboxMissing):
        maildir.open(seed=lambda: shutil.rmtree(maildir.path))


def test_a_delivery_to_a_folder_that_goes_finds_it_missing(maildir: Any) -> None:
    box = maildir.open()
    item = box.deliver()
    item.write(b"Subject: x\r\n\r\n")
    shutil.rmtree(maildir.path)
    with pytest.raises(errors.MailboxMissing):
        box.commit([(item, Flags(), 1_000_000_000)])
    assert box.gone


def test_a_folder_that_is_gone_says_so(maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    woken: list[bool] = []
    box.listen(lambda: woken.append(box.gone))
    maildir.path.rename(maildir.path.with_name("Other"))
    with pytest.raises(errors.MailboxMissing):
        box.sync()
    with pytest.raises(errors.MailboxMissing):
        box.set_flags([1], add=Flags(SEEN))
    assert woken == [True]
    assert box.gone
    with pytest.raises(errors.MailboxMissing):
        Mailbox(os.fsencode(maildir.path))


def test_another_folder_in_its_place_is_not_touched(maildir: Any, make_maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    maildir.path.rename(maildir.path.with_name("Other"))
    second = make_maildir("Box")
    second.fill(2)
    with pytest.raises(errors.MailboxMissing):
        box.expunge([1])
    assert len(second.names()) == 2
    assert second.open().snapshot.uidvalidity


def test_a_seed_gives_uids_keywords_and_a_start(maildir: Any) -> None:
    maildir.put("1.h,S=17:2,S")
    maildir.put("2.h:2,")
    maildir.put("3.h,U=9:2,")
    maildir.put("4.h:2,")
    seed = Seed(1234, 50, {b"1.h,S=17": 30, b"3.h": 7, b"9.h": 44}, {2: b"Word"}, 5000)
    box = maildir.open(seed=lambda: seed)
    assert dict(zip(box.snapshot.names, box.snapshot.uids, strict=True)) == {
        b"3.h,U=9": 7,
        b"1.h,S=17": 30,
        b"2.h": 50,
        b"4.h": 51,
    }
    assert uids(box) == [7, 30, 50, 51]
    assert (box.snapshot.uidvalidity, box.snapshot.uidnext, box.snapshot.modseq) == (1234, 52, 5000)
    assert box.snapshot.keywords == (b"", b"", b"Word")
    assert box.snapshot.received[1] == int((maildir.path / "cur" / "1.h,S=17:2,S").stat().st_mtime)
    assert box.read(30) == b"Subject: x\n\nbody\n"
    assert box.vanished_since(4999) is None
    again = maildir.open(seed=lambda: Seed(9))
    assert uids(again) == [7, 30, 50, 51]


def test_threads_share_one_mailbox(maildir: Any) -> None:
    box = maildir.open(fsync="delivery")
    given: list[int] = []
    problems: list[Exception] = []

    def work(number: int) -> None:
        try:
            for n in range(8):
                uid = maildir.deliver(box, b"Subject: %d %d\r\n" % (number, n))
                given.append(uid)
                box.set_flags([uid], add=Flags(SEEN))
                box.sync(look=n % 3 == 0)
                if n % 2:
                    box.expunge([uid])
                else:
                    box.cache.put_many(b"F", [(uid, b"%d" % uid)])
                    assert box.cache.get_many([uid], b"F") == [b"%d" % uid]
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(set(given)) == 48
    assert len(box.snapshot) == 24 == len(maildir.names())
    assert maildir.open().snapshot.names == box.snapshot.names


def test_the_index_in_a_directory_of_its_own(maildir: Any, tmp_path: Path) -> None:
    maildir.fill(2)
    index = os.fsencode(tmp_path / "index" / "Box")
    box = maildir.open(index=index)
    box.set_flags([1], add=Flags(SEEN))
    box.cache.put_many(b"F", [(1, b"x")])
    assert not list(maildir.path.glob("maildir-imapd*"))
    assert sorted(os.listdir(index)) == [
        b"maildir-imapd.cache",
        b"maildir-imapd.index",
        b"maildir-imapd.journal",
        b"maildir-imapd.lock",
    ]
    assert flags(maildir.open(index=index), 1) == (b"\\Seen",)


def test_a_maildir_without_new_and_tmp(tmp_path: Path) -> None:
    (tmp_path / "Box" / "cur").mkdir(parents=True)
    (tmp_path / "Box" / "cur" / "1.h:2,S").write_bytes(b"x")
    box = Mailbox(os.fsencode(tmp_path / "Box"))
    assert len(box.sync()) == 1
    box.close()


def test_no_maildir(tmp_path: Path) -> None:
    (tmp_path / "Box").mkdir()
    (tmp_path / "File").write_bytes(b"")
    for name in ("Box", "None", "File"):
        with pytest.raises(errors.MailboxMissing):
            Mailbox(os.fsencode(tmp_path / name))


def test_always_syncs_what_never_does_not(make_maildir: Any) -> None:
    counts = {}
    for mode in ("always", "delivery", "never"):
        maildir = make_maildir(mode)
        maildir.fill(1)
        box = maildir.open(fsync=mode)
        seen: list[str] = []
        durable.step = lambda action, what, seen=seen: seen.append(action)
        box.set_flags([1], add=Flags(SEEN))
        first = seen.count("sync")
        maildir.deliver(box)
        durable.step = None
        counts[mode] = (first, seen.count("sync") - first)
    assert counts["never"] == (0, 0)
    assert counts["delivery"][0] == 0
    assert counts["delivery"][1] >= 3
    assert counts["always"][0] >= 2
