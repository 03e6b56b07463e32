"""Whether what mail stands on is there: an empty mount point is not a new user, and a spool may go while it is open."""

from __future__ import annotations

import errno
import os
from typing import Final

from maildir_imapd.errors import SpoolGone
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir.instead import spelled
from maildir_imapd.store.maildir.layout import MAILDIR

# Nothing is there, or what was there has lost its disk, its server or its process.
_GONE: Final = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO}


def there(path: bytes) -> bool:
    """Whether there is a directory, or one that nobody can see; raises StoreError where the disk fails."""
    try:
        os.stat(os.path.join(path, b"."))
    except PermissionError:
        return True
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise durable.store_error(error, path) from error
    return True


def demand(path: bytes, above: bytes | None, marker: bytes | None) -> None:
    """Raise SpoolGone where mail at *path* may be neither served nor made.

    *marker*: the file that stands above it on the same file system. Without one, what is not there may be made where
    *above* is there; None: anywhere.
    """
    if marker is not None:
        if not _marked(path, marker):
            raise SpoolGone(detail=f"{spelled(path)}: there is no {spelled(marker)} above it on its file system")
    elif above is not None and not there(path) and not there(above):
        raise SpoolGone(detail=f"{spelled(path)} is not made: {spelled(above)} is not there")


def glance(root: bytes, inbox: bytes) -> bytes:
    """The one path that is there only if all of the mail is; empty where one is not enough."""
    inside = os.path.join(inbox, b"").startswith(os.path.join(root, b""))
    return os.path.join(inbox, MAILDIR[0]) if inside else b""


def demand_served(root: bytes, inbox: bytes) -> None:
    """Raise SpoolGone where mail that has been served is no longer there: the root, or all of INBOX."""
    if there(os.path.join(inbox, MAILDIR[0])) and (
        os.path.join(inbox, b"").startswith(os.path.join(root, b"")) or there(root)
    ):
        return
    if not there(root) or not any(there(os.path.join(inbox, name)) for name in MAILDIR):
        raise SpoolGone(detail=f"{spelled(root)} was served, and is no longer there")


def _marked(path: bytes, marker: bytes) -> bool:
    """Whether the marker is in the directory, or in one above it on the same file system."""
    place = os.path.realpath(path)
    while not there(place):
        place = os.path.dirname(place)
    try:
        device = os.stat(place).st_dev
        while not os.path.lexists(os.path.join(place, marker)):
            up = os.path.dirname(place)
            if up == place or os.stat(up).st_dev != device:
                return False
            place = up
    except OSError as error:
        if error.errno in _GONE:
            return False  # it goes while we look
        raise durable.store_error(error, path) from error
    return True
