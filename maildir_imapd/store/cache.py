"""What was worked out from messages, kept: opaque bytes under (UID, field), in an append-only file.

    maildir-imapd cache 1 <uidvalidity> <version>\\n
    block: "BLK1", field length (1 byte), messages (4), bytes of data (8), CRC-32 (4) of all that follows
           field, UIDs (4 bytes each), lengths (4 bytes each), the blobs back to back

Little endian. One put_many() is one block and one write, under the file's own lock, which is the last in
the lock order. A reader needs none: a block that does not verify is "not yet", or a dead writer's, and then
the next one puts a new file in its place. The same when UIDVALIDITY or the version of the code that made
the bytes is another. Nothing is ever cut: a process that has the file mapped would be killed.

All of it is disposable: no error in here is ever more than a miss.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import struct
import sys
import threading
import zlib
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from maildir_imapd.store import durable

log = logging.getLogger(__name__)

NAME: Final = b"maildir-imapd.cache"
_MARK: Final = b"BLK1"
_BLOCK: Final = struct.Struct("<4sBIQI")
_COMPACT_BYTES: Final = 1 << 20  # below that, dead bytes are not worth a rewrite
# Fields of a folder that are kept: clients make up fields (of headers) as they like, and no quota counts this file.
FIELDS: Final = 64


class Cache:
    """One folder's derived data, shared by all threads."""

    def __init__(self, directory: bytes, uidvalidity: int, version: bytes) -> None:
        self.uidvalidity = uidvalidity
        self._directory = directory
        self._path = os.path.join(directory, NAME)
        self._header = b"maildir-imapd cache 1 %d %b\n" % (uidvalidity, version)
        self._lock = threading.Lock()  # guards everything below but the bytes of the map
        self._fd = -1
        self._end = 0  # behind the last block that verifies
        self._map: mmap.mmap | None = None
        # The field that was used last comes last.
        self._fields: dict[bytes, dict[int, tuple[int, int]]] = {}

    # --- use -----------------------------------------------------------------------------------

    def get_many(self, uids: Sequence[int], field: bytes) -> list[bytes | None]:
        """Return what is known of each message, None where nothing is."""
        with self._lock:
            self._look()
            where = self._fields.pop(field, None)
            data = self._map
            if where is not None:
                self._fields[field] = where
            if where is None or data is None:
                return [None] * len(uids)
            found = list(map(where.get, uids))
        # A map is never cut while somebody holds it, so no lock is needed to read from it.
        return [None if at is None else data[at[0] : at[1]] for at in found]

    def put_many(self, field: bytes, blobs: Iterable[tuple[int, bytes]]) -> None:
        """Remember blobs, in one write; of more than ``FIELDS`` fields those go that nobody has used for longest."""
        pairs = list(blobs)
        if not pairs or len(field) > 255:
            return
        block = _render(field, pairs)
        try:
            with self._lock:
                if self._begin_writing(field):
                    try:
                        durable.write_at(self._fd, block, self._end)
                        self._take(block, self._end)
                    finally:
                        fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            log.info("cache not written path=%s error=%s", os.fsdecode(self._path), error)

    def trim(self, uids: Sequence[int]) -> None:
        """Write the file anew if a third of it is about messages that are no longer there."""
        try:
            with self._lock:
                self._look()
                if self._fd < 0 or self._end < _COMPACT_BYTES or self._map is None:
                    return
                alive = set(uids)
                live = sum(
                    stop - start
                    for where in self._fields.values()
                    for uid, (start, stop) in where.items()
                    if uid in alive
                )
                if live * 3 < self._end * 2:
                    self._rewrite(alive)
        except OSError as error:
            log.info("cache not rewritten path=%s error=%s", os.fsdecode(self._path), error)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._forget()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            os.close(self._fd)

    # --- the file; all under _lock -------------------------------------------------------------

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
        self._end = 0
        self._map = None  # others may still read from it; it goes when they are done
        self._fields = {}

    def _look(self) -> None:
        """Take in what has been added since, by us or by another process."""
        try:
            if self._fd >= 0:
                status = os.fstat(self._fd)
                if status.st_nlink and status.st_size == self._end:
                    return
                if not status.st_nlink:
                    self._forget()
            if self._fd < 0:
                self._open()
            if self._fd >= 0:
                self._read()
        except (OSError, ValueError) as error:
            log.info("cache not read path=%s error=%s", os.fsdecode(self._path), error)
            self._forget()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            return
        except OSError as error:
            if not durable.not_ours(error):
                raise
            fd = os.open(self._path, flags & ~os.O_RDWR | os.O_RDONLY)
        if os.pread(fd, len(self._header), 0) != self._header:
            os.close(fd)
            return
        self._fd = fd
        self._end = len(self._header)

    def _begin_writing(self, field: bytes) -> bool:
        """Hold the lock of the file that has the name now, with everything in it known; False if there is none."""
        for _ in range(5):
            self._look()
            if self._fd < 0:
                self._replace([])
                self._open()
                if self._fd < 0:
                    return False
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                self._read()
                whole = os.fstat(self._fd).st_size == self._end
                if whole and (field in self._fields or len(self._fields) < FIELDS):
                    return True
                # A writer died here, or there is too much. Nothing is ever cut off: a process that has the file
                # mapped and reads where it ended would be killed. So the whole blocks go into a new file.
                if whole:
                    self._fields = dict(list(self._fields.items())[-FIELDS // 2 :])
                self._replace(self._blocks(None))
            self._forget()  # it is written anew, by us or since we looked
        return False

    def _read(self) -> None:
        size = os.fstat(self._fd).st_size
        if size <= self._end:
            return
        data = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
        self._map = data
        while self._end + _BLOCK.size <= size:
            mark, field_size, count, length, total = _BLOCK.unpack_from(data, self._end)
            start = self._end + _BLOCK.size
            stop = start + field_size + 8 * count + length
            if mark != _MARK or stop > size:
                return
            with memoryview(data) as view, view[start:stop] as body:
                if zlib.crc32(body) != total:
                    return
            self._index(data[start : start + field_size + 8 * count], field_size, count, start)
            self._end = stop

    def _index(self, head: bytes, field_size: int, count: int, start: int) -> None:
        uids, lengths = array("I"), array("I")
        uids.frombytes(head[field_size : field_size + 4 * count])
        lengths.frombytes(head[field_size + 4 * count :])
        if sys.byteorder == "big":
            uids.byteswap()
            lengths.byteswap()
        where = self._fields.setdefault(head[:field_size], {})
        at = start + len(head)
        for uid, length in zip(uids, lengths, strict=True):
            where[uid] = (at, at + length)
            at += length

    def _take(self, block: bytes, at: int) -> None:
        """Index a block that we have just written."""
        _, field_size, count, _, _ = _BLOCK.unpack_from(block, 0)
        start = at + _BLOCK.size
        self._index(block[_BLOCK.size : _BLOCK.size + field_size + 8 * count], field_size, count, start)
        self._end = at + len(block)
        self._map = mmap.mmap(self._fd, self._end, access=mmap.ACCESS_READ)

    def _blocks(self, alive: set[int] | None) -> list[bytes]:
        """Return what can be reached, as new blocks; with *alive*, of those messages only."""
        data = self._map
        if data is None:
            return []
        blocks = []
        for field, where in self._fields.items():
            kept = [(uid, data[a:b]) for uid, (a, b) in sorted(where.items()) if alive is None or uid in alive]
            if kept:
                blocks.append(_render(field, kept))
        return blocks

    def _rewrite(self, alive: set[int]) -> None:
        blocks = self._blocks(alive)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            # What another process adds between our last look and this lock is lost: it is only a cache.
            if os.fstat(self._fd).st_nlink:
                self._replace(blocks)
        finally:
            self._forget()
        self._look()

    def _replace(self, blocks: list[bytes]) -> None:
        """Put a new file in the place of the old one."""
        temporary = self._path + b".%d.tmp" % os.getpid()
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.path.basename(temporary)
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                pass
            fd = durable.create(name, directory)
            try:
                for piece in [self._header, *blocks]:
                    durable.write(fd, piece)
            finally:
                os.close(fd)
            durable.replace(name, NAME, directory)
        finally:
            os.close(directory)


def _render(field: bytes, pairs: Sequence[tuple[int, bytes]]) -> bytes:
    uids = array("I", [uid for uid, _ in pairs])
    lengths = array("I", [len(blob) for _, blob in pairs])
    if sys.byteorder == "big":
        uids.byteswap()
        lengths.byteswap()
    blobs = b"".join([blob for _, blob in pairs])
    body = b"".join([field, uids.tobytes(), lengths.tobytes(), blobs])
    return _BLOCK.pack(_MARK, len(field), len(pairs), len(blobs), zlib.crc32(body)) + body
