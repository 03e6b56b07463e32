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

    def _read(self, section: Extent) -> bytes:
        try:
            with self._file.use() as number:
                data = read(number, section)
        except OSError as error:
            raise durable.store_error(error, CHECKPOINT) from error
        if len(data) != section.octets or zlib.crc32(data) != section.checksum:
            if not self.damaged:
                self.damaged = True
                log.error("index damaged behind its head", octets=section.octets, found=len(data))
            raise IndexDamaged(detail=os.fsdecode(CHECKPOINT))
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
