"""A cache of what was worked out from messages: opaque bytes under (UID, field), in an append-only file.

    maildir-imapd cache 1 <uidvalidity> <version>\\n
    block: "BLK1", field length (1 byte), messages (4), bytes of data (8), CRC-32 (4) of all that follows
           field, UIDs (4 bytes each), lengths (4 bytes each), the blobs back to back

Little endian. With lengths of 2^32-1 there are no blobs: what was known of these messages is forgotten.

One put_many() is one block and one write, or a few if it is large, under the file's own lock, which is
the last in the lock order. A reader needs none: a block that does not verify is "not yet", or a dead writer's, and
then the next one puts a new file in its place. The same when UIDVALIDITY or the version of the code that made the
bytes is another.

The file is its user's, who may cut it, write over it, or put another in its place at any moment. So it is read and
never mapped, for a process that touches a page behind the end is killed, with all its users. What was read of it is
believed as long as the name stands for the same file, of which nothing has been said to have changed; a file that has
grown is believed where its last block still stands. What else may be is read and verified anew.

All of it is disposable: no error in here is ever more than a miss.
"""

from __future__ import annotations

import itertools
import os
import stat
import struct
import sys
import weakref
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable, filesystems
from maildir_imapd.store.disk.descriptors import Closed, Descriptor, Resting
from maildir_imapd.store.index import boot
from maildir_imapd.store.index.places import At, BlobPlaces, Windows
from maildir_imapd.store.maildir import filename
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

log = Log(__name__)

NAME: Final = b"maildir-imapd.cache"
_MARK: Final = b"BLK1"
_FORGOTTEN: Final = 0xFFFFFFFF
_BLOCK: Final = struct.Struct("<4sBIQI")
_COMPACT_OCTETS: Final = 1 << 20  # below that, dead bytes are not worth a rewrite
# Fields of a folder that are kept: clients make up fields (of headers) as they like, and no quota counts this file.
FIELDS: Final = 64
# What is read at once, and the largest block there may be: bounds what a file can make us hold that others wrote.
SPAN_OCTETS: Final = 8 << 20
# Blobs in all fields together, and bytes of a file, beyond which a new one is begun.
BLOBS: Final = 1 << 22
FILE_OCTETS: Final = 1 << 30
# Seconds for which a writer waits for other writers; nobody holds the lock for longer than one write.
LOCK_SECONDS: Final = 2.0
# Neighbouring blobs are read together, so many bytes at a time; and so many such windows are held at once.
_WINDOW_OCTETS: Final = 1 << 17
_WINDOWS: Final = 64
# So many are read one by one instead.
_FEW: Final = 8
_TRIES: Final = 5


def name_in(directory: bytes, said: filesystems.SharedSpool) -> bytes:
    """Return what the file is called in a directory: where other hosts write there, each has one of its own.

    So nobody has to believe what another host may not have written out yet.
    """
    if not filesystems.is_shared_path(directory, said):
        return NAME
    return b"%b.%b-%b" % (NAME, filename.host(), boot.machine()[:8])


class _Known:
    """The file of a cache, as far as one that has its name can be told from it; it may be closed for a while."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.file = (0, 0)  # which one it is: device and inode
        self.last: tuple[int, bytes] = (0, b"")  # where its last block begins, and the first octets of that

    def open(self) -> int:
        """Open what has the name, whatever it is; raises OSError."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            return descriptors.open(self.path, flags)
        except OSError as error:
            if not durable.not_ours(error):
                raise
            return descriptors.open(self.path, flags & ~os.O_RDWR | os.O_RDONLY)

    def __call__(self) -> int:
        """Open it again, and no other one: raises Closed where another one has the name by now; OSError."""
        try:
            number = self.open()
        except FileNotFoundError:
            raise Closed("the cache") from None
        try:
            status, (at, octets) = os.fstat(number), self.last
            if (status.st_dev, status.st_ino) == self.file and os.pread(number, len(octets), at) == octets:
                return number
        except BaseException:
            os.close(number)
            raise
        os.close(number)
        raise Closed("the cache")


