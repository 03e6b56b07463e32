"""Fail everywhere: an error at every single point of each operation, and the process goes on.

No memory, no descriptor, a disk that fails: the operation may say so, or do without. After it

- what the process has in memory is what one finds that starts now,
- the batches that are kept for ``since`` lead to the columns that are shown,
- no UID is another message's than before, and what comes next gets one that nobody had,
- whatever was acknowledged is there, and whatever was there before, too,
- no lock is held and no descriptor is left.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import results
from faults import MEMORY, WRONGS, Faults

from maildir_imapd.errors import ImapdError, MailboxExists, MailboxMissing
from maildir_imapd.store.account import Account
from maildir_imapd.store.index import index
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, SEEN

pytestmark = pytest.mark.slow  # a folder for each point of every operation

NONE: frozenset[int] = frozenset()
COLUMNS = ("uidvalidity", "uidnext", "modseq", "uids", "flags", "modseqs", "names", "sizes", "received", "keywords")
LIMIT = 3000


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and thousands of accounts are made: each sync is a point, and takes no time."""
    monkeypatch.setattr(os, "fsync", lambda number: None)
    monkeypatch.setattr(os, "fdatasync", lambda number: None)


class World:
    """Two folders, made anew for each fault; of the first another process has it open, too."""

    def __init__(self, root: Path) -> None:
        self.paths = [root / "A", root / "B"]
        for path in self.paths:
            for name in ("cur", "new", "tmp"):
                (path / name).mkdir(parents=True)
        for n in range(5):
            (self.paths[0] / "cur" / f"{1000 + n}.M1P1.h:2,{'S' * (n % 2)}").write_bytes(b"Subject: %d\n\n" % n)
        self.opened: list[Mailbox] = []
        self.box, self.target, self.other = self.open(), self.open(1), self.open()

    def open(self, which: int = 0) -> Mailbox:
        self.opened.append(Mailbox(os.fsencode(self.paths[which]), fsync="never", lock_timeout=2.0))
        return self.opened[-1]

    def close(self) -> None:
        for box in self.opened:
            box.close()

    def texts(self) -> set[bytes]:
        return {file.read_bytes() for path in self.paths for sub in ("cur", "new") for file in (path / sub).iterdir()}

    def mail(self, count: int = 2) -> None:
        for n in range(count):
            (self.paths[0] / "new" / f"{2000 + n}.h").write_bytes(b"Subject: new %d\n\n" % n)


def deliver(box: Mailbox, *texts: bytes) -> list[int]:
    items = []
    try:
        for n, text in enumerate(texts):
            item = box.deliver()
            items.append((item, SEEN * (n % 2), NONE, 1_000_000_000 + n))
            item.write(text)
        return results.uids(box.commit(items))
    except BaseException:
        for item, *_ in items:
            item.abort()
        raise


# --- the operations ---------------------------------------------------------------------------------
# Each returns what was acknowledged: messages by the UID they are told to have, in the first folder or the second.

Acknowledged = dict[tuple[int, int], bytes]
TEXTS = (b"Subject: one\n\none\n", b"Subject: two\n\ntwo\n")


def append(world: World) -> Acknowledged:
    return dict(zip([(0, uid) for uid in deliver(world.box, *TEXTS)], TEXTS, strict=True))


def copy(world: World) -> Acknowledged:
    pairs = results.pairs(world.target.copy_from(world.box, [1, 2, 4]))
    return {(1, new): b"Subject: %d\n\n" % (old - 1) for old, new in pairs}


def move(world: World) -> Acknowledged:
    pairs = results.pairs(world.target.copy_from(world.box, [1, 2, 4], move=True))
    return {(1, new): b"Subject: %d\n\n" % (old - 1) for old, new in pairs}


def flags(world: World) -> Acknowledged:
    world.box.set_flags([1, 2, 3], add=FLAGGED | DELETED)
    world.box.set_flags([2, 3, 4], add=DELETED, remove=SEEN)
    return {}


def keyword(world: World) -> Acknowledged:
    bits, extra = world.box.bits([b"word%d" % n for n in range(28)], create=True)
    world.box.set_flags([1], add=bits, extra_add=extra)
    return {}


def expunge(world: World) -> Acknowledged:
    world.box.expunge([2, 3])
    return {}


def new_mail(world: World) -> Acknowledged:
    world.mail()
    world.box.sync()
    return {}


def claim(world: World) -> Acknowledged:
    world.box.claim_recent()
    return {}


def rotate(world: World) -> Acknowledged:
    world.box._folder.index._rotate_at = 0
    return append(world)


def others_changes(world: World) -> Acknowledged:
    world.box.sync()
    return {}


def others_rotation(world: World) -> Acknowledged:
    world.box.sync()
    return {}


