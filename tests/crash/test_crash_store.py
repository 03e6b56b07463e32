"""Die everywhere: end the process before every single write, rename, link and unlink of each operation.

The operation runs in a child that ends itself (os._exit, no finally runs) before its n-th step, once for
every n; a write may end half done. Then the folder is opened anew, and must keep every promise:

- no message is lost that anybody was told of, or that lay in the folder
- no UID belongs to another message than before, and none is used twice
- folder and index agree after a sync, and a reader that lived through it agrees with a new one
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import die_at, run

from maildir_imapd.store import upkeep
from maildir_imapd.store.folder import first_contact as first_contact_module
from maildir_imapd.store.folder import tidying
from maildir_imapd.store.index import checkpoint, index
from maildir_imapd.store.index.constants import LAST_UID
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.mailbox import Mailbox, Seed
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags

pytestmark = pytest.mark.slow  # a process for every step of every operation


class Spool:
    """Two folders, made anew for every death."""

    def __init__(self, root: Path) -> None:
        self.paths = [root / "A", root / "B"]
        for path in self.paths:
            for name in ("cur", "new", "tmp"):
                (path / name).mkdir(parents=True)
        for n in range(6):
            (self.paths[0] / "cur" / f"{1000 + n}.M1P1.h:2,{'S' * (n % 2)}").write_bytes(b"Subject: %d\n\n" % n)

    def open(self, which: int = 0, **options: Any) -> Mailbox:
        # A process that dies loses nothing that it has written, synced or not.
        options.setdefault("fsync", "never")
        return Mailbox(os.fsencode(self.paths[which]), **options)

    def texts(self) -> list[bytes]:
        """The content of every message file there is, in both folders."""
        return sorted(p.read_bytes() for path in self.paths for p in [*path.glob("cur/*"), *path.glob("new/*")])


Rows = dict[bytes, int]


def rows(box: Mailbox) -> Rows:
    return dict(zip(box.snapshot.names, box.snapshot.uids, strict=True))


def check(box: Mailbox, path: Path) -> None:
    """Folder and index agree, and a second reader sees the same."""
    box.sync(look=True)
    box.sync(look=True)
    snapshot = box.snapshot
    assert list(snapshot.uids) == sorted(set(snapshot.uids))
    assert not snapshot.uids or snapshot.uids[-1] < snapshot.uidnext
    expected = sorted(filename.render(base, bits) for base, bits in zip(snapshot.names, snapshot.flags, strict=True))
    on_disk = sorted([b"cur/" + os.fsencode(p.name) for p in (path / "cur").iterdir()])
    on_disk += sorted([b"new/" + os.fsencode(p.name) for p in (path / "new").iterdir()])
    assert sorted(on_disk) == expected
    other = Mailbox(os.fsencode(path), fsync="never")
    for column in ("uids", "flags", "modseqs", "received", "sizes", "names", "extra", "keywords", "uidnext", "modseq"):
        assert getattr(other.snapshot, column) == getattr(snapshot, column), column
    assert other.snapshot.uidvalidity == snapshot.uidvalidity
    assert other.vanished_since(snapshot.modseq) == []
    for uid in snapshot.uids:
        assert other.read(uid) == box.read(uid)
    other.close()


def deliver(box: Mailbox, count: int = 3) -> list[int]:
    items = []
    for n in range(count):
        item = box.deliver()
        item.write(b"Subject: delivered %d\r\n\r\n" % n)
        items.append((item, Flags(SEEN * (n % 2)), 1_000_000_000 + n))
    return box.commit(items)


# --- the operations ---------------------------------------------------------------------------------
# Each takes the spool and returns what a client would have been told.


def first_contact(spool: Spool) -> object:
    return rows(spool.open())


def first_contact_with_new_mail(spool: Spool) -> object:
    for n in range(2):
        (spool.paths[0] / "new" / f"{2000 + n}.h").write_bytes(b"Subject: new %d\n\n" % n)
    return rows(spool.open())


def first_contact_by_names_alone(spool: Spool) -> object:
    first_contact_module.FEW_MESSAGES = 0
    box = spool.open()
    box.set_flags([2], add=Flags(FLAGGED))
    box.sync(files=True)
    return rows(box)


def first_contact_with_a_seed(spool: Spool) -> object:
    return rows(spool.open(seed=lambda: Seed(99, 200, {b"1001.M1P1.h": 150, b"1003.M1P1.h": 20}, {0: b"Word"}, 7)))


def new_mail(spool: Spool) -> object:
    box = spool.open()
    for n in range(3):
        (spool.paths[0] / "new" / f"{2000 + n}.h").write_bytes(b"Subject: new %d\n\n" % n)
    box.sync()
    return rows(box)


def set_flags(spool: Spool) -> object:
    box = spool.open()
    box.set_flags([1, 2, 3], add=Flags(FLAGGED))
    box.set_flags([2, 3, 4], add=Flags(DELETED), remove=Flags(SEEN))
    return rows(box)


def keywords(spool: Spool) -> object:
    box = spool.open()
    flags = box.flags([b"word%d" % n for n in range(38)], create=True)
    box.set_flags([1], add=flags)
    return rows(box)


def expunge(spool: Spool) -> object:
    box = spool.open()
    box.expunge([2, 3, 5])
    return rows(box)


def expunge_what_others_show(spool: Spool) -> object:
    box = spool.open()
    first, second = box.listen(lambda: None), box.listen(lambda: None)
    first.told = second.told = box.snapshot.modseq
    box.expunge([2, 3])
    spool.open(1).copy_from(box, [5], move=True)
    for client in (first, second):
        client.told = box.snapshot.modseq
        box.showing.told()
    return rows(box)


def append(spool: Spool) -> object:
    box = spool.open()
    deliver(box)
    return rows(box)


def copy(spool: Spool) -> object:
    source, target = spool.open(), spool.open(1)
    flags = source.flags([b"Word"], create=True)
    source.set_flags([2], add=flags)
    target.copy_from(source, [1, 2, 4])
    return rows(source)


def move(spool: Spool) -> object:
    source, target = spool.open(), spool.open(1, fsync="delivery")
    target.copy_from(source, [1, 2, 4], move=True)
    return rows(source)


def claim(spool: Spool) -> object:
    box = spool.open()
    deliver(box, 2)
    return [sorted(box.claim_recent())]


def rotate(spool: Spool) -> object:
    index.ROTATE_OCTETS = 200
    box = spool.open()
    for n in range(3):
        box.set_flags([1, 2], add=Flags(FLAGGED)) if n % 2 else box.set_flags([1, 2], remove=Flags(FLAGGED))
        deliver(box, 1)
    return rows(box)


def leave(spool: Spool) -> object:
    """The last client goes, and a checkpoint is written of which the columns are read one by one."""
    tidying.TIDY_OCTETS = 0
    checkpoint.SMALL_OCTETS = 32
    box = spool.open()
    listener = box.listen(lambda: None)
    for n in range(4):
        box.set_flags([1, 2, 3], add=Flags(FLAGGED if n % 2 else SEEN))
    listener.close()
    again = spool.open()
    again.set_flags([2], add=Flags(DELETED))
    return rows(again)


def reserve(spool: Spool) -> object:
    index.RESERVE = 2
    box = spool.open()
    for _ in range(3):
        deliver(box, 1)
    return rows(box)


def outside_changes(spool: Spool) -> object:
    box = spool.open()
    cur = spool.paths[0] / "cur"
    (cur / "1000.M1P1.h:2,").rename(cur / "1000.M1P1.h:2,SF")
    (cur / "1002.M1P1.h:2,").rename(cur / "1002.M1P1.h,U=3:2,")
    (cur / "1004.M1P1.h:2,S").write_bytes(b"twin\n")
    box.sync()
    box.sync(look=True)
    return rows(box)


def repair(spool: Spool) -> object:
    box = spool.open()
    deliver(box, 1)
    path = spool.paths[0] / "maildir-imapd.journal"
    path.write_bytes(path.read_bytes()[:-40])
    box = spool.open()
    box.sync()
    return rows(box)


def sizes(spool: Spool) -> object:
    box = spool.open()
    box.sizes(range(6))
    box.cache.put_many(b"F", [(1, b"x")])
    return rows(box)


def made_anew(spool: Spool) -> object:
    box = spool.open()
    box.set_flags([2], add=Flags(FLAGGED))
    upkeep.rebuild(box)
    return rows(box)


def right_sizes(spool: Spool) -> object:
    box = spool.open()
    found = [upkeep.Size(uid, box.snapshot.name(at), 12, 14) for at, uid in enumerate(box.snapshot.uids)]
    upkeep.correct_sizes(box, found[1:4])
    return rows(box)


OPERATIONS = [
    first_contact,
    first_contact_with_new_mail,
    first_contact_with_a_seed,
    first_contact_by_names_alone,
    new_mail,
    set_flags,
    keywords,
    expunge,
    expunge_what_others_show,
    append,
    copy,
    move,
    claim,
    rotate,
    leave,
    reserve,
    outside_changes,
    repair,
    sizes,
    made_anew,
    right_sizes,
]
# What only these may take away: how many of the six messages.
REMOVES = {expunge: 3, expunge_what_others_show: 2}


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_die_everywhere(tmp_path: Path, operation: Callable[[Spool], object], torn: bool) -> None:
    number = 0
    lived = False
    while not lived:
        number += 1
        assert number < 400, "the operation never ends"
        spool = Spool(tmp_path / str(number))
        before: Rows = {}
        validity = 0
        reader = None
        if not operation.__name__.startswith("first_contact"):
            reader = spool.open()  # it lives through it all
            before, validity = rows(reader), reader.snapshot.uidvalidity
        texts = spool.texts()

        def work(spool: Spool = spool, number: int = number) -> object:
            die_at(number, torn)
            return operation(spool)

        lived, told = run(work)
        box = spool.open()
        check(box, spool.paths[0])
        check(spool.open(1), spool.paths[1])
        after = rows(box)

        # No message is lost.
        left = spool.texts()
        lost = [text for text in set(texts) if text not in left]
        assert len(lost) <= REMOVES.get(operation, 0), lost

        if reader is not None:
            # A UID is still the same message's, or nobody's.
            assert box.snapshot.uidvalidity == validity
            owner = {uid: base for base, uid in before.items()}
            for base, uid in after.items():
                assert filename.stem(owner.get(uid, base)) == filename.stem(base)
            for base, uid in before.items():
                if base in after:
                    assert after[base] == uid
            reader.sync()
            for column in ("uids", "flags", "modseqs", "names", "keywords", "uidnext", "modseq"):
                assert getattr(reader.snapshot, column) == getattr(box.snapshot, column), column
            reader.close()
        if isinstance(told, dict) and operation not in (move, expunge_what_others_show):
            assert told.items() <= {**after, **told}.items()
            for base, uid in told.items():
                assert after.get(base) == uid
        # Whatever comes next gets a UID that nobody had.
        (uid,) = deliver(box, 1)
        assert uid > max([*before.values(), *after.values()], default=0)
        box.close()
    assert number > 1


def test_a_claimed_recent_is_never_given_twice(tmp_path: Path) -> None:
    number, lived = 0, False
    while not lived:
        number += 1
        spool = Spool(tmp_path / str(number))
        (spool.paths[0] / "new" / "2000.h").write_bytes(b"x")
        reading, writing = os.pipe()

        def work(spool: Spool = spool, number: int = number, writing: int = writing) -> object:
            box = spool.open()
            die_at(number, torn=False)
            mine = box.claim_recent()
            os.write(writing, b"%d" % len(mine))  # the client has been told
            box.set_flags([1], add=Flags(SEEN))
            return None

        lived, _ = run(work)
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = int(pipe.read() or b"0")
        box = spool.open()
        box.sync()
        assert told + len(box.claim_recent()) <= 1
        assert box.claim_recent() == frozenset()
        box.close()


def test_appended_messages_are_whole_or_absent(tmp_path: Path) -> None:
    """A message is in tmp/ until all of it is there, whatever happens."""
    text = b"Subject: large\r\n\r\n" + b"x" * 70 + b"\r\n" * 3000
    number, lived = 0, False
    while not lived:
        number += 1
        spool = Spool(tmp_path / str(number))

        def work(spool: Spool = spool, number: int = number) -> object:
            box = spool.open(1)
            die_at(number, torn=True)
            item = box.deliver()
            for at in range(0, len(text), 1000):
                item.write(text[at : at + 1000])
            return box.commit([(item, Flags(), 1)])

        lived, told = run(work)
        box = spool.open(1)
        box.sync(look=True)
        assert len(box.snapshot) <= 1
        for uid in box.snapshot.uids:
            assert box.read(uid) == text.replace(b"\r\n", b"\n")
        assert not told or list(box.snapshot.uids) == told
        box.close()


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
def test_numbering_anew_is_whole_or_not_at_all(tmp_path: Path, torn: bool) -> None:
    """UIDs used up: a UID stands for one message as long as UIDVALIDITY is the same, which only rises."""
    number, lived = 0, False
    while not lived:
        number += 1
        assert number < 400, "the operation never ends"
        spool = Spool(tmp_path / str(number))
        reader = spool.open()  # it lives through it all
        with reader._folder.exclusive():
            reader._folder.commit(Batch(raised=LAST_UID))
        reader.sync()
        texts = spool.texts()
        known = {(reader.uidvalidity, uid): base for base, uid in rows(reader).items()}
        reading, writing = os.pipe()

        def work(spool: Spool = spool, number: int = number, writing: int = writing) -> object:
            box = spool.open()
            die_at(number, torn)
            for _ in range(3):
                deliver(box, 1)  # the client has been told, with UIDPLUS
                os.write(writing, b"%d %d %b\n" % (box.uidvalidity, box.snapshot.uids[-1], box.snapshot.names[-1]))
            box.set_flags([2], add=Flags(FLAGGED))
            return box.snapshot.uidnext

        lived, told = run(work)
        assert told in (None, 10)
        os.close(writing)
        with open(reading, "rb") as pipe:
            for line in pipe.read().splitlines():
                uidvalidity, uid, base = line.split(b" ", 2)
                assert known.setdefault((int(uidvalidity), int(uid)), base) == base
        reader.sync()
        box = spool.open()
        check(box, spool.paths[0])
        reader.sync()
        for column in ("uids", "flags", "modseqs", "names", "uidnext", "modseq", "uidvalidity"):
            assert getattr(reader.snapshot, column) == getattr(box.snapshot, column), column
        assert not set(texts) - set(spool.texts())
        for _ in range(2):
            for base, uid in rows(box).items():
                assert known.setdefault((box.uidvalidity, uid), base) == base
            assert box.uidvalidity >= max(uidvalidity for uidvalidity, _ in known)
            deliver(box, 2)
        box.close()
        reader.close()
    assert number > 10
