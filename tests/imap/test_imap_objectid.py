"""RFC 8474 4: no two mailboxes have one MAILBOXID."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool


def mailbox_id(client: MemoryClient, name: str) -> bytes:
    """What STATUS says of a mailbox; an objectid is 1*255(ALPHA / DIGIT / "_" / "-")."""
    (line, done) = client.command(b"a STATUS %b (MAILBOXID)" % name.encode())
    assert done.startswith(b"a OK")
    found = re.fullmatch(rb"\* STATUS \S+ \(MAILBOXID \(([A-Za-z0-9_-]{1,255})\)\)", line)
    assert found, line
    return found[1]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Two folders that Courier has given one UIDVALIDITY."""
    made = Spool(tmp_path / "Maildir")
    for name in ("One", "Two"):
        (base,) = made.simple(name, 1)
        (made.path(name) / "courierimapuiddb").write_text(f"1 1700000000 3\n2 {base}\n")
    return made


def test_folders_of_one_uidvalidity(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=True)
    one, two = mailbox_id(client, "One"), mailbox_id(client, "Two")
    assert one != two
    assert client.command(b"b RENAME One Uno")[-1].startswith(b"b OK")
    assert client.command(b"c CREATE One")[-1].startswith(b"c OK [MAILBOXID (")
    again = MemoryWires(spool.root).connect(login=True)
    assert (mailbox_id(again, "Uno"), mailbox_id(again, "Two")) == (one, two)
    assert mailbox_id(again, "One") not in (one, two)


def test_index_made_anew(spool: Spool) -> None:
    """Whose UIDVALIDITY stays, his MAILBOXID stays."""
    client = MemoryWires(spool.root).connect(login=True)
    one = mailbox_id(client, "One")
    for file in spool.path("One").glob("maildir-imapd.index*"):
        file.unlink()
    (spool.path("One") / "maildir-imapd.journal").unlink(missing_ok=True)
    again = MemoryWires(spool.root).connect(login=True)
    (line, _) = again.command(b"a STATUS One (UIDVALIDITY)")
    assert line == b"* STATUS One (UIDVALIDITY 1700000000)"
    assert mailbox_id(again, "One") == one