def outside_changes(world: World) -> Acknowledged:
    cur = world.paths[0] / "cur"
    (cur / "1000.M1P1.h:2,").rename(cur / "1000.M1P1.h:2,FS")
    (cur / "1002.M1P1.h:2,").rename(cur / "1002.M1P1.h:2,R")
    world.box.sync(look=True)
    world.box.sync(look=True)
    return {}


# What another process does before, undisturbed.
def _their_changes(world: World) -> None:
    world.other.set_flags([1, 2], add=FLAGGED)
    deliver(world.other, b"Subject: theirs\n\n")
    world.other.expunge([4])


def _their_rotation(world: World) -> None:
    world.other.set_flags([1], add=FLAGGED)
    world.other._folder.index._rotate_at = 0
    world.other.set_flags([2], add=FLAGGED)
    world.other.set_flags([3], add=SEEN)


BEFORE: dict[Callable[[World], Acknowledged], Callable[[World], None]] = {
    others_changes: _their_changes,
    others_rotation: _their_rotation,
    claim: lambda world: world.mail(),
}
OPERATIONS = [
    append,
    copy,
    move,
    flags,
    keyword,
    expunge,
    new_mail,
    claim,
    rotate,
    others_changes,
    others_rotation,
    outside_changes,
]
# What only these may take away.
REMOVES = {expunge: {b"Subject: 1\n\n", b"Subject: 2\n\n"}, others_changes: {b"Subject: 3\n\n"}}


def rows(box: Mailbox) -> dict[int, bytes]:
    return {uid: filename.stem(name) for uid, name in zip(box.snapshot.uids, box.snapshot.names, strict=True)}


def compare(box: Mailbox, newcomer: Mailbox, where: str) -> None:
    for column in COLUMNS:
        ours, theirs = getattr(box.snapshot, column), getattr(newcomer.snapshot, column)
        assert ours == theirs, f"{where}: {column} in memory {list_of(ours)}, on disk {list_of(theirs)}"


def list_of(value: object) -> object:
    return list(value) if hasattr(value, "__iter__") else value


def visible(box: Mailbox) -> dict[int, object]:
    snapshot = box.snapshot
    return {uid: bits & ~filename.INTERNAL_BITS for uid, bits in zip(snapshot.uids, snapshot.flags, strict=True)}


def look(world: World, before: dict[int, Any], said: Acknowledged, where: str) -> None:
    """Everything that is promised, after a fault; *before*: by folder, its snapshot, rows and flags."""
    owner: dict[tuple[int, int], bytes] = {}
    for which, box in enumerate((world.box, world.target)):
        newcomer = world.open(which)
        for uid, stem in [*before[which][1].items(), *rows(newcomer).items()]:
            assert owner.setdefault((which, uid), stem) == stem, f"{where}: UID {uid} is another message's"
        # What comes next, without a look before.
        (uid,) = deliver(box, b"Subject: next\n\n")
        highest = max([*rows(newcomer), *before[which][1]], default=0)
        assert uid > highest, f"{where}: the next message has UID {uid}, there was {highest}"
        assert uid >= newcomer.snapshot.uidnext, f"{where}: UID {uid}, UIDNEXT was {newcomer.snapshot.uidnext}"
        box.sync(look=True)
        newcomer = world.open(which)
        newcomer.sync(look=True)
        box.sync()
        compare(box, newcomer, where)
        for uid, stem in rows(box).items():
            assert owner.setdefault((which, uid), stem) == stem, f"{where}: UID {uid} is another message's"
        on_disk = sorted(p.name for sub in ("cur", "new") for p in (world.paths[which] / sub).iterdir())
        known = zip(box.snapshot.names, box.snapshot.flags, strict=True)
        names = sorted(os.fsdecode(os.path.basename(filename.render(base, bits))) for base, bits in known)
        assert names == on_disk, f"{where}: known {sorted(set(names) - set(on_disk))}, there {on_disk}"
        # What is told from the batches is what the columns say.
        old, _, old_flags = before[which]
        delta = box.since(old.modseq)
        if delta is not None and old.uidvalidity == box.snapshot.uidvalidity:
            truth = box.snapshot.since(old)
            now = visible(box)
            ring, columns = (list(delta.added), list(delta.expunged)), (truth.added, truth.expunged)
            assert ring == columns, f"{where}: since() says added and expunged {ring}, the columns {columns}"
            changed = {uid for uid in old_flags.keys() & now.keys() if old_flags[uid] != now[uid]}
            assert changed <= set(delta.changed), f"{where}: since() does not know of {changed - set(delta.changed)}"
        for (folder, uid), text in said.items():
            if folder == which:
                assert newcomer.read(uid) == text, f"{where}: UID {uid} was acknowledged"
    world.other.sync()
    compare(world.other, world.box, f"{where}: another process")


