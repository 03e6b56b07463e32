"""APPEND and REPLACE, whole or up to a literal (RFC 3501 6.3.11, 3502, 4466, 4469, 6855, 8508).

They are read twice: literal by literal while they come in, because the session must know what a
literal is before it takes it, and once more as a whole.  The grammar is one generator for both; it
yields at every literal and is sent the octets, or the sink that took them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from maildir_imapd.wire import abnf
from maildir_imapd.wire.buffer import LiteralWanted
from maildir_imapd.wire.commands import Append, AppendMessage, CatText, CatUrl, Replace
from maildir_imapd.wire.cursor import Cursor
from maildir_imapd.wire.numbers import STAR


class Role(enum.Enum):
    """The role of a literal in APPEND or REPLACE."""

    MAILBOX = enum.auto()
    MESSAGE = enum.auto()
    TEXT = enum.auto()
    """A part of a CATENATE."""
    URL = enum.auto()


@dataclass(frozen=True, slots=True)
class AppendStart:
    """An APPEND or REPLACE (*number* is not None) as far as the literal that comes next.

    *mailbox* is b"" while the literal is its name.  *index* counts the messages before the one that
    this literal belongs to, of which *message* has all but the data (None for the mailbox's name).
    """

    tag: bytes
    role: Role
    mailbox: bytes = b""
    index: int = 0
    message: AppendMessage | None = None
    number: int | None = None
    uid: bool = False
    literal8: bool = False


_Grammar = Generator[AppendStart, Any, Append | Replace]


class AppendReader:
    """Follows one command through its ``LiteralWanted`` events; each piece is read once."""

    def __init__(self) -> None:
        self._at = Cursor(b"")
        self._grammar: _Grammar | None = None

    def read(self, wanted: LiteralWanted) -> AppendStart:
        """Tell what the literal is; ``ProtocolError`` if the command is wrong so far."""
        self._at.go_on(wanted.so_far, wanted.streamed)
        if self._grammar is None:
            self._grammar = _from_tag(self._at)
            start = next(self._grammar)
        else:
            start = self._grammar.send(self._at.literal(literal8=True))
        if not _fits(start, wanted.literal8) or self._at.pos != len(self._at.text):
            self._at.fail("another kind of literal")
        return replace(start, literal8=True) if wanted.literal8 else start


def parse_append(at: Cursor, tag: bytes, _uid: bool) -> Append | Replace:
    """append = "APPEND" SP mailbox 1*append-message"""
    return _whole(at, _append(at, tag, whole=True))


def parse_replace(at: Cursor, tag: bytes, uid: bool) -> Append | Replace:
    """replace = "REPLACE" SP seq-number SP mailbox append-message"""
    return _whole(at, _replace(at, tag, uid, whole=True))


def _whole(at: Cursor, grammar: _Grammar) -> Append | Replace:
    try:
        start = next(grammar)
        while True:
            if not _fits(start, at.at(b"~")):
                at.fail("another kind of literal")
            start = grammar.send(at.literal(literal8=True))
    except StopIteration as done:
        command: Append | Replace = done.value
        return command


def _fits(start: AppendStart, literal8: bool) -> bool:
    """A literal8 is for messages only, and the only one that UTF8 takes (RFC 6855 section 4)."""
    if start.message is not None and start.message.utf8:
        return literal8
    return not literal8 or start.role in (Role.MESSAGE, Role.TEXT)


def _from_tag(at: Cursor) -> _Grammar:
    head = abnf.HEAD(at.text)
    if head is None:
        at.fail("a command")
    at.pos = head.end()
    if head[3].upper() == b"APPEND" and not head[2]:
        return (yield from _append(at, head[1], whole=False))
    return (yield from _replace(at, head[1], bool(head[2]), whole=False))


def _append(at: Cursor, tag: bytes, *, whole: bool) -> _Grammar:
    at.space()
    mailbox = (yield AppendStart(tag, Role.MAILBOX)) if _literal_here(at) else at.mailbox()
    mailbox = _mailbox(at, mailbox)
    messages: list[AppendMessage] = []
    while True:
        messages.append((yield from _message(at, tag, mailbox, len(messages))))
        # What is there of a command that has not come in as a whole always goes on.
        if whole and at.at_end():
            return Append(tag, mailbox, tuple(messages))


def _replace(at: Cursor, tag: bytes, uid: bool, *, whole: bool) -> _Grammar:
    at.space()
    number = STAR if at.take(b"*") else at.nz_number()
    at.space()
    mailbox = (yield AppendStart(tag, Role.MAILBOX, number=number, uid=uid)) if _literal_here(at) else at.mailbox()
    mailbox = _mailbox(at, mailbox)
    message = yield from _message(at, tag, mailbox, 0, number, uid)
    if not whole:
        at.fail("the end of the command")
    at.end()
    return Replace(tag, number, mailbox, message, uid)


def _literal_here(at: Cursor) -> bool:
    return at.pos == len(at.text) or at.at_literal()


def _mailbox(at: Cursor, name: Any) -> bytes:
    if not isinstance(name, bytes):
        at.fail("a mailbox name")
    return b"INBOX" if name.upper() == b"INBOX" else name


def _message(
    at: Cursor, tag: bytes, mailbox: bytes, index: int, number: int | None = None, uid: bool = False
) -> Generator[AppendStart, Any, AppendMessage]:
    """append-message = [SP flag-list] [SP date-time] SP append-data"""
    at.space()
    flags: tuple[bytes, ...] = ()
    date = None
    if at.at(b"("):
        flags = at.flag_list()
        at.space()
    if at.at(b'"'):
        date = at.date_time()
        at.space()

    def start(role: Role, *, utf8: bool = False) -> AppendStart:
        return AppendStart(tag, role, mailbox, index, AppendMessage(None, flags, date, utf8=utf8), number, uid)

    if _literal_here(at):
        literal8 = at.at(b"~")
        data = yield start(Role.MESSAGE)
        return AppendMessage(data, flags, date, literal8)
    word = at.pos
    match at.label("a literal"):
        case b"UTF8":
            at.space()
            at.open()
            data = yield start(Role.MESSAGE, utf8=True)
            at.close()
            return AppendMessage(data, flags, date, literal8=True, utf8=True)
        case b"CATENATE":
            at.space()
            at.open()
            parts = [(yield from _cat_part(at, start))]
            while at.more():
                parts.append((yield from _cat_part(at, start)))
            return AppendMessage(None, flags, date, catenate=tuple(parts))
    return at.fail("a literal", word)


def _cat_part(at: Cursor, start: Callable[..., AppendStart]) -> Generator[AppendStart, Any, CatUrl | CatText]:
    """cat-part = "TEXT" SP literal / "URL" SP astring / "UTF8" SP "(" literal8 ")" """
    word = at.pos
    match at.label("a part of CATENATE"):
        case b"TEXT":
            at.space()
            literal8 = at.at(b"~")
            return CatText((yield start(Role.TEXT)), literal8)
        case b"UTF8":
            at.space()
            at.open()
            data = yield start(Role.TEXT, utf8=True)
            at.close()
            return CatText(data, literal8=True)
        case b"URL":
            at.space()
            url = (yield start(Role.URL)) if _literal_here(at) else at.astring()
            if not isinstance(url, bytes):
                at.fail("a URL")
            return CatUrl(url)
    return at.fail("a part of CATENATE", word)
