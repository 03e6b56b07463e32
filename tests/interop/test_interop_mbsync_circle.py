"""mbsync with its state goes with a spool from Dovecot to us and back, and moves only what really changed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from dovecot import Dovecot
from memory import MemoryWires
from running import program

pytestmark = pytest.mark.interop

CONFIG = """
IMAPStore server
Tunnel "{tunnel}"

MaildirStore here
Path {home}/here/
Inbox {home}/here/INBOX
SubFolders Verbatim

Channel all
Far :server:
Near :here:
Patterns INBOX Work
Create Near
Expunge Both
Sync All
SyncState *
"""


def mbsync(home: Path, tunnel: str) -> str:
    """Synchronise; returns what it said."""
    config = home / "mbsyncrc"
    config.write_text(CONFIG.format(home=home, tunnel=tunnel))
    (home / "here").mkdir(exist_ok=True)
    words = [program("mbsync"), "-V", "-c", str(config), "all"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(home)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tree(home: Path) -> dict[str, bytes]:
    """Every file on the near side, state included."""
    return {str(path.relative_to(home)): path.read_bytes() for path in (home / "here").rglob("*") if path.is_file()}


def messages(home: Path) -> int:
    return sum("/cur/" in name or "/new/" in name for name in tree(home))


def test_round(tmp_path: Path) -> None:
    dovecot = Dovecot(tmp_path)
    text = "Subject: message\r\nMessage-ID: <%d@x>\r\n\r\nbody\r\n"
    dovecot.talk("CREATE Work", "SUBSCRIBE Work")
    appends = []
    for n in range(40):
        body = text % n
        flags = "\\Seen" if n % 3 == 0 else ""
        appends.append(f"APPEND {('INBOX', 'Work')[n % 2]} ({flags}) {{{len(body)}+}}\r\n{body}")
    dovecot.talk(*appends)
    words = ["env", "-i", *(f"{name}={value}" for name, value in dovecot.environment.items())]
    if os.geteuid() == 0:
        words = ["setpriv", f"--reuid={dovecot.uid}", f"--regid={dovecot.gid}", "--clear-groups", *words]
    theirs = shlex.join([*words, dovecot.program, "-c", str(dovecot.config)])
    ours = f"{sys.executable} -m maildir_imapd tunnel --mail-location maildir:{tmp_path}/Maildir --fsync never"

    dovecot.own()
    mbsync(tmp_path, theirs)
    assert messages(tmp_path) == 40
    before = tree(tmp_path)

    # The same state, the other server: nothing moves.
    mbsync(tmp_path, ours)
    assert tree(tmp_path) == before

    # A flag, a new message and a deletion, made through us: they move, and nothing else.
    client = MemoryWires(tmp_path / "Maildir").connect(login=True)
    client.command(b"a SELECT Work")
    client.command(b"b STORE 5 +FLAGS.SILENT (\\Flagged)")
    client.command(b"c STORE 2 +FLAGS.SILENT (\\Deleted)")
    client.command(b"d EXPUNGE")
    client.command(b"e APPEND Work {20+}\r\nSubject: ours\r\n\r\nx\r\n")
    client.command(b"f LOGOUT")
    # For root the tunnel acts as the owner of the mail, which this client was not.
    dovecot.own()
    mbsync(tmp_path, ours)
    changed = tree(tmp_path)
    assert messages(tmp_path) == 40
    assert len({name for name in changed if re.search("/(cur|new)/", name)} - set(before)) == 2

    # Back to Dovecot: again nothing.
    dovecot.own()
    mbsync(tmp_path, theirs)
    assert tree(tmp_path) == changed
