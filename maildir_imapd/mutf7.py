"""Modified UTF-7 (RFC 3501 5.1.3): how mailbox names are spelled on the wire and on disk.

A leaf beside errors.py, for both ``wire`` and ``store`` need it and may not import one another.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache

# What modified UTF-7 writes as it is: printable US-ASCII, "&" apart.
_SHIFTED = re.compile("[^ -~]+|&")
_UNSHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")

# Only names worth remembering are remembered: clients choose them, and may choose long ones.
_REMEMBERED = 512


def decode(raw: bytes) -> str:
    """Read a name strictly: what would be encoded otherwise raises ValueError, so each has one spelling."""
    if b"&" not in raw and raw.isascii():
        return raw.decode("ascii")
    return _decode_short(raw) if len(raw) <= _REMEMBERED else _decode(raw)


def decode_either(raw: bytes) -> str | None:
    """Read a name that another server wrote: modified UTF-7, or UTF-8 as of Courier 5; None for neither."""
    try:
        return decode(raw)
    except ValueError:
        return decode_utf8(raw)


def decode_utf8(raw: bytes) -> str | None:
    """Read a name in UTF-8; None for what is none."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def encode(name: str) -> bytes:
    """Write a name; never fails, whatever the disk held."""
    if name.isascii() and name.isprintable() and "&" not in name:
        return name.encode("ascii")
    return _encode_short(name) if len(name) <= _REMEMBERED else _encode(name)


def _decode(raw: bytes) -> str:
    if not raw.isascii():
        raise ValueError("it must be modified UTF-7")
    parts = []
    position = 0
    for shift in _UNSHIFTED.finditer(raw):
        parts.append(raw[position : shift.start()].decode("ascii"))
        parts.append(_decode_shift(shift[1]) if shift[1] else "&")
        position = shift.end()
    parts.append(raw[position:].decode("ascii"))
    decoded = "".join(parts)
    # Needless or adjacent shifts, stray bits and a lone "&" all show in this way.
    if encode(decoded) != raw:
        raise ValueError("it is not proper modified UTF-7")
    return decoded


_decode_short = lru_cache(maxsize=2048)(_decode)


def _decode_shift(text: bytes) -> str:
    try:
        octets = base64.b64decode(text.replace(b",", b"/") + b"=" * (-len(text) % 4), validate=True)
        return octets.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("it is not proper modified UTF-7") from None


def _encode(name: str) -> bytes:
    return _SHIFTED.sub(_encode_shift, name).encode("ascii")


_encode_short = lru_cache(maxsize=2048)(_encode)


def _encode_shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    octets = match[0].encode("utf-16-be", "surrogatepass")
    return "&" + base64.b64encode(octets).rstrip(b"=").replace(b"/", b",").decode("ascii") + "-"
