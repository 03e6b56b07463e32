"""Address lists as IMAP shows them (RFC 5322 3.4 and 4.4; RFC 3501 7.4.2, 9: ``address``).

The parser is total: whatever stands in a From line gives a list, in one pass over it.  Most addresses
are ``Name <local@host>`` without a quirk, and one expression takes those; the first that is not sends the
rest through the tokens below.

What stands where it may not (RFC 5322 3.2.3: specials) ends the word before it, so that no address is shown
that is put together of words from its two sides.

Where an address lacks its local part or its host, Dovecot's words stand in (``MISSING_MAILBOX``,
``MISSING_DOMAIN``): NIL there would mean a group's begin or end, and an empty string is taken for NIL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MISSING_MAILBOX = b"MISSING_MAILBOX"
MISSING_DOMAIN = b"MISSING_DOMAIN"

# Robustness: a list is cut beyond these; it costs memory and time many times its size.
VALUE_LIMIT_OCTETS = 512 * 1024
ADDRESSES_LIMIT = 10_000


class Address(NamedTuple):
    """One address; host None is a group's begin (mailbox: its name) or its end (mailbox None)."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = Address(None, None, None, None)

# RFC 5322 3.2.3: atext, with "." (obs-phrase, dot-atom) and 8-bit octets.
_ATEXT = rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.\x80-\xff]"
# The common address, up to its comma.  Possessive throughout: it matches at once or not at all.
_COMMON = re.compile(
    rb'[ \t]*+(?:(?:"([^"\\\r\n]*+)"[ \t]*+|([A-Za-z0-9!#$%&\'*+\-/=?^_`{|}~. \t\x80-\xff]*+))'
    rb"<(" + _ATEXT + rb"++)@(" + _ATEXT + rb"++)>|(?!=\?)(" + _ATEXT + rb"++)@(" + _ATEXT + rb"++))[ \t]*+(?:,|\Z)"
).match

_TOKEN = re.compile(
    rb'(?P<space>[ \t\r\n]+)|(?P<quoted>"(?:[^"\\]|\\.)*+")|(?P<comment>\()|(?P<special>[,;:<>@])'
    # RFC 2047 2, with specials, which 5 (3) forbids in a phrase and senders leave there.
    rb"|(?P<encoded>=\?[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]++\?[BQbq]\?[^? \t\r\n]*+\?=)"
    rb'|(?P<word>\[[^\[\]\\,;<>()"@\s]*+\]|[^ \t\r\n"(),;:<>@\[]+)|(?P<other>.)',
    re.DOTALL,
)
_PAREN = re.compile(rb"[()]|\\.", re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)


def parse_addresses(value: bytes) -> list[Address]:
    """Parse an unfolded address list; empty elements are left out (RFC 5322 4.4: obs-addr-list)."""
    value = value[:VALUE_LIMIT_OCTETS]
    found: list[Address] = []
    at = 0
    size = len(value)
    while at < size and len(found) < ADDRESSES_LIMIT:
        match = _COMMON(value, at)
        if match is None:
            _Parser(found).run(value, at)
            break
        quoted, phrase, local, host, bare_local, bare_host = match.groups()
        if bare_local is not None:
            found.append(Address(None, None, bare_local, bare_host))
        else:
            name = quoted if phrase is None else b" ".join(phrase.split())
            found.append(Address(name or None, None, local, host))
        at = match.end()
    return found


