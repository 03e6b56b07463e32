"""The header block: where it ends, its fields, and the text that is encoded in them.

One compiled expression runs over the whole block.  Every expression here begins with a literal LF, which
the engine looks for with memchr; that is why the block gets one put in front.  Nothing here backtracks:
each repeat is bounded by the character that ends it, so hostile headers cost what long ones cost.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from maildir_imapd.message import transfer
from maildir_imapd.message.blocks import Octets
from maildir_imapd.message.charset import decode_charset, decode_mail

# Robustness: what lies beyond this in one header block is still sent, but no field in it is looked at.
HEADER_LIMIT_OCTETS = 1024 * 1024
# And of one field no more is looked at than this, to search, sort or thread by.
VALUE_LIMIT_OCTETS = 64 * 1024

# RFC 5322 2.2:   field = name ":" body CRLF, continued on lines that begin with white space
#      4.5:       obs-optional = field-name *WSP ":" unstructured CRLF
# A name may hold 8-bit octets here (RFC 5322 has 33 to 126): it is passed on, never matched.
# A line without a colon is part of the block but of no field.
# Possessive, for otherwise the engine keeps a place to come back to for each line: 60 times the header.
FOLDED = rb"[^\n]*+(?:\n[ \t][^\n]*+)*+"
_FIELD = re.compile(rb"\n([^\s:]+)[ \t]*:(" + FOLDED + rb")").finditer
_BLANK = re.compile(rb"\n\r?\n").search
_NEAR_OCTETS = 16 * 1024  # most headers end within this many octets


def split(data: Octets, start: int = 0) -> int:
    """Find the offset of the body: behind the first empty line, or the end where there is none."""
    if data.startswith(b"\r\n", start):
        return start + 2
    blank = data.find(b"\r\n\r\n", start)
    return len(data) if blank < 0 else blank + 4


def split_raw(raw: bytes) -> int:
    """Find the body of a message that has the line ends it has on the disk: LF, CRLF or both."""
    blank = _BLANK(b"\n" + raw[:_NEAR_OCTETS]) or _BLANK(b"\n" + raw)
    return len(raw) if blank is None else blank.end() - 1


def fields(header: bytes) -> list[tuple[bytes, bytes, int, int]]:
    """List the fields: name as spelled, value with its folding, offsets of the field's begin and end."""
    end = len(header)
    found = []
    for match in _FIELD(b"\n" + header[:HEADER_LIMIT_OCTETS]):
        name, value = match.groups()
        # the LF in front stands in for the one octet that the match does not take: the LF at the end
        found.append((name, value.rstrip(b"\r\n"), match.start(), min(match.end(), end)))
    return found


def first(header: bytes, name: bytes) -> bytes | None:
    """Give the first field called *name* (in capitals), unfolded; None where there is none.

    Of a longer one than ``VALUE_LIMIT_OCTETS`` the beginning.
    """
    match = _finder(name)(b"\n" + header[:HEADER_LIMIT_OCTETS])
    return None if match is None else unfold(match[1][:VALUE_LIMIT_OCTETS])


def first_end(header: bytes, name: bytes) -> bytes | None:
    """Give what ``first`` gives, but of a longer field the end."""
    match = _finder(name)(b"\n" + header[:HEADER_LIMIT_OCTETS])
    return None if match is None else unfold(match[1][-VALUE_LIMIT_OCTETS:])


def every(header: bytes, name: bytes) -> list[bytes]:
    """Give all fields called *name* (in capitals), unfolded, in their order; ``VALUE_LIMIT_OCTETS`` in all."""
    found = []
    left = VALUE_LIMIT_OCTETS
    for value in _pattern(name).findall(b"\n" + header[:HEADER_LIMIT_OCTETS]):
        if left <= 0:
            break
        found.append(unfold(value[:left]))
        left -= len(value)
    return found


def unfold(value: bytes) -> bytes:
    """Join a folded value to one line, without the white space around it.

    RFC 5322 2.2.3: "Unfolding is accomplished by simply removing any CRLF that is immediately followed
    by WSP", so a TAB stays a TAB.
    """
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return value.strip(b" \t\r")


# RFC 2047 2:  encoded-word = "=?" charset "?" encoding "?" encoded-text "?="
# Laxer: encoded-text may hold spaces, and be empty; the word may stand next to other text.
_ENCODED_WORD = re.compile(rb"=\?([!#$%&'*+\-.0-9A-Z^_`a-z{|}~:]+)\?([bBqQ])\?([^?]*)\?=").finditer


def decode_rfc2047(value: bytes) -> str:
    """Decode the encoded words of an unfolded value, or of whole header lines; never fails.

    Octets that are not ASCII are taken as UTF-8, then as ISO-8859-1 (RFC 6532 brought the first, careless
    senders the second), and so are those of a word in an unknown charset: who searches for what they spell shall
    find it (RFC 5255 4.6).  A damaged word stays as it stands.
    """
    if b"=?" not in value:
        return decode_mail(None, value)
    return "".join([decode_mail(charset, octets) for charset, octets in _runs(value)])


def undecodable(value: bytes) -> bytes | None:
    """The octets that an unfolded value's encoded words stand for, if they are no text in the charset they name.

    None for all else: it is what it is decoded to.
    """
    if b"=?" not in value:
        return None
    runs = list(_runs(value))
    for charset, octets in runs:
        if charset is not None:
            try:
                decode_charset(charset, octets)
            except (LookupError, UnicodeDecodeError):
                return b"".join([octets for _, octets in runs])
    return None


def _runs(value: bytes) -> Iterator[tuple[bytes | None, bytes]]:
    """A value in pieces, each (charset, octets): neighbours in one charset in one, for a character may be cut in two.

    What is in no encoded word has no charset.
    """
    waiting: list[bytes] = []
    charset = b""
    at = 0
    for match in _ENCODED_WORD(value):
        name, encoding, text = match.groups()
        octets = _decode_word(encoding, text)
        name = name.partition(b"*")[0].lower()  # RFC 2231 5: charset "*" language
        if octets is None:
            continue
        gap = value[at : match.start()]
        # RFC 2047 6.2: white space "that separates a pair of adjacent 'encoded-word's is ignored"
        between = bool(waiting) and not gap.strip(b" \t\r\n")
        if waiting and (not between or name != charset):
            yield charset, b"".join(waiting)
            waiting = []
        if not between:
            yield None, gap
        charset = name
        waiting.append(octets)
        at = match.end()
    if waiting:
        yield charset, b"".join(waiting)
    yield None, value[at:]


def _decode_word(encoding: bytes, text: bytes) -> bytes | None:
    try:
        if encoding in b"bB":
            return transfer.decode_base64(text)
        return binascii.a2b_qp(text, header=True)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _pattern(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\n" + re.escape(name) + rb"[ \t]*:(" + FOLDED + rb")", re.IGNORECASE)


@lru_cache(maxsize=256)
def _finder(name: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    return _pattern(name).search
