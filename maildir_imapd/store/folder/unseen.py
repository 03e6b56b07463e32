"""Columns that only the files of messages tell (dates, sizes, fingerprints), where nobody has looked at these yet.

A stat of each file takes three quarters of a first contact, and SELECT needs none of it. So the columns that come of
them are filled when they are first asked for, all four at once, or when a client is silent after SELECT
(``CurrentFolder.sync``, *files*), and the checkpoint has them from then on.

The price: until then a file that another program gives another base is known by what is left of its name only.
"""

from __future__ import annotations

import os
import stat
from array import array
from typing import TYPE_CHECKING, Final

from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.folder.directories import enter
from maildir_imapd.store.index.columns import FILE_COLUMNS, OF_FILES
from maildir_imapd.store.index.journal import SIZE_UNKNOWN
from maildir_imapd.store.maildir import filename, scan
from maildir_imapd.store.maildir.filename import known_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maildir_imapd.store.disk.descriptors import Descriptor
    from maildir_imapd.store.folder.files import Files
    from maildir_imapd.store.index.chunks import Names
    from maildir_imapd.store.index.columns import Columns, ColumnSource
    from maildir_imapd.store.index.snapshot import Snapshot

_Row = tuple[int, int, int, int]
_Few = tuple[int, int, int]
_GONE: Final[_Row] = (0, 0, SIZE_UNKNOWN, 0)


def of(files: Files, directory: Descriptor, rows: Columns) -> UnseenFiles:
    """Return a source for what *rows*, messages of *files*, lack."""
    return UnseenFiles(files, directory, len(rows), lambda: rows.names, rows.source)


def look_at(files: Files, directory: Descriptor, rows: Snapshot, positions: Sequence[int]) -> list[_Few] | None:
    """Return when some messages were received, and their sizes, by a look at their files and no others.

    None where one is not in its place: then a look at all of them tells. Nothing is kept of it.
    """
    found = []
    try:
        with directory.use():
            for at in positions:
                base = rows.name(at)
                status = files.inspect(files.place(rows, at, base))
                if status is None:
                    return None
                found.append((int(status[stat.ST_MTIME]), int(status[stat.ST_CTIME]), known_size(base, status.st_size)))
    except OSError:
        return None
    return found


class UnseenFiles:
    """The columns of files (``ColumnSource``) for messages of these bases; all others come from *behind*."""

    def __init__(
        self,
        files: Files,
        directory: Descriptor,
        messages: int,
        names: Callable[[], Names],
        behind: ColumnSource | None = None,
    ) -> None:
        self.messages = messages
        self._files = files
        self._directory = directory
        self._names: Callable[[], Names] | None = names
        self._behind = behind
        self._found: dict[str, array[int]] | None = None

    @property
    def damaged(self) -> bool:
        """As of ``ColumnSource``."""
        return self._behind is not None and self._behind.damaged

    def has(self, column: str) -> bool:
        """Whether somebody has looked at the files, for theirs."""
        return column not in FILE_COLUMNS or self._found is not None

    def fetch(self, column: str) -> array[int] | bytes | list[bytes]:
        """Return a column; of a file that is gone by now they tell nothing. Raises StoreError."""
        if column not in FILE_COLUMNS:
            assert self._behind is not None
            return self._behind.fetch(column)
        # In this order, for whoever has found them lets go of the names behind that.
        names = self._names
        found = self._found
        if found is None:
            assert names is not None
            # Two threads may both do it; what they find differs only in what somebody changes meanwhile.
            folder = enter(self._directory, self._files.path)
            try:
                with durable.as_store_error(self._files.path):
                    found = self._found = self._look(folder, names())
            finally:
                self._directory.__exit__(None, None, None)
            self._names = None
        return found[column]

    def some_names(self, start: int, stop: int) -> list[bytes] | None:
        """As of ``ColumnSource``."""
        return None if self._behind is None else self._behind.some_names(start, stop)

    def _look(self, folder: int, names: Names) -> dict[str, array[int]]:
        there: dict[bytes, _Row] = {}
        for directory in (b"new", b"cur"):
            self._stat(folder, directory, there)
        get = there.get
        rows = [get(base, _GONE) for base in names]
        return {
            column: array(code, values)
            for (column, code), values in zip(OF_FILES, zip(*rows, strict=True) if rows else [()] * 4, strict=True)
        }

    def _stat(self, folder: int, directory: bytes, there: dict[bytes, _Row]) -> None:
        """Look at each file of a directory, the loop that the columns of a large folder take their time in."""
        files, look, regular = self._files, os.stat, stat.S_ISREG
        known, fingerprint = filename.known_size, scan.fingerprint
        names = files.names(directory)
        if not names:
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        number = descriptors.open(directory, flags, dir_fd=folder, owner=files.owner)
        try:
            for name in names:
                try:
                    # A path of one step: the kernel looks up nothing else.
                    status: os.stat_result | None = look(name, dir_fd=number, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # Race: another program has renamed or removed it; a listing finds out
                assert status is not None
                if not regular(status.st_mode):
                    status = files.inspect(directory + b"/" + name)
                    if status is None:
                        continue
                base, colon, _ = name.partition(b":")
                if not colon:
                    base = filename.parse(name).base
                there[base] = (
                    int(status[stat.ST_MTIME]),
                    int(status[stat.ST_CTIME]),
                    known(base, status.st_size),
                    fingerprint(status),
                )
        finally:
            os.close(number)