def _tokens(value: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    size = len(value)
    while at < size:
        match = _TOKEN.match(value, at)
        assert match is not None  # the last alternative takes any octet
        kind, text = match.lastgroup or "", match[0]
        at = match.end()
        if kind == "quoted":
            text = _PAIR.sub(rb"\1", text[1:-1])
        elif kind == "comment":
            text, at = _comment(value, at)
        elif kind == "other":
            if text == b'"':
                # A quote that nothing closes is a blank, and so is every later one, so that the search
                # for its end happens once.
                value, at = value[at:].replace(b'"', b" "), 0
                size = len(value)
                kind = "space"
            else:
                kind = "word"
        yield kind, text


def _comment(value: bytes, at: int) -> tuple[bytes, int]:
    """Take a comment whose parenthesis is behind us; an open one reaches to the end."""
    depth = 1
    for match in _PAREN.finditer(value, at):
        mark = match[0]
        if mark == b"(":
            depth += 1
        elif mark == b")":
            depth -= 1
            if not depth:
                return _PAIR.sub(rb"\1", value[at : match.start()]), match.end()
    return _PAIR.sub(rb"\1", value[at:]), len(value)


class _Word:
    """A word of a phrase or of a local part."""

    __slots__ = ("glued", "text", "whole")

    def __init__(self, text: bytes, *, whole: bool, glued: bool) -> None:
        self.text = bytearray(text)
        self.whole = whole  # quoted or encoded: its dots are text
        self.glued = glued  # to the word before it, of which one is whole


def _phrase(words: list[_Word]) -> bytes:
    """Put the words of a name together."""
    out = bytearray()
    for word in words:
        if out and not word.glued:
            out += b" "
        out += word.text
    return bytes(out)


class _Parser:
    """The address that is being read, as far as it is known."""

    def __init__(self, found: list[Address]) -> None:
        self.found = found
        self.in_group = False
        self._reset()

    def _reset(self) -> None:
        self.words: list[_Word] = []  # before "@", "<" or the end: phrase or local part
        self.host: list[bytes] | None = None  # behind "@"
        self.names: list[bytes] = []  # what stood before each "<"; joined once, for there may be many
        self.comment: bytes | None = None
        self.route: list[bytes] = []
        self.angle = False  # between "<" and ">"
        self.angled = False  # "<" was there
        self.done = False  # what follows up to the comma is of no use

    def run(self, value: bytes, at: int) -> None:
        spaced = False
        for kind, text in _tokens(value, at):
            if kind == "space":
                spaced = True
                continue
            if kind == "comment":
                self.comment = text
                spaced = True
                continue
            if kind == "special":
                self._special(text)
                if len(self.found) >= ADDRESSES_LIMIT:
                    break
                spaced = True
                continue
            if self.done:
                pass
            elif self.host is None:
                self._word(text, kind != "word", spaced)
            elif kind == "word" and (
                not self.host or not spaced or self.host[-1].endswith(b".") or text.startswith(b".")
            ):
                self.host.append(text)
            else:
                self.done = True
            spaced = False
        self._finish()
        if self.in_group:
            self.found.append(GROUP_END)

    def _word(self, text: bytes, whole: bool, spaced: bool) -> None:
        glued = not spaced and bool(self.words)
        if glued and not whole and not self.words[-1].whole:
            self.words[-1].text += text
        else:
            self.words.append(_Word(text, whole=whole, glued=glued))

    def _special(self, mark: bytes) -> None:
        if mark == b"," and self.angle and self.host is not None and not self.words:
            self._route(mark)
        elif mark == b",":
            self._finish()
        elif mark == b";":
            self._finish()
            if self.in_group:
                self.in_group = False
                self.found.append(GROUP_END)
        elif mark == b":":
            self._colon()
        elif mark == b"<":
            if not self.angled or (self.angle and self.host is None):
                self._open()
            else:
                self.done = True
        elif mark == b">":
            if self.angle or self.host is not None:
                self.done = True
            self.angle = False
        elif not self.done:  # "@"
            if self.host is None or (self.route and not self.words):
                self.host = []
            else:
                self.done = True

    def _open(self) -> None:
        """Take what stood before "<" as the name: ``a@b <c@d>`` is no address list but a name with an "@".

        Of several "<" before an address the last counts.
        """
        name = _phrase(self.words)
        if self.host is not None:
            name += b"@" + b"".join(self.host)
        if name:
            self.names.append(name)
        self.words = []
        self.host = None
        self.angle = self.angled = True
        self.done = False

    def _colon(self) -> None:
        if self.angle and self.host is None:
            self.words = []  # <mailto:a@b>
        elif self.angle and not self.words:
            self._route(b"")
            self.host = None
        elif self.host is not None:
            self.done = True
        elif not self.in_group and not self.angled:
            self.in_group = True
            self.found.append(Address(None, None, _phrase(self.words), None))
            self._reset()

    def _route(self, mark: bytes) -> None:
        """RFC 5322 4.4: obs-route = obs-domain-list ":", before the address in the angles."""
        self.route.append(b"@%b%b" % (b"".join(self.host or ()), mark))
        self.host = []
        self.done = False

    def _finish(self) -> None:
        words, host = self.words, self.host
        if words or host is not None or self.angled:
            name = b" ".join(self.names) or None
            # A lone word may be a mailbox of here; one that is quoted or encoded is what people read.
            if host is not None or self.angled or (len(words) == 1 and not words[0].whole):
                local, rest = _local_part(words)
                if rest and name is None and not self.angled:
                    name = _phrase(rest)
                elif rest:
                    local = b" ".join([*[word.text for word in rest], local])
            else:
                local, name = b"", _phrase(words)
            if name is None and self.comment:
                name = self.comment
            route = b"".join(self.route) if self.route else None
            self.found.append(Address(name, route, local or MISSING_MAILBOX, b"".join(host or ()) or MISSING_DOMAIN))
        self._reset()


def _local_part(words: list[_Word]) -> tuple[bytes, list[_Word]]:
    """Take the local part off the end of *words*.

    RFC 5322 4.4 allows space around its dots.  Where a name stands before it that cannot be told from a name that
    ends with a dot: ``A. B. c@d`` is one local part, of ``A B. c@d`` it is ``c``.
    """
    at = len(words) - 1
    if at < 0:
        return b"", []
    tight = at  # the first word that is joined without space
    while at and _joins(words[at - 1], words[at]):
        if tight == at and words[at].glued:
            tight -= 1
        at -= 1
    if at:
        at = tight
    return b"".join([word.text for word in words[at:]]), words[:at]


def _joins(one: _Word, other: _Word) -> bool:
    """Tell whether a dot stands between two words."""
    return (not one.whole and one.text[-1:] == b".") or (not other.whole and other.text[:1] == b".")