class Cache:
    """One folder's derived data, shared by all threads."""

    def __init__(
        self, directory: bytes, uidvalidity: int, version: bytes, name: bytes = NAME, *, made: bool = False
    ) -> None:
        """*made*: the directory is made where it is not there."""
        if made:
            try:
                durable.make_directories(directory)
            except OSError as error:
                log.warning("no place for the cache", path=directory, why=error)
        self.uidvalidity = uidvalidity
        self._directory = directory
        self._name = name
        self._path = os.path.join(directory, name)
        self._header = b"maildir-imapd cache 1 %d %b\n" % (uidvalidity, version)
        # Whoever writes holds the first, and under it the file's lock; the second guards everything below, is taken
        # last, and held for nothing that waits for others.
        self._writing = locks.make(Rank.CACHE, (0,))
        self._lock = locks.make(Rank.CACHE, (1,))
        self._fd: Resting | None = None
        self._net: weakref.finalize[[], Cache] | None = None  # closes _fd, at the latest when this object goes
        self._end = 0  # behind the last block that verifies
        self._known = _Known(self._path)
        self._stamp = (0, 0)  # size and ctime in ns of the file as it was read last
        # The field that was used last comes last.
        self._fields: dict[bytes, BlobPlaces] = {}
        self._windows = Windows()

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._fd is not None and not self._fd.resting

    def rest(self) -> None:
        """Close the file until somebody asks; what is known of it stays known."""
        fd = self._fd
        if fd is not None:
            fd.rest()

    @property
    def octets(self) -> int:
        """An estimate of what it takes in memory."""
        with self._lock:
            return sum([where.octets for where in self._fields.values()]) + 8 * len(self._windows)

    # --- use -----------------------------------------------------------------------------------

    @property
    def fields(self) -> tuple[bytes, ...]:
        """The fields of which something is known, those that were used last at the end."""
        with self._lock:
            self._look()
            return tuple(self._fields)

    def get_many(self, uids: Sequence[int], field: bytes) -> list[bytes | None]:
        """Return what is known of each message, None where nothing is."""
        for _ in range(_TRIES):
            with self._lock:
                self._look()
                where = self._fields.pop(field, None)
                fd = self._fd
                if where is not None:
                    self._fields[field] = where
                if where is None or fd is None:
                    break
                # Of a whole stretch, the usual case, no list is made.
                stretch = where.stretch(uids) if len(uids) > _FEW else None
                found = where.find(uids) if stretch is None else None
                stamp, windows = self._stamp, self._windows
            try:
                with fd.use() as number:
                    if stretch is not None:
                        try:
                            blobs = _neighbours(_Held(number, windows), stretch)
                        except EOFError:
                            # The file has been cut: what is left of it may do for some.
                            with self._lock:
                                found = where.find(uids)
                    if found is not None:
                        blobs = _read_blobs(number, windows, found)
                    status = os.fstat(number)
            except Closed:
                continue  # another thread has just found another file
            except OSError as error:
                self._unreadable(error)
                break
            if _stamp(status) == stamp or status.st_size > stamp[0]:
                return blobs
            # Somebody has worked on it under our hands.
        return [None] * len(uids)

    def put_many(self, field: bytes, blobs: Iterable[tuple[int, bytes]]) -> None:
        """Remember blobs; of more than ``FIELDS`` fields those go that nobody has used for longest."""
        if len(field) > 255:
            return
        try:
            for block in _blocks(field, blobs):
                self._put(field, block)
        except (OSError, errors.LockTimeout) as error:
            log.info("cache not written", path=self._path, why=error)

    def forget(self, uids: Sequence[int]) -> None:
        """Forget all that is known of messages, for all processes; if that cannot be written, for this one."""
        with self._lock:
            self._look()
            known = [
                (field, [uid for uid, at in zip(uids, where.find(uids), strict=True) if at is not None])
                for field, where in self._fields.items()
            ]
        try:
            for field, some in known:
                if some:
                    self._put(field, _render(field, some, [_FORGOTTEN] * len(some), []))
        except (OSError, errors.LockTimeout) as error:
            log.info("cache not written", path=self._path, why=error)
            with self._lock:
                for where in self._fields.values():
                    where.forget(uids)

    def trim(self, uids: Sequence[int]) -> None:
        """Forget messages that are no longer there, and write the file anew if a third of it is about them.

        Waits for nobody: whoever calls has other folders to look after.
        """
        try:
            with self._lock:
                self._look()
                if self._fd is None:
                    return
                live = self._forget_others(set(uids))
                dead = self._end >= _COMPACT_OCTETS and live * 3 < self._end * 2
            if dead and self._writing.acquire(blocking=False):
                try:
                    self._rewrite()
                finally:
                    self._writing.release()
        except (OSError, errors.LockTimeout) as error:
            log.info("cache not rewritten", path=self._path, why=error)

    def fields_of(self, uid: int) -> dict[bytes, int]:
        """Say of which fields of a message something is known, and how many octets."""
        with self._lock:
            self._look()
            fields = list(self._fields)
        found = {field: self.get_many([uid], field)[0] for field in fields}
        return {field: len(blob) for field, blob in found.items() if blob is not None}

    def remove(self) -> None:
        """Forget all, for all processes; raises OSError."""
        with self._lock:
            self._forget()
        directory = descriptors.open_directory(self._directory)
        try:
            durable.unlink(self._name, directory)
        except FileNotFoundError:
            pass
        finally:
            os.close(directory)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._forget()

    # --- the file as it is; all under _lock ------------------------------------------------------

    def _forget(self) -> None:
        if self._net is not None:
            self._net()  # closes it when the last reader is done
        self._fd = self._net = None
        self._fields, self._windows = {}, Windows()

    def _look(self) -> None:
        """Take in what has been added since, by us or by another process; or another file, or none."""
        try:
            found = os.stat(self._path, follow_symlinks=False)
            if self._fd is None or (found.st_dev, found.st_ino) != self._known.file:
                self._forget()
                self._open()
            elif _stamp(found) != self._stamp:
                with self._fd.use() as number:
                    self._read(number)
        except (FileNotFoundError, Closed):
            self._forget()
        except OSError as error:
            self._unreadable(error)
            self._forget()

    def _unreadable(self, error: OSError) -> None:
        log.info("cache not read", path=self._path, why=error)

    def _open(self) -> None:
        fd = Resting(self._known.open(), "the cache", self._known)
        # Once others know it they may have it rest: whoever reads here needs the number till the end.
        with fd.use() as number:
            try:
                status = os.fstat(number)
                if not stat.S_ISREG(status.st_mode) or os.pread(number, len(self._header), 0) != self._header:
                    fd.close()
                    return
            except BaseException:
                fd.close()
                raise
            self._net = weakref.finalize(self, fd.close)
            self._net.atexit = False
            self._fd = fd
            self._known.file, self._stamp = (status.st_dev, status.st_ino), (0, 0)
            self._begin()
            self._read(number)

    def _begin(self) -> None:
        """Know nothing of what is in the file."""
        self._end = len(self._header)
        self._known.last = (0, self._header)
        self._fields, self._windows = {}, Windows()

    def _read(self, number: int) -> None:
        """Take in the blocks that have come; all of them, if those that are known may be others now."""
        # First the stamp: what changes while we read shows in the next one.
        status = os.fstat(number)
        at, octets = self._known.last
        if status.st_size <= self._stamp[0] or os.pread(number, len(octets), at) != octets:
            self._begin()
        if os.pread(number, len(self._header), 0) != self._header:
            self._forget()
            return
        self._stamp = _stamp(status)
        while self._end + _BLOCK.size <= status.st_size and not self._full(status):
            data = os.pread(number, min(SPAN_OCTETS, status.st_size - self._end), self._end)
            if not self._take(data):
                break

    def _take(self, data: bytes) -> int:
        """Index the whole blocks at the beginning of what is read at ``_end``; returns how many."""
        taken = 0
        at = 0
        with memoryview(data) as view:
            while at + _BLOCK.size <= len(data):
                mark, field_size, count, length, total = _BLOCK.unpack_from(data, at)
                start = at + _BLOCK.size
                stop = start + field_size + 8 * count + length
                if mark != _MARK or stop > len(data) or zlib.crc32(view[start:stop]) != total:
                    break
                self._index(data[start : start + field_size + 8 * count], field_size, count, self._end + start - at)
                self._known.last = (self._end, data[at:start])
                self._end += stop - at
                at = stop
                taken += 1
        return taken

    def _index(self, head: bytes, field_size: int, count: int, start: int) -> None:
        uids, lengths = array("I"), array("I")
        uids.frombytes(head[field_size : field_size + 4 * count])
        lengths.frombytes(head[field_size + 4 * count :])
        if sys.byteorder == "big":
            uids.byteswap()
            lengths.byteswap()
        where = self._fields.setdefault(head[:field_size], BlobPlaces())
        base, at = start + len(head), 0
        if lengths and lengths[0] == _FORGOTTEN:
            where.forget(uids)
            return
        found: dict[int, At] = {}
        for uid, length in zip(uids, lengths, strict=True):
            found[uid] = (at, at + length, base)
            at += length
            if at >= _WINDOW_OCTETS:
                self._windows.add(base, base + at)
                base += at
                at = 0
        self._windows.add(base, base + at)
        where.put(found)

    def _full(self, status: os.stat_result) -> bool:
        """Whether there is more than anybody has a use for."""
        return status.st_size > FILE_OCTETS or sum(map(len, self._fields.values())) > BLOBS

    def _forget_others(self, alive: set[int]) -> int:
        """Forget all messages but these; returns how many bytes the file has of them."""
        live = 0
        bases: set[int] = set()
        for where in self._fields.values():
            where.keep(alive)
            _, starts, stops, kept = where.rows()
            live += sum(stops) - sum(starts)
            bases.update(kept)
        self._windows = self._windows.only(bases)
        return live

    # --- writing; all under _writing -----------------------------------------------------------

    def _put(self, field: bytes, block: bytes) -> None:
        """Write one block behind what is in the file that has the name now; there may be none to be had."""
        with self._writing:
            for _ in range(_TRIES):
                with self._lock:
                    self._look()
                    if self._fd is None:
                        self._replace([])
                        self._look()
                    fd = self._fd
                if fd is None:
                    return
                try:
                    if self._append(fd, field, block):
                        return
                except Closed:
                    continue  # a reader has just found another file

    def _append(self, fd: Descriptor, field: bytes, block: bytes) -> bool:
        """Write the block, if this file is still the one with the name and can take it; else see to a new one."""
        with fd.use() as number:
            locks.flock(number, self._path, LOCK_SECONDS, rank=Rank.CACHE)
            try:
                with self._lock:
                    self._look()
                    if self._fd is not fd:
                        return False
                    status = os.fstat(number)
                    whole = status.st_size == self._end
                    if self._full(status):
                        self._replace([])
                    elif whole and (field in self._fields or len(self._fields) < FIELDS):
                        durable.write_at(number, block, self._end)
                        # Nobody else writes now; of a block that is not whole the next look makes nothing.
                        self._take(block)
                        self._stamp = _stamp(os.fstat(number))
                        return True
                    else:
                        # A writer died here, or there is too much. Nothing is cut off: another process may be reading
                        # there. So the whole blocks go into a new file.
                        if whole:
                            self._fields = dict(list(self._fields.items())[-FIELDS // 2 :])
                        self._replace(self._all_blocks(number))
                    self._forget()
                    return False
            finally:
                locks.unlock(number, rank=Rank.CACHE)

    def _rewrite(self) -> None:
        """Put what can be reached into a new file, if nobody else is writing."""
        with self._lock:
            fd = self._fd
        if fd is None:
            return
        with fd.use() as number:
            locks.flock(number, self._path, 0, rank=Rank.CACHE)
            try:
                with self._lock:
                    # What another process added since we looked is lost: it is only a cache.
                    if self._fd is fd and self._has_name(number):
                        self._replace(self._all_blocks(number))
                        self._forget()
            finally:
                locks.unlock(number, rank=Rank.CACHE)

    def _has_name(self, number: int) -> bool:
        """Whether the open file is the one that has the name; what else has links to it says nothing."""
        try:
            return os.path.samestat(os.fstat(number), os.stat(self._path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _all_blocks(self, number: int) -> Iterator[bytes]:
        """Return what can be reached, as new blocks."""
        for field, where in self._fields.items():
            uids, *places = where.rows()
            for start in range(0, len(uids), 1000):
                some = uids[start : start + 1000]
                of_some = [column[start : start + 1000] for column in places]
                blobs = _read_blobs(number, self._windows, list(zip(*of_some, strict=True)))
                pairs = [(uid, blob) for uid, blob in zip(some, blobs, strict=True) if blob is not None]
                yield from _blocks(field, pairs)

    def _replace(self, blocks: Iterable[bytes]) -> None:
        """Put a new file in the place of the old one."""
        # Each process its own: a first file is made without a lock, for there is none to lock.
        temporary = self._name + b".%d.tmp" % os.getpid()
        directory = descriptors.open_directory(self._directory)
        try:
            data = itertools.chain((self._header,), blocks)
            durable.put(self._name, data, directory, durable=False, temporary=temporary)
        finally:
            os.close(directory)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    # The ctime, for nobody can set it.
    return status.st_size, status.st_ctime_ns


def _read_blobs(number: int, windows: Windows, places: Sequence[At | None]) -> list[bytes | None]:
    """Read blobs; None for one that has no place, or whose place is behind the end by now."""
    if len(places) > _FEW:
        held = _Held(number, windows)
        try:
            if None not in places:
                return _neighbours(held, cast("Sequence[At]", places))
            return [None if at is None else held[at[2]][at[0] : at[1]] for at in places]
        except EOFError:
            pass  # the file has been cut: what is left of it may do for some
    found: list[bytes | None] = []
    for at in places:
        blob = None
        if at is not None:
            start, stop, base = at
            blob = os.pread(number, stop - start, base + start)
            if len(blob) < stop - start:
                blob = None
        found.append(blob)
    return found


def _neighbours(held: _Held, places: Iterable[At]) -> list[bytes | None]:
    """Read blobs that mostly have their window in common with the one before; raises EOFError."""
    data, base = b"", -1
    return [(data if at == base else (data := held[base := at]))[start:stop] for start, stop, at in places]


class _Held(dict[int, bytes]):
    """Windows of the file by where they begin, read when first asked for; EOFError for one that is not there."""

    def __init__(self, number: int, windows: Windows) -> None:
        super().__init__()
        self._number = number
        self._windows = windows

    def __missing__(self, base: int) -> bytes:
        size = self._windows.end(base) - base
        data = os.pread(self._number, size, base)
        if len(data) < size:
            raise EOFError
        if len(self) >= _WINDOWS:
            self.clear()
        self[base] = data
        return data


def _blocks(field: bytes, pairs: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Return blobs as blocks, none of them larger than what is read at once; one that never would fit is left out."""
    room = left = SPAN_OCTETS - _BLOCK.size - len(field)
    some: list[tuple[int, bytes]] = []
    for uid, blob in pairs:
        size = 8 + len(blob)
        if size > room:
            continue
        if size > left:
            yield _block(field, some)
            some, left = [], room
        some.append((uid, blob))
        left -= size
    if some:
        yield _block(field, some)


def _block(field: bytes, pairs: Sequence[tuple[int, bytes]]) -> bytes:
    blobs = [blob for _, blob in pairs]
    return _render(field, [uid for uid, _ in pairs], [len(blob) for blob in blobs], blobs)


def _render(field: bytes, messages: Sequence[int], sizes: Sequence[int], blobs: Sequence[bytes]) -> bytes:
    uids, lengths = array("I", messages), array("I", sizes)
    if sys.byteorder == "big":
        uids.byteswap()
        lengths.byteswap()
    data = b"".join(blobs)
    body = b"".join([field, uids.tobytes(), lengths.tobytes(), data])
    return _BLOCK.pack(_MARK, len(field), len(messages), len(data), zlib.crc32(body)) + body
