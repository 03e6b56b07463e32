"""Messages of one mailbox that search-criteria choose, for who works without a client: a command."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from maildir_imapd.errors import BadArgument, BadSyntax
from maildir_imapd.imap.columns.cached import made_of
from maildir_imapd.imap.progress import Progress
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.view import View, column
from maildir_imapd.message import header, mime, section, text
from maildir_imapd.message.lines import to_crlf
from maildir_imapd.wire import abnf, search_keys
from maildir_imapd.wire.cursor import Cursor
from maildir_imapd.wire.parse_fetch import parse_section
from maildir_imapd.wire.parse_search import parse_criteria

if TYPE_CHECKING:
    from maildir_imapd.imap.columns.message import Content
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.wire.commands import Section

# Of a subject or a sender so many characters are shown.
_SHOWN_CHARACTERS: Final = 500
_SYSTEM: Final = ("seen", "answered", "flagged", "deleted", "draft")

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]").search
# A quoted string, or a word with octets that no atom has.
_UNQUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^ ()"]*[\x80-\xff][^ ()"]*').sub
# Search-criteria that have been read.
Key: TypeAlias = search_keys.SearchKey


def criteria(written: str) -> Key:
    """Read search-criteria as a person writes them, where a word may have letters that IMAP has in quotes only.

    Raises ProtocolError, UndefinedFilter.
    """
    octets = written.encode("utf-8", "surrogateescape")
    control = _CONTROL(octets)
    if control is not None:
        raise BadSyntax("the end of the command", control.start())
    return parse_criteria(_UNQUOTED(_quoted, octets))


def _quoted(word: re.Match[bytes]) -> bytes:
    return word[0] if word[0].startswith(b'"') else b'"%b"' % word[0].replace(b"\\", b"\\\\")


def sections(written: str) -> Section:
    """Read what stands between the brackets of BODY[...]; raises ProtocolError."""
    at = Cursor(b"[%b]" % written.encode("utf-8", "surrogateescape"))
    found, _ = parse_section(at)
    if not at.at_end():
        at.fail("the end of the command")
    return found


def flag_name(written: str) -> bytes:
    """Read the name of a flag, of which those of the system need no backslash; raises BadArgument."""
    name = written.removeprefix("\\").lower()
    if name in _SYSTEM:
        return b"\\" + name.capitalize().encode("ascii")
    word = written.encode("utf-8", "surrogateescape")
    match = abnf.ATOM(word)
    if match is None or match.end() != len(word):
        raise BadArgument("a flag that this server knows")
    return word


@dataclass(frozen=True, slots=True)
class Summary:
    """A message in one line; *received* in seconds since the epoch, *sent* likewise where it says, *size* with CRLF."""

    uid: int
    received: int
    size: int
    flags: tuple[str, ...]
    sender: str = ""
    subject: str = ""
    message_id: str = ""
    readable: bool = True


class Chosen:
    """The messages that *key* finds in a mailbox at one moment; ``uids`` rise, and are of ``uidvalidity``.

    *among*: UIDs, rising, if no others are to be looked at.
    """

    def __init__(self, view: View, key: Key, among: Sequence[int] | None = None) -> None:
        self._view = view
        positions = None if among is None else [at for at in view.snapshot.positions(among) if at >= 0]
        self._positions = Finder(view, time.time).run(key, positions)
        self.uids: list[int] = list(view.uids_at(self._positions))
        self.uidvalidity = view.snapshot.uidvalidity

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox."""
        return self._view.mailbox

    def summaries(self) -> Iterator[Summary]:
        """Yield a line for each; one that cannot be read is told without what stands in it."""
        view, snapshot = self._view, self._view.snapshot
        received = column(snapshot.received, self._positions)
        sizes = view.sizes(self._positions)
        flags = column(snapshot.flags, self._positions)
        for uid, when, size, bits in zip(self.uids, received, sizes, flags, strict=True):
            names = tuple([name.decode("utf-8", "replace") for name in snapshot.flag_names(bits, uid)])
            read = made_of(view, uid, _of_header, whole=False)
            if read is None:
                yield Summary(uid, when, size, names, readable=False)
            else:
                yield Summary(uid, when, size, names, *read[1])

    def read(self, uid: int, wanted: Section | None) -> bytes | None:
        """Return a message as it lies on the disk, or a section of it with CRLF; None where there is no such section.

        Raises MessageGone, MessageUnreadable.
        """
        data = self.mailbox.read(uid, under=self.uidvalidity)
        if wanted is None:
            return data
        data = to_crlf(data)
        return section.extract(data, wanted.part, wanted.kind, wanted.fields, partial(mime.parse, data))


@contextmanager
def choose(mailbox: Mailbox, name: str, key: Key, among: Sequence[int] | None = None) -> Iterator[Chosen]:
    """Search a mailbox, as of ``Chosen``; raises StoreError, MailboxMissing, BadArgument."""
    view = View(mailbox, name, read_only=True, wake=lambda: None, progress=Progress(time.monotonic), rev2=True)
    try:
        yield Chosen(view, key, among)
    finally:
        view.close()


def _of_header(content: Content) -> tuple[str, str, str]:
    """From, Subject and Message-ID, decoded, the first field of each."""
    head = content.header
    sender, subject = (_shown(head, name) for name in (b"FROM", b"SUBJECT"))
    identifier = (header.first(head, b"MESSAGE-ID") or b"").strip().decode("utf-8", "replace")
    return sender, subject, identifier[:_SHOWN_CHARACTERS]


def _shown(head: bytes, name: bytes) -> str:
    values = text.field_text(head, name)
    return " ".join(values[0].split())[:_SHOWN_CHARACTERS] if values else ""
