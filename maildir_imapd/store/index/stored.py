"""Columns that lie in a checkpoint: each is read, and its checksum verified, when it is first asked for.

The file stays open meanwhile: whoever writes the next checkpoint gives that the name, and these columns belong to this
one.  Not mapped into memory: whoever owns the directory may truncate the file, and SIGBUS would end the worker for
everybody.
"""

from __future__ import annotations

import os
import sys
import weakref
import zlib
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary

from maildir_imapd.errors import IndexDamaged
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index.chunks import Numbers, without
from maildir_imapd.store.index.columns import COLUMNS, NAMES
from maildir_imapd.store.index.constants import CHECKPOINT
from maildir_imapd.store.maildir.filename import SIZE_UNKNOWN

if TYPE_CHECKING:
    from maildir_imapd.store.index.columns import ColumnSource

log = Log(__name__)

_CODES: Final = dict(COLUMNS)
# Of so many messages some names are read alone once; whoever asks more often has them all.
_MANY_OF: Final = 16


class Extent(NamedTuple):
    """Where a piece of the checkpoint lies: *at* and *octets* from the file's begin, and the CRC-32 of it."""

    at: int
    octets: int
    checksum: int


def packed(values: Numbers) -> bytes:
    """Return a column as it lies on the disk, little endian."""
    if sys.byteorder == "big":
        swapped = values[:]
        assert isinstance(swapped, array)
        swapped.byteswap()
        return swapped.tobytes()
    return values.tobytes()


def unpacked(column: str, data: bytes | memoryview) -> array[int]:
    """Read what ``packed`` wrote; raises ValueError where that is no whole number of values."""
    values: array[int] = array(_CODES[column])
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


class StoredColumns:
    """The columns of one checkpoint (``ColumnSource``), of which *file* is the open file: closed with this object."""

    def __init__(self, file: Descriptor, sections: Mapping[str, Extent], messages: int) -> None:
        self.messages = messages
        self.damaged = False
        self._file = file
        self._sections = sections
        # One moment follows another, and both may ask: what somebody has still is not read again.
        self._fetched: WeakValueDictionary[str, array[int]] = WeakValueDictionary()
        self._ends: array[int] | None = None  # where each name ends among the names, once one was asked for alone
        self._asked = 0  # how often that was
        weakref.finalize(self, file.close).atexit = False

    def has(self, column: str) -> bool:
        """Whether the checkpoint has the column."""
        return column in self._sections

    def fetch(self, column: str) -> array[int] | bytes | list[bytes]:
        """Read a column; raises IndexDamaged where it is not what was written, StoreError."""
        found = self._fetched.get(column)
        if found is not None:
            return found
        data = self._read(self._sections[column])
        if column == NAMES:
            return checked_names(data, self.messages)
        values = self._fetched[column] = unpacked(column, data)
        return values

    def some_names(self, start: int, stop: int) -> list[bytes] | None:
        """As of ``ColumnSource``: the others are verified with the first that is asked for, and not kept."""
        if start >= stop:
            return []
        self._asked += 1
        if self._asked > self.messages // _MANY_OF:
            return None
        section, ends = self._sections[NAMES], self._ends
        if ends is None:
            # Two threads may both do it; the arrays are equal.
            names = checked_names(self._read(section), self.messages)
            each = names.split(b"\n") if isinstance(names, bytes) else names
            ends = self._ends = array("I", accumulate([len(name) + 1 for name in each]))
        begin = ends[start - 1] if start else 0
        size = ends[stop - 1] - 1 - begin
        data = self._pread(Extent(section.at + begin, size, 0))
        found = data.split(b"\n")
        # It may have been written over since the checksum was compared; a wrong name is a file that is not there.
        if len(data) != size or len(found) != stop - start:
            raise self._damage(size, len(data))
        return found

    def _pread(self, section: Extent) -> bytes:
        try:
            with self._file.use() as number:
                return read(number, section)
        except OSError as error:
            raise durable.store_error(error, CHECKPOINT) from error

    def _damage(self, octets: int, found: int) -> IndexDamaged:
        if not self.damaged:
            self.damaged = True
            log.error("index damaged behind its head", octets=octets, found=found)
        return IndexDamaged(detail=os.fsdecode(CHECKPOINT))

    def _read(self, section: Extent) -> bytes:
        data = self._pread(section)
        if len(data) != section.octets or zlib.crc32(data) != section.checksum:
            raise self._damage(section.octets, len(data))
        return data


class Remaining:
    """The columns of another source (``ColumnSource``) without what stood in *gaps*, each (start, stop), rising."""

    def __init__(self, source: ColumnSource, gaps: Sequence[tuple[int, int]]) -> None:
        self.messages = source.messages - sum([stop - start for start, stop in gaps])
        # Of many one after the other each would keep all before it.
        self.depth: int = getattr(source, "depth", 0) + 1
        self._source = source
        self._gaps = gaps

    @property
    def damaged(self) -> bool:
        """As of ``ColumnSource``."""
        return self._source.damaged

    def has(self, column: str) -> bool:
        """As of ``ColumnSource``."""
        return self._source.has(column)

    def fetch(self, column: str) -> array[int] | bytes | list[bytes]:
        """Return a column of those that remain; raises StoreError."""
        found = self._source.fetch(column)
        values: Any = found.split(b"\n") if isinstance(found, bytes) else found
        return without(values, self._gaps)  # type: ignore[no-any-return]  # of the kind that it was

    def some_names(self, start: int, stop: int) -> list[bytes] | None:
        """As of ``ColumnSource``."""
        for first, last in self._gaps:
            if stop <= first:
                break
            if start < first:
                return None
            start, stop = start + last - first, stop + last - first
        return self._source.some_names(start, stop)


class Unknown:
    """Stands for files that nobody has looked at (``ColumnSource``), for whoever has no folder to look into."""

    damaged = False

    def __init__(self, messages: int) -> None:
        self.messages = messages

    def has(self, column: str) -> bool:
        """Never."""
        return False

    def fetch(self, column: str) -> array[int]:
        """Return a column of nothing."""
        nothing = SIZE_UNKNOWN if column == "sizes" else 0
        return array(_CODES[column], [nothing]) * self.messages

    def some_names(self, start: int, stop: int) -> None:
        """Never."""


def checked_names(names: bytes, messages: int) -> bytes | list[bytes]:
    """Return names, joined by LF, if they are of so many messages; raises IndexDamaged."""
    if messages and names.count(b"\n") != messages - 1:
        raise IndexDamaged(detail=os.fsdecode(CHECKPOINT))
    return names if messages else []


def read(number: int, section: Extent) -> bytes:
    """Read a section, or as much of it as there is; raises OSError."""
    data = os.pread(number, section.octets, section.at)
    while len(data) < section.octets:
        more = os.pread(number, section.octets - len(data), section.at + len(data))
        if not more:
            break
        data += more
    return data
