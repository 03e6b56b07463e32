"""Folders under hidden names: such as are not yet put in place, and such as are taken out and not yet emptied.

A folder appears and goes by one rename, so that nobody sees half of one. What a crash leaves under a hidden name is
swept at the next start.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from typing import Final

from maildir_imapd.errors import MailboxExists
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir.layout import Layout

log = Log(__name__)

TRASH: Final = b"..maildir-imapd-trash-"
NASCENT: Final = b"..maildir-imapd-new-"
# Seconds after which nobody is at work on a hidden folder any more.
_ABANDONED_SECONDS: Final = 3600
_TRIES: Final = 10


class Attic:
    """One account's. Whatever makes or takes out runs under the account's lock."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def make(self, path: bytes) -> None:
        """Make a folder; nobody sees half of one. Raises MailboxExists, OSError."""
        nascent = NASCENT + secrets.token_hex(8).encode()
        # What was left beside of a folder that is no more would give this one its UIDs.
        self.clear_beside(path)
        try:
            self._layout.make(path, nascent)
        except FileExistsError:
            self.empty(nascent)
            raise MailboxExists from None
        _sync(os.path.dirname(path))
        self._layout.forget()

    def take_out(self, path: bytes) -> bytes:
        """Take a folder out of the tree, its children not; return its hidden name, for ``empty``. Raises OSError."""
        trash = TRASH + secrets.token_hex(8).encode()
        self._layout.remove(path, trash)
        self._layout.forget()
        _sync(os.path.dirname(path))
        return trash

    def clear_beside(self, path: bytes) -> None:
        """Remove what lies of the folder at *path* in other directories. Never an error."""
        for beside in (self._layout.control(path), self._layout.cache(path)):
            if beside is not None:
                _clear(beside)

    def empty(self, entry: bytes) -> None:
        """Remove a hidden folder; what cannot be removed now is swept at the next start. Takes no lock, never an error.

        A delivery that was under way when the folder went may still put a file there: then it is emptied again.
        """
        path = os.path.join(self._layout.root, self._layout.attic, entry)
        trouble: OSError | None = None
        for _ in range(_TRIES):
            try:
                if os.path.islink(path):
                    os.unlink(path)  # and what it leads to stays
                    return
                shutil.rmtree(path)
            except FileNotFoundError:
                if not os.path.lexists(path):
                    return
                continue  # a delivery has taken its own file away
            except OSError as error:
                trouble = error
                if error.errno != errno.ENOTEMPTY:
                    break
            else:
                return
        log.warning("a deleted folder stays for now", path=path, why=trouble or "it is in use")

    def sweep(self) -> None:
        """Remove hidden folders that nobody is at work on any more. Never an error."""
        try:
            attic = descriptors.again(os.listdir, os.path.join(self._layout.root, self._layout.attic))
        except OSError:
            return  # nothing has been put there
        if durable.is_untouched():
            return
        for entry in attic:
            if entry.startswith((TRASH, NASCENT)) and self._abandoned(entry):
                self.empty(entry)

    def _abandoned(self, entry: bytes) -> bool:
        """Whether a hidden folder is old enough that nobody is still at work on it."""
        try:
            changed = os.stat(os.path.join(self._layout.root, self._layout.attic, entry)).st_ctime
        except OSError:
            return False
        return time.time() - changed > _ABANDONED_SECONDS


def _sync(directory: bytes) -> None:
    fd = descriptors.open_directory(directory)
    try:
        durable.sync(fd)
    finally:
        os.close(fd)


def _clear(directory: bytes) -> None:
    """Remove the files of a directory that lies beside a folder's, and it, if nothing else is in it; never an error."""
    try:
        with descriptors.again(os.scandir, directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
        os.rmdir(directory)
    except OSError:
        pass  # it is not there, or has those of children in it
