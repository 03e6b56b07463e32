"""One message's octets while a command works on it, parsed no further than it was asked for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from maildir_imapd.message import header, mime
from maildir_imapd.message.lines import to_crlf

if TYPE_CHECKING:
    from maildir_imapd.errors import MessageUnreadable
    from maildir_imapd.imap.view import View
    from maildir_imapd.message.mime import Part

logger = logging.getLogger(__name__)


class Content:
    """*data* is the whole message in CRLF form, as every octet count of IMAP means it."""

    __slots__ = ("_header", "_tree", "data", "uid")

    def __init__(self, uid: int, data: bytes) -> None:
        self.uid = uid
        self.data = data
        self._tree: Part | None = None
        self._header: bytes | None = None

    @property
    def header(self) -> bytes:
        """The header with the empty line that ends it."""
        if self._header is None:
            self._header = self.data[: header.split(self.data)]
        return self._header

    def tree(self) -> Part:
        """The MIME structure."""
        if self._tree is None:
            self._tree = mime.parse(self.data)
        return self._tree


# Messages up to this size are not worth keeping between commands.
WORTH_KEEPING = 64 * 1024


def read(view: View, uid: int) -> Content:
    """Read a message of the open mailbox; raises MessageGone, MessageUnreadable.

    The last large one is kept, for clients fetch an attachment piece by piece.
    """
    kept = view.content
    if kept is not None and kept.uid == uid:
        return kept
    content = Content(uid, to_crlf(view.mailbox.read(uid)))
    if len(content.data) > WORTH_KEEPING:
        view.content = content
    return content


def report(view: View, error: MessageUnreadable) -> None:
    """Log a message that had to be left out of an answer."""
    logger.warning(error.text, extra={"fields": {"mailbox": view.name, "detail": error.detail}})
