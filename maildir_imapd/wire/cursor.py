"""A position in a command that expects things: one method per element of the grammar.

A method either takes its element and moves on, or raises ``BadSyntax`` with what it expected and
where; the position then is where the element should have begun.  Methods that only look return
without moving.

Where the grammar has a space there may be several, and there may be some inside parentheses at both ends and before
the end of the command: programs send them, and no octet gets another meaning by that.
"""

from __future__ import annotations

import binascii
import datetime as dt
from collections.abc import Callable
from typing import Any, NoReturn

from maildir_imapd.errors import BadCharset, BadCharsetName, BadSyntax, TooLong
from maildir_imapd.wire import abnf, dates
from maildir_imapd.wire.buffer import Streamed
from maildir_imapd.wire.numbers import LARGEST, NumberSet, parse_number_set

DecodeText = Callable[[bytes, bytes], str]
"""(charset, octets) -> text; LookupError for a charset it does not know, UnicodeError for bad octets."""

Stored = Callable[[bytes], bytes | None]
"""name -> the text of a stored filter (RFC 5466), None if there is none."""

LARGEST64 = (1 << 63) - 1

# RFC 3501 section 9: flag; without \Recent, which no client may set.
SYSTEM_FLAGS = {
    flag.upper(): flag for flag in (b"\\Answered", b"\\Flagged", b"\\Deleted", b"\\Seen", b"\\Draft", b"\\Recent")
}


# Octets of a string to search for, and of a header field's name: no line of a header is longer (RFC 5322 2.1.1).
TEXT_LIMIT_OCTETS = 1024


def decode_ascii_or_utf8(charset: bytes, data: bytes) -> str:
    """Decode the two charsets that no server can be without (RFC 3501 6.4.4, RFC 9051 6.4.4)."""
    match charset.upper():
        case b"UTF-8" | b"UTF8":
            return data.decode("utf-8")
        case b"US-ASCII" | b"ASCII":
            return data.decode("ascii")
    raise LookupError


def no_filters(name: bytes) -> bytes | None:
    """Know no filter: for a server that stores none."""
    return None


