"""One message's octets while a command works on it, parsed no further than it was asked for.

A large one is never held for longer than it is worked on: its beginning is read, where its blocks begin is counted
(message/blocks.py), its parts are found through a window of a few blocks, and what goes to the client comes from the
file as it goes. What needs it whole, as CATENATE does, has it whole for that moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd import strings
from maildir_imapd.events import Log
from maildir_imapd.message import header, mime
from maildir_imapd.message.blocks import Blocks, Octets, Read, Window
from maildir_imapd.message.lines import to_crlf
from maildir_imapd.message.transfer import base64_pieces
from maildir_imapd.store.mailbox import is_still

if TYPE_CHECKING:
    from maildir_imapd.errors import MessageUnreadable
    from maildir_imapd.imap.progress import Progress
    from maildir_imapd.imap.view import View
    from maildir_imapd.message.mime import Part
    from maildir_imapd.store.mailbox import Mailbox, Nearby
    from maildir_imapd.store.results import FileRead

log = Log(__name__)

_AS_IT_IS: Final = nullcontext()
# Messages that have more octets on the disk are not held.
LARGE_OCTETS: Final = 256 * 1024
# A message that must be had whole is there as it lies on the disk and with CRLF, and what is cut out of it beside it.
WHOLE_TIMES: Final = 3
# Of a header that does not end within what was read, so many times as much is read next.
_MORE_TIMES: Final = 8


class Content:
    """*file* is the message as it lies on the disk, or its beginning; what is asked of it has CRLF for line ends."""

    __slots__ = (
        "_blocks",
        "_data",
        "_header",
        "_mailbox",
        "_open",
        "_progress",
        "_raw",
        "_short",
        "_tree",
        "_under",
        "changed",
        "fingerprint",
        "large",
        "octets",
        "settled",
        "share",
        "uid",
    )

    def __init__(self, uid: int, file: FileRead, mailbox: Mailbox, under: int, progress: Progress) -> None:
        raw = file.data
        self._progress = progress
        self.share = file.share
        self.uid = uid
        # Of which file it is, whether what is made of it may be kept, and whether what was kept is of another one.
        self.fingerprint, self.settled, self.changed = file.fingerprint, file.settled, file.changed
        self.octets = file.octets  # on the disk
        self.large = not file.whole
        self._mailbox = mailbox
        self._under = under  # the UIDVALIDITY that the UID is of
        self._raw = raw
        self._data: bytes | None = None
        self._tree: Part | None = None
        self._header: bytes | None = None
        self._blocks: Blocks | None = None
        self._short = False  # the log says that the file lacks something
        self._open = -1  # the file, while ``opened``

    @property
    def data(self) -> bytes:
        """The whole message in CRLF form, as every octet count of IMAP means it.

        Of a large one it is read for that, and held until ``release``; raises MessageGone, MessageUnreadable, NoMemory.
        """
        if self._data is None:
            if self.large:
                self.hold(WHOLE_TIMES * self.octets)
                self._data = to_crlf(self._mailbox.load(self.uid, under=self._under).data)
            else:
                self._data, self._raw = to_crlf(self._raw), b""
        return self._data

    @property
    def header(self) -> bytes:
        """The header with the empty line that ends it; alone it does not cost the body's line ends."""
        if self._header is None:
            if self._data is not None:
                self._header = self._data[: header.split(self._data)]
            else:
                raw = self._raw
                end = header.split_raw(raw)
                while self.large and end == len(raw) < self.octets:
                    with self.opened():
                        raw = self._read(0, len(raw) * _MORE_TIMES)
                    end = header.split_raw(raw)
                self._header = to_crlf(raw[:end])
        return self._header

    @property
    def size(self) -> int | None:
        """The size with CRLF line ends, if somebody has asked for the whole message."""
        if self._blocks is not None:
            return self._blocks.octets
        return None if self._data is None else len(self._data)

    def window(self) -> Octets:
        """Return what looks like ``data`` to who finds parts in it; of a large one while it is ``opened``."""
        if not self.large or self._data is not None:
            return self.data
        return Window(self.blocks(), self._read)

    def tree(self) -> Part:
        """The MIME structure; raises MessageGone, MessageUnreadable."""
        if self._tree is None:
            with self.opened():
                self._tree = mime.parse(self.window())
        return self._tree

    # --- a large one, from the file ----------------------------------------------------------------

    def opened(self) -> AbstractContextManager[object]:
        """Keep the file open meanwhile; raises MessageGone, MessageUnreadable, TooManyFiles."""
        return self._opened() if self.large and self._open < 0 else _AS_IT_IS

    @contextmanager
    def _opened(self) -> Iterator[None]:
        self._open = self._mailbox.open(self.uid, under=self._under)
        try:
            # Race: it may be another file than was looked at, or written to since; of that nothing is kept.
            self.settled = self.settled and is_still(self._open, self.fingerprint)
            yield
        finally:
            number, self._open = self._open, -1
            os.close(number)
            if self._blocks is not None:
                self._blocks.forget()

    def blocks(self) -> Blocks:
        """Where its blocks begin; counted once, while it is ``opened``."""
        if self._blocks is None:
            self._blocks = Blocks(self._read, self.octets)
        return self._blocks

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """Give what stands from *start* to *end*, as many octets as that, while it is ``opened``."""
        read: Read = self._read_or_nothing
        return self.blocks().pieces(read, start, end)

    def _read(self, offset: int, count: int) -> bytes:
        found = []
        while count > 0 and (piece := os.pread(self._open, count, offset)):
            found.append(piece)
            offset += len(piece)
            count -= len(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    def _read_or_nothing(self, offset: int, count: int) -> bytes:
        """As ``_read`` in the midst of an answer: what cannot be had is left out, with a line in the log."""
        found, why = b"", "its file has shrunk"
        try:
            found = self._read(offset, count)
        except OSError as error:
            why = str(error)
        if len(found) < min(count, self.octets - offset) and not self._short:
            self._short = True
            log.error("a message breaks off while it is sent", path=self._mailbox.path, uid=self.uid, why=why)
        return found

    def hold(self, octets: int) -> None:
        """Count octets that are held of a large message until the next one; as ``Progress.hold``."""
        self._progress.hold(octets, self.release)

    def release(self) -> None:
        """Hold no more of a large message than where its parts and blocks begin."""
        if self.large:
            self._data = None


@dataclass(frozen=True, slots=True)
class Held:
    """A part that is there already and too long to be copied into its row; it has no NUL."""

    data: bytes

    @property
    def octets(self) -> int:
        """How long it is."""
        return len(self.data)

    @property
    def begin(self) -> bytes:
        """The announcement of it as a literal."""
        return b"{%d}\r\n" % len(self.data)

    def pieces(self) -> Iterable[bytes]:
        """Give its octets."""
        return (self.data,)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a large message that is to go out from the file: from *start* to *end* in its CRLF form."""

    content: Content
    start: int
    end: int

    @property
    def octets(self) -> int:
        """How long it is."""
        return self.end - self.start

    @property
    def begin(self) -> bytes:
        """The announcement of it as a literal."""
        return b"{%d}\r\n" % self.octets

    def pieces(self) -> Iterator[bytes]:
        """Its octets, as a literal may have them (strings.py)."""
        for piece in self.content.pieces(self.start, self.end):
            yield strings.literal_octets(piece)


class Decoded:
    """A part of a large message without its transfer encoding, for BINARY (RFC 3516); *base64*: or it has none.

    It is gone over twice, for its length must be announced; what is sent is as long as that, whatever has become of
    the file. *cut*: where to begin, and how many octets to give at most.
    """

    __slots__ = ("_base64", "_end", "_span", "_start", "begin", "octets")

    def __init__(self, span: Span, *, base64: bool, cut: tuple[int, int] | None) -> None:
        self._span, self._base64 = span, base64
        whole, self._start, self._end = 0, 0, span.content.octets * 2
        if cut is not None:
            self._start, self._end = cut[0], cut[0] + cut[1]
        nul = False
        for piece in self._all():
            nul = nul or b"\0" in piece[max(0, self._start - whole) : max(0, self._end - whole)]
            whole += len(piece)
        self._start, self._end = min(self._start, whole), min(self._end, whole)
        self.octets = self._end - self._start
        self.begin = b"%b{%d}\r\n" % (b"~" if nul else b"", self.octets)

    def _all(self) -> Iterator[bytes]:
        raw = self._span.content.pieces(self._span.start, self._span.end)
        return base64_pieces(raw) if self._base64 else raw

    def pieces(self) -> Iterator[bytes]:
        """Its octets, NUL and all."""
        at, left = 0, self.octets
        for piece in self._all():
            wanted = piece[max(0, self._start - at) : max(0, self._end - at)]
            at += len(piece)
            if wanted:
                left -= len(wanted)
                yield wanted
        if left:
            yield b" " * left  # the file has changed since


# What goes out piece by piece, as it is.
Streamed = Held | Span | Decoded

# Messages up to this size are not worth keeping between commands.
WORTH_KEEPING_OCTETS: Final = 64 * 1024


def read(view: View, uid: int, *, whole: bool = True, near: Nearby | None = None) -> Content:
    """Read a message of the open mailbox, of a large one the beginning; raises MessageGone, MessageUnreadable, Goodbye.

    The last one of some size is kept, for clients fetch an attachment piece by piece. Not *whole*: nothing but the
    header is wanted, so that of nearly all the beginning will do.
    """
    kept = view.content
    if isinstance(kept, Content) and kept.uid == uid and view.mailbox.still(uid, kept.fingerprint):
        return kept
    mailbox, under = view.mailbox, view.snapshot.uidvalidity
    file = mailbox.load(uid, under=under, limit=LARGE_OCTETS if whole else 0, shares=view.progress, near=near)
    # Only after that is it sure that the UID still named this message.
    view.check_numbering()
    content = Content(uid, file, mailbox, under, view.progress)
    # Of one that was unpacked all is held, perhaps by a client that will not come again: others have more use for that.
    if whole and file.octets > WORTH_KEEPING_OCTETS and (file.share is None or view.progress.budget.plenty):
        view.keep(content)
    return content


def report(view: View, error: MessageUnreadable) -> None:
    """Log a message that had to be left out of an answer."""
    log.warning(error.text, mailbox=view.name, detail=error.detail)
