"""A checkpoint for whoever opens the folder next, written once nobody has the mailbox open any more.

The journal is read whole by whoever opens a folder, and what it says of messages has the columns read that it is about;
the checkpoint's head says all that a SELECT is answered with (checkpoint.py).
"""

from __future__ import annotations

from typing import Final

from maildir_imapd.store.folder.folder import Folder

# Of the journal; and never less than a 25th of the checkpoint, so that a large one is not written for a little.
TIDY_OCTETS: Final = 16 * 1024
# In a mailbox of so many, what a first contact has read is given back: each message takes some 140 octets, and the
# checkpoint has them, open in one descriptor.
STOWED_MESSAGES: Final = 1000


def untidy(folder: Folder) -> bool:
    """Say whether much follows the checkpoint; safe without a lock."""
    index = folder.index
    state = index.state
    return index.writable and not index.behind and state.position > max(TIDY_OCTETS, 4 * len(state.snapshot))


def complete(folder: Folder) -> None:
    """Write a checkpoint with what files tell if the last one lacks it; under its lock. Raises StoreError, OSError."""
    if folder.index.partial:
        folder.rows.see()
        folder.index.rotate(stow=len(folder.rows) >= STOWED_MESSAGES)


def tidy(folder: Folder) -> None:
    """Write the checkpoint anew where the folder is ``untidy``; under its lock. Raises OSError."""
    if untidy(folder):
        folder.index.rotate()
