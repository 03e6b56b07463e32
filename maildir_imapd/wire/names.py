"""Mailbox names on the wire, and the patterns of LIST.

RFC 3501 section 5.1.3 (modified UTF-7), RFC 6855 section 3 (UTF-8), RFC 3501 section 6.3.8 (patterns).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from maildir_imapd import mutf7
from maildir_imapd.errors import BadArgument, BadMailboxName

# RFC 6855 section 3 forbids control characters and the line separators; so do we under any encoding.
_FORBIDDEN = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]").search

# Longer than any name can be; longer patterns match nothing.
_LONGEST = 4096
# Octets of a name on the wire; a level of it is 255 at most on the disk.
NAME_LIMIT_OCTETS = 1024


def decode_mailbox(raw: bytes, *, utf8: bool = False) -> str:
    """Read a mailbox name: modified UTF-7, or UTF-8 once the client has enabled that.

    Every name has exactly one spelling: what would be encoded otherwise is refused.  ``INBOX`` in any
    case becomes ``INBOX``.  The name is not looked at as a path here (levels, dots, length).
    """
    if len(raw) > NAME_LIMIT_OCTETS:
        raise BadMailboxName(why="it is too long")
    if raw.upper() == b"INBOX":
        return "INBOX"
    if utf8:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            # RFC 6855 3: not a name that cannot be, but no string at all.
            raise BadArgument("a string in UTF-8") from None
    else:
        try:
            name = mutf7.decode(raw)
        except ValueError as error:
            raise BadMailboxName(why=str(error)) from None
    if _FORBIDDEN(name):
        raise BadMailboxName(why="it has control characters")
    return name


def encode_mailbox(name: str, *, utf8: bool = False) -> bytes:
    """Write a mailbox name's octets, not yet quoted; never fails, whatever the disk held."""
    if utf8:
        return name.encode("utf-8", "replace")
    return mutf7.encode(name)


def in_subtree(name: str, root: str, delimiter: str, *, one: bool = False) -> bool:
    """Tell whether *name* is *root* or lies below it, with *one* directly below it (RFC 5465 6.5, RFC 7377 2.2).

    Below the empty name, which is no mailbox, is everything.
    """
    if not root:
        return not one or delimiter not in name
    if name == root:
        return True
    below = root + delimiter
    return name.startswith(below) and not (one and delimiter in name[len(below) :])


def ancestors(name: str, delimiter: str) -> Iterator[str]:
    """The names above a name, from the nearest on."""
    end = name.rfind(delimiter)
    while end > 0:
        yield name[:end]
        end = name.rfind(delimiter, 0, end)


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
        if self._plain and name[:5] != "INBOX":
            return self.pattern == name
        return bool(self._walk(name) & self._final)

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
