"""Virtual mailboxes at the store: against a plain evaluation, with two processes' objects, foreign hands and damage."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import lockcheck
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maildir_imapd import errors
from maildir_imapd.imap.search.virtual import Virtual, read
from maildir_imapd.store.account import Account
from maildir_imapd.store.folder.keeping import Keeping
from maildir_imapd.store.folder.overlay import base_of, reference
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.namespaces import Namespaces
from maildir_imapd.store.virtual import VirtualMailbox
from maildir_imapd.store.virtual_account import VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources

DEFINITIONS = {
    "Unread": "*\n  UNSEEN\n",
    "All": "*\n  ALL\n",
    "Word": "*\n  KEYWORD word\n",
    "Odd": "*\n  OR (FLAGGED SUBJECT wanted) DELETED\n",
}
NAMES = ("INBOX", "Work", "Play")


class Process:
    """What one worker has of a user's mail."""

    def __init__(self, root: Path, definitions: dict[str, str] = DEFINITIONS) -> None:
        self.own = Account(os.fsencode(root), delimiter="/", fsync="never")
        self.definitions: dict[str, Virtual] = {name: read(text) for name, text in definitions.items()}
        sources = VirtualSources(Namespaces(self.own), "ann", frozenset(), lists=True)
        space, keeping = VirtualSpace(sources), Keeping(fsync="never")
        self.account = VirtualAccount(self.own, lambda: self.definitions, space, keeping)

    def box(self, name: str) -> VirtualMailbox:
        found = self.account.mailbox(name)
        assert isinstance(found, VirtualMailbox)
        return found


def deliver(box: Mailbox, text: str, bits: int = 0) -> int:
    item = box.deliver()
    item.write(b"Subject: %b\r\n\r\nx\r\n" % text.encode())
    return box.commit([(item, Flags(bits), 1_000_000_000)])[0]


def seen(box: VirtualMailbox) -> set[tuple[str, bytes, frozenset[bytes]]]:
    """The messages of a virtual mailbox: where each lies, its octets, its flags."""
    rows = box.sync(keep_new=True)
    found = set()
    for uid, base, bits in zip(rows.uids, rows.names, rows.flags, strict=True):
        flags = frozenset(flag.lower() for flag in rows.flag_names(bits, uid))
        found.add((base.decode(), box.read(uid, under=rows.uidvalidity), flags))
    assert len(found) == len(rows)
    assert list(rows.uids) == sorted(rows.uids)
    return found


def plain(own: Account, name: str) -> set[tuple[str, bytes, frozenset[bytes]]]:
    """The same, by looking at each message."""
    found = set()
    for mailbox in NAMES:
        if not own.exists(mailbox):
            continue
        box = own.mailbox(mailbox)
        rows = box.sync(keep_new=True, look=True)
        for uid, bits in zip(rows.uids, rows.flags, strict=True):
            flags = frozenset(flag.lower() for flag in rows.flag_names(bits, uid))
            octets = box.read(uid)
            wanted = {
                "All": True,
                "Unread": b"\\seen" not in flags,
                "Word": b"word" in flags,
                "Odd": (b"\\flagged" in flags and b"wanted" in octets) or b"\\deleted" in flags,
            }
            if wanted[name]:
                found.add((f".{rows.uidvalidity}.{uid}", octets, flags))
    return found


def test_references() -> None:
    for key, uid in ((b".17", 1), (b"ab12.17", 4_294_967_295)):
        assert reference(base_of(key, uid)) == (key, uid)
    assert reference(b"1700000000.M1P1.host,S=7") == (b"", 0)


