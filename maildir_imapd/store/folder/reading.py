"""Messages out: from a UID to the file, whatever other programs rename meanwhile. No lock is held."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Final, NamedTuple

from maildir_imapd import errors
from maildir_imapd.budget import Share, Shares
from maildir_imapd.line_ends import bare
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.folder.folder import Folder
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.maildir import packed, scan

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_TRIES: Final = 10
_PIECE_OCTETS: Final = 1 << 22
# Of a large message: nearly every header ends within it.
BEGINNING_OCTETS: Final = 8192
# One that has more is counted, and not held.
LARGE_OCTETS: Final = 256 * 1024
# It is counted in blocks of so many (message/blocks.py says why).
_BLOCK_OCTETS: Final = 64 * 1024


# A message that unpacks to less is not counted.
LARGE_UNPACKED_OCTETS: Final = 256 * 1024
# What is unpacked takes so many times its packed form, mostly less, with all that is beside it.
_USUAL_TIMES: Final = 9


class OpenMessage(NamedTuple):
    """A message's file that is open; whoever asked for it closes the descriptor."""

    number: int
    status: os.stat_result
    base: bytes
    known: int | None  # the fingerprint that the index has of it; None: nobody has looked at the files yet


def open_message(
    folder: Folder, rows: Snapshot, uid: int, under: int | None, look_again: Callable[[], Snapshot]
) -> OpenMessage:
    """Open a message of *rows*, or one that was expunged and is kept for who has not been told.

    *under*: the UIDVALIDITY that the UID is of, None for that of *rows*. *look_again* lists the folder and returns what
    is there then. Raises MessageGone, MessageUnreadable, TooManyFiles.
    """
    under = rows.uidvalidity if under is None else under
    try:
        return _open(folder, rows, uid, under, look_again)
    except errors.MessageGone:
        try:
            number = folder.kept.open(under, uid)
        except OSError as error:
            raise _unreadable(folder, error, b"tmp") from error
        if number is None:
            raise
    return OpenMessage(number, os.fstat(number), b"", 0)


def _open(folder: Folder, rows: Snapshot, uid: int, under: int, look_again: Callable[[], Snapshot]) -> OpenMessage:
    base, path, known = _place(folder, rows, uid, under)
    for attempt in range(_TRIES):
        try:
            with folder.directories.folder.use() as directory:
                fd = descriptors.open(path, _FLAGS, dir_fd=directory, owner=folder.files.owner)
        except FileNotFoundError:
            # Another client has changed its flags, and with them its name; or it is gone.
            found = _by_base(folder, base) if attempt >= 2 else None
            if found is None:
                base, found, known = _place(folder, look_again(), uid, under)
            path = found
            continue
        except OSError as error:
            raise _unreadable(folder, error, path) from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise errors.MessageUnreadable(detail=f"not a file: {os.fsdecode(folder.path + b'/' + path)}")
        except BaseException:
            os.close(fd)
            raise
        return OpenMessage(fd, status, base, known)
    raise _gone(folder, uid)


class Plain(NamedTuple):
    """A message that needed no second look, or its beginning: what was read of its file, and what was known of it."""

    data: bytes
    status: os.stat_result
    base: bytes
    known: int | None  # as of OpenMessage


def read_plain(
    folder: Folder, rows: Snapshot, uid: int, under: int | None, limit: int | None, near: int | None
) -> Plain | None:
    """Read a message that lies where it should and is not packed, as nearly all do and are; None: ``read`` it.

    *under*, *limit*: as of ``read``. *near*: cur/, open, for who reads many; it may be that of a moment ago.
    """
    at = rows.position(uid)
    if at < 0 or under not in (None, rows.uidvalidity):
        return None
    files = folder.files
    path = files.place(rows, at)
    try:
        if near is not None and path.startswith(b"cur/"):
            fd = descriptors.open(path[4:], _FLAGS, dir_fd=near)
        else:
            with folder.directories.folder.use() as directory:
                fd = descriptors.open(path, _FLAGS, dir_fd=directory, owner=files.owner)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        octets = status.st_size
        if limit is not None and octets > limit and octets > BEGINNING_OCTETS:
            octets = BEGINNING_OCTETS
        if octets > _PIECE_OCTETS or not stat.S_ISREG(status.st_mode):
            return None
        data = os.read(fd, octets)
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(data) != octets or packed.may_be(data):
        return None
    return Plain(data, status, rows.name(at), _fingerprint(rows, at))


