"""Die everywhere while a virtual mailbox follows its mailboxes, or changes them: whoever comes next has it right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import die_at, run

from maildir_imapd.imap.search.virtual import read
from maildir_imapd.store.account import Account
from maildir_imapd.store.folder.keeping import Keeping
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.namespaces import Namespaces
from maildir_imapd.store.private import SeenOfReader
from maildir_imapd.store.virtual_account import VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources

pytestmark = pytest.mark.slow

ROUNDS = 400
DEFINITION = read("!INBOX\n*\n-Trash\n  UNSEEN\n")


def come(root: Path) -> tuple[Account, Mailbox]:
    own = Account(os.fsencode(root), delimiter="/", fsync="never")
    space = VirtualSpace(VirtualSources(Namespaces(own), "ann", frozenset(), lists=True))
    account = VirtualAccount(own, lambda: {"Unread": DEFINITION}, space, Keeping(fsync="never"))
    return own, account.mailbox("Unread")


def deliver(box: Mailbox, text: bytes) -> None:
    item = box.deliver()
    item.write(b"Subject: %b\r\n\r\n%b\r\n" % (text, text))
    box.commit([(item, Flags(0), 1_000_000_000)])


def told(box: Mailbox) -> dict[tuple[int, int], bytes]:
    """What a client knows after this."""
    rows = box.sync()
    return {(rows.uidvalidity, uid): box.read(uid) for uid in rows.uids}


def first_look(root: Path) -> object:
    return told(come(root)[1])


def new_mail(root: Path) -> object:
    own, box = come(root)
    known = told(box)
    deliver(own.mailbox("INBOX"), b"new")
    deliver(own.mailbox("Work"), b"newer")
    return {**known, **told(box)}


def changes(root: Path) -> object:
    box = come(root)[1]
    known = told(box)
    box.set_flags([1, 3], add=box.flags([b"\\Seen", b"Word"], create=True))
    box.set_flags([2], add=Flags(DELETED))
    box.expunge([2], flagged=DELETED)
    return known


def moved(root: Path) -> object:
    own, box = come(root)
    known = told(box)
    box.copied_to(own.mailbox("Trash"), [1, 2, 3, 4], move=True)
    deliver(box, b"saved")
    return {**known, **told(box)}


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("work", [first_look, new_mail, changes, moved])
def test_who_comes_next_has_it_right(work: Callable[[Path], object], torn: bool, tmp_path: Path) -> None:
    template = tmp_path / "template"
    own, box = come(template)
    for name in ("Work", "Trash"):
        own.create(name)
    for n in range(3):
        deliver(own.mailbox("INBOX"), b"inbox %d" % n)
        deliver(own.mailbox("Work"), b"work %d" % n)
    if work is not first_look:
        box.sync()
    own.mailbox("INBOX").set_flags([1], add=Flags(SEEN))
    for number in range(1, ROUNDS):
        root = tmp_path / str(number)
        shutil.copytree(template, root, symlinks=True)

        def die(root: Path = root, number: int = number) -> object:
            die_at(number, torn=torn)
            return work(root)

        lived, known = run(die)
        own, box = come(root)
        after = told(box)
        expected = []
        for name in ("INBOX", "Work"):
            there = own.mailbox(name)
            rows = there.sync()
            expected += [there.read(uid) for uid, bits in zip(rows.uids, rows.flags, strict=True) if not bits & SEEN]
        # Moving may leave a message twice, never not at all; here each is as often as it is there.
        assert sorted(after.values()) == sorted(expected)
        total = sum(len(own.mailbox(name).sync()) for name in ("INBOX", "Work", "Trash"))
        assert total >= (5 if work is changes else 6)
        for uid, octets in (known or {}).items():
            assert after.get(uid, octets) == octets
        again = told(come(root)[1])
        assert again == after
        shutil.rmtree(root)
        if lived:
            assert number > 2 or torn
            return
    raise AssertionError("it never came to its end")


def read_by(root: Path) -> Mailbox:
    """Bob's mail, as ann has it."""
    bob = Account(os.fsencode(root / "bob"), delimiter="/", fsync="never")
    ann = Account(os.fsencode(root / "ann"), delimiter="/", fsync="never")
    box = bob.mailbox("INBOX")
    return SeenOfReader(ann, Keeping(fsync="never")).of(bob, box.path, box, None)


def reads(root: Path) -> object:
    box = read_by(root)
    box.sync()
    box.set_flags([1, 2], add=Flags(SEEN | FLAGGED))
    known = {uid for uid, bits in zip(box.snapshot.uids, box.snapshot.flags, strict=True) if bits & SEEN}
    box.set_flags([3], add=Flags(SEEN))
    return known


@pytest.mark.parametrize("torn", [False, True])
def test_what_a_reader_has_seen(torn: bool, tmp_path: Path) -> None:
    template = tmp_path / "template"
    (template / "bob").parent.mkdir()
    bob = Account(os.fsencode(template / "bob"), delimiter="/", fsync="never")
    for n in range(4):
        deliver(bob.mailbox("INBOX"), b"inbox %d" % n)
    for number in range(1, ROUNDS):
        root = tmp_path / str(number)
        shutil.copytree(template, root, symlinks=True)

        def die(root: Path = root, number: int = number) -> object:
            die_at(number, torn=torn)
            return reads(root)

        lived, known = run(die)
        box = read_by(root)
        rows = box.sync()
        theirs = Account(os.fsencode(root / "bob"), delimiter="/", fsync="never").mailbox("INBOX").sync()
        assert (list(rows.uids), rows.uidvalidity, rows.uidnext) == ([1, 2, 3, 4], theirs.uidvalidity, theirs.uidnext)
        assert not any(bits & SEEN for bits in theirs.flags)
        seen = {uid for uid, bits in zip(rows.uids, rows.flags, strict=True) if bits & SEEN}
        assert seen in (set(), {1, 2}, {1, 2, 3})
        assert seen >= (known or set())
        shutil.rmtree(root)
        if lived:
            assert seen == {1, 2, 3}
            return
    raise AssertionError("it never came to its end")