def test_two_processes_give_the_same_uids(tmp_path: Path) -> None:
    first, second = Process(tmp_path), Process(tmp_path)
    inbox = first.own.mailbox("INBOX")
    for n in range(5):
        deliver(inbox, f"number {n}")
    rows = first.box("All").sync()
    assert (list(rows.uids), list(rows.names)) == (list(second.box("All").sync().uids), list(rows.names))
    second.box("All").expunge([2, 3])
    assert list(first.box("All").sync().uids) == [1, 4, 5]
    assert list(inbox.sync().uids) == [1, 4, 5]
    deliver(second.own.mailbox("INBOX"), "more")
    assert list(first.box("All").sync().uids) == [1, 4, 5, 6]
    assert list(second.box("All").sync().uids) == [1, 4, 5, 6]


def test_what_one_process_has_written_the_other_need_not(tmp_path: Path) -> None:
    first, second = Process(tmp_path), Process(tmp_path)
    inbox = first.own.mailbox("INBOX")
    deliver(inbox, "one")
    modseq = first.box("All").sync().modseq
    assert second.box("All").sync().modseq == modseq
    # Nothing is found, and nothing written, by whoever looks after another.
    journal = Path(os.fsdecode(first.box("All").path)) / "maildir-imapd.journal"
    size = journal.stat().st_size
    for process in (first, second, first):
        process.box("All").sync(look=True)
    assert journal.stat().st_size == size


def test_foreign_hands(tmp_path: Path) -> None:
    process = Process(tmp_path)
    inbox = process.own.mailbox("INBOX")
    for n in range(3):
        deliver(inbox, f"number {n}")
    box = process.box("Unread")
    assert len(box.sync()) == 3
    files = sorted((tmp_path / "cur").iterdir())
    files[0].rename(files[0].with_name(files[0].name.removesuffix(":2,") + ":2,S"))
    files[1].unlink()
    (tmp_path / "new" / "1700000009.M1P1.host").write_bytes(b"Subject: new\n\nnew\n")
    assert {octets.split(b"\n")[0].strip() for _, octets, _ in seen(box)} == {b"Subject: number 2", b"Subject: new"}
    # It was looked at, and not taken: that is for who opens INBOX.
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_an_unreadable_mailbox_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path)
    process.own.create("Work")
    deliver(process.own.mailbox("INBOX"), "one")
    work = process.own.mailbox("Work")
    deliver(work, "two")
    box = process.box("All")
    assert len(box.sync()) == 2

    def broken(*_: object, **__: object) -> None:
        raise errors.LockTimeout(detail="Work")

    with monkeypatch.context() as patch:
        patch.setattr(work, "sync", broken)
        deliver(process.own.mailbox("INBOX"), "three")
        assert len(box.sync()) == 3
        # Nor for whoever has never seen it.
        other = Process(tmp_path)
        patch.setattr(other.own.mailbox("Work"), "sync", broken)
        assert len(other.box("All").sync()) == 3
    assert len(box.sync()) == 3
    assert len(other.box("All").sync()) == 3


def test_a_mailbox_that_is_numbered_anew(tmp_path: Path) -> None:
    process = Process(tmp_path)
    inbox = process.own.mailbox("INBOX")
    deliver(inbox, "one")
    box = process.box("All")
    before = box.sync()
    with inbox._changing(), inbox._folder.exclusive():
        inbox._folder.number_anew()
        inbox._adopt_rows()
    after = box.sync()
    assert (list(before.uids), list(after.uids)) == ([1], [2])
    assert box.read(2).startswith(b"Subject: one")
    with pytest.raises(errors.MessageGone):
        box.read(1)


@pytest.mark.parametrize("name", ["maildir-imapd.index", "maildir-imapd.journal", "maildir-imapd.lock", "all"])
def test_an_index_that_is_lost_or_damaged(name: str, tmp_path: Path) -> None:
    process = Process(tmp_path)
    inbox = process.own.mailbox("INBOX")
    for n in range(4):
        deliver(inbox, f"number {n}")
    box = process.box("All")
    before = {uid: box.read(uid) for uid in box.sync().uids}
    validity, path = box.uidvalidity, Path(os.fsdecode(box.path))
    for file in path.glob("maildir-imapd.*") if name == "all" else [path / name]:
        file.unlink() if name in ("all", "maildir-imapd.lock") else file.write_bytes(b"nonsense\n" * 5)
    again = Process(tmp_path).box("All")
    rows = again.sync()
    after = {uid: again.read(uid) for uid in rows.uids}
    assert sorted(after.values()) == sorted(before.values())
    if rows.uidvalidity == validity:
        assert all(after[uid] == before[uid] for uid in after if uid in before)


