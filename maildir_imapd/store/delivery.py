"""A message on its way in: tmp/ first, whole and synced, then under its final name.

LF on disk, as Dovecot stores by default: every CRLF becomes LF and comes back when the message is sent.
A CR that would change meaning so (CR CR LF) stays with its line end, so that what goes out is what came in.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from collections.abc import Generator
from contextlib import closing
from typing import Final

from maildir_imapd import errors
from maildir_imapd.store import durable, filename, scan

TMP_SECONDS: Final = 36 * 3600  # what nobody has touched for so long was left by a program that died

_CRLF = re.compile(rb"(?<!\r)\r\n").sub
_COPY_BYTES: Final = 1 << 20
_END_OF_HEADER = re.compile(rb"\A\n|\n\r*\n").search


class Place:
    """A descriptor of a folder, of its own: what lies in it may outlive the mailbox.  One is enough for any number."""

    __slots__ = ("__weakref__", "fd")

    def __init__(self, folder: int) -> None:
        self.fd = -1
        self.fd = os.dup(folder)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Delivery:
    """A file in tmp/ that takes a message's octets; a sink, so it never raises: see *trouble*."""

    def __init__(self, place: Place, path: bytes, mode: int = 0o600) -> None:
        self.trouble: errors.StoreError | None = None
        self.size_disk = 0
        self.size_crlf = 0
        self.has_nul = False  # RFC 3501: only a literal8 may carry one
        self.name = b"tmp/" + filename.unique()
        self._path = path
        self._place = place
        self._taken = False  # it has another name, or none
        self._held = b""  # CRs at the end of the last piece: the LF may be in the next one
        self._fd = -1
        self.fingerprint = 0  # see scan.py; known once the file has its date
        try:
            self._fd = durable.create(self.name, place.fd, mode)
        except OSError as error:
            self._fail(error)

    def write(self, data: bytes | memoryview) -> None:
        """Take a piece of the message."""
        if self.trouble is not None:
            return
        if self._fd < 0:
            self.trouble = errors.StoreError(detail="written after it was closed")
            return
        piece = self._held + bytes(data)
        if piece.endswith(b"\r"):
            self._held = piece[-2:] if piece.endswith(b"\r\r") else b"\r"
            piece = piece[: -len(self._held)]
        else:
            self._held = b""
        self.has_nul = self.has_nul or b"\0" in piece
        if piece:
            self._store(piece)

    def _store(self, piece: bytes) -> None:
        text = _CRLF(b"\n", piece) if b"\r\r\n" in piece else piece.replace(b"\r\n", b"\n")
        try:
            durable.write(self._fd, text)
        except OSError as error:
            self._fail(error)
            return
        self.size_disk += len(text)
        self.has_nul = self.has_nul or b"\0" in text
        self.size_crlf += len(text) + text.count(b"\n") - text.count(b"\r\n")

    def close(self) -> None:
        """Say that the message is whole. Not needed before commit(), but a MULTIAPPEND of thousands runs out of
        descriptors without it.
        """
        if self._fd < 0:
            return
        if self._held and self.trouble is None:
            held, self._held = self._held, b""
            self._store(held)
        if self._fd >= 0:
            durable.start_writing(self._fd)
            os.close(self._fd)
            self._fd = -1

    def is_in(self, folder: int) -> bool:
        """Whether it lies in the folder that *folder* is a descriptor of: that may have become another one since."""
        return os.path.sameopenfile(self._place.fd, folder)

    def pieces(self) -> Generator[bytes]:
        """Give back what came in, as it lies on the disk; raises StoreError."""
        self.close()
        if self.trouble is not None:
            raise self.trouble
        try:
            fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._place.fd)
            try:
                while piece := os.read(fd, _COPY_BYTES):
                    yield piece
            finally:
                os.close(fd)
        except OSError as error:
            raise durable.store_error(error, self._path + b"/" + self.name) from error

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
        stamp = max(received, 0) * 1_000_000_000 + secrets.randbelow(999_999_999) + 1
        os.utime(self.name, ns=(time.time_ns(), stamp), dir_fd=self._place.fd, follow_symlinks=False)
        # What it is now and not what was asked for: a file system may keep less.
        self.fingerprint = scan.fingerprint(os.stat(self.name, dir_fd=self._place.fd, follow_symlinks=False))

    def sync(self) -> None:
        """Return when the content is on the disk."""
        fd = os.open(self.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._place.fd)
        try:
            durable.sync(fd)
        finally:
            os.close(fd)

    def abort(self) -> None:
        """Take the file away again. Harmless after a commit."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._taken:
            self._taken = True
            try:
                durable.unlink(self.name, self._place.fd)
            except OSError:
                pass  # it was moved to its place, or goes with the other litter after 36 hours

    def done(self) -> None:
        """Let go: the file has its final name."""
        self._taken = True

    def __del__(self) -> None:
        self.abort()

    def _fail(self, error: OSError) -> None:
        self.trouble = durable.store_error(error, self._path + b"/" + self.name)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        try:
            durable.unlink(self.name, self._place.fd)
        except OSError:
            pass  # ours at once if we can, else after 36 hours


def copy_bytes(source: bytes, target: bytes, source_dir: int, target_dir: int, mode: int) -> None:
    """Copy a message where it cannot be linked, dates included.

    The copy is made in tmp/ and linked or renamed to *target* only when it is whole.
    """
    temporary = b"tmp/" + filename.unique()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    reading = os.open(source, flags, dir_fd=source_dir)
    try:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise errors.MessageUnreadable(detail=f"not a file: {os.fsdecode(source)}")
        writing = durable.create(temporary, target_dir, mode)
        try:
            try:
                while piece := os.read(reading, _COPY_BYTES):
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
    tmp = os.open(b"tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(tmp)
        if status.st_atime > now - 8 * 3600:
            return 0
        os.utime(tmp, ns=(int(now * 1e9), status.st_mtime_ns))
        removed = 0
        for name in os.listdir(tmp):
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
