"""The names of an index's files, and how many UIDs there are."""

from __future__ import annotations

from typing import Final

CHECKPOINT: Final = b"maildir-imapd.index"
OLD: Final = b"maildir-imapd.index.old"
JOURNAL: Final = b"maildir-imapd.journal"

RESERVE: Final = 1000  # UIDs per synced reserve record
LAST_UID: Final = 2**32 - 2
LAST_UIDVALIDITY: Final = 2**32 - 1
