"""Whether a message on its way in has attachments, as a keyword: for clients that show a paper clip in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import StoreError
from maildir_imapd.events import Log
from maildir_imapd.message.attached import HAS_ATTACHMENT, HAS_NO_ATTACHMENT, attachment_keyword

if TYPE_CHECKING:
    from collections.abc import Iterable

    from maildir_imapd.store.maildir.delivery import Delivery

log = Log(__name__)

_BOTH: Final = frozenset((HAS_ATTACHMENT.lower(), HAS_NO_ATTACHMENT.lower()))


def keywords_of(delivery: Delivery, given: Iterable[bytes] = ()) -> tuple[bytes, ...]:
    """Return the keyword for a message that has come in whole; none where *given*, its flags, have one already.

    Nor where it cannot be read again: the mail is stored all the same.
    """
    if any(flag.lower() in _BOTH for flag in given):
        return ()
    try:
        with delivery.contents() as (read, octets):
            return (attachment_keyword(read, octets),)
    except StoreError as error:
        log.warning("attachments not looked for", detail=error.detail, why=error.text)
        return ()
