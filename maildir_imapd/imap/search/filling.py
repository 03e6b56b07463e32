"""Taking the texts of a folder's messages into the index: they are read here as a search reads them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd.errors import ImapdError, LockTimeout, MessageGone, MessageUnreadable
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.message import LARGE_OCTETS, Content
from maildir_imapd.imap.naming import mailbox_id
from maildir_imapd.imap.progress import Progress
from maildir_imapd.message import text, transfer
from maildir_imapd.message.attached import attachments
from maildir_imapd.store.records.texts import GRAM

if TYPE_CHECKING:
    from maildir_imapd.message.attached import Attachment
    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.records.texts_filling import Filling

log = Log(__name__)

# A batch ends with the message that makes it so many characters, messages or seconds: at its end searches wait.
BATCH_CHARACTERS: Final = 16 << 20
BATCH_MESSAGES: Final = 500
BATCH_SECONDS: Final = 20.0
# Of an attachment, in its encoding, to be had whole.
ATTACHMENT_OCTETS: Final = 96 << 20


class Filler(Protocol):
    """Whoever fills an index, as the messages pass by."""

    def at(self, uid: int) -> bool:
        """Note that work on a message begins, 0: ends; False for one that is to be left out."""

    def takes(self, kind: bytes) -> bool:
        """Whether texts are extracted from attachments of this type, in small letters."""

    def extract(self, kind: bytes, octets: bytes) -> str:
        """Extract the text of one; "" where there is none."""


class _Alone:
    """Leaves nothing out and extracts nothing."""

    def at(self, uid: int) -> bool:
        """As ``Filler.at``."""
        return True

    def takes(self, kind: bytes) -> bool:
        """As ``Filler.takes``."""
        return False

    def extract(self, kind: bytes, octets: bytes) -> str:
        """As ``Filler.extract``."""
        return ""


def fill(mailbox: Mailbox, filling: Filling, filler: Filler | None = None) -> int:
    """Bring the index up to date with a folder, and return how many messages it has taken in.

    What can't be read now, or is being written, is left for the next time, and read by searches until then. Raises
    StoreError, MailboxMissing.
    """
    filler = filler or _Alone()
    try:
        rows = mailbox.sync(keep_new=True, patience=0)
    except LockTimeout:
        rows = mailbox.snapshot
    folder = filling.folder(key_of(mailbox, rows))
    uids, fingerprints = filling.known(folder)
    known = dict(zip(uids, fingerprints, strict=True))
    filling.forget(folder, known.keys() - set(rows.uids))
    if filling.mostly_dead:
        filling.begin_anew()
        folder, known = filling.folder(key_of(mailbox, rows)), {}
    taken = in_batch = characters = 0
    begun = time.monotonic()
    for uid, fingerprint in zip(rows.uids, rows.fingerprints, strict=True):
        if not fingerprint or known.get(uid) == fingerprint:
            continue
        size = _put(mailbox, rows, uid, fingerprint, folder, filling, filler)
        if size is None:
            continue
        taken, in_batch, characters = taken + 1, in_batch + 1, characters + size
        if characters >= BATCH_CHARACTERS or in_batch >= BATCH_MESSAGES or time.monotonic() - begun >= BATCH_SECONDS:
            filling.commit()
            in_batch, characters, begun = 0, 0, time.monotonic()
    filling.commit()
    return taken


def key_of(mailbox: Mailbox, rows: Snapshot) -> bytes:
    """Return what an index knows a folder by: it goes where the folder goes, and no other has it."""
    return mailbox_id(mailbox, rows)


def _put(
    mailbox: Mailbox, rows: Snapshot, uid: int, fingerprint: int, folder: int, filling: Filling, filler: Filler
) -> int | None:
    """Take one message in; None for one that is left out."""
    if not filler.at(uid):
        return None
    progress = Progress(time.monotonic)  # nobody waits for it, and what is held is this process's own
    try:
        file = mailbox.load(uid, under=rows.uidvalidity, limit=LARGE_OCTETS)
        content = Content(uid, file, mailbox, rows.uidvalidity, progress)
        with content.opened():
            if file.changed or not content.settled:
                return None
            window, tree = content.window(), content.tree()
            found = [*text.folded_texts(window, text.pieces(tree, window), GRAM - 1)]
            extract = _extracted(attachments(tree), content, filler)
    except (MessageGone, MessageUnreadable):
        return None
    except ImapdError:
        raise
    except Exception:
        # One message costs no other its place.
        log.exception("message not indexed", path=mailbox.path, uid=uid)
        return None
    finally:
        progress.end()
        filler.at(0)
    return filling.put(folder, uid, fingerprint, found, extract)


def _extracted(found: Iterable[Attachment], content: Content, filler: Filler) -> str:
    """Return what is extracted from the attachments of a message, folded."""

    def each() -> Iterator[str]:
        for attachment in found:
            if filler.takes(attachment.kind) and attachment.end - attachment.start <= ATTACHMENT_OCTETS:
                octets = content.window()[attachment.start : attachment.end]
                extracted = filler.extract(attachment.kind, transfer.decode_lenient(octets, attachment.encoding))
                if extracted:
                    yield text.fold(extracted)

    return "\0".join(each())
