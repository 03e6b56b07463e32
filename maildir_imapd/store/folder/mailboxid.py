"""A word that tells a mailbox from another one of the same UIDVALIDITY.

Numbers that we give are given once in an account. Other servers give the same one to several folders: one of them takes
the clock when it first opens a folder, and opens all of them within a second. So a folder that is taken over gets a
file, ``maildir-imapd.mailboxid``, with a word that goes where the folder goes.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from maildir_imapd.store.disk import durable

NAME: Final = b"maildir-imapd.mailboxid"

_WORD: Final = re.compile(rb"[0-9a-f]{8,32}").fullmatch


def make(folder: int) -> None:
    """Give the folder open at *folder* its word, if it has none. Raises OSError; call under the folder's lock."""
    if not read(folder):
        durable.put_or_remove(NAME, secrets.token_hex(8).encode() + b"\n", folder)


def read(folder: int) -> bytes:
    """The folder's word; b"" where there is none, which is so wherever UIDVALIDITY is our own. Raises OSError."""
    try:
        word = durable.read_file(NAME, folder).strip()
    except FileNotFoundError:
        return b""
    return word if _WORD(word) else b""