def test_uids_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path)
    inbox = process.own.mailbox("INBOX")
    for n in range(4):
        deliver(inbox, f"number {n}")
    found = process.box("All")
    found.sync()
    found.expunge([1, 2, 3])
    validity = found.uidvalidity
    monkeypatch.setattr("maildir_imapd.store.index.index.LAST_UID", 5)
    monkeypatch.setattr(found._folder.index, "state", replace(found._folder.index.state, reserve=5))
    with pytest.raises(errors.MailboxMissing):
        found.expunge([4], under=validity - 1)
    monkeypatch.setattr("maildir_imapd.store.index.index.LAST_UID", 1 << 20)
    deliver(inbox, "more")
    deliver(inbox, "and more")
    monkeypatch.setattr("maildir_imapd.store.index.index.LAST_UID", 5)
    rows = found.sync()
    assert rows.uidvalidity > validity
    assert list(rows.uids) == [1, 2, 3]
    assert len(seen(found)) == 3


def test_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path)
    inbox = process.own.mailbox("INBOX")
    deliver(inbox, "one")
    box = process.box("All")
    box.sync()
    deliver(inbox, "two")
    from maildir_imapd.store.disk import durable

    def full(action: str, what: object) -> None:
        if action in ("write", "rename", "sync"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "step", full)
    assert len(box.sync()) == 1
    monkeypatch.setattr(durable, "step", None)
    assert len(box.sync()) == 2


def test_its_quota_is_the_users(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.account.quota is process.own.quota


def test_the_shown_stays_in_other_processes_too(tmp_path: Path) -> None:
    first, second = Process(tmp_path), Process(tmp_path)
    inbox = first.own.mailbox("INBOX")
    deliver(inbox, "one")
    deliver(inbox, "two")
    box = first.box("Unread")
    client = box.listen(lambda: None)
    client.told = box.sync().modseq
    box.set_flags([1], add=Flags(SEEN))
    assert list(second.box("Unread").sync().uids) == [1, 2]
    assert list(box.sync().uids) == [1, 2]
    client.close()
    assert list(second.box("Unread").sync().uids) == [2]
    assert list(box.sync().uids) == [2]


@pytest.mark.long
@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 25))
def test_any_history_against_a_plain_evaluation(seed: int, steps: int) -> None:
    """Two processes and foreign programs change what they like; each virtual mailbox has what is to be found."""
    with tempfile.TemporaryDirectory() as directory, lockcheck.checking():
        root = Path(directory) / "Maildir"
        chance = random.Random(seed)
        processes = [Process(root), Process(root)]
        uids: dict[str, dict[int, str]] = {name: {} for name in DEFINITIONS}
        for _ in range(steps):
            _step(chance, chance.choice(processes), root)
            if chance.random() < 0.3:
                chance.choice(processes).box(chance.choice(list(DEFINITIONS))).sync()
            if chance.random() < 0.4:
                name = chance.choice(list(DEFINITIONS))
                for process in processes:
                    box = process.box(name)
                    assert seen(box) == plain(process.own, name), name
                    rows = box.snapshot
                    for uid, base in zip(rows.uids, rows.names, strict=True):
                        # No UID means another message, ever.
                        assert uids[name].setdefault(uid, base.decode()) == base.decode()


