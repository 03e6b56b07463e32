"""Threads of one process, and another process beside them, that change hands at each step of the disk.

Few mailboxes are kept, so that they are let go of and opened again all the time. Nothing may fail, for each thread does
only what is right; in the end memory, disk and what was told are the same.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import results
import sanitizer
from turns import together, turns

from maildir_imapd.errors import ImapdError, MailboxExists, MailboxMissing, MessageGone
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk.unused import Bounds, Unused
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags

pytestmark = pytest.mark.slow

STAYING = ("INBOX", "A", "B", "C")
PASSING = ("X", "Y")
ACTS = 250
SEEDS = range(int(os.environ.get("MAILDIR_IMAPD_STRESS", "1")) * 2)


class Told:
    """What all threads were told."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.serial = 0
        self.there: dict[tuple[str, int, int], bytes] = {}  # folder, UIDVALIDITY, UID: never removed
        self.wrong: list[str] = []

    def text(self, name: str) -> bytes:
        with self.lock:
            self.serial += 1
            return b"Subject: %d of %s\n\n%s\n" % (self.serial, name.encode(), b"x" * (self.serial % 7) * 100)

    def note(self, name: str, uidvalidity: int, uid: int, text: bytes) -> None:
        with self.lock:
            known = self.there.setdefault((name, uidvalidity, uid), text)
        if known != text:
            self.wrong.append(f"UID {uid} of {name} ({uidvalidity}) is {known[:20]!r} and {text[:20]!r}")


class Worker:
    """One thread."""

    def __init__(self, account: Account, seed: int, said: Told) -> None:
        self.account, self.said = account, said
        self.dice = random.Random(seed)

    def run(self) -> None:
        for _ in range(ACTS):
            name = self.dice.choice(STAYING + STAYING + PASSING)
            try:
                self.act(name)
            except (MailboxMissing, MailboxExists, MessageGone) as error:
                # Of a mailbox that passes others remove messages, and it.
                if name in STAYING:
                    self.said.wrong.append(f"{name}: {type(error).__name__} {error.detail}")
            except ImapdError as error:
                self.said.wrong.append(f"{name}: {type(error).__name__} {error.detail}")

    def append(self, box: Mailbox, name: str) -> None:
        text = self.said.text(name)
        item = box.deliver()
        try:
            item.write(text)
            result = box.commit([(item, Flags(SEEN), 1_000_000_000)])
        except BaseException:
            item.abort()
            raise
        (uid,) = results.uids(result)
        if name in STAYING:
            self.said.note(name, getattr(result, "uidvalidity", box.uidvalidity), uid, text)

    def act(self, name: str) -> None:
        dice = self.dice
        if name in PASSING and dice.random() < 0.5:
            if dice.random() < 0.5:
                self.account.delete(name)
            else:
                self.account.create(name)
            return
        box = self.account.mailbox(name)
        match dice.randrange(7):
            case 0 | 1 | 2:
                self.append(box, name)
            case 3:
                snapshot = box.sync(look=dice.random() < 0.3)
                if len(snapshot):
                    box.set_flags([dice.choice(snapshot.uids)], add=Flags(FLAGGED))
            case 4:
                snapshot = box.sync()
                for uid in snapshot.uids[-2:]:
                    text = box.read(uid)
                    if name in STAYING:
                        self.said.note(name, snapshot.uidvalidity, uid, text)
            case 5:
                target = self.account.mailbox(dice.choice(STAYING))
                snapshot = box.sync()
                if len(snapshot) and target is not box:
                    results.pairs(target.copy_from(box, list(snapshot.uids[-1:])))
            case 6 if name in PASSING:
                box.expunge(list(box.sync().uids[:1]))


@pytest.mark.parametrize("seed", SEEDS)
def test_threads_that_take_turns(seed: int, tmp_path: Path) -> None:
    # Two accounts are two processes: they share nothing but the disk.
    few = [Unused(Bounds(descriptors=6)) for _ in range(2)]
    accounts = [Account(os.fsencode(tmp_path), fsync="never", unused=each) for each in few]
    for name in STAYING[1:] + PASSING:
        accounts[0].create(name)
    said = Told()
    workers = [Worker(accounts[n % 3 // 2], seed * 10 + n, said) for n in range(6)]
    work: list[Callable[[], None]] = [worker.run for worker in workers]
    with sanitizer.watching() as strangers, turns(seed):
        raised = together(work)
    assert not raised, raised[0]
    assert not said.wrong, said.wrong[:5]
    assert not strangers, strangers[0]
    newcomer = Account(os.fsencode(tmp_path), fsync="never")
    for name in STAYING:
        fresh = newcomer.mailbox(name)
        snapshot = fresh.sync(look=True)
        for each in accounts:
            ours = each.mailbox(name).sync(look=True)
            assert (ours.uidvalidity, ours.uids, ours.flags) == (snapshot.uidvalidity, snapshot.uids, snapshot.flags)
            assert ours.uidnext == snapshot.uidnext
    for (name, uidvalidity, uid), text in said.there.items():
        fresh = newcomer.mailbox(name)
        assert fresh.uidvalidity == uidvalidity, name
        assert fresh.read(uid) == text, f"UID {uid} of {name}"
