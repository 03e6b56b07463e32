"""SORT and THREAD read each message once: their keys are kept in the cache, and made only for what is new."""

from __future__ import annotations

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.store.mailbox import Mailbox

COMMANDS = (
    b"SORT (REVERSE DATE) UTF-8 ALL",
    b"SORT (SUBJECT) UTF-8 ALL",
    b"SORT (FROM TO CC) UTF-8 ALL",
    b"UID SORT RETURN (COUNT MIN) (DISPLAYFROM DATE) UTF-8 UNSEEN",
    b"THREAD REFERENCES UTF-8 ALL",
    b"THREAD ORDEREDSUBJECT UTF-8 ALL",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_only_what_is_new_is_read(command: bytes, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    true = Mailbox.load
    monkeypatch.setattr(Mailbox, "load", lambda self, uid, **more: (opened.append(uid), true(self, uid, **more))[1])

    def reads(root: MemoryWires) -> list[int]:
        """The UIDs of the messages that are read for the command, in a session of its own."""
        client = root.connect(login=True)
        client.command(b"s SELECT INBOX")
        opened.clear()
        assert client.command(b"a " + command)[-1].startswith(b"a OK")
        client.command(b"l LOGOUT")
        return sorted(set(opened))

    spool.simple("INBOX", 20)
    wires = MemoryWires(spool.root)
    assert reads(wires) == list(range(1, 21))
    assert reads(wires) == []
    # Flags change nothing that is sorted by; of three more messages three are read.
    spool.reflag("INBOX", spool.files("INBOX")[0].split(":")[0], "F")
    spool.simple("INBOX", 3)
    assert reads(wires) == [21, 22, 23]
    # Nor does a server that starts again, after some have been expunged, read any.
    spool.remove("INBOX", spool.files("INBOX")[4].split(":")[0])
    assert reads(MemoryWires(spool.root)) == []