def read(
    folder: Folder,
    rows: Snapshot,
    uid: int,
    under: int | None,
    look_again: Callable[[], Snapshot],
    limit: int | None = None,
    shares: Shares | None = None,
) -> tuple[bytes, int, OpenMessage, Share | None]:
    """Return a message as it is on the disk, but unpacked (packed.py), its octets, and what was opened, closed again.

    Of one that has more octets than *limit* and is not packed the beginning, of ``BEGINNING_OCTETS``. Where *shares*
    are given, what is unpacked and large has one of them, the last that is returned; who has the octets keeps it. As
    ``open_message``; raises MessagePacked, MessageEncrypted and what *shares* do, too.
    """
    opened = open_message(folder, rows, uid, under, look_again)
    fd, left, large = opened.number, opened.status.st_size, False
    try:
        pieces = []
        if limit is not None and left > max(limit, BEGINNING_OCTETS):
            pieces.append(os.read(fd, BEGINNING_OCTETS))
            left -= len(pieces[0])
            if not packed.is_packed(pieces[0]):
                large, left = True, 0
        while left > 0 and (piece := os.read(fd, min(left, _PIECE_OCTETS))):
            pieces.append(piece)
            left -= len(piece)
    except OSError as error:
        raise _unreadable(folder, error, b"uid %d" % uid) from error
    finally:
        os.close(fd)
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if large:
        return data, opened.status.st_size, opened, None
    unpacking = _Unpacking(len(data), shares)
    data = packed.unpacked(data, f"{os.fsdecode(folder.path)} uid {uid}", unpacking.grow)
    return data, len(data), opened, unpacking.done()


class _Unpacking:
    """The memory that a message takes while it is unpacked: nobody knows before how much it will be."""

    def __init__(self, packed_octets: int, shares: Shares | None) -> None:
        self._shares = shares
        self._packed = packed_octets
        self._octets = 0
        self._share: Share | None = None

    def grow(self, octets: int) -> None:
        """Count what has come out, and what will be beside it: the packed form, and all of it once more when joined."""
        self._octets += octets
        if self._shares is None or self._octets <= LARGE_UNPACKED_OCTETS:
            return
        wanted = self._packed + 2 * self._octets
        if self._share is None:
            # Waited for once, with as much as most messages come to; what goes on from there has it or fails.
            self._share = self._shares.share(max(wanted, _USUAL_TIMES * self._packed))
        elif wanted > self._share.octets:
            self._shares.more(self._share, wanted - self._share.octets + LARGE_UNPACKED_OCTETS)

    def done(self) -> Share | None:
        """Return the share of what is there now, and again with other line ends."""
        if self._share is not None:
            self._share.only(2 * self._octets)
        return self._share


def crlf_octets(number: int, where: str) -> int:
    """Count the octets that an open message has with CRLF line ends; raises MessageUnreadable that names *where*."""
    octets, after_cr = 0, False
    try:
        while block := os.read(number, _BLOCK_OCTETS):
            octets += len(block) + bare(block, after_cr=after_cr)
            after_cr = block.endswith(b"\r")
    except OSError as error:
        raise errors.MessageUnreadable(detail=f"{where}: {error.strerror}") from error
    return octets


def is_still(number: int, fingerprint: int) -> bool:
    """Say whether a message's file that is open is the one that was read, and as it was; raises OSError."""
    return not scan.rewritten(fingerprint, scan.fingerprint(os.fstat(number)))


def still(folder: Folder, rows: Snapshot, uid: int, fingerprint: int) -> bool:
    """Say whether a message is what it was when it was read under *fingerprint*; yes if nobody can tell."""
    at = rows.position(uid)
    if at < 0:
        return True
    try:
        with folder.directories.folder.use():
            status = folder.files.inspect(folder.files.place(rows, at))
    except (OSError, errors.StoreError):
        return True
    return status is None or not scan.rewritten(fingerprint, scan.fingerprint(status))


def _fingerprint(rows: Snapshot, at: int) -> int | None:
    """The fingerprint of a message; None where nobody has looked at the files yet."""
    return rows.fingerprints[at] if rows.has("fingerprints") else None


def _place(folder: Folder, rows: Snapshot, uid: int, under: int) -> tuple[bytes, bytes, int | None]:
    """The base of a message, the path below the folder where it should be, its fingerprint; raises MessageGone."""
    at = rows.position(uid)
    if at < 0 or rows.uidvalidity != under:
        raise _gone(folder, uid)
    base = rows.name(at)
    return base, folder.files.place(rows, at), _fingerprint(rows, at)


def _by_base(folder: Folder, base: bytes) -> bytes | None:
    """Where a message lies now: a bare look is quickest while somebody renames without end."""
    with folder.directories.folder.use():
        return folder.files.locate().get(base)


def _gone(folder: Folder, uid: int) -> errors.MessageGone:
    return errors.MessageGone(detail=f"{os.fsdecode(folder.path)} uid {uid}")


def _unreadable(folder: Folder, error: OSError, what: bytes) -> errors.StoreError:
    found = durable.store_error(error, folder.path + b"/" + what)
    if folder.standing.lose(error):
        folder.files.suspect()
    passed_on = isinstance(found, errors.TooManyFiles | errors.SpoolGone)
    return found if passed_on else errors.MessageUnreadable(detail=found.detail)