def _step(chance: random.Random, process: Process, root: Path) -> None:
    own = process.own
    name = chance.choice([each for each in NAMES if own.exists(each)])
    box = own.mailbox(name)
    rows = box.sync(keep_new=True)
    some = sorted(chance.sample(list(rows.uids), min(len(rows), chance.randrange(4))))
    bits = chance.choice([SEEN, FLAGGED, DELETED, SEEN | FLAGGED])
    match chance.randrange(9):
        case 0 | 1:
            deliver(box, chance.choice(["wanted", "other"]), chance.choice([0, SEEN, FLAGGED]))
        case 2:
            box.set_flags(some, add=Flags(bits)) if chance.random() < 0.6 else box.set_flags(some, remove=Flags(bits))
        case 3:
            box.set_flags(some, add=box.flags([b"word"], create=True))
        case 4:
            box.expunge(some)
        case 5:
            missing = [each for each in NAMES if not own.exists(each)]
            if missing:
                own.create(chance.choice(missing))
            elif chance.random() < 0.3:
                own.delete(chance.choice(NAMES[1:]))
        case 6:
            folder = Path(os.fsdecode(own.folder_of(name)))
            for file in list((folder / "cur").iterdir())[:1]:
                file.rename(file.with_name(file.name.partition(":")[0] + ":2,FS"))
            (folder / "new" / f"{chance.randrange(10**9, 2 * 10**9)}.M1P1.h").write_bytes(b"Subject: wanted\n\n")
        case 7:
            virtual = process.box(chance.choice(list(DEFINITIONS)))
            there = list(virtual.sync(keep_new=True).uids)
            few = sorted(chance.sample(there, min(len(there), 3)))
            virtual.set_flags(few, add=virtual.flags([b"word", b"\\Flagged"], create=True))
            if chance.random() < 0.5:
                virtual.expunge(few, under=virtual.uidvalidity)
        case _:
            virtual = process.box(chance.choice(list(DEFINITIONS)))
            there = list(virtual.sync(keep_new=True).uids)
            few = sorted(chance.sample(there, min(len(there), 3)))
            virtual.copied_to(box, few, move=chance.random() < 0.5)


def test_one_whose_lock_is_held(tmp_path: Path) -> None:
    """Who may not wait hears so, and who may gets what was known when nobody lets go."""
    root = tmp_path / "ann"
    one, two = Process(root), Process(root)
    inbox = one.own.mailbox("INBOX")
    deliver(inbox, "first")
    box, other = one.box("All"), two.box("All")
    assert len(box.sync(keep_new=True)) == 1
    other.sync(keep_new=True)
    deliver(inbox, "second")
    box._folder.lock._timeout = 0.01
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with other._folder.exclusive():
            held.set()
            assert over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        with pytest.raises(errors.LockTimeout):
            box.sync(keep_new=True, patience=0)
        assert len(box.sync(keep_new=True)) == 1
        # The last who listened has gone meanwhile: it is left as it was.
        listener = box.listen(lambda: None)
        deliver(inbox, "third")
        listener.close()
    finally:
        over.set()
        holder.join()
    assert len(box.sync(keep_new=True)) == 3


def test_it_listens_to_the_mailboxes_that_there_are(tmp_path: Path) -> None:
    process = Process(tmp_path / "ann")
    process.own.create("Work")
    box = process.box("All")
    heard: list[str] = []
    listener = box.listen(lambda: heard.append("x"), keep_new=True)
    box.sync(keep_new=True)
    deliver(process.own.mailbox("Work"), "news")
    assert heard
    assert box.refresh() is None or box.recheck() is not None
    process.own.delete("Work")
    box.sync(keep_new=True)
    process.own.create("Play")
    box.sync(keep_new=True)
    heard.clear()
    deliver(process.own.mailbox("Play"), "more")
    assert heard
    box.redefine(box._definition)
    heard.clear()
    box.redefine(process.box("Unread")._definition)
    assert heard
    listener.close()
    heard.clear()
    deliver(process.own.mailbox("Play"), "unheard")
    assert not heard
