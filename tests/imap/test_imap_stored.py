"""Mailboxes whose columns are read when they are first asked for, as sessions see them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.store.index import checkpoint

INDEX = "maildir-imapd.index"


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint is larger than what is read in one go."""
    monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)


@pytest.fixture
def root(spool: Spool) -> Path:
    """A spool that a server has known, and left."""
    spool.simple("INBOX", 5)
    for _ in range(2):
        client = MemoryWires(spool.root).connect(login=True)
        client.command(b"s SELECT INBOX")
        client.command(b"l LOGOUT")
    return spool.root


def test_select_asks_for_no_column(root: Path) -> None:
    wires = MemoryWires(root)
    client = wires.connect(login=True)
    lines = client.command(b"s SELECT INBOX")
    assert b"* 5 EXISTS" in lines
    rows = wires.account.mailbox("INBOX").snapshot
    assert not rows.here("_names")
    assert not rows.here("sizes")
    assert client.command(b"f FETCH 1:* (UID FLAGS)")[-1].startswith(b"f OK")
    assert not rows.here("_names")


def test_a_file_written_to_while_nobody_looked_is_seen_before_its_size_is_told(root: Path) -> None:
    [path] = [path for path in (root / "cur").iterdir() if b"message 5" in path.read_bytes()]
    client = MemoryWires(root).connect(login=True)
    client.command(b"s SELECT INBOX")
    with path.open("ab") as file:
        file.write(b"more\n" * 40)
    octets = len(path.read_bytes()) + path.read_bytes().count(b"\n")
    said = b"".join(client.command(b"f FETCH 5 (RFC822.SIZE)"))
    assert int(re.findall(rb"RFC822.SIZE (\d+)", said)[0]) == octets


@pytest.mark.parametrize("command", [b"FETCH 1:* (UID)", b"UID FETCH 1:* (INTERNALDATE)", b"FETCH 1 (BODY.PEEK[])"])
def test_damage_that_is_found_late_ends_the_session_and_the_next_one_is_right(root: Path, command: bytes) -> None:
    client = MemoryWires(root).connect(login=True)
    client.command(b"s SELECT INBOX")
    os.truncate(root / INDEX, (root / INDEX).read_bytes().index(b"\n\n") + 2)
    lines = client.command(b"f " + command)
    assert lines[-1].startswith(b"f NO") or lines[-1].startswith(b"* BYE"), lines
    more = client.command(b"n NOOP") if lines[-1].startswith(b"f NO") else lines
    assert any(line.startswith(b"* BYE") for line in more), more
    again = MemoryWires(root).connect(login=True)
    assert b"* 5 EXISTS" in again.command(b"s SELECT INBOX")
    said = b"".join(again.command(b"f FETCH 1:* (UID BODY.PEEK[HEADER])"))
    assert re.findall(rb"UID (\d+)", said) == [b"1", b"2", b"3", b"4", b"5"]
    assert all(b"message %d" % n in said for n in range(1, 6))
