"""Indexes verified, made anew, and told of; names that tell the wrong size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spool import Spool

from maildir_imapd.store import upkeep
from maildir_imapd.store.disk import durable
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import FLAGGED
from maildir_imapd.store.maildir.flags import Flags


@pytest.fixture
def box(spool: Spool) -> Iterator[Mailbox]:
    spool.simple("INBOX", 4, "S")
    box = Mailbox(os.fsencode(spool.root), fsync="never")
    box.sync(look=True, files=True)
    box.set_flags([2], add=Flags(FLAGGED))
    yield box
    box.close()


def kinds(box: Mailbox) -> list[str]:
    return [each.kind for each in upkeep.faults(box) if not each.pending]


def journal(spool: Spool) -> Path:
    return spool.root / os.fsdecode(JOURNAL)


def test_a_sound_index_has_no_fault(box: Mailbox) -> None:
    assert kinds(box) == []
    found = upkeep.extent(box)
    assert found.checkpoint
    assert found.journal
    assert found.damaged == 0


def test_a_folder_without_an_index(spool: Spool) -> None:
    with durable.untouched():
        box = Mailbox(os.fsencode(spool.root))
        assert [each.kind for each in upkeep.faults(box)] == ["no-index"]
        box.close()


def test_octets_that_are_wrong(box: Mailbox, spool: Spool) -> None:
    data = journal(spool).read_bytes()
    journal(spool).write_bytes(data.replace(b"f 2 +F", b"f 3 +F"))
    assert kinds(box) == ["bell"], "it may be half a batch of one that is being written; but others were told of it"
    journal(spool).write_bytes(data.replace(b"u 1004", b"u 1005"))
    assert "damaged" in kinds(box)
    journal(spool).write_bytes(data)
    assert kinds(box) == []
    checkpoint = spool.root / os.fsdecode(CHECKPOINT)
    octets = bytearray(checkpoint.read_bytes())
    octets[-10] ^= 1
    checkpoint.write_bytes(octets)
    assert "damaged" in kinds(box)


def test_half_a_batch_is_a_dead_writers(box: Mailbox, spool: Spool) -> None:
    with journal(spool).open("ab") as file:
        file.write(b"f 3 +F\n")
    assert kinds(box) == []
    assert "half-batch" in [each.kind for each in upkeep.faults(box)]


def test_a_file_that_is_gone_behind_its_back_is_pending(box: Mailbox, spool: Spool) -> None:
    (spool.root / "cur" / spool.files("INBOX")[2]).unlink()
    told = upkeep.faults(box)
    assert [(each.kind, each.uid, each.pending) for each in told] == [("file-missing", 3, True)]
    box.sync(look=True)
    box.sync(look=True)
    assert upkeep.faults(box) == []


def test_made_anew_with_the_uids_that_were(box: Mailbox, spool: Spool) -> None:
    box.set_flags([4], add=box.flags([b"$Word"], create=True))
    before = [(uid, box.snapshot.flag_names(box.snapshot.flags[n], uid)) for n, uid in enumerate(box.snapshot.uids)]
    validity, next_ = box.uidvalidity, box.snapshot.uidnext
    box.cache.put_many(b"x", [(1, b"y")])
    after = upkeep.rebuild(box)
    assert [(uid, after.flag_names(after.flags[n], uid)) for n, uid in enumerate(after.uids)] == before
    assert (after.uidvalidity, after.uidnext) == (validity, next_)
    assert box.cache.get_many([1], b"x") == [None]
    assert kinds(box) == []
    other = Mailbox(os.fsencode(spool.root), fsync="never")
    assert list(other.snapshot.uids) == [uid for uid, _ in before]
    other.close()


def test_another_process_goes_on_after_it(box: Mailbox, spool: Spool) -> None:
    other = Mailbox(os.fsencode(spool.root), fsync="never")
    upkeep.rebuild(other)
    other.set_flags([1], add=Flags(FLAGGED))
    assert list(box.sync().uids_with(FLAGGED)) == [1, 2]
    other.close()


def test_names_with_the_wrong_size(spool: Spool) -> None:
    spool.put("INBOX", b"a\nb\n", "S", base="1.M1P1.h,S=9")
    spool.put("INBOX", b"a\nb\n", "S", base="2.M1P1.h,S=4,W=4")
    spool.put("INBOX", b"a\nb\n", "S", base="3.M1P1.h,S=4,W=6,x")
    spool.put("INBOX", b"a\nb\n", "FS", base="4.M1P1.h,S=1,W=2,x")
    box = Mailbox(os.fsencode(spool.root), fsync="never")
    assert [each.uid for each in upkeep.wrong_sizes(box, deep=False)] == [1, 4]
    wrong = upkeep.wrong_sizes(box, deep=True)
    assert [(each.uid, each.octets, each.wire) for each in wrong] == [(1, 4, 6), (2, 4, 6), (4, 4, 6)]
    assert upkeep.correct_sizes(box, wrong) == 3
    assert spool.files("INBOX") == [
        "1.M1P1.h,S=4,W=6:2,S",
        "2.M1P1.h,S=4,W=6:2,S",
        "3.M1P1.h,S=4,W=6,x:2,S",
        "4.M1P1.h,x,S=4,W=6:2,FS",
    ]
    box.sync(look=True)
    assert list(box.snapshot.uids) == [1, 2, 3, 4]
    assert box.sizes(range(4)) == [6, 6, 6, 6]
    assert upkeep.wrong_sizes(box, deep=True) == []
    other = Mailbox(os.fsencode(spool.root), fsync="never")
    assert list(other.snapshot.uids) == [1, 2, 3, 4]
    assert upkeep.correct_sizes(other, wrong) == 0, "what was seen before is another name now"
    other.close()
    box.close()


def test_another_servers_list_has_the_names_that_are_true(spool: Spool) -> None:
    spool.put("INBOX", b"a\nb\n", "S", base="1.M1P1.h,S=9")
    box = Mailbox(os.fsencode(spool.root), fsync="never", mirror="dovecot")
    box.sync(look=True)
    assert b":1.M1P1.h,S=9\n" in (spool.root / "dovecot-uidlist").read_bytes()
    assert upkeep.correct_sizes(box, upkeep.wrong_sizes(box, deep=False)) == 1
    assert b"1 :1.M1P1.h,S=4,W=6\n" in (spool.root / "dovecot-uidlist").read_bytes()
    box.close()


def test_a_packed_message_has_the_size_that_it_unpacks_to(spool: Spool) -> None:
    import gzip

    spool.put("INBOX", gzip.compress(b"Subject: x\n\n"), "S", base="1.M1P1.h,S=12")
    box = Mailbox(os.fsencode(spool.root), fsync="never")
    assert upkeep.wrong_sizes(box, deep=True) == []
    box.close()


def test_history(box: Mailbox, spool: Spool) -> None:
    box.set_flags([2], remove=Flags(FLAGGED))
    box.expunge([2])
    assert [(each.kind, each.words) for each in upkeep.history(box, 2)][1:] == [
        ("flags", "+F"),
        ("flags", "-F"),
        ("expunged", "by a client"),
    ]
    assert upkeep.history(box, 99) == []
    assert upkeep.uid_of(box, os.fsencode(spool.files("INBOX")[0])) == 1
    assert upkeep.uid_of(box, b"nope") is None


def test_a_broken_index_that_may_not_be_mended_is_served_from_the_directory(box: Mailbox, spool: Spool) -> None:
    """As on a read-only file system: it was a traceback once."""
    (spool.root / os.fsdecode(CHECKPOINT)).write_bytes(b"nonsense")
    before = journal(spool).read_bytes()
    with durable.untouched():
        other = Mailbox(os.fsencode(spool.root), fsync="never")
        assert len(other.snapshot) == 4
        assert other.read_only
        other.close()
    assert journal(spool).read_bytes() == before
    assert (spool.root / os.fsdecode(CHECKPOINT)).read_bytes() == b"nonsense"


def test_numbers_that_cannot_be(box: Mailbox) -> None:
    """Each by itself, of an index that was read: what a writer with a fault would leave."""
    rows = box.snapshot
    state = box._folder.index.state

    class Lock:
        def __init__(self, rung: int = 0, reserve: tuple[int, int] | None = None) -> None:
            self.rung, self.reserve = lambda: rung, lambda: reserve

    def found(lock: Lock | None = None, **changed: object) -> set[str]:
        names = ("uids", "uidnext", "uidvalidity", "names", "modseqs", "modseq", "damaged")
        said = SimpleNamespace(**{name: changed.get(name, getattr(rows, name)) for name in names})
        folder: Any = SimpleNamespace(lock=lock or Lock())
        wrong: Any = SimpleNamespace(snapshot=said)
        return {fault.kind for fault in upkeep._of_numbers(folder, wrong)}

    assert state.snapshot is rows
    assert found() == set()
    assert found(uids=[2, 1, 3, 4]) == {"uids"}
    assert found(uids=[0, 1, 2, 3]) == {"uids"}
    assert found(uidnext=4) == {"uids"}
    assert found(uidvalidity=0) == {"uids"}
    assert found(names=[b"a", b"a", b"b", b"c"]) == {"names"}
    assert found(modseq=0) == {"modseqs"}
    assert found(damaged=frozenset({"sizes"})) == {"damaged"}
    assert found(Lock(rung=1 << 40)) == {"bell"}
    assert found(Lock(reserve=(1, 7))) == {"reserve"}
