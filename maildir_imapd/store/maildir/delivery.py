"""A message on its way in: tmp/ first, whole and synced, then under its final name.

LF on disk, as Dovecot stores by default: every CRLF becomes LF and comes back when the message is sent.
A CR that would change meaning so (CR CR LF) stays with its line end, so that what goes out is what came in.
"""

from __future__ import annotations

import os
import random
import re
import stat
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Final

from maildir_imapd import errors
from maildir_imapd.line_ends import bare
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.maildir import filename, packed, scan

TMP_SECONDS: Final = 36 * 3600  # what nobody has touched for so long was left by a program that died

_CRLF = re.compile(rb"(?<!\r)\r\n").sub
_NO_LINES = re.compile(rb"\0|(?<!\r)\n").search
_COPY_OCTETS: Final = 1 << 20
_END_OF_HEADER = re.compile(rb"\A\n|\n\r*\n").search


class Delivery:
    """A file in tmp/ that takes a message's octets; a sink, so it never raises: see *trouble*.

    *directory* is the folder's, in use until ``done`` or ``abort``: whatever becomes of the mailbox, what is written
    lies in the folder it was meant for. Whoever begins a delivery ends it by one of the two; ``abort`` comes by
    itself when it is forgotten.

    With *source*, one that is whole and dated, it begins as a second name of that one's file, and takes nothing more.
    """

    def __init__(
        self,
        directory: Descriptor,
        path: bytes,
        mode: int = 0o600,
        *,
        packing: packed.Kind = "none",
        source: Delivery | None = None,
    ) -> None:
        self.trouble: errors.StoreError | None = None
        self.size_disk = 0  # before it is compressed
        self.size_crlf = 0
        self.has_nul = False  # RFC 3501: only a literal8 may carry one
        # Set before the first octet: from the first NUL, or LF that ends no line, what comes is kept as it is, and is
        # no message for a Maildir.  See ``raw_from``.
        self.binary = False
        # Its date, where it is known before it is whole: so the file need not be opened again for it.
        self.received: int | None = None
        self._dated: int | None = None
        # How much of what ``pieces`` gives is lines with LF, if what follows has been kept as it came.
        self.raw_from: int | None = None
        self.name = b"tmp/" + filename.unique()
        self._path = path
        self._mode = mode
        self._packer = packed.packer(packing)
        self._packed = False  # what it takes is on the disk, compressed, and its end is, too
        self._held = b""  # CRs at the end of the last piece: the LF may be in the next one
        self.fingerprint = 0  # see scan.py; known once the file has its date
        self._directory = directory
        self._file: Descriptor | None = None
        # Called once it takes the file away, closes it and ends the use of the directory.
        self._end: weakref.finalize[[Descriptor, bytes, Descriptor], Delivery] | None = None
        number = directory.__enter__()
        try:
            if source is None:
                self._file = Descriptor(durable.create(self.name, number, mode), "message in tmp/")
            else:
                self._link(source, number)
            self._end = weakref.finalize(self, _abandon, directory, self.name, self._file)
        except BaseException as error:
            directory.__exit__(None, None, None)
            if not isinstance(error, OSError):
                raise
            self._fail(error)
        else:
            self._end.atexit = False

    def _link(self, source: Delivery, directory: int) -> None:
        with source._directory.use() as there:
            durable.link(source.name, self.name, there, directory)
        self.size_disk, self.size_crlf, self.has_nul = source.size_disk, source.size_crlf, source.has_nul
        self.received, self._dated, self.fingerprint = source.received, source._dated, source.fingerprint
        self._packer, self._packed = None, source._packed

    def write(self, data: bytes | memoryview) -> None:
        """Take a piece of the message."""
        if self.trouble is not None:
            return
        if not self._open() or self._packed:
            self.trouble = errors.StoreError(detail="written after it was closed")
            return
        piece = self._held + bytes(data) if self._held else bytes(data)
        if piece.endswith(b"\r"):
            self._held = piece[-2:] if piece.endswith(b"\r\r") else b"\r"
            piece = piece[: -len(self._held)]
        else:
            self._held = b""
        self.has_nul = self.has_nul or b"\0" in piece
        if piece:
            self._store(piece)

    def _store(self, piece: bytes) -> None:
        if self.binary and self.raw_from is None and _NO_LINES(piece):
            self.raw_from = self.size_disk
        if self.raw_from is not None:
            text = piece
            octets = len(text) + bare(text)
        else:
            text, octets = _with_lf(piece)
        if not self._put(text if self._packer is None else self._packer.compress(text)):
            return
        self.size_disk += len(text)
        self.size_crlf += octets

    def _put(self, data: bytes) -> bool:
        """Write what comes out of the packer; say whether that went well."""
        assert self._file is not None
        try:
            with self._file.use() as file:
                durable.write(file, data)
        except OSError as error:
            self._fail(error)
            return False
        return True

    def finish(self) -> None:
        """Say that the message is whole. ``commit`` does so."""
        if self.trouble is not None or not self._open():
            return
        if self._held:
            held, self._held = self._held, b""
            self._store(held)
        if self._packer is not None and self.trouble is None:
            packer, self._packer, self._packed = self._packer, None, True
            self._put(packer.flush())

    def close(self) -> None:
        """The same, and give the descriptor back: a MULTIAPPEND of thousands runs out of them without it."""
        self.finish()
        if self._file is not None and not self._file.closed:
            if self.received is not None and self.trouble is None:
                try:
                    self.date(self.received)
                except OSError as error:
                    self._fail(error)
                    return
            durable.start_writing(self._file.number)
            self._file.close()

    def _open(self) -> bool:
        return self._file is not None and not self._file.closed

    @contextmanager
    def _reading(self) -> Iterator[int]:
        """A descriptor of the file: the one that is open, for its name may be gone with its folder."""
        if self._file is not None and not self._file.closed:
            with self._file.use() as number:
                yield number
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        number = descriptors.open(self.name, flags, dir_fd=self._directory.number)
        try:
            yield number
        finally:
            os.close(number)

    def second(self, folder: Descriptor, path: bytes, mode: int) -> Delivery | None:
        """Return one in *folder* whose file is this one under another name; None where there can be no such.

        This one is whole and dated. Raises StoreError.
        """
        with durable.as_store_error(path), self._directory.use() as here, folder.use() as there:
            one, other = os.fstat(here), os.fstat(there)
        # As open as the files of that folder are.
        if mode != self._mode or one.st_dev != other.st_dev or (mode & 0o077 and one.st_gid != other.st_gid):
            return None
        found = Delivery(folder, path, mode, source=self)
        return found if found.trouble is None else None

    def is_in(self, folder: Descriptor) -> bool:
        """Whether it lies in the folder that *folder* is open at: its name may be another one's since."""
        if folder is self._directory:
            return True
        with folder.use() as there:
            return os.path.sameopenfile(self._directory.number, there)

    def pieces(self) -> Generator[bytes]:
        """Give back what came in, with line ends as on the disk.

        Raises StoreError; MailboxMissing if it was closed and its name is gone, which goes with its folder.
        """
        self.finish()
        if self.trouble is not None:
            raise self.trouble
        try:
            with self._reading() as number:
                position = 0
                if self._packed:
                    size = os.fstat(number).st_size
                    yield packed.unpacked(os.pread(number, size, 0), os.fsdecode(self._path + b"/" + self.name))
                    return
                while piece := os.pread(number, _COPY_OCTETS, position):
                    position += len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise errors.MailboxMissing(detail=f"{os.fsdecode(self._path)}: {error.strerror}") from error
        except OSError as error:
            raise durable.store_error(error, self._path + b"/" + self.name) from error

    @contextmanager
    def contents(self) -> Iterator[tuple[Callable[[int, int], bytes], int]]:
        """Give what reads so many octets from a place on, as on the disk, and how many there are.

        What lies compressed is held whole meanwhile.  Raises as ``pieces``.
        """
        if self._packer is not None or self._packed:
            with closing(self.pieces()) as pieces:
                whole = b"".join(pieces)
            yield lambda start, octets: whole[start : start + octets], len(whole)
            return
        self.finish()
        if self.trouble is not None:
            raise self.trouble
        with durable.as_store_error(self._path), self._reading() as number:
            yield lambda start, octets: os.pread(number, octets, start), self.size_disk

    def has_utf8_header(self) -> bool:
        """Whether the message's header, its first megabyte at least, is not ASCII; raises StoreError."""
        with closing(self.pieces()) as pieces:
            piece = next(pieces, b"")
        end = _END_OF_HEADER(piece)
        return not (piece if end is None else piece[: end.end()]).isascii()

    def date(self, received: int) -> None:
        """Give the file its received date, which is its mtime.

        With nanoseconds that nobody asked for: they tell it from a later file, see scan.py.
        """
        if self._dated == received:
            return
        chance = random.randrange(999_999_999)  # noqa: S311  # it keeps nobody out, and costs no call of the system
        stamp = max(received, 0) * 1_000_000_000 + chance + 1
        with self._reading() as number:
            os.utime(number, ns=(time.time_ns(), stamp))
            # What it is now and not what was asked for: a file system may keep less.
            self.fingerprint = scan.fingerprint(os.fstat(number))
        self._dated = received

    def sync(self) -> None:
        """Return when the content is on the disk."""
        with self._reading() as number:
            durable.sync(number)

    def abort(self) -> None:
        """Take the file away again. Harmless after ``done``, and twice."""
        if self._end is not None:
            self._end()

    def done(self) -> None:
        """Let go: the file has its final name, or is somebody else's to remove."""
        if self._end is not None and self._end.detach() is not None:
            if self._file is not None:
                self._file.close()
            self._directory.__exit__(None, None, None)

    def _fail(self, error: OSError) -> None:
        self.trouble = durable.store_error(error, self._path + b"/" + self.name)
        self.abort()


