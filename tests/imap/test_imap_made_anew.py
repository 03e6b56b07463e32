"""A mailbox that another worker deletes and makes anew is there: nobody who puts something in hears [TRYCREATE]."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import STEP, SYSTEM, Faults, broken_disk
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places

MESSAGE = b"A: b\r\n\r\nc"
COMMANDS = {
    "APPEND": b"APPEND Box {9+}\r\n" + MESSAGE,
    "keywords": b"APPEND Box (word $other) {9+}\r\n" + MESSAGE,
    "MULTIAPPEND": b"APPEND Box {9+}\r\n" + MESSAGE + b" {9+}\r\n" + MESSAGE,
    "CATENATE": b'APPEND Box CATENATE (URL "/INBOX/;UID=1/;SECTION=HEADER" TEXT {9+}\r\n' + MESSAGE + b")",
    "COPY": b"COPY 1 Box",
    "MOVE": b"MOVE 1 Box",
    "REPLACE": b"REPLACE 1 Box {9+}\r\n" + MESSAGE,
}
# Where several messages have come, or parts of one, only the last one's file is open: they cannot follow.
ALL_OR_NONE = ("MULTIAPPEND", "CATENATE")
MOST_POINTS = 2000


class Moments(Faults):
    """Runs *act* in another thread at point *number*, and with *always* at each one from there on."""

    def __init__(self, kind: str, number: int, act: Callable[[], None], *, always: bool) -> None:
        super().__init__(kind, number, broken_disk)
        self.act, self.always = act, always

    def _point(self, where: str) -> None:
        if not self._on or threading.get_ident() != self._thread:
            return
        self.left -= 1
        if self.left == 0 or (self.always and self.left < 0):
            self.where = self.where or where
            self._on = False
            other = threading.Thread(target=self.act)
            other.start()
            other.join()
            self._on = True


class World:
    """One spool, and two workers that serve it."""

    def __init__(self, root: Path, *, nested: bool) -> None:
        self.spool = Spool(root, nested=nested)
        self.spool.simple("INBOX", 1)
        places = Places(bytes(root), "fs" if nested else "maildir++")
        self.other = Account(places, fsync="never")
        self.wires = MemoryWires(Account(places, fsync="never"))
        self.other.create("Box")
        self.made = 1

    def make_anew(self) -> None:
        self.other.delete("Box")
        self.other.create("Box")
        self.made += 1

    def selected(self) -> MemoryClient:
        client = self.wires.connect(login=True)
        assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
        return client


@pytest.mark.slow
@pytest.mark.parametrize("kind", [STEP, SYSTEM])
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize(("name", "nested"), [*((name, False) for name in COMMANDS), ("APPEND", True), ("COPY", True)])
def test_no_trycreate_for_a_mailbox_that_is_there(
    tmp_path: Path, name: str, nested: bool, always: bool, kind: str
) -> None:
    world = World(tmp_path / "Maildir", nested=nested)
    for point in range(1, MOST_POINTS, 5 if always else 1):
        client = world.selected()
        with Moments(kind, point, world.make_anew, always=always) as moments:
            last = client.command(b"a " + COMMANDS[name])[-1]
        client.engine.close()
        if not moments.hit:
            assert last.startswith(b"a OK"), last
            break
        allowed = (b"a OK", b"a NO [INUSE]") if always or name in ALL_OR_NONE else (b"a OK",)
        assert last.startswith(allowed), (moments.where, last)
        if not world.spool.files("INBOX"):
            # It was moved, or replaced, as it should be.
            world.spool.simple("INBOX", 1)
    else:
        pytest.fail("it never ends")
    assert point > 3


@pytest.mark.parametrize("name", COMMANDS)
def test_one_that_is_not_there_is_to_be_made(tmp_path: Path, name: str) -> None:
    world = World(tmp_path / "Maildir", nested=False)
    client = world.selected()
    world.other.delete("Box")
    assert client.command(b"a " + COMMANDS[name])[-1].startswith(b"a NO [TRYCREATE]")
