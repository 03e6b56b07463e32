"""Words for people about what lies where a Maildir should be."""

from __future__ import annotations

import os
import stat
from itertools import islice
from typing import Final

from maildir_imapd.store.disk import descriptors

_CONVERT: Final = (
    "and only Maildir is served: convert it (for example with 'doveadm sync'), or set mail_location to a Maildir"
)
# As many entries of a directory are looked at, and so many named.
_LOOKED_AT, _NAMED = 50, 3


def instead(path: bytes) -> str:
    """Say what is at *path* in place of a Maildir, and what to do."""
    shown = spelled(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode) and _is_mbox(path):
            return f"{shown} is an mbox file, {_CONVERT}"
        if not stat.S_ISDIR(mode):
            return f"{shown} is no directory, and a Maildir is one: set mail_location to that"
        with os.scandir(path) as entries:
            files = sorted(e.name for e in islice(entries, _LOOKED_AT) if e.is_file(follow_symlinks=False))
        found = [spelled(name) for name in files if _is_mbox(os.path.join(path, name))]
    except (FileNotFoundError, NotADirectoryError):
        return f"{shown} is not there"
    except OSError as error:
        return f"{shown} cannot be looked into: {error.strerror}"
    if found:
        return f"{shown} has mbox files in it ({', '.join(found[:_NAMED])}), {_CONVERT}"
    return f"{shown} is a directory without cur/ in it"


def spelled(path: bytes) -> str:
    """Spell a path or a name so that it can be printed anywhere."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _is_mbox(path: bytes) -> bool:
    """Whether a regular file begins as an mbox does."""
    number = descriptors.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return stat.S_ISREG(os.fstat(number).st_mode) and os.read(number, 5) == b"From "
    finally:
        os.close(number)
