"""What a client was told, where a script cannot reach: answers that do not come, messages that come back."""

from __future__ import annotations

import os
from typing import Any

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import MessageUnreadable
from maildir_imapd.store.mailbox import Mailbox


@pytest.fixture
def wires(spool: Spool) -> MemoryWires:
    spool.simple("INBOX", 3)
    return MemoryWires(spool.root)


def selected(wires: MemoryWires, *before: bytes) -> MemoryClient:
    client = wires.connect(login=True)
    for command in (*before, b"SELECT INBOX"):
        assert client.command(b"s " + command)[-1].startswith(b"s OK")
    return client


def fetched(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b" \\Recent", b"").replace(b"\\Recent", b"") for line in lines if b" FETCH (" in line]


@pytest.mark.parametrize("condstore", [False, True])
def test_seen_of_a_message_that_cannot_be_read(
    condstore: bool, wires: MemoryWires, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FETCH sets \\Seen before it reads: the row that would have told so is left out."""
    client = selected(wires, *[b"ENABLE CONDSTORE"] * condstore)
    read = Mailbox.load

    def broken(self: Mailbox, uid: int, **more: Any) -> bytes:
        if uid == 2:
            raise MessageUnreadable
        return read(self, uid, **more)

    monkeypatch.setattr(Mailbox, "load", broken)
    lines = client.command(b"a FETCH 1:3 (BODY[HEADER.FIELDS (X)])")
    assert lines[-1].startswith(b"a NO")
    told = [line for line in fetched(lines) if line.startswith(b"* 2 ")]
    assert len(told) == 1
    assert b"FLAGS (\\Seen)" in told[0]
    assert condstore == (b"MODSEQ" in told[0])
    assert client.command(b"b NOOP") == [b"b OK NOOP completed"]


def test_flags_of_a_message_that_came_back_before_its_expunge_was_told(wires: MemoryWires, spool: Spool) -> None:
    client = selected(wires)
    # Only once its flags are known does anybody know others.
    client.command(b"a FETCH 1:* (FLAGS)")
    base = spool.files("INBOX")[1].split(":")[0]
    file, away = spool.find("INBOX", base), spool.root / "away"
    os.rename(file, away)
    wires.account.mailbox("INBOX").sync(look=True)
    wires.account.mailbox("INBOX").sync(look=True)
    # Commands that count by number tell no EXPUNGE.
    assert fetched(client.command(b"b FETCH 1 (UID)")) == [b"* 1 FETCH (UID 1)"]
    assert client.session.view is not None
    assert client.session.view.ghosts == {2}
    os.rename(away, file.parent / f"{base}:2,FS")
    wires.account.mailbox("INBOX").sync(look=True)
    assert fetched(client.command(b"c FETCH 1 (UID)")) == [
        b"* 1 FETCH (UID 1)",
        b"* 2 FETCH (FLAGS (\\Flagged \\Seen))",
    ]
    assert client.command(b"d NOOP") == [b"d OK NOOP completed"]


def test_a_keyword_that_has_got_another_name(wires: MemoryWires) -> None:
    client = selected(wires)
    client.command(b"a STORE 1,3 +FLAGS (one)")
    mailbox = wires.account.mailbox("INBOX")
    snapshot = mailbox.snapshot.evolve(modseq=mailbox.snapshot.modseq + 1)
    snapshot.keywords = tuple(b"other" if name == b"one" else name for name in snapshot.keywords)
    snapshot._words = {}
    mailbox.snapshot = snapshot
    view = client.session.view
    assert view is not None
    view.advance(expunge=True)
    assert view.mistaken([1, 2, 3]) == {1, 3}


def test_flags_that_the_client_may_not_set(wires: MemoryWires, spool: Spool) -> None:
    """RFC 4314 4: the others are set; whoever asked for silence believes in all of them."""
    (spool.path("INBOX") / "dovecot-acl").write_text("owner lrsi\n")
    client = selected(wires)
    assert client.command(b"a STORE 1 FLAGS.SILENT (\\Seen \\Deleted)") == [
        b"* 1 FETCH (FLAGS (\\Seen))",
        b"a OK STORE completed",
    ]
    assert client.command(b"b STORE 1 +FLAGS.SILENT (\\Seen)") == [b"b OK STORE completed"]


def test_a_change_of_its_own_beside_another(wires: MemoryWires) -> None:
    """RFC 3501 6.4.6: with .SILENT, too, what others have done is told."""
    client, other = selected(wires), selected(wires)
    client.command(b"z STORE 1:3 FLAGS.SILENT ()")
    other.command(b"a STORE 1:2 +FLAGS.SILENT (\\Flagged)")
    lines = client.command(b"b STORE 1:3 +FLAGS.SILENT (\\Seen)")
    assert fetched(lines) == [b"* 1 FETCH (FLAGS (\\Flagged \\Seen))", b"* 2 FETCH (FLAGS (\\Flagged \\Seen))"]
    other.command(b"c STORE 3 FLAGS.SILENT (\\Draft)")
    assert fetched(client.command(b"d STORE 3 FLAGS.SILENT (\\Draft)")) == []
    assert client.command(b"e NOOP") == [b"e OK NOOP completed"]
