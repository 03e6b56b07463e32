"""A look at each file of a folder, for whoever takes it over and wants to know before a client does what lies there.

Each file is opened, and its first octets are looked at; nothing is read whole, and nothing changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.maildir import packed, scan
from maildir_imapd.store.maildir.filename import usable

if TYPE_CHECKING:
    from maildir_imapd.store.maildir.layout import Layout

# Often enough for a person who waits.
_STEP_FILES: Final = 200
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class Census:
    """*messages*: how many there are; of these are *encrypted* and *closed*, which cannot be read at all.

    *others*: names in cur/ and new/ that are no messages and no client is shown, with why in words for people.
    """

    messages: int = 0
    encrypted: int = 0
    closed: list[bytes] = field(default_factory=list)
    others: list[tuple[bytes, str]] = field(default_factory=list)


def _nobody(files: int) -> None:
    """Tell nobody."""


def take(
    folder: bytes, report: Callable[[int], None] = _nobody, *, root: bytes | None = None, links: bool = False
) -> Census:
    """Look at each file of the folder at *folder*; raises StoreError where it cannot be listed.

    *report* is called every now and then, and at the end, with how many more files have been looked at. *root* and
    *links* are as of ``descriptors.open_below``.
    """
    census = Census()
    with durable.as_store_error(folder):
        above, owner = descriptors.open_below(folder, _FLAGS, root=root or folder, links=links)
        try:
            for sub in (b"cur", b"new"):
                try:
                    directory = descriptors.open(sub, _FLAGS, dir_fd=above, owner=owner)
                except (FileNotFoundError, NotADirectoryError):
                    if sub == b"new":
                        continue  # somebody's copy of a Maildir
                    raise
                try:
                    _directory(directory, owner, census, report)
                finally:
                    os.close(directory)
        finally:
            os.close(above)
    census.closed.sort()
    census.others.sort()
    return census


def of(layout: Layout, folder: bytes, report: Callable[[int], None] = _nobody) -> Census:
    """``take`` in an account, whose links are followed as *layout* does."""
    return take(folder, report, root=layout.above(folder), links=layout.links)


def _directory(directory: int, owner: int | None, census: Census, report: Callable[[int], None]) -> None:
    files = 0
    with descriptors.again(os.scandir, directory) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            # Hidden files are nobody's mail.
            if name.startswith(b"."):
                continue
            why = _no_message(directory, entry, name, owner)
            if why:
                census.others.append((name, why))
                continue
            census.messages += 1
            _look(directory, name, owner, census)
            files += 1
            if files == _STEP_FILES:
                report(files)
                files = 0
    report(files)


def _no_message(directory: int, entry: os.DirEntry[str], name: bytes, owner: int | None) -> str:
    if entry.is_symlink():
        if scan.inspect(directory, name, owner) is None:
            return "a link"
    elif not entry.is_file():
        return "no file"
    return "" if usable(name) else "a name with a line end"


def _look(directory: int, name: bytes, owner: int | None, census: Census) -> None:
    # Should a pipe have taken its place, nobody waits for its other end.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        number = descriptors.open(name, flags, dir_fd=directory, owner=owner)
    except FileNotFoundError:
        return  # Race: it has been renamed or removed
    except PermissionError:
        census.closed.append(name)
        return
    try:
        census.encrypted += packed.encrypted(os.read(number, packed.MARK_OCTETS))
    finally:
        os.close(number)
