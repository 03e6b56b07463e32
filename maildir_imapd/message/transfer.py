"""Content-Transfer-Encoding, taken off (RFC 2045 6)."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator

_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
# Looked for at the first blank of each row only: from every one on, a long row would cost its square.
_TRAILING = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n|\Z)")

# RFC 2045 6.2: these three "mean that no encoding has been performed"
IDENTITY = frozenset((b"7bit", b"8bit", b"binary", b""))
# The encodings that are taken off.
ENCODED = frozenset((b"base64", b"quoted-printable"))


def decode(body: bytes, encoding: bytes) -> bytes:
    """Decode *body*, as far as it can be decoded; LookupError for an encoding that is not known."""
    encoding = encoding.lower()
    if encoding in IDENTITY:
        return body
    if encoding == b"base64":
        return binascii.a2b_base64(_whole(_characters(body)))
    if encoding == b"quoted-printable":
        return decode_quoted_printable(body)
    raise LookupError(encoding)


def decode_lenient(body: bytes, encoding: bytes) -> bytes:
    """Decode for search and preview: an unknown encoding leaves the octets as they are."""
    try:
        return decode(body, encoding)
    except LookupError:
        return body


def _characters(body: bytes) -> bytes:
    """Take what is of base64's alphabet, up to the end of the data."""
    clean = body.translate(None, _NOT_BASE64)
    end = clean.find(b"=")
    return clean if end < 0 else clean[:end]


def _whole(clean: bytes) -> bytes:
    """Put the padding there that is lacking; a single character that is left over goes, for six bits are no octet."""
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return clean + b"=" * (-len(clean) % 4)


def decode_base64(body: bytes) -> bytes:
    """RFC 2045 6.8: what is not of the alphabet is ignored; "=" ends the data, lacking padding is taken as there.

    ValueError where a single character is left over: six bits are no octet.
    """
    clean = _characters(body)
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def base64_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Decode base64 that comes in pieces; together they are what ``decode`` makes of the whole."""
    left = b""
    for piece in pieces:
        clean = left + piece.translate(None, _NOT_BASE64)
        end = clean.find(b"=")
        if end >= 0:
            left = clean[:end]
            break
        whole = len(clean) & ~3
        left = clean[whole:]
        if whole:
            yield binascii.a2b_base64(clean[:whole])
    if last := binascii.a2b_base64(_whole(left)):
        yield last


def decode_quoted_printable(body: bytes) -> bytes:
    """RFC 2045 6.7: white space at the end of a line was added on the way and goes; damage stays as it is."""
    if b" \r" in body or b"\t\r" in body or body.endswith((b" ", b"\t")):
        if body.count(b"\n") == body.count(b"\r\n"):
            # The expression stops at each space: ten times the time.
            body = b"\r\n".join([line.rstrip(b" \t") for line in body.split(b"\r\n")])
        else:
            body = _TRAILING.sub(b"", body)
    return binascii.a2b_qp(body)
