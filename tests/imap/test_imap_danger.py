"""A message that workers have died of is left out with a line in the log."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory import MemoryWires
from spool import Spool

from maildir_imapd.imap.columns import danger


def test_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 1)
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"a SELECT INBOX")
    assert client.session.view is not None
    danger.danger.say(client.session.view, 1)
    assert "message left out: workers have died of it mailbox=INBOX uid=1" in caplog.text
