"""Mailbox names on the wire, and the patterns of LIST.

RFC 3501 section 5.1.3 (modified UTF-7), RFC 6855 section 3 (UTF-8), RFC 3501 section 6.3.8 (patterns).
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

from maildir_imapd.errors import BadMailboxName

# RFC 6855 section 3 forbids control characters and the line separators; so do we under any encoding.
_FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]").search

# What modified UTF-7 writes as it is: printable US-ASCII, "&" apart.
_SHIFTED = re.compile("[^ -~]+|&")
_UNSHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")


# Only names worth remembering are remembered: clients choose them, and may choose long ones.
_REMEMBERED = 512

# Longer than any name can be; longer patterns match nothing.
_LONGEST = 4096


def decode_mailbox(raw: bytes, *, utf8: bool = False) -> str:
    """Read a mailbox name: modified UTF-7, or UTF-8 once the client has enabled that.

    Every name has exactly one spelling: what would be encoded otherwise is refused.  ``INBOX`` in any
    case becomes ``INBOX``.  The name is not looked at as a path here (levels, dots, length).
    """
    if raw.upper() == b"INBOX":
        return "INBOX"
    if utf8:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadMailboxName(why="it is not valid UTF-8") from None
    elif raw.isascii() and b"&" not in raw:
        name = raw.decode("ascii")
    else:
        name = _decode_short(raw) if len(raw) <= _REMEMBERED else _decode_utf7(raw)
    if _FORBIDDEN(name):
        raise BadMailboxName(why="it has control characters")
    return name


def _decode_utf7(raw: bytes) -> str:
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        raise BadMailboxName(why="it must be modified UTF-7") from None
    parts = []
    position = 0
    for shift in _UNSHIFTED.finditer(raw):
        parts.append(name[position : shift.start()])
        parts.append(_decode_shift(shift[1]) if shift[1] else "&")
        position = shift.end()
    parts.append(name[position:])
    decoded = "".join(parts)
    # Needless or adjacent shifts, stray bits and a lone "&" all show in this way.
    if encode_mailbox(decoded) != raw:
        raise BadMailboxName(why="it is not proper modified UTF-7")
    return decoded


_decode_short = lru_cache(maxsize=2048)(_decode_utf7)


def _decode_shift(text: bytes) -> str:
    try:
        octets = base64.b64decode(text.replace(b",", b"/") + b"=" * (-len(text) % 4), validate=True)
        return octets.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise BadMailboxName(why="it is not proper modified UTF-7") from None


def encode_mailbox(name: str, *, utf8: bool = False) -> bytes:
    """Write a mailbox name's octets, not yet quoted; never fails, whatever the disk held."""
    if utf8:
        return name.encode("utf-8", "replace")
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode("ascii")
    return _encode_short(name) if len(name) <= _REMEMBERED else _encode_utf7(name)


def _encode_utf7(name: str) -> bytes:
    return _SHIFTED.sub(_encode_shift, name).encode("ascii")


_encode_short = lru_cache(maxsize=2048)(_encode_utf7)


def _encode_shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    octets = match[0].encode("utf-16-be", "surrogatepass")
    return "&" + base64.b64encode(octets).rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"


class Pattern:
    """A LIST pattern: ``*`` matches anything, ``%`` anything but the delimiter.

    The match walks the name once with all positions in the pattern at the same time, as bits of one
    integer; a pattern cannot make it slow.  INBOX, alone or as a first level, matches in any case.
    """

    def __init__(self, pattern: str, delimiter: str) -> None:
        self.pattern = pattern
        self.delimiter = delimiter
        self._steps: dict[str, int] = {}
        self._stars = self._percents = 0
        self._letters = len(pattern) - pattern.count("*") - pattern.count("%")
        size = 0
        wild = ""
        for char in pattern if self._letters <= _LONGEST else "":
            if char in "*%":
                # A row of wildcards is one: "*" if it has any.
                if wild and char == "*" and wild == "%":
                    self._percents ^= 1 << (size - 1)
                    self._stars |= 1 << (size - 1)
                    wild = char
                elif not wild:
                    if char == "*":
                        self._stars |= 1 << size
                    else:
                        self._percents |= 1 << size
                    wild = char
                    size += 1
                continue
            wild = ""
            self._steps[char] = self._steps.get(char, 0) | 1 << size
            size += 1
        self._final = 1 << size
        self._plain = not self._stars and not self._percents

    def matches(self, name: str) -> bool:
        """Tell whether the whole *name* matches."""
        if self.pattern == "*":
            return True
        if self._letters > min(len(name), _LONGEST):
            return False
        if self._plain and self.pattern == name:
            return True
        return bool(self._walk(name) & self._final)

    def matches_below(self, name: str) -> bool:
        """Tell whether some name below *name* would match, whether or not such a mailbox exists."""
        if self._letters > _LONGEST:
            return False
        return bool(self._walk(name + self.delimiter) & (self._final - 1))

    def _walk(self, name: str) -> int:
        wild = self._stars | self._percents
        inbox = 5 if name[:5] == "INBOX" and name[5:6] in ("", self.delimiter) else 0
        here = 1
        here |= (here & wild) << 1
        for position, char in enumerate(name):
            steps = self._steps.get(char, 0)
            if position < inbox:
                steps |= self._steps.get(char.lower(), 0)
            stay = self._stars if char == self.delimiter else wild
            here = (here & steps) << 1 | here & stay
            if not here:
                return 0
            here |= (here & wild) << 1
        return here