def _with_lf(piece: bytes) -> tuple[bytes, int]:
    """Return what is stored of a piece that ends in no CR, and how many octets it has with CRLF line ends."""
    # To take each CR away and to put one before each LF is a fifth of what it costs to look for CRLF.
    text = piece.replace(b"\r", b"")
    if text.replace(b"\n", b"\r\n") == piece:
        return text, len(piece)
    text = _CRLF(b"\n", piece) if b"\r\r\n" in piece else piece.replace(b"\r\n", b"\n")
    return text, len(text) + bare(text)


def _abandon(directory: Descriptor, name: bytes, file: Descriptor | None) -> None:
    if file is not None:
        file.close()
    try:
        durable.unlink(name, directory.number)
    except OSError:
        pass  # it was moved to its place, or goes with the other litter after 36 hours
    finally:
        directory.__exit__(None, None, None)


def copy_bytes(
    source: bytes, target: bytes, source_dir: int, target_dir: int, mode: int, owner: int | None = None
) -> None:
    """Copy a message where it cannot be linked, dates included; *owner* as of ``descriptors.open``, for the source.

    The copy is made in tmp/ and linked or renamed to *target* only when it is whole.
    """
    temporary = b"tmp/" + filename.unique()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    reading = descriptors.open(source, flags, dir_fd=source_dir, owner=owner)
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise errors.MessageUnreadable(detail=f"not a file: {os.fsdecode(source)}")
        writing = durable.create(temporary, target_dir, mode)
        try:
            try:
                while piece := os.read(reading, _COPY_OCTETS):
                    durable.write(writing, piece)
                status = os.fstat(reading)
                os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
                durable.sync(writing)
            finally:
                os.close(writing)
            durable.rename(temporary, target, target_dir, target_dir)
        except OSError:
            try:
                durable.unlink(temporary, target_dir)
            except OSError:
                pass  # the first error is the one to tell
            raise
    finally:
        os.close(reading)


def clean_tmp(folder: int, now: float) -> int:
    """Remove what programs that died have left in tmp/, and say how much.

    By ctime, as Dovecot and Courier do: the mtime of a message in the making may be its received date. The
    directory's atime says when somebody last did this; touching it first keeps others from doing it too.
    """
    tmp = descriptors.open(b"tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(tmp)
        if status.st_atime > now - 8 * 3600 or durable.is_untouched():
            return 0
        os.utime(tmp, ns=(int(now * 1e9), status.st_mtime_ns))
        removed = 0
        for name in descriptors.again(os.listdir, tmp):
            try:
                found = os.stat(name, dir_fd=tmp, follow_symlinks=False)
                if found.st_ctime < now - TMP_SECONDS:
                    durable.unlink(os.fsencode(name), tmp)
                    removed += 1
            except (FileNotFoundError, IsADirectoryError, PermissionError):
                continue  # gone, or no file of a mail program
        return removed
    finally:
        os.close(tmp)