class Cursor:
    """Reads *text* from *pos* on; *streamed* are the sinks of literals that are not in it.

    *stored* gives the text of a filter (RFC 5466); None: there is no such filter.
    """

    __slots__ = ("_decode_text", "_streamed", "pos", "stored", "text")

    def __init__(
        self,
        text: bytes,
        pos: int = 0,
        streamed: Streamed = (),
        decode_text: DecodeText = decode_ascii_or_utf8,
        stored: Stored = no_filters,
    ) -> None:
        self.text = text
        self.pos = pos
        self._streamed = dict(streamed) if streamed else None
        self._decode_text = decode_text
        self.stored = stored

    def fail(self, expected: str, pos: int | None = None) -> NoReturn:
        """Raise ``BadSyntax`` for here, or for *pos*."""
        raise BadSyntax(expected, self.pos if pos is None else pos)

    def go_on(self, text: bytes, streamed: Streamed) -> None:
        """Begin again with another piece of the same command."""
        self.text = text
        self.pos = 0
        self._streamed = dict(streamed) if streamed else None

    # --- single characters ------------------------------------------------------------------------

    def at(self, octets: bytes) -> bool:
        """Tell whether *octets* come next."""
        return self.text.startswith(octets, self.pos)

    def take(self, octets: bytes) -> bool:
        """Move over *octets* if they come next, and tell whether they did."""
        if self.text.startswith(octets, self.pos):
            self.pos += len(octets)
            return True
        return False

    def space(self) -> None:
        """SP, or several."""
        text, pos = self.text, self.pos
        if not text.startswith(b" ", pos):
            self.fail("a space")
        pos += 1
        self.pos = abnf.BLANKS(text, pos).end() if text.startswith(b" ", pos) else pos

    def open(self) -> None:
        """ "(" """
        text, pos = self.text, self.pos
        if not text.startswith(b"(", pos):
            self.fail('"("')
        pos += 1
        self.pos = abnf.BLANKS(text, pos).end() if text.startswith(b" ", pos) else pos

    def begins(self) -> bool:
        """Move over "(" if it comes next, and tell whether it did."""
        if not self.text.startswith(b"(", self.pos):
            return False
        self.open()
        return True

    def close(self) -> None:
        """ ")" """
        text, pos = self.text, self.pos
        if text.startswith(b" ", pos):
            pos = abnf.BLANKS(text, pos).end()
        if not text.startswith(b")", pos):
            self.fail('")"')
        self.pos = pos + 1

    def more(self) -> bool:
        """Inside a list: take the SP before the next element, or the ")" after the last one."""
        text, pos = self.text, self.pos
        if text.startswith(b" ", pos):
            pos += 1
            if text.startswith(b" ", pos):
                pos = abnf.BLANKS(text, pos).end()
            if not text.startswith(b")", pos):
                self.pos = pos
                return True
        elif not text.startswith(b")", pos):
            self.fail('a space or ")"')
        self.pos = pos + 1
        return False

    def end(self) -> None:
        """Be at the end of the command."""
        if self.pos != len(self.text) and not self.at_end():
            self.fail("the end of the command")

    def at_end(self) -> bool:
        """Tell whether ``end`` would be content."""
        text, pos = self.text, self.pos
        size = len(text)
        return pos == size or (text[pos] == 0x20 and abnf.BLANKS(text, pos).end() == size)

    def at_list(self) -> bool:
        """Tell whether SP and "(" come next."""
        pos = self.pos
        return self.text.startswith(b" ", pos) and self.text.startswith(b"(", abnf.BLANKS(self.text, pos).end())

    # --- words and numbers ------------------------------------------------------------------------

    def atom(self) -> bytes:
        """atom = 1*ATOM-CHAR"""
        match = abnf.ATOM(self.text, self.pos)
        if match is None:
            self.fail("an atom")
        self.pos = match.end()
        return match[0]

    def label(self, what: str = "a word") -> bytes:
        """A name of the protocol's own, in capitals (tagged-ext-label of RFC 4466); *what* for the error."""
        match = abnf.LABEL(self.text, self.pos)
        if match is None:
            self.fail(what)
        self.pos = match.end()
        return match[0].upper()

    def one_of(self, names: frozenset[bytes], what: str) -> bytes:
        """A label that is among *names*."""
        match = abnf.LABEL(self.text, self.pos)
        if match is None or (name := match[0].upper()) not in names:
            self.fail(what)
        self.pos = match.end()
        return name

    def digits(self, what: str = "a number", *, least: int = 0, most: int = LARGEST) -> int:
        """1*DIGIT with a value from *least* to *most*; *least* of 1 is an nz-number."""
        match = abnf.DIGITS(self.text, self.pos)
        if match is None:
            self.fail(what)
        digits = match[0]
        if len(digits) > 20 or (least and digits.startswith(b"0")) or not least <= (number := int(digits)) <= most:
            self.fail(what)
        self.pos = match.end()
        return number

    def number(self) -> int:
        """number = 1*DIGIT, 32 bits"""
        return self.digits()

    def nz_number(self) -> int:
        """nz-number = digit-nz *DIGIT, 32 bits"""
        return self.digits("a number from 1", least=1)

    def number64(self) -> int:
        """number64 = 1*DIGIT, 63 bits"""
        return self.digits(most=LARGEST64)

    def modseq(self) -> int:
        """mod-sequence-valzer = "0" / mod-sequence-value (RFC 7162); 0 also where the RFC has only the latter."""
        return self.digits("a mod-sequence", most=LARGEST64)

    def number_set(self) -> NumberSet:
        """sequence-set"""
        match = abnf.SET(self.text, self.pos)
        if match is None:
            self.fail("a sequence set")
        try:
            numbers = parse_number_set(match[0])
        except BadSyntax as error:
            self.fail(error.expected, self.pos + error.position)
        self.pos = match.end()
        return numbers

    def fixed_set(self, what: str) -> NumberSet:
        """A sequence-set without "*" and "$"."""
        start = self.pos
        numbers = self.number_set()
        if numbers.saved or numbers.contains_star():
            self.fail(what, start)
        return numbers

    # --- strings ----------------------------------------------------------------------------------

    def astring(self) -> bytes:
        """astring = 1*ASTRING-CHAR / string"""
        match = abnf.ASTRING_ATOM(self.text, self.pos)
        if match is None:
            return self.string("an atom or a string")
        self.pos = match.end()
        return match[0]

    def field_name(self) -> bytes:
        """header-fld-name = astring"""
        name = self.astring()
        if len(name) > TEXT_LIMIT_OCTETS:
            raise TooLong
        return name

    def string(self, what: str = "a string") -> bytes:
        """string = quoted / literal"""
        match = abnf.QUOTED(self.text, self.pos)
        if match is not None:
            self.pos = match.end()
            value = match[1]
            return abnf.UNESCAPE(rb"\1", value) if b"\\" in value else value
        value = self.literal(what)
        if not isinstance(value, bytes):
            self.fail(what)
        return value

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        return None if self.nil() else self.string("a string or NIL")

    def nil(self) -> bool:
        """Move over NIL if it comes next."""
        match = abnf.ASTRING_ATOM(self.text, self.pos)
        if match is None or match[0].upper() != b"NIL":
            return False
        self.pos = match.end()
        return True

    def at_literal(self) -> bool:
        """Tell whether a literal, or a literal8, comes next."""
        return self.text.startswith((b"{", b"~{"), self.pos)

    def literal(self, what: str = "a literal", *, literal8: bool = False) -> Any:
        """literal; also literal8 if that is allowed.  Returns the octets, or the sink they went to."""
        match = abnf.LITERAL(self.text, self.pos)
        if match is None or (match[1] and not literal8):
            self.fail(what)
        begin = match.end()
        if self._streamed is not None and begin in self._streamed:
            self.pos = begin
            return self._streamed[begin]
        end = begin + int(match[2])
        if end > len(self.text):
            self.fail(what)
        value = self.text[begin:end]
        # RFC 3501 section 9: CHAR8 = %x01-ff
        if not match[1] and b"\0" in value:
            self.fail("a literal without NUL", begin)
        self.pos = end
        return value

    def mailbox(self) -> bytes:
        """mailbox = "INBOX" / astring; the octets as sent, but INBOX always in capitals"""
        match = abnf.ASTRING_ATOM(self.text, self.pos)
        if match is None:
            name = self.string("a mailbox name")
        else:
            self.pos = match.end()
            name = match[0]
        return b"INBOX" if len(name) == 5 and name.upper() == b"INBOX" else name

    def list_mailbox(self) -> bytes:
        """list-mailbox = 1*list-char / string"""
        match = abnf.LIST_ATOM(self.text, self.pos)
        if match is None:
            return self.string("a mailbox pattern")
        self.pos = match.end()
        return match[0]

    def base64(self) -> bytes:
        """base64, decoded; "=" stands for nothing at all (RFC 4959)"""
        word = self.text[self.pos :].rstrip(b" ")
        if word == b"=":
            self.pos += 1
            return b""
        if not word or not abnf.BASE64(word):
            self.fail("base64")
        self.pos += len(word)
        return binascii.a2b_base64(word)

    def decode(self, charset: bytes | None, data: bytes) -> str:
        """Turn a string to search for into text.

        Without a charset it is UTF-8, for that is what clients send, or ISO-8859-1 where it cannot be UTF-8.
        """
        if len(data) > TEXT_LIMIT_OCTETS:
            raise TooLong
        try:
            return self._decode_text(charset or b"UTF-8", data)
        except LookupError:
            raise BadCharsetName from None
        except UnicodeError:
            if charset is None:
                return data.decode("iso-8859-1")
            raise BadCharset from None

    # --- flags and dates --------------------------------------------------------------------------

    def flag(self) -> bytes:
        """flag; the system flags in their usual spelling, all others as sent"""
        match = abnf.FLAG(self.text, self.pos)
        if match is None:
            self.fail("a flag")
        flag = match[0]
        if flag.startswith(b"\\"):
            flag = SYSTEM_FLAGS.get(flag.upper(), flag)
            if flag == b"\\Recent":
                self.fail("a flag that can be set")
        self.pos = match.end()
        return flag

    def flag_list(self) -> tuple[bytes, ...]:
        """flag-list = "(" [flag *(SP flag)] ")" """
        self.open()
        if self.take(b")"):
            return ()
        flags = [self.flag()]
        while self.more():
            flags.append(self.flag())
        return tuple(flags)

    def date(self) -> dt.date:
        """date = date-text / DQUOTE date-text DQUOTE"""
        match = abnf.DATE(self.text, self.pos)
        if match is None:
            self.fail("a date")
        try:
            date = dates.parse_date(match[0])
        except BadSyntax:
            self.fail("a date")
        self.pos = match.end()
        return date

    def date_time(self) -> dt.datetime:
        """date-time"""
        match = abnf.QUOTED(self.text, self.pos)
        if match is None:
            self.fail("a date-time")
        try:
            date = dates.parse_date_time(match[1])
        except BadSyntax:
            self.fail("a date-time")
        self.pos = match.end()
        return date
