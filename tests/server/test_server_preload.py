"""Nothing is loaded once a process has given up its rights: where Python lies it may not be able to read any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maildir_imapd.auth import schemes
from maildir_imapd.server import preload

# In a process of its own: in this one everything is loaded already.
LATER = """
import sys
from pathlib import Path
from maildir_imapd.server import preload, supervisor, worker, imap_service
from maildir_imapd.auth import schemes
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.message import charset
from maildir_imapd.store.account import Account

preload.load()
before = set(sys.modules)
for sample in schemes._SAMPLES:
    assert schemes.verify(sample, schemes._TRIED), sample
    assert not schemes.verify(sample, b"wrong"), sample
out = []
root = Path(sys.argv[1])
account = Account(bytes(root), fsync="never")
engine = Engine(Policy(), preauth=Access("ann", account))
engine.greet(Reply(out.append))
def say(line):
    engine.feed(line + b"\\r\\n", Reply(out.append))
say(b"a SELECT INBOX")
for name in sorted(charset._BY_NAME):
    text = b"Subject: x\\r\\nDate: Mon, 1 Jan 2024 00:00:00 +0100\\r\\n"
    text += b"Content-Type: text/plain; charset=%b\\r\\n\\r\\nabc\\r\\n" % name
    say(b"b APPEND INBOX {%d+}\\r\\n" % len(text) + text)
say(b"c FETCH 1:* (ENVELOPE BODYSTRUCTURE PREVIEW BINARY[1] INTERNALDATE)")
say(b"d SEARCH BODY abc SINCE 1-Jan-2020")
say(b"e THREAD REFERENCES UTF-8 ALL")
say(b"f SORT (SUBJECT DATE FROM) UTF-8 ALL")
say("g CREATE &AOk-".encode())
say(b"h SEARCH BADKEY")
say(b"i LANGUAGE de")
said = b"".join(out)
assert b"d OK" in said and b"f OK" in said and b"e OK" in said and b"h BAD" in said, said[-2000:]
late = sorted(set(sys.modules) - before)
assert not late, late
"""


@pytest.mark.slow
def test_nothing_is_loaded_late(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LATER, str(tmp_path / "Maildir")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_scheme_is_tried() -> None:
    """Those of a library; a digest or a plain text needs none, and libcrypt has samples of its own."""
    tried = {schemes.split(sample)[0] for sample in schemes._SAMPLES}
    assert tried >= set(schemes._TEXT) - {"CRYPT", "BCRYPT", "PLAIN", "PLAINTEXT", "CLEAR", "CLEARTEXT"}
    assert schemes.load() == []


def test_a_scheme_that_cannot_be_used_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(stored: str, password: bytes) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setitem(schemes._TEXT, "ARGON2ID", fail)
    preload.load()
    assert "password scheme cannot be used scheme=ARGON2ID" in caplog.text
