"""Several processes on two folders at once, some of them dying in the middle, beside a program without locks.

Everything is drawn from a seed and bounded by a number of operations. Each process writes down what it has
been told; at the end all of it must be true.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crash import DEAD, tear

from maildir_imapd import errors
from maildir_imapd.store.current import rest
from maildir_imapd.store.disk import durable
from maildir_imapd.store.index import index
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import ANSWERED, DELETED, FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags

OPERATIONS = 40


def die_soon(dice: random.Random) -> None:
    """End the process at some step not far away, a write perhaps half done."""
    left = [dice.randint(1, 25)]
    torn = dice.random() < 0.5

    def step(action: str, what: Any) -> None:
        left[0] -= 1
        if left[0] > 0:
            return
        if torn and action == "write" and len(what[1]) > 32:
            tear(what, 1 / 2)
        os._exit(DEAD)

    durable.step = step


class Worker:
    """One process: a client of both folders."""

    def __init__(self, paths: list[Path], number: int, seed: int, diary: Path) -> None:
        self.dice = random.Random(seed)
        self.number = number
        self.diary = os.open(diary, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.boxes = [Mailbox(os.fsencode(path), fsync="never") for path in paths]
        self.mine: list[dict[int, bytes]] = [{}, {}]  # UID -> text, of messages nobody else will touch
        self.count = 0

    def tell(self, *words: object) -> None:
        os.write(self.diary, " ".join(map(str, words)).encode() + b"\n")

    def run(self) -> None:
        deeds: list[Callable[[int], None]] = [self.append, self.append, self.flag, self.flag, self.expunge, self.move]
        deeds += [self.look, self.copy, self.claim, self.rest]
        for _ in range(OPERATIONS):
            if self.dice.random() < 0.04:
                die_soon(self.dice)
            self.dice.choice(deeds)(self.dice.randint(0, 1))

    def append(self, which: int) -> None:
        box, items, texts = self.boxes[which], [], []
        for _ in range(self.dice.randint(1, 3)):
            self.count += 1
            texts.append(b"%d-%d-%d\n" % (self.number, os.getpid(), self.count))
            items.append((box.deliver(), Flags(self.dice.choice([0, SEEN])), 1_000_000_000))
            items[-1][0].write(texts[-1])
        for uid, text in zip(box.commit(items), texts, strict=True):
            self.tell("given", which, uid, text.decode().strip())
            self.mine[which][uid] = text

    def pick(self, which: int) -> int:
        return self.dice.choice(list(self.mine[which])) if self.mine[which] else 0

    def flag(self, which: int) -> None:
        self.boxes[which].sync()
        uids = sorted(self.dice.sample(list(self.boxes[which].snapshot.uids), min(3, len(self.boxes[which].snapshot))))
        bits = self.dice.choice([SEEN, FLAGGED, ANSWERED, DELETED])
        if self.dice.random() < 0.5:
            self.boxes[which].set_flags(uids, add=Flags(bits))
        else:
            self.boxes[which].set_flags(uids, remove=Flags(bits))

    def expunge(self, which: int) -> None:
        uid = self.pick(which)
        if uid:
            text = self.mine[which].pop(uid)
            self.tell("maybe", text.decode().strip())
            assert self.boxes[which].expunge([uid]) == [uid]
            self.tell("expunged", which, uid)

    def move(self, which: int) -> None:
        uid = self.pick(which)
        if uid:
            text = self.mine[which].pop(uid)
            ((_, new),) = self.boxes[1 - which].copy_from(self.boxes[which], [uid], move=True)
            self.tell("expunged", which, uid)
            self.tell("given", 1 - which, new, text.decode().strip())
            self.mine[1 - which][new] = text

    def copy(self, which: int) -> None:
        uid = self.pick(which)
        if uid:
            ((_, new),) = self.boxes[1 - which].copy_from(self.boxes[which], [uid])
            self.tell("given", 1 - which, new, self.mine[which][uid].decode().strip())

    def look(self, which: int) -> None:
        box = self.boxes[which]
        box.sync(look=self.dice.random() < 0.3)
        uid = self.pick(which)
        if uid:
            assert box.read(uid) == self.mine[which][uid]

    def rest(self, which: int) -> None:
        rest(self.boxes[which])

    def claim(self, which: int) -> None:
        self.boxes[which].sync()
        for uid in self.boxes[which].claim_recent():
            self.tell("recent", which, uid)


def start(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def flip(path: Path, seed: int, times: int) -> None:
    """A mail program without locks: it changes flags by renaming."""
    dice = random.Random(seed)
    cur = os.fsencode(path / "cur")
    for _ in range(times):
        for name in os.listdir(cur)[:20]:
            base, _, letters = name.partition(b":2,")
            new = bytes(sorted(set(letters) ^ {dice.choice(b"FRS")}))
            try:
                os.rename(cur + b"/" + name, cur + b"/" + base + b":2," + new)
            except OSError:
                pass  # somebody else was quicker


@pytest.mark.long
@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "beside-mutt"])
@pytest.mark.parametrize("seed", [1, 2])
def test_hammer(make_maildir: Any, tmp_path: Path, monkeypatch: Any, seed: int, foreign: bool) -> None:
    monkeypatch.setattr(index, "ROTATE_OCTETS", 1500)
    paths = [make_maildir(name).path for name in ("A", "B")]
    readers = [Mailbox(os.fsencode(path), fsync="never") for path in paths]
    diary = tmp_path / "diary"
    dice = random.Random(seed)
    running: dict[int, int] = {}
    born = deaths = 0

    def spawn() -> None:
        nonlocal born
        born += 1
        number, own = born, dice.random()
        child = start(lambda: Worker(paths, number, hash((seed, number, own)), diary).run())
        running[child] = number

    for _ in range(3):
        spawn()
    mutt = start(lambda: flip(paths[0], seed, 60)) if foreign else 0
    known: list[dict[int, bytes]] = [{}, {}]
    while running:
        for which, reader in enumerate(readers):
            snapshot = reader.sync()
            for uid, name in zip(snapshot.uids, snapshot.names, strict=True):
                assert known[which].setdefault(uid, name) == name, "a UID on two messages"
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in running:
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, DEAD), code
            del running[child]
            if code == DEAD:
                deaths += 1
                if born < 10:
                    spawn()
        elif child == mutt:
            mutt = 0
    if mutt:
        os.waitpid(mutt, 0)

    given: list[dict[int, str]] = [{}, {}]
    expunged: list[set[int]] = [set(), set()]
    recent: list[set[int]] = [set(), set()]
    doomed: set[str] = set()
    for line in diary.read_text().splitlines():
        verb, *rest = line.split()
        if verb == "maybe":
            doomed.add(rest[0])
            continue
        which, uid = int(rest[0]), int(rest[1])
        if verb == "given":
            assert uid not in given[which], "a UID given twice"
            given[which][uid] = rest[2]
        elif verb == "expunged":
            expunged[which].add(uid)
        else:
            assert uid not in recent[which], "recent twice"
            recent[which].add(uid)

    everywhere: set[str] = set()
    for which, path in enumerate(paths):
        reader, fresh = readers[which], Mailbox(os.fsencode(path), fsync="never")
        for box in (reader, fresh, reader):
            box.sync(look=True)
        for column in ("uids", "flags", "modseqs", "names", "sizes", "keywords", "uidnext", "modseq", "uidvalidity"):
            assert getattr(reader.snapshot, column) == getattr(fresh.snapshot, column), column
        names = sorted(fresh._folder.place(at) for at in range(len(fresh.snapshot)))
        assert names == sorted(b"cur/" + os.fsencode(name) for name in os.listdir(path / "cur"))
        here = set(fresh.snapshot.uids)
        assert not here & expunged[which]
        for uid, text in given[which].items():
            if uid in here:
                assert fresh.read(uid).decode().strip() == text
        everywhere |= {fresh.read(uid).decode().strip() for uid in here}
        fresh.close()
        reader.close()
    told = {text for each in given for text in each.values()}
    assert told - everywhere <= doomed, "lost"
    assert born > 3 or deaths == 0


def test_two_folders_in_both_directions_do_not_deadlock(make_maildir: Any) -> None:
    paths = [make_maildir(name).path for name in ("A", "B")]
    make_maildir("A").fill(6)

    def swap(which: int) -> None:
        boxes = [Mailbox(os.fsencode(path), fsync="never", lock_timeout=20.0) for path in paths]
        for _ in range(30):
            source, target = boxes[which], boxes[1 - which]
            uids = list(source.sync().uids)[:2]
            try:
                target.copy_from(source, uids, move=True)
            except errors.MessageGone:
                pass  # the other one took it

    children = [start(lambda which=which: swap(which)) for which in (0, 1, 0)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    texts = [p.read_bytes() for path in paths for p in path.glob("cur/*")]
    assert sorted(texts) == [b"Subject: %d\n\nbody\n" % n for n in range(1, 7)]
