"""Large messages, whose files are read anew for what is asked: another program may have written to them meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.imap.columns import message
from maildir_imapd.store.account import Account
from maildir_imapd.store.folder import reading
from maildir_imapd.store.mailbox import Mailbox

LONG_AGO = 1_600_000_000_000_000_001


@pytest.mark.parametrize("rewritten", [False, True])
def test_nothing_is_kept_of_a_file_that_changes_while_it_is_looked_at(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, rewritten: bool
) -> None:
    monkeypatch.setattr(message, "LARGE_OCTETS", 20)
    monkeypatch.setattr(reading, "BEGINNING_OCTETS", 16)
    spool.put("INBOX", b"Subject: one\n\nbody of one, long enough\n", "")
    file = Path(spool.path("INBOX")) / "cur" / spool.files("INBOX")[0]
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    client = MemoryWires(Account(os.fsencode(spool.root), fsync="never")).connect(login=True)
    client.command(b"a SELECT INBOX")
    true = Mailbox.open

    def open(self: Mailbox, uid: int, *, under: int | None = None) -> int:
        if rewritten:
            file.write_bytes(b"Content-Type: image/png\n\nanother one, as long as that is\n")
            os.utime(file, ns=(LONG_AGO + 5, LONG_AGO + 5))
        return true(self, uid, under=under)

    monkeypatch.setattr(Mailbox, "open", open)
    assert client.command(b"b FETCH 1 BODYSTRUCTURE")[-1].startswith(b"b OK")
    view = client.session.view
    assert view is not None
    (kept,) = view.cache.get_many([1], b"bodystructure")
    assert (kept is None) == rewritten