@pytest.fixture(autouse=True)
def _constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "RESERVE", 3)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: f"{wrong[0]}-{wrong[1].__name__}")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_fail_everywhere(
    tmp_path: Path, operation: Callable[[World], Acknowledged], wrong: tuple[str, Callable[[], Exception]]
) -> None:
    kind, error = wrong
    broken: list[str] = []
    number, hit = 0, True
    while hit:
        number += 1
        assert number < LIMIT, "the operation never ends"
        free = descriptors()
        world = World(tmp_path / str(number))
        if operation in BEFORE:
            BEFORE[operation](world)
        texts = world.texts()
        boxes = (world.box, world.target)
        before = {which: (box.snapshot, rows(box), visible(box)) for which, box in enumerate(boxes)}
        said: Acknowledged = {}
        faults = Faults(kind, number, error)
        try:
            with faults:
                said = operation(world)
        except (MemoryError, OSError, ImapdError):
            if not faults.hit:
                raise  # nothing fails by itself
        except Exception as raised:
            broken.append(f"{number}: {faults.where}: raised {raised!r}")
        hit = faults.hit
        where = f"{number}: {faults.where}"
        try:
            look(world, before, said, where)
            lost = texts - world.texts() - REMOVES.get(operation, set())
            assert not lost, f"{where}: lost {lost}"
        except Exception as failure:
            broken.append(f"{where}: {type(failure).__name__} {str(failure)[:400]}")
        world.close()
        del world, boxes, before, faults
        gc.collect()  # frames of what was raised
        if kind != MEMORY and descriptors() > free:
            broken.append(f"{where}: {descriptors() - free} descriptors are left")
    assert number > 1 or kind != MEMORY
    assert not broken, f"{len(broken)} of {number} points:\n" + "\n".join(broken[:12])


# --- folders ------------------------------------------------------------------------------------------


def _account(root: Path) -> Account:
    return Account(os.fsencode(root), fsync="never")


def _create(account: Account) -> None:
    account.create("Made.Below")


def _delete(account: Account) -> None:
    account.delete("Gone")


def _rename(account: Account) -> None:
    account.rename("Old", "Other.New")


def _rename_inbox(account: Account) -> None:
    account.rename("INBOX", "Was")


def _listing(account: Account) -> dict[str, tuple[int, list[bytes]]]:
    """Each mailbox: its UIDVALIDITY and its messages."""
    found = {}
    for folder in account.folders():
        if folder.selectable:
            box = account.mailbox(folder.name)
            snapshot = box.sync(look=True)
            found[folder.name] = snapshot.uidvalidity, [box.read(uid) for uid in snapshot.uids]
    return found


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: f"{wrong[0]}-{wrong[1].__name__}")
@pytest.mark.parametrize("operation", [_create, _delete, _rename, _rename_inbox], ids=lambda op: op.__name__[1:])
def test_fail_everywhere_among_folders(
    tmp_path: Path, operation: Callable[[Account], None], wrong: tuple[str, Callable[[], Exception]]
) -> None:
    kind, error = wrong
    broken: list[str] = []
    number, hit = 0, True
    names = ("INBOX", "Old", "Old.Child", "Gone", "Stays")
    removed = {"Gone"} if operation is _delete else set()
    while hit:
        number += 1
        assert number < LIMIT, "the operation never ends"
        root = tmp_path / str(number)
        account = _account(root)
        for name in names:
            if name != "INBOX":
                account.create(name)
            deliver(account.mailbox(name), b"Subject: in %s\n\n" % name.encode())
        before = _listing(account)
        faults = Faults(kind, number, error)
        done = False
        try:
            with faults:
                operation(account)
            done = True
        except (MemoryError, OSError, ImapdError):
            if not faults.hit:
                raise
        except Exception as raised:
            broken.append(f"{number}: {faults.where}: raised {raised!r}")
        hit = faults.hit
        where = f"{number}: {faults.where}"
        try:
            newcomer = _listing(_account(root))
            ours = _listing(account)
            assert ours == newcomer, f"in memory {ours}, on disk {newcomer}"
            there = {text for _, texts in newcomer.values() for text in texts}
            wanted = {text for name, (_, texts) in before.items() if name not in removed for text in texts}
            assert wanted <= there, f"lost {wanted - there}"
            validities = [validity for validity, _ in newcomer.values()]
            assert len(validities) == len(set(validities)), validities
            if done and operation is _rename:
                assert newcomer["Other.New.Child"] == before["Old.Child"]
                assert newcomer["Other.New"] == before["Old"]
            if done and operation is _create:
                assert newcomer["Made.Below"][1] == []
            if done and operation is _delete:
                assert "Gone" not in newcomer
            # And it can be done again, or need not be.
            try:
                operation(account)
            except (MailboxExists, MailboxMissing):
                pass
            assert _listing(account) == _listing(_account(root)), "after it was done again"
        except Exception as failure:
            broken.append(f"{where}: {type(failure).__name__} {str(failure)[:400]}")
    assert not broken, f"{len(broken)} of {number} points:\n" + "\n".join(broken[:12])
