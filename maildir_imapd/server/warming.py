"""A session before the first client's, with a mailbox of its own: what runs for the first time takes twice as long.

Most of that are pages that a new process shares with its parent until it touches them; so it is done in each process,
and not once before they part.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.server.imap_service import rehearse
from maildir_imapd.store.account import Account

log = Log(__name__)

# Where it may lie, in memory first; any of them may not be there, or not be ours to write.
PLACES: Final = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108  # the directory made there has a name of its own
# A folder that nobody knows, then one that has an index.
_TIMES: Final = 3
_MESSAGES: Final = (
    (b"1700000001.M1P1.rehearsal,S=58,W=63:2,S", b"From: a@example.org\nSubject: one\nDate: 1 Jan 2026 0:0 +0\n\n"),
    (b"1700000002.M2P1.rehearsal:2,", b"From: b@example.org\nSubject: two\n\nhello\n"),
)


def warm_up() -> None:
    """Play a session with two messages in a temporary directory, which is removed; never fails."""
    for place in PLACES:
        try:
            root = tempfile.mkdtemp(prefix="maildir-imapd-", dir=place)
        except OSError:
            continue
        try:
            _play(os.path.join(os.fsencode(root), b"Maildir"))
        except Exception as error:
            # Somebody's first command takes longer then.
            log.info("not warmed up", place=root, why=error)
        finally:
            shutil.rmtree(root, ignore_errors=True)
        return


def _play(root: bytes) -> None:
    for directory in (b"cur", b"new", b"tmp"):
        os.makedirs(os.path.join(root, directory), mode=0o700)
    for name, data in _MESSAGES:
        with open(os.path.join(root, b"cur", name), "xb") as file:
            file.write(data)
    for _ in range(_TIMES):
        rehearse(Account(root, fsync="never"))
