"""One message's octets while a command works on it, parsed no further than it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.events import Log
from maildir_imapd.message import header, mime
from maildir_imapd.message.lines import to_crlf

if TYPE_CHECKING:
    from maildir_imapd.errors import MessageUnreadable
    from maildir_imapd.imap.view import View
    from maildir_imapd.message.mime import Part
    from maildir_imapd.store.results import FileRead

log = Log(__name__)


class Content:
    """*file* is the message as it lies on the disk; what is asked of it has CRLF for line ends."""

    __slots__ = ("_data", "_header", "_raw", "_tree", "changed", "fingerprint", "octets", "settled", "uid")

    def __init__(self, uid: int, file: FileRead) -> None:
        raw = file.data
        self.uid = uid
        # Of which file it is, whether what is made of it may be kept, and whether what was kept is of another one.
        self.fingerprint, self.settled, self.changed = file.fingerprint, file.settled, file.changed
        self.octets = len(raw)  # on the disk
        self._raw = raw
        self._data: bytes | None = None
        self._tree: Part | None = None
        self._header: bytes | None = None

    @property
    def data(self) -> bytes:
        """The whole message in CRLF form, as every octet count of IMAP means it."""
        if self._data is None:
            self._data, self._raw = to_crlf(self._raw), b""
        return self._data

    @property
    def header(self) -> bytes:
        """The header with the empty line that ends it; alone it does not cost the body's line ends."""
        if self._header is None:
            if self._data is None:
                self._header = to_crlf(self._raw[: header.split_raw(self._raw)])
            else:
                self._header = self._data[: header.split(self._data)]
        return self._header

    @property
    def size(self) -> int | None:
        """The size with CRLF line ends, if somebody has asked for the whole message."""
        return None if self._data is None else len(self._data)

    def tree(self) -> Part:
        """The MIME structure."""
        if self._tree is None:
            self._tree = mime.parse(self.data)
        return self._tree


# Messages up to this size are not worth keeping between commands.
WORTH_KEEPING_OCTETS = 64 * 1024


def read(view: View, uid: int) -> Content:
    """Read a message of the open mailbox; raises MessageGone, MessageUnreadable, Goodbye.

    The last large one is kept, for clients fetch an attachment piece by piece.
    """
    kept = view.content
    if isinstance(kept, Content) and kept.uid == uid and view.mailbox.still(uid, kept.fingerprint):
        return kept
    file = view.mailbox.load(uid, under=view.snapshot.uidvalidity)
    # Only after that is it sure that the UID still named this message.
    view.check_numbering()
    content = Content(uid, file)
    if len(file.data) > WORTH_KEEPING_OCTETS:
        view.keep(content)
    return content


def report(view: View, error: MessageUnreadable) -> None:
    """Log a message that had to be left out of an answer."""
    log.warning(error.text, mailbox=view.name, detail=error.detail)
